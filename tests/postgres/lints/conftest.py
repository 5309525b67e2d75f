"""Roles that the ways make are the server's, and stay: nobody logs in as one afterwards, or other tests meet it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from mcp_rls import sql
from mcp_rls.database.server import Server


@pytest.fixture(autouse=True)
def _nobody_logs_in(request: pytest.FixtureRequest) -> Iterator[None]:
    names = [name for name in ("server", "each_server") if name in request.fixturenames]
    servers: list[Server] = [request.getfixturevalue(name) for name in names]
    yield
    for server in servers:
        with psycopg.connect(server.url, autocommit=True) as connection:
            query = "select rolname from pg_roles where starts_with(rolname, 'lint_') and rolcanlogin"
            for (role,) in connection.execute(query).fetchall():
                connection.execute(f"alter role {sql.ident(role)} nologin".encode())
