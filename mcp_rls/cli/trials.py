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
    load,
    load_cases,
    neighbour,
    output_format,
    policy_file,
    target,
)

if TYPE_CHECKING:
    from mcp_rls.compiler.model import PolicySet
    from mcp_rls.harness.coverage.gathering import Gathering
    from mcp_rls.harness.matrix import Hostile
    from mcp_rls.harness.stage import Watcher
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
@click.option("--cov", is_flag=True, help="Also say which rules, scopes and conditions no test decided by.")
@click.option(
    "--cov-fail-under", type=click.FloatRange(0, 100), metavar="PCT", help="Exit 1 if less is covered. Implies --cov."
)
@click.option("--hostile", is_flag=True, help="Also try tokens that come near each client's token.")
def test(
    file: Path,
    cases: Path | None,
    target: Target,
    format_: str,
    cov: bool,
    cov_fail_under: float | None,
    hostile: bool,
) -> None:
    """Run CASES (default: cases.yaml beside FILE) against the policies in FILE, in a real PostgreSQL.

    What a client's token isn't given by a case must be denied, and is tried. Without a database that has the tables,
    a scratch one is made: the tables from --schema (default: schema.sql beside FILE), then the policies.

    --cov replaces the policies by ones that note what they decide, in the transaction that is rolled back: until then
    nobody else can use those tables.

    --hostile changes one thing at a time in the claims of every token that is a live client's, on the same rows: none
    of what comes of it may get more than the policy file gives it, or end in an error of ours.

    Exit 1 if an expectation didn't hold or too little is covered, 2 if something could not be decided.
    """
    policies = load(file)
    suite = load_cases(cases or file.parent / "cases.yaml", policies)
    gathering = _gathering(policies) if cov or cov_fail_under is not None else None
    result, description = _run(policies, suite, target, file, gathering)
    coverage = gathering.result() if gathering is not None else None
    came_near = _hostile(policies, suite, target, file) if hostile else None
    report.write("results", format_, report.Results(result, suite, description, coverage, came_near), sys.stdout)
    if came_near is not None and format_ != "json":
        plain = format_ not in report.formats("hostile")
        report.write("hostile", "text" if plain else format_, came_near, sys.stderr if plain else sys.stdout)
    if coverage is not None and format_ != "json":  # where it is a part of the one document
        plain = format_ not in report.formats("coverage")
        report.write("coverage", "text" if plain else format_, coverage, sys.stderr if plain else sys.stdout)
    under = coverage is not None and coverage.is_under(cov_fail_under or 0)
    sys.exit(result.exit_code or under or (came_near.exit_code if came_near is not None else 0))


def _hostile(policies: PolicySet, suite: Suite, target: Target, file: Path) -> Hostile:
    """What came of tokens that come near those of the suite."""
    from mcp_rls.harness.hostile import run_hostile
    from mcp_rls.harness.project import build, connected, project_database

    with target.server() as server:
        if server.kind != "given" or not target.schema:
            with project_database(server, policies, target.schema or neighbour(file)) as connection:
                return run_hostile(connection, policies, suite)
        with server.scratch_database() as url, connected(url) as connection:
            build(connection, url, policies, target.schema)
            return run_hostile(connection, policies, suite)


def _gathering(policies: PolicySet) -> Gathering:
    from mcp_rls.harness.coverage.gathering import Gathering

    return Gathering(policies)


def _run(
    policies: PolicySet, suite: Suite, target: Target, file: Path, watcher: Watcher | None
) -> tuple[SuiteResult, str]:
    from mcp_rls.harness.project import build, connected, test_project
    from mcp_rls.harness.run import run_suite

    with target.server() as server, _counting() as count:
        if server.kind != "given" or not target.schema:
            schema = target.schema or neighbour(file)
            return test_project(server, policies, suite, schema, count, watcher), server.description
        with server.scratch_database() as url, connected(url) as connection:
            build(connection, url, policies, target.schema)
            return run_suite(connection, policies, suite, count, watcher=watcher), server.description


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
