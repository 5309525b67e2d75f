"""Where a server comes from, and that it leaves nothing behind. All of it against real servers."""

from __future__ import annotations

import gc
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from testcontainers.core.config import testcontainers_config

from mcp_rls.database import binaries, container, embedded, server
from mcp_rls.database.server import Server, ServerError, open_server
from tests.postgres.places import engine_is_missing, made_open_directory

pytestmark = pytest.mark.postgres

_ROOT = Path(server.__file__).parents[2]

# Prints the server's directory and pid, and holds the server until it is told otherwise.
_OWNER = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without it
from urllib.parse import parse_qs, urlsplit
from mcp_rls.database.server import open_server
with open_server() as server:
    directory = parse_qs(urlsplit(server.url).query)["host"][0]
    pid = open(directory + "/data/postmaster.pid").readline().strip()
    heirs = []
    if "heirs" in sys.argv:
        heirs.append(subprocess.Popen(["sleep", "60"], close_fds=False).pid)
        heirs.append(os.fork() or time.sleep(60) or os._exit(0))
    print(directory, pid, *heirs, flush=True)
    time.sleep(60)
"""

# What an ordinary user sees: who, what, and whether a template was kept. Root becomes one, after a first
# round that imports everything: the interpreter may lie where only root can read.
_VISITOR = """
import os, pathlib, sys, psycopg
from mcp_rls.database.server import open_server
def visit():
    with open_server() as server, server.scratch_database() as url, psycopg.connect(url) as connection:
        return connection.execute("select current_user").fetchone()[0]
uid, gid = map(int, sys.argv[1:])
if os.geteuid() == 0:
    visit()
    os.setgroups([]), os.setgid(gid), os.setuid(uid)
cache = pathlib.Path(os.environ["HOME"], ".cache/mcp-rls")
print(os.geteuid(), visit(), len(list(cache.glob("template-*/data/base"))))
"""


@pytest.fixture(autouse=True)
def _no_given_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MCP_RLS_DATABASE_URL", "MCP_RLS_POSTGRES_BIN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MCP_RLS_")}
    with open_server(environ=environ) as opened:
        yield opened


@pytest.fixture
def open_directory() -> Iterator[Path]:
    with made_open_directory() as path:
        yield path


def _asked(url: str, question: LiteralString = "select current_database()") -> Any:
    """The first value that the last statement of `question` gives."""
    with psycopg.connect(url) as connection:
        cursor = connection.execute(question)
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        return row and row[0]


def _directory(url: str) -> Path:
    return Path(str(psycopg.conninfo.conninfo_to_dict(url)["host"]))


def _databases(opened: Server) -> set[str]:
    return set(_asked(opened.url, "select array_agg(datname::text) from pg_database"))


def _eventually(holds: Callable[[], bool], seconds: float = 8.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)]), **more}


def _owner(*arguments: str) -> tuple[subprocess.Popen[str], Path, list[int]]:
    """A process of its own that holds a server, the server's directory, and the pids of server and heirs."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _OWNER, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(),
        start_new_session=True,
    )
    assert process.stdout is not None
    directory, *pids = process.stdout.readline().split()
    return process, Path(directory), [int(pid) for pid in pids]


# The embedded server ---------------------------------------------------------------------------------------


def test_embedded_answers(running: Server) -> None:
    """Without any setting there is a server: its role is superuser, its clock UTC, its text UTF-8."""
    assert running.kind == "embedded"
    assert re.fullmatch(r"PostgreSQL \d+(\.\d+)?, embedded", running.description)
    question = "select current_user || ' ' || current_setting('is_superuser') || ' ' || current_setting('TimeZone')"
    assert _asked(running.url, question) == "postgres on UTC"
    assert _asked(running.url, "select pg_encoding_to_char(encoding) from pg_database limit 1") == "UTF8"


def test_embedded_is_private(running: Server) -> None:
    """Nobody but its owner reaches it: no TCP port, and a socket in a directory of mode 0700."""
    assert _asked(running.url, "show listen_addresses") == ""
    assert _directory(running.url).stat().st_mode & 0o777 == 0o700


def test_embedded_leaves_nothing() -> None:
    """After the block neither process nor directory is left."""
    with open_server() as opened:
        directory = _directory(opened.url)
        pid = int((directory / "data" / "postmaster.pid").read_text().splitlines()[0])
    assert not directory.exists()
    assert not _runs(pid)


def test_a_killed_owner_leaves_nothing() -> None:
    """`kill -9` of the owner ends the server and removes its directory, whatever its children hold open."""
    process, directory, (server_pid, *heirs) = _owner("heirs")
    with process:
        assert _runs(server_pid)
        process.kill()
    try:
        assert _eventually(lambda: not directory.exists())
        assert not _runs(server_pid)
    finally:
        for heir in heirs:
            os.kill(heir, signal.SIGKILL)


def test_an_interrupted_owner_leaves_nothing() -> None:
    """Ctrl-C, which reaches all the terminal's processes, ends the server in order."""
    process, directory, (server_pid,) = _owner()
    with process:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)
    assert not directory.exists()
    assert not _runs(server_pid)


def test_ordinary_user(open_directory: Path) -> None:
    """An ordinary user has a server too, of its own, with the template in its own cache."""
    home = open_directory / "home"
    home.mkdir()
    user = pwd.getpwuid(os.geteuid() or pwd.getpwnam("nobody").pw_uid)
    os.chown(home, user.pw_uid, user.pw_gid)
    found = binaries.find_binaries(binaries.server_account(), os.environ)
    environment = _environment(HOME=str(home), XDG_CACHE_HOME="", MCP_RLS_POSTGRES_BIN=str(found.directory))
    seen = subprocess.run(
        [sys.executable, "-W", "error", "-c", _VISITOR, str(user.pw_uid), str(user.pw_gid)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert (seen.stderr, seen.stdout) == ("", f"{user.pw_uid} postgres 1\n")


def test_two_owners_at_once_and_a_damaged_template(open_directory: Path) -> None:
    """Two first starts at one moment don't disturb each other; the next one finds a template.

    A template that misses a file is made anew instead of used.
    """

    def start(told: list[str]) -> list[str]:
        with embedded.embedded(cache=open_directory / "cache", progress=told.append) as opened:
            assert _asked(opened.url, "select count(*) > 1000 from pg_proc")
        return told

    with ThreadPoolExecutor() as pool:
        first, second = pool.map(start, ([], []))
    assert len(first) <= 1
    assert len(second) <= 1
    assert start([]) == []
    (lost, *_) = open_directory.glob("cache/template-*/data/base/1/1255")
    lost.unlink()
    assert len(start([])) == 1
    assert start([]) == []


def test_settings_of_the_caller(open_directory: Path) -> None:
    """What the caller sets wins over what the server would be started with; the rest stays."""
    with embedded.embedded(cache=open_directory / "cache", settings=("jit=on", "wal_level=replica")) as opened:
        asked = "select current_setting(name) from unnest(array['jit', 'wal_level', 'fsync']) name"
        with psycopg.connect(opened.url) as connection:
            assert connection.execute(asked).fetchall() == [("on",), ("replica",), ("off",)]


def test_cache_that_cannot_be_written(open_directory: Path) -> None:
    """Without a cache the start only takes longer."""
    (open_directory / "file").touch()
    with embedded.embedded(cache=open_directory / "file" / "cache") as opened:
        assert _asked(opened.url) == "postgres"


def test_awkward_path(open_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blanks, quotes and percent signs in TMPDIR change nothing."""
    awkward = open_directory / """a b'c"%2F"""
    awkward.mkdir()
    awkward.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(awkward))
    monkeypatch.setattr(embedded, "_MEMORY_NEEDED", 2**60)
    with open_server() as opened, opened.scratch_database() as url:
        assert _directory(url).parent == awkward
        assert _asked(url) != "postgres"
    assert list(awkward.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 90, "a,b"])
def test_impossible_path(open_directory: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A TMPDIR that can't hold a socket, being too long or with a comma in it, is passed over for /tmp."""
    impossible = open_directory / name
    impossible.mkdir()
    impossible.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(impossible))
    monkeypatch.setattr(embedded, "_MEMORY_NEEDED", 2**60)
    with open_server() as opened:
        assert _directory(opened.url).parent == Path("/tmp")


def test_variables_of_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's PG* variables don't reach the embedded server, and are all there again afterwards."""
    noise = {
        "PGHOST": "nowhere.invalid",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "1",
        "PGUSER": "somebody",
        "PGDATABASE": "elsewhere",
        "PGDATA": "/nonexistent",
        "PGOPTIONS": "-c search_path=nothing",
        "PGSERVICE": "missing",
        "PGTARGETSESSIONATTRS": "standby",
    }
    for name, value in noise.items():
        monkeypatch.setenv(name, value)
    with open_server() as opened, opened.scratch_database() as url:
        assert str(_asked(url)).startswith("mcp_rls_")
        assert _asked(url, "show search_path") == '"$user", public'
    assert {name: os.environ[name] for name in noise} == noise


def test_programs_below_a_private_directory(open_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's programs that the server's user can't reach are made reachable, without changing any mode."""
    found = binaries.find_binaries(binaries.server_account(), os.environ)
    monkeypatch.setattr(binaries, "_ROOTS_DIRECTORY", open_directory / "root")
    prefix, private = found.directory.parent, open_directory / "private"
    private.mkdir(mode=0o700)
    package = private / prefix.parent.name
    shutil.copytree(prefix, package / prefix.name, ignore=shutil.ignore_patterns("include"))
    libraries = f"{package.name}.libs"
    if (prefix.parent.parent / libraries).exists():
        shutil.copytree(prefix.parent.parent / libraries, private / libraries)
    with embedded.embedded(package / prefix.name / "bin", cache=open_directory) as opened:
        assert _asked(opened.url) == "postgres"
    assert private.stat().st_mode & 0o777 == 0o700
    assert (open_directory / "root").exists() is (os.geteuid() == 0)


def test_every_major_on_this_machine() -> None:
    """Every PostgreSQL that is installed here can be the embedded server."""
    account = binaries.server_account()
    for directory in binaries._candidates(os.environ):
        found = binaries.find_binaries(account, {"MCP_RLS_POSTGRES_BIN": str(directory)})
        with embedded.embedded(directory) as opened, opened.scratch_database() as url:
            assert str(_asked(url, "show server_version")).startswith(found.version)


def test_no_programs(open_directory: Path) -> None:
    """A directory without PostgreSQL in it is named, with what to do."""
    environ = {"MCP_RLS_POSTGRES_BIN": str(open_directory)}
    with pytest.raises(ServerError, match="no postgres in it") as caught, open_server(environ=environ):
        pass
    assert str(open_directory) in str(caught.value)
    assert 'pip install "mcp-rls[embedded]"' in str(caught.value)


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg the extra to install is named."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ServerError, match=re.escape('pip install "mcp-rls[postgres]"')), open_server():
        pass


# Scratch databases -----------------------------------------------------------------------------------------


def test_scratch_databases_are_separate_and_dropped(running: Server) -> None:
    """Each is new, sees nothing of the other, and is gone afterwards though somebody is still connected."""
    before = _databases(running)
    with running.scratch_database() as one, running.scratch_database() as other:
        _asked(one, "create table notes as select 1; select 1")
        assert _asked(other, "select to_regclass('notes')") is None
        left_open = psycopg.connect(one)
    assert _databases(running) == before
    left_open.close()


def test_scratch_database_is_dropped_on_error(running: Server) -> None:
    """An error in the block is the one that comes out, and the database is dropped all the same."""
    before = _databases(running)
    with pytest.raises(ZeroDivisionError), running.scratch_database():
        _ = 1 / 0
    assert _databases(running) == before


def test_template_is_cloned(running: Server) -> None:
    """A database made from a template has its content and is independent; the template is dropped too."""
    before = _databases(running)
    with running.scratch_database() as template:
        _asked(template, "create table notes as select 7 as id; select 1")
        name = str(_asked(template))
        with psycopg.connect(running.url, autocommit=True) as connection:
            connection.execute(f'alter database "{name}" is_template true allow_connections false')
        with running.scratch_database(name) as one, running.scratch_database(name) as other:
            _asked(one, "update notes set id = 8; select 1")
            assert (_asked(one, "table notes"), _asked(other, "table notes")) == (8, 7)
    assert _databases(running) == before


def test_missing_template(running: Server) -> None:
    """A template that doesn't exist is named."""
    with pytest.raises(ServerError, match='"missing"'), running.scratch_database("missing"):
        pass


def test_role_without_createdb(running: Server) -> None:
    """A given role that may not create databases is told which right it lacks."""
    with psycopg.connect(running.url, autocommit=True) as connection:
        connection.execute("create role plain login")
        plain = running.url.replace("postgres@", "plain@")
        with (
            open_server(plain) as given,
            pytest.raises(ServerError, match="CREATEDB"),
            given.scratch_database(),
        ):
            pass
        connection.execute("drop role plain")


def test_what_a_killed_run_left_on_a_given_server_goes_with_a_later_one(running: Server) -> None:
    """An hour old, of ours, and nobody there; a younger one stays, one in use, and one that only has such a name."""
    old, note = "2026-01-01T00:00:00+00:00", "mcp_rls: scratch since "
    made = {"mcp_rls_00000000000a": note + old, "mcp_rls_00000000000b": note + "9999-01-01T00:00:00+00:00"}
    made |= {"mcp_rls_00000000000c": note + old, "mcp_rls_00000000000d": "mine", "mcp_rls_00000000000e": note + "soon"}
    with psycopg.connect(running.url, autocommit=True) as connection:
        for name, comment in made.items():
            connection.execute(f"create database {name}".encode())
            connection.execute(f"comment on database {name} is '{comment}'".encode())
        listed = "select datname from pg_database where datname ~ '^mcp_rls_0{11}[a-e]$' order by 1"
        with psycopg.connect(running.url_of("mcp_rls_00000000000c")), open_server(running.url) as given:
            with given.scratch_database() as url:
                assert note in str(_commented(connection, url.split("?")[0].rsplit("/", 1)[1]))
            assert [name for (name,) in connection.execute(listed)] == sorted(made)[1:]
        for name in sorted(made)[1:]:
            connection.execute(f"drop database {name}".encode())


def _commented(connection: psycopg.Connection[Any], name: str) -> str | None:
    query = "select shobj_description(oid, 'pg_database') from pg_database where datname = %s"
    found = connection.execute(query, (name,)).fetchone()
    return found[0] if found else None


# A given server --------------------------------------------------------------------------------------------


def test_given_url(running: Server) -> None:
    """A given URL is used as it is: its database, its role; `url_of` changes the database only."""
    with running.scratch_database() as url, open_server(url) as given:
        assert (given.kind, given.url) == ("given", url)
        assert re.fullmatch(r"PostgreSQL \S+ at /.*:5432/mcp_rls_\w+ \(given\)", given.description)
        assert _asked(given.url_of("template1")) == "template1"


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgres", "postgresql+asyncpg"])
def test_other_schemes(running: Server, scheme: str) -> None:
    """A SQLAlchemy URL, or the short scheme, is a libpq URL afterwards."""
    with open_server(running.url.replace("postgresql", scheme, 1)) as given:
        assert given.url == running.url
        with given.scratch_database() as url:
            assert str(_asked(url)).startswith("mcp_rls_")


def test_argument_before_environment(running: Server) -> None:
    """MCP_RLS_DATABASE_URL is used when nothing is named, and only then; empty, it counts as unset."""
    with open_server(environ={"MCP_RLS_DATABASE_URL": running.url_of("template1")}) as given:
        assert given.description.endswith("/template1 (given)")
    with open_server(running.url, environ={"MCP_RLS_DATABASE_URL": "postgresql://nowhere.invalid/x"}) as given:
        assert given.url == running.url
    with open_server(environ={**os.environ, "MCP_RLS_DATABASE_URL": ""}) as own:
        assert own.kind == "embedded"


@pytest.mark.parametrize(
    ("url", "database", "expected"),
    [
        ("postgresql://a:b@h:1/x", "new", "postgresql://a:b@h:1/new"),
        (
            "postgresql://h1:1,[::1]:2/x?sslmode=require",
            "new",
            "postgresql://h1:1,[::1]:2/new?sslmode=require",
        ),
        ("postgresql:///x?host=/run/pg&dbname=y", "new", "postgresql:///new?host=/run/pg"),
        ("postgresql://a:b%40c@%2Frun%2Fpg", "a/b c", "postgresql://a:b%40c@%2Frun%2Fpg/a%2Fb%20c"),
        ("postgresql://a:b?c#d@h/x", "new", "postgresql://a:b?c#d@h/new"),
    ],
)
def test_url_of(url: str, database: str, expected: str) -> None:
    """Every form of URL that libpq knows keeps its hosts, its credentials and its parameters."""
    assert Server(url, "given", "").url_of(database) == expected
    assert psycopg.conninfo.conninfo_to_dict(expected)["dbname"] == database


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3cret@127.0.0.1:1/app",
        "postgresql://127.0.0.1:1/app?user=ann&password=s3cret",
        "postgresql://ann:half/s3cret@127.0.0.1/app",
        "postgresql://ann:half@s3cret@127.0.0.1/app",
        "postgresql://ann:half:s3cret/x@127.0.0.1/app",
        "postgresql://ann:s3cret%zz@127.0.0.1/app",
        "postgresql://127.0.0.1:1/app?password=half&s3cret",
        "mysql://ann:s3cret@127.0.0.1/app",
        "host=127.0.0.1 password=s3cret",
        "",
    ],
)
def test_url_without_answer(url: str) -> None:
    """A URL that nobody answers, or that isn't one, is a clear error, and the password is nowhere in it."""
    with pytest.raises(ServerError, match="database") as caught, open_server(url):
        pass
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_password_is_not_in_the_repr() -> None:
    """A Server may be logged."""
    assert "s3cret" not in repr(Server("postgresql://ann:s3cret@h/x", "given", ""))


# A container -----------------------------------------------------------------------------------------------


def test_database_and_container() -> None:
    """Two answers to one question are an error."""
    with pytest.raises(ServerError, match="both"), open_server("postgresql://h/x", container="postgres:18"):
        pass


# A client that can't connect drops its socket unclosed.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.container
def test_no_engine(monkeypatch: pytest.MonkeyPatch, open_directory: Path) -> None:
    """Without a Docker engine the error says so, and what else there is."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{open_directory}/docker.sock")
    with pytest.raises(ServerError, match="no Docker engine answers"), open_server(container="postgres:18"):
        pass
    gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.container
def test_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an engine, a container serves and is removed; without one, the error says that there is none."""
    # The reaper is an image of its own, which an engine without a registry can't fetch.
    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", True)
    if engine_is_missing():
        with pytest.raises(ServerError, match="no Docker engine"), open_server(container="postgres:18"):
            pass
        gc.collect()
        return
    with open_server(container="postgres:18") as opened:
        assert opened.description.startswith("PostgreSQL 18")
        assert opened.description.endswith("container postgres:18")
        with opened.scratch_database() as url:
            assert str(_asked(url)).startswith("mcp_rls_")
    with pytest.raises(ServerError, match="doesn't answer"), open_server(opened.url):
        pass


_CONTAINER_OWNER = """
import time
from testcontainers.core.config import testcontainers_config
from mcp_rls.database.server import open_server
testcontainers_config.ryuk_disabled = True
with open_server(container="postgres:18"):
    print("serving", flush=True)
    time.sleep(60)
"""


def _containers() -> set[str]:
    """Ids of the containers that owners of ours have started, running or not."""
    import docker

    client = docker.from_env()
    try:
        labelled = client.containers.list(all=True, filters={"label": container._LABEL}, ignore_removed=True)
        return {found.id for found in labelled}
    finally:
        client.close()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.container
def test_a_killed_owner_leaves_no_container() -> None:
    """`kill -9` of the owner removes its container; where there is no engine, that is what the owner says."""
    missing = engine_is_missing()
    before = set[str]() if missing else _containers()
    process = subprocess.Popen(
        [sys.executable, "-c", _CONTAINER_OWNER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=_ROOT
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stdout.readline()
        if missing:
            assert "no Docker engine answers" in process.stderr.read()
            return
        assert said == "serving\n", process.stderr.read()
        made = _containers() - before
        assert made
        process.kill()
    assert _eventually(lambda: not made & _containers())


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.container
def test_container_of_no_image() -> None:
    """An image that doesn't exist is named; without an engine, that is said first."""
    image = "mcp-rls-test/missing:0"
    expected = "no Docker engine" if engine_is_missing() else f"no container of {image}"
    with pytest.raises(ServerError, match=expected), open_server(container=image):
        pass
    gc.collect()
