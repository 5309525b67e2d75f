"""One server for all tests below, one of each major version found on this machine, and scratch databases on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mcp_rls.database import binaries
from mcp_rls.database.embedded import embedded
from mcp_rls.database.server import Server, ServerError, open_server
from tests.postgres.scratch import Scratch, scratch_on


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of this process; a file that needs one of its own overrides the fixture."""
    with open_server() as opened:
        yield opened


@pytest.fixture
def scratch(server: Server) -> Iterator[Scratch]:
    """An empty database of this test's own."""
    with scratch_on(server) as made:
        yield made


def _other_majors() -> dict[int, Path]:
    """Programs on this machine by major version, without the version that an embedded server takes by itself."""
    account = binaries.server_account()
    found: dict[int, Path] = {}
    for directory in binaries._candidates(os.environ):
        with suppress(ServerError):
            known = binaries.find_binaries(account, os.environ, directory)
            found.setdefault(known.major, known.directory)
    if found:
        del found[binaries.find_binaries(account, os.environ).major]
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "each_server" in metafunc.fixturenames:
        others = _other_majors()
        names = ["default", *(f"PostgreSQL {major}" for major in others)]
        metafunc.parametrize("each_server", [None, *others.values()], ids=names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def each_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The usual server, then an embedded one of each other major version found."""
    if request.param is None:
        yield request.getfixturevalue("server")
    else:
        with embedded(request.param) as opened:
            yield opened


@pytest.fixture
def each_scratch(each_server: Server) -> Iterator[Scratch]:
    """An empty database on `each_server`."""
    with scratch_on(each_server) as made:
        yield made
