"""One server for all tests below, one of each major version found on this machine, and scratch databases on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mcp_rls.database.embedded import embedded
from mcp_rls.database.server import Server, open_server
from tests.postgres.majors import EVERY, LEFT_OUT, found_majors
from tests.postgres.scratch import Scratch, scratch_on


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[Path | None], Server]]:
    """Servers of this process by where their programs are, each started when it is asked for; None is the usual one."""
    with ExitStack() as stack:
        opened: dict[Path | None, Server] = {}

        def server_of(directory: Path | None) -> Server:
            if directory not in opened:
                opened[directory] = stack.enter_context(open_server() if directory is None else embedded(directory))
            return opened[directory]

        yield server_of


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, servers: Callable[[Path | None], Server]) -> Server:
    """The server of this process; a file that needs one of its own overrides the fixture."""
    return servers(getattr(request, "param", None))


@pytest.fixture
def scratch(server: Server) -> Iterator[Scratch]:
    """An empty database of this test's own."""
    with scratch_on(server) as made:
        yield made


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`each_server` is all of them in turn; where every test is asked for, so is `server`."""
    shared = not hasattr(metafunc.module, "server")
    for name in ("each_server", "server"):
        if name in metafunc.fixturenames and (name == "each_server" or (EVERY and shared)):
            majors = found_majors()
            names = ["default" if directory is None else f"PostgreSQL {major}" for major, directory in majors.items()]
            metafunc.parametrize(name, [*majors.values()], ids=names, indirect=True, scope="session")
            return


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where each major version is asked for, leaves out what would meet the usual one alone, or can't be there."""
    if not EVERY:
        return
    majors = {directory: major for major, directory in found_majors().items()}
    split: dict[bool, list[pytest.Item]] = {True: [], False: []}
    for item in items:
        asked = getattr(getattr(item, "callspec", None), "params", {})
        on = [majors[asked[name]] for name in ("each_server", "server", "case_scratch") if name in asked]
        name = getattr(item, "originalname", item.name)
        split[bool(on) and (name, on[0]) not in LEFT_OUT].append(item)
    config.hook.pytest_deselected(items=split[False])
    items[:] = split[True]


@pytest.fixture(scope="session")
def each_server(request: pytest.FixtureRequest, servers: Callable[[Path | None], Server]) -> Server:
    """The usual server, then an embedded one of each other major version found."""
    return servers(request.param)


@pytest.fixture
def each_scratch(each_server: Server) -> Iterator[Scratch]:
    """An empty database on `each_server`."""
    with scratch_on(each_server) as made:
        yield made


@pytest.fixture(autouse=True)
def _told(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    """Writes down which server a test met, for the summary."""
    for name in ("each_server", "server"):
        if name in request.fixturenames:
            record_property("server", request.getfixturevalue(name).description)
            return
