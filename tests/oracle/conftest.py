"""A connection for random worlds, each of which is rolled back."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from mcp_rls.database.server import open_server

from .run import Connection, prepare


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    """A superuser's, to an empty database of the module's own."""
    with (
        open_server() as server,
        server.scratch_database() as url,
        psycopg.connect(url, prepare_threshold=None) as found,
    ):
        prepare(found)
        yield found
