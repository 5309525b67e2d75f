"""What a person reads when something failed, of real failures: a golden text for each kind, to be read in the diff."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.policy import read_policies
from mcp_rls.database.apply import install
from mcp_rls.database.server import Server
from mcp_rls.harness.project import connected, run_sql_file
from mcp_rls.harness.run import Runner, open_runner
from mcp_rls.harness.suite import Suite, read_suite
from mcp_rls.harness.verdict import CheckResult
from mcp_rls.resources import bundled
from tests.postgres.message_cases import FAILING, Failing

pytestmark = pytest.mark.postgres

DESK = bundled("policy_templates") / "help-desk"
GOLDEN = Path(__file__).parent / "golden" / "messages"
_NOW = re.compile(r"20\d\d-\d\d-\d\d(?: \d\d:\d\d:\d\d\.\d+\+00)?(?! 00)")
Connection = psycopg.Connection[Any]


def golden(name: str, found: str) -> None:
    """Holds a text to the one that is written down, but for the time of day."""
    found = _NOW.sub("<now>", found)
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("MCP_RLS_REWRITE") == "1":
        file.parent.mkdir(exist_ok=True)
        file.write_text(found, encoding="utf-8")
    assert found == file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def desk(server: Server) -> Iterator[Connection]:
    """The help desk, with its policies installed."""
    with server.scratch_database() as url, connected(url) as connection:
        run_sql_file(connection, DESK / "schema.sql")
        install(connection, policies_of())
        yield connection


def edited(name: str, *edits: tuple[str, str]) -> str:
    text = (DESK / name).read_text(encoding="utf-8")
    for old, new in edits:
        assert old in text, f"{name} no longer says {old!r}"
        text = text.replace(old, new)
    return text


def policies_of(*edits: tuple[str, str]) -> PolicySet:
    found, diagnostics = read_policies("policies.yaml", edited("policies.yaml", *edits))
    assert found is not None, list(map(str, diagnostics))
    return found


def suite_of(policies: PolicySet, failing: Failing) -> Suite:
    """The help desk's fixtures and tokens, and one case in a line of its own."""
    head = edited("cases.yaml", *failing.cases).partition("\ncases:\n")[0]
    case = failing.case or "as: ann, select: public.orgs, sees: [1, 3, 4]"
    found, diagnostics = read_suite("cases.yaml", f"{head}\ncases:\n  - {{{case}}}\n", policies)
    assert found is not None, list(map(str, diagnostics))
    return found


@contextmanager
def failing_runner(connection: Connection, failing: Failing) -> Iterator[Runner]:
    """The changed help desk; undone afterwards."""
    policies = policies_of(failing.policies)
    with connection.transaction(force_rollback=True):
        if failing.policies[0]:
            install(connection, policies)
        connection.execute(failing.sql.encode())
        with open_runner(connection, policies, suite_of(policies, failing)) as runner:
            yield runner


def failed(connection: Connection, failing: Failing) -> CheckResult:
    with failing_runner(connection, failing) as runner:
        if failing.cell is None:
            return runner.case(runner.suite.cases[0])
        token, table, command = failing.cell
        name = TableName.parse(table)
        assert name is not None, table
        (result,) = runner.cells(runner.suite.tokens[token], name, (command,))
        return result


@pytest.mark.parametrize("failing", FAILING, ids=[failing.name for failing in FAILING])
def test_a_failed_check(desk: Connection, failing: Failing) -> None:
    """Who, what, which row, who let it through or kept it, where the file says so, and what to change."""
    result = failed(desk, failing)
    assert not result.passed
    golden(failing.name, result.message + "\n")
