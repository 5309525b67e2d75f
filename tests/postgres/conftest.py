"""One server for all tests below, and scratch databases on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mcp_rls.database.server import Server, open_server
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
