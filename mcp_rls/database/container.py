"""A PostgreSQL in a container, by testcontainers: started, asked until it answers, removed whatever becomes of us."""

from __future__ import annotations

import itertools
import os
import secrets
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from mcp_rls.database.server import Progress, Server, ServerError, connect, one_line, version_of

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

_PATIENCE = 60.0  # seconds from the container's start to its first answer
_LABEL = "mcp-rls.owner"  # on the container, so that the guard knows it by a name that was there before it was started
# Waits until its standard input ends, which it does with the owner, however that ended; then removes the container. The
# engine may still be making it, so that it is looked for a while. testcontainers' own reaper is an image to be fetched.
_GUARD = """
import sys, time
sys.stdin.buffer.read()
import docker
client = docker.from_env()
for _ in range(int(sys.argv[2])):
    # whatever goes between the list and a look at it is no matter
    for container in client.containers.list(all=True, filters={"label": sys.argv[1]}, ignore_removed=True):
        try:
            container.remove(force=True, v=True)
        except docker.errors.APIError:
            pass
    time.sleep(0.5)
"""

_owner_ends: weakref.WeakSet[IO[bytes]] = weakref.WeakSet()


def _close_inherited_ends() -> None:
    for end in _owner_ends:
        end.close()


# A forked child that outlives us would keep the pipe open, and with it the container.
os.register_at_fork(after_in_child=_close_inherited_ends)


@contextmanager
def in_container(image: str, progress: Progress) -> Iterator[Server]:
    """A PostgreSQL in a container of `image`, once it has answered a query; removed afterwards."""
    probe_engine()
    # A second to import. Its generic container, since the one for PostgreSQL polls psql inside the container
    # once a second, where we ask the server itself.
    from testcontainers.core.container import DockerContainer

    password = secrets.token_urlsafe(18)  # the port may be open to the network
    running = DockerContainer(image).with_exposed_ports(5432).with_env("POSTGRES_PASSWORD", password)
    progress(f"starting a container of {image}")
    with _guarded(running):
        urls = [f"postgresql://postgres:{password}@{where}/postgres" for where in _started(running, image)]
        url, version = _first_answer(urls, running, image)
        yield Server(url, "container", f"PostgreSQL {version}, container {image}")


def probe_engine() -> None:
    """Raises ServerError unless a Docker engine answers; testcontainers itself would end in a traceback."""
    try:
        import docker
        import testcontainers  # noqa: F401
    except ImportError:
        raise ServerError('a container needs testcontainers: pip install "mcp-rls[containers]"') from None
    try:
        client = docker.from_env(timeout=2)
        try:
            client.ping()
        finally:
            client.close()
    except (docker.errors.DockerException, OSError) as error:
        raise ServerError(
            f"no Docker engine answers: {one_line(error)}\n"
            "hint: start Docker, or point DOCKER_HOST at an engine; without a container image, "
            "the embedded server or --database URL is used"
        ) from None


def _started(running: DockerContainer, image: str) -> tuple[str, ...]:
    """Where the container may be reached, once it runs: 'host:port' as testcontainers sees it, then the engine's.

    Both, since testcontainers is wrong about the first where the engine runs beside us inside a container.
    """
    from docker.errors import DockerException
    from testcontainers.core.exceptions import ContainerStartException

    try:
        running.start()
        engine = running.get_docker_client()
        seen = f"{running.get_container_host_ip()}:{running.get_exposed_port(5432)}"
        return seen, f"{engine.host()}:{engine.port(running.get_container_id(), 5432)}"
    except (DockerException, ContainerStartException, OSError) as error:
        raise ServerError(
            f"no container of {image} could be started: {one_line(error)}\n"
            f"hint: does `docker pull {image}` work? Where no registry can be reached, also set "
            "TESTCONTAINERS_RYUK_DISABLED=true. Or name a running server with --database URL"
        ) from None


def _first_answer(urls: list[str], running: DockerContainer, image: str) -> tuple[str, str]:
    """The URL that answers and the server's version, as soon as it does: the port is open well before that."""
    deadline = time.monotonic() + _PATIENCE
    for url in itertools.cycle(urls):
        try:
            with connect(url, patience=2) as connection:
                return url, version_of(connection)
        except ServerError as error:
            container = running.get_wrapped_container()
            container.reload()
            if container.status != "running" or time.monotonic() > deadline:
                last = container.logs(tail=5).decode(errors="replace").strip()
                raise ServerError(
                    f"the container of {image} gives no answer: {error}\n"
                    f"its log ends: {last or '(empty)'}\nhint: is {image} an image of PostgreSQL?"
                ) from None
        time.sleep(0.05)
    raise AssertionError("there is a URL to try")


@contextmanager
def _guarded(running: DockerContainer) -> Iterator[None]:
    """Removes the container at the end of the block, and a guard does if we end before that."""
    name = secrets.token_hex(8)
    running.with_kwargs(labels={_LABEL: name})
    command = [sys.executable, "-c", _GUARD, f"{_LABEL}={name}", "6"]
    # away from the terminal's Ctrl-C
    guard = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert guard.stdin is not None, "asked for a pipe"
    _owner_ends.add(guard.stdin)
    try:
        yield
    finally:
        running.stop()
        guard.kill()
        guard.stdin.close()
        guard.wait()
