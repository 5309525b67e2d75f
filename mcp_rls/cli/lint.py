"""The command `lint`, for a database that has no policy file yet; `check` does the same for one that has."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcp_rls import report
from mcp_rls.cli.options import Problem, Target, exit_code, output_format, progress, target

if TYPE_CHECKING:
    from mcp_rls.compiler.model import PolicySet
    from mcp_rls.diagnostics import Diagnostics
    from mcp_rls.harness.session import Connection
    from mcp_rls.lints import Report

_NEEDED = "Else MCP_RLS_DATABASE_URL, else a scratch one with --schema."


@click.command(short_help="What goes round row security in a database, and what is weak in its policies.")
@target(_NEEDED)
@click.option("--only", multiple=True, metavar="ID", help="Only this lint. Repeatable.")
@click.option(
    "--accepted", type=click.Path(path_type=Path), metavar="FILE.yaml", help="Findings that are no fault: key: reason."
)
@click.option("--strict", is_flag=True, help="A warning is an error too.")
@click.option("--timings", is_flag=True, help="How long each lint took.")
@output_format("findings")
def lint(
    target: Target, only: tuple[str, ...], accepted: Path | None, strict: bool, timings: bool, format_: str
) -> None:
    """Look for ways round row security, and for weak policies and helper functions, whoever wrote them.

    Only reads; needs no policy file. Exit 1 if there is an error among the findings.
    """
    from mcp_rls.diagnostics import Diagnostics, Severity
    from mcp_rls.inspection.read import read_facts
    from mcp_rls.lints import World, run

    _known(only)
    if not (target.given or target.schema):
        # a pipeline that has lost its URL must not be told that all is well
        raise Problem(
            "there is nothing to look at: name a database (--database, MCP_RLS_DATABASE_URL), or its --schema"
        )
    diagnostics = Diagnostics()
    reasons = _reasons(accepted, diagnostics)
    with target.open() as place:
        found = run(World(read_facts(place.connection)), reasons, only)
        description = place.description
    tell(found, timings=timings)
    diagnostics.extend(found.diagnostics)
    findings = report.Findings.of(diagnostics, description)
    report.write("findings", format_, findings, sys.stdout)
    sys.exit(exit_code(diagnostics) or int(strict and findings.count(Severity.WARNING) > 0))


def tell(found: Report, *, timings: bool) -> None:
    """On stderr: what was accepted and why, acceptances that nothing needs any more, and times."""
    for diagnostic, reason in found.accepted:
        progress(
            f"accepted: {report.shown(diagnostic.code)} {report.shown(diagnostic.subject)} ({report.shown(reason)})"
        )
    for key in found.unused:
        progress(f"accepted, but not found any more: {report.shown(key)}")
    if timings:
        for name, seconds in sorted(found.seconds.items(), key=lambda item: -item[1]):
            progress(f"{seconds * 1000:8.1f} ms  {name}")


def _known(only: tuple[str, ...]) -> None:
    from mcp_rls.diagnostics import nearest
    from mcp_rls.lints import lints

    for name in only:
        if name not in lints():
            hint = nearest(name, lints()) or "mcp-rls explain-code lists them"
            raise click.BadParameter(f"there is no lint {name!r}; {hint}")


def _reasons(file: Path | None, diagnostics: Diagnostics) -> dict[str, str]:
    """The file's mapping of keys to reasons; what is wrong with it is reported."""
    from mcp_rls.document import read_document

    document = read_document(file, diagnostics) if file is not None else None
    if document is None:
        return {}
    if not isinstance(document.data, dict) or not all(isinstance(v, str) and v for v in document.data.values()):
        diagnostics.error("accepted-shape", "expected a mapping of finding to reason", document.span())
        return {}
    return dict(document.data)


def lint_for(connection: Connection, policies: PolicySet, without: frozenset[str] = frozenset()) -> Report:
    """What the lints find in a database with its policy file, but for what the file accepts; `without`: not these."""
    from mcp_rls.inspection.read import read_facts
    from mcp_rls.lints import World, lints, run

    return run(World(read_facts(connection), policies), policies.accepted, lints().keys() - without)
