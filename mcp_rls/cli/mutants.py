"""The command that tests the tests: mutants."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

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
    from mcp_rls.harness.mutation.score import Score
    from mcp_rls.harness.suite import Suite

_DATABASE = (
    f"Else {DATABASE_VARIABLE}. One with the tables must hold the policies already; nothing is committed there, but"
    " each mutant locks its table for a moment."
)


@click.command(short_help="Makes the policies wrong, one place at a time, and counts how often the cases notice.")
@policy_file
@click.argument("cases", required=False, type=click.Path(path_type=Path))
@target(_DATABASE)
@click.option("--fail-under", type=click.FloatRange(0, 100), metavar="PCT", help="Exit 1 if the score is lower.")
@click.option("--no-search", is_flag=True, help="Don't look for what would kill the survivors.")
@output_format("mutants")
def mutants(
    file: Path, cases: Path | None, target: Target, fail_under: float | None, no_search: bool, format_: str
) -> None:
    """Print the mutation score of CASES (default: cases.yaml beside FILE): how much of what could go wrong they notice.

    Each mutant is the database of FILE with one thing wrong in it: a policy gone, a condition weakened, a scope that
    isn't asked for, a client that is taken for another. It is made in a savepoint, and the cases run until one fails.
    Mutants that provably change nothing don't count. For each that survives, a token, a row and the lines of a cases
    file that kill it are sought.

    Exit 0: done. 1: the score is under --fail-under. 2: the cases don't pass as things are, or a score would mean
    nothing.
    """
    policies = load(file)
    suite = load_cases(cases or file.parent / "cases.yaml", policies)
    score, description = _score(policies, suite, target, file, not no_search)
    report.write("mutants", format_, report.Assayed(score, description, fail_under), sys.stdout)
    sys.exit(score.exit_code(fail_under))


def _score(policies: PolicySet, suite: Suite, target: Target, file: Path, search: bool) -> tuple[Score, str]:
    from mcp_rls.harness.mutation.score import mutation_score
    from mcp_rls.harness.project import build, connected, project_database

    count = _counting()
    with target.server() as server:
        if server.kind != "given" or not target.schema:
            with project_database(server, policies, target.schema or neighbour(file)) as connection:
                return mutation_score(connection, policies, suite, count, search=search), server.description
        with server.scratch_database() as url, connected(url) as connection:
            build(connection, url, policies, target.schema)
            return mutation_score(connection, policies, suite, count, search=search), server.description


def _counting() -> Callable[[str, int, int], None] | None:
    """What counts on a terminal's stderr, and wipes the count at the end."""
    if not sys.stderr.isatty():
        return None

    def count(what: str, done: int, total: int) -> None:
        sys.stderr.write("\r\x1b[2K" if done == total else f"\r{what} {done} of {total}")
        sys.stderr.flush()

    return count
