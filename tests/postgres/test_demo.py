"""`mcp-rls demo`: every stage, on a terminal and in a pipe."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from mcp_rls.database.server import Server, open_server
from mcp_rls.demo import run_demo

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with open_server() as opened:
        yield opened


def shown(server: Server, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    out = io.StringIO()
    assert run_demo(out, database=server.url) == 0
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_demo_shows_every_stage(width: int, server: Server, monkeypatch: pytest.MonkeyPatch):
    """With the time that each took, one ceiling, and one table of tokens in which expected denials are named so."""
    text = shown(server, width, monkeypatch)
    for stage in ("started", "checked", "compiled", "migrated", "proven"):
        assert any(line.startswith(f"✓ {stage}") and line.endswith(" s") for line in text.splitlines()), stage
    for part in ('create policy "mcp_rls: tickets select"', "alembic upgrade head", "nothing pending", "cases held"):
        assert part in text
    assert text.count("denied everything, as expected") >= 1
    assert "in the app itself" in text
    assert "\x1b" not in text
    table = [line for line in text.splitlines() if line.startswith(("  ann", "  bob"))]
    assert len(table) >= 10
    assert all(len(line) <= width for line in text.splitlines() if "│" not in line and not line.startswith("✓ cases"))


def test_the_demo_leaves_nothing_behind(server: Server, monkeypatch: pytest.MonkeyPatch):
    """No database, no directory."""
    import psycopg

    monkeypatch.setattr("tempfile.tempdir", None)

    def left() -> list[str]:
        with psycopg.connect(server.url) as connection:
            found = connection.execute("select datname from pg_database where datname like 'mcp\\_rls\\_%'").fetchall()
        return [name for (name,) in found]

    before = left()
    shown(server, 100, monkeypatch)
    assert left() == before


def test_the_command_is_quick_and_ends_0():
    """In a server of its own, as a user would start it; the bound is generous, an idle machine takes two seconds."""
    environment = {k: v for k, v in os.environ.items() if k != "MCP_RLS_DATABASE_URL"}
    took = []
    for _ in range(2):  # the first may prepare the server's template
        begun = time.perf_counter()
        ran = subprocess.run(
            [sys.executable, "-m", "mcp_rls", "demo"], env=environment, capture_output=True, text=True, check=False
        )
        took.append(time.perf_counter() - begun)
        assert (ran.returncode, ran.stderr) in (
            (0, ""),
            (0, ran.stderr if "preparing PostgreSQL" in ran.stderr else "-"),
        )
    assert min(took) < 15
