"""The shipped templates: each passes its own cases, and no policy of its database could be missing unnoticed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mcp_rls.compiler.policy import load_policies
from mcp_rls.database.apply import install
from mcp_rls.database.server import open_server
from mcp_rls.harness.run import run_suite
from mcp_rls.harness.suite import load_suite
from mcp_rls.resources import bundled

pytestmark = pytest.mark.postgres

TEMPLATES = sorted(path.name for path in bundled("policy_templates").iterdir() if (path / "policies.yaml").exists())
POLICIES = "select polname, polrelid::regclass::text from pg_policy order by 2, 1"
TABLES = "select oid::regclass::text from pg_class where relrowsecurity order by 1"


@pytest.fixture(scope="module")
def connections() -> Iterator[Any]:
    """A connection to a scratch database with the template's schema."""
    with ExitStack() as stack:
        server = stack.enter_context(open_server())

        def open_scratch(folder: Path) -> Any:
            url = stack.enter_context(server.scratch_database())
            connection = stack.enter_context(psycopg.connect(url, autocommit=True))
            connection.execute((folder / "schema.sql").read_bytes())
            return connection

        yield open_scratch


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_policy_counts(name: str, connections: Any) -> None:
    """The cases pass; with any one policy dropped, or row security off on one table, they fail."""
    folder = bundled("policy_templates") / name
    policies, _ = load_policies(folder / "policies.yaml")
    assert policies is not None
    suite, _ = load_suite(folder / "cases.yaml", policies)
    assert suite is not None
    connection = connections(folder)
    install(connection, policies)
    assert run_suite(connection, policies, suite).exit_code == 0

    mutants = [f'drop policy "{policy}" on {table}' for policy, table in connection.execute(POLICIES).fetchall()]
    mutants += [f"alter table {table} disable row level security" for (table,) in connection.execute(TABLES).fetchall()]
    assert len(mutants) > 5
    survivors = []
    for mutant in mutants:
        with connection.transaction(force_rollback=True):
            connection.execute(mutant)
            if run_suite(connection, policies, suite).exit_code == 0:
                survivors.append(mutant)
    assert survivors == []
