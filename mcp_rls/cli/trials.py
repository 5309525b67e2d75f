"""The command that proves: test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mcp_rls import report
from mcp_rls.cli.options import (
    DATABASE_VARIABLE,
    Target,
    fail,
    load,
    neighbour,
    output_format,
    policy_file,
    target,
)

if TYPE_CHECKING:
    from mcp_rls.compiler.model import PolicySet
    from mcp_rls.harness.suite import Suite
    from mcp_rls.harness.verdict import CheckResult, SuiteResult

_DATABASE = (
    f"Else {DATABASE_VARIABLE}. One with the tables must hold the policies already, and nothing is committed there."
)


@click.command(short_help="Acts as each token in a real PostgreSQL, and compares with the cases.")
@policy_file
@click.argument("cases", required=False, type=click.Path(path_type=Path))
@target(_DATABASE)
@output_format("results")
def test(file: Path, cases: Path | None, target: Target, format_: str) -> None:
    """Run CASES (default: cases.yaml beside FILE) against the policies in FILE, in a real PostgreSQL.

    What a client's token isn't given by a case must be denied, and is tried. Without a database that has the tables,
    a scratch one is made: the tables from --schema (default: schema.sql beside FILE), then the policies.

    Exit 1 if an expectation didn't hold, 2 if something could not be decided.
    """
    policies = load(file)
    suite = _suite(cases or file.parent / "cases.yaml", policies)
    result, description = _run(policies, suite, target, file)
    results = report.Results(result, suite, description)
    report.write("results", format_, results, sys.stdout)
    sys.exit(result.exit_code)


def _suite(path: Path, policies: PolicySet) -> Suite:
    from mcp_rls.harness.suite import load_suite

    suite, diagnostics = load_suite(path, policies)
    if suite is None:
        fail(diagnostics, str(path))
    return suite


def _run(policies: PolicySet, suite: Suite, target: Target, file: Path) -> tuple[SuiteResult, str]:
    from mcp_rls.harness.project import build, connected, test_project
    from mcp_rls.harness.run import run_suite

    with target.server() as server, _counting() as count:
        if server.kind != "given" or not target.schema:
            schema = target.schema or neighbour(file)
            return test_project(server, policies, suite, schema, count), server.description
        with server.scratch_database() as url, connected(url) as connection:
            build(connection, url, policies, target.schema)
            return run_suite(connection, policies, suite, count), server.description


@contextmanager
def _counting() -> Iterator[Callable[[int, int, CheckResult], None]]:
    """Yields what counts the checks on a terminal's stderr, and wipes the count at the end."""
    bar: list[Any] = []

    def count(done: int, total: int, _: CheckResult) -> None:
        if not sys.stderr.isatty():
            return
        if not bar:
            bar.append(click.progressbar(length=total, label="trying", file=sys.stderr, width=24, show_eta=False))
        bar[0].update(1)
        if done == total:
            sys.stderr.write("\r\x1b[2K")

    yield count
