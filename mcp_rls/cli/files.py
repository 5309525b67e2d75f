"""Commands about a policy file itself: check, schema, compile, explain-code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcp_rls import report
from mcp_rls.cli.options import (
    Problem,
    Target,
    exit_code,
    load,
    output_format,
    policy_file,
    show_warnings,
    target,
)

if TYPE_CHECKING:
    from mcp_rls.compiler.model import PolicySet
    from mcp_rls.diagnostics import Diagnostics
    from mcp_rls.state import State

_NO_DATABASE = "Without it, and without --container or --schema, no database is asked."
_SET_UP = ("set local search_path = pg_catalog", "set local lock_timeout = '2s'")


@click.command(short_help="The policy file's errors and warnings.")
@policy_file
@target(_NO_DATABASE)
@click.option("--strict", is_flag=True, help="A warning is an error too.")
@click.option("--timings", is_flag=True, help="How long each lint of the database took.")
@output_format("findings")
def check(file: Path, target: Target, strict: bool, timings: bool, format_: str) -> None:
    """Say everything that is wrong or odd with the policies in FILE, all in one run.

    No database is needed. With one (--database, --container or --schema) tables, columns, types, roles, and what
    people's own policies read are checked too, and every way round the ceilings. Exit 1 if there is an error.
    """
    from mcp_rls.diagnostics import Severity

    diagnostics, checked = _checked(file, target, timings)
    findings = report.Findings.of(diagnostics, checked)
    report.write("findings", format_, findings, sys.stdout)
    sys.exit(exit_code(diagnostics) or int(strict and findings.count(Severity.WARNING) > 0))


def _checked(file: Path, target: Target, timings: bool) -> tuple[Diagnostics, str]:
    """Everything there is to say, and what was looked at."""
    from mcp_rls.compiler.policy import load_policies
    from mcp_rls.compiler.resolve import resolve

    # the sound parts are read on in spite of errors, so that one run reports them all
    partial, diagnostics = load_policies(file, partial=True)
    if partial is None:
        return diagnostics, str(file)
    if not target.named:
        resolve(partial, None, diagnostics)
        return diagnostics, f"{file}, without a database"
    return _checked_against(file, partial, target, diagnostics, timings=timings)


def _checked_against(
    file: Path, policies: PolicySet, target: Target, diagnostics: Diagnostics, *, timings: bool
) -> tuple[Diagnostics, str]:
    from mcp_rls.cli.lint import lint_for, tell
    from mcp_rls.database.apply import prepare
    from mcp_rls.diagnostics import Invalid
    from mcp_rls.lints import refused

    partial = diagnostics.has_errors
    with target.open() as place:
        try:
            # all lints run below
            diagnostics.extend(prepare(place.connection, policies, refused()).diagnostics)
        except Invalid as invalid:
            diagnostics.extend(invalid.diagnostics)
        # what a table with an error in it would have said of its reads isn't known
        found = lint_for(place.connection, policies, without=refused() if partial else frozenset())
        tell(found, timings=timings)
        diagnostics.extend(found.diagnostics)
        return diagnostics, f"{file}, against {place.description}"


@click.command(short_help="The JSON Schema of policy files, for editors.")
def schema() -> None:
    """Print the JSON Schema of policy files.

    An editor with a YAML language server completes and checks a file whose first line is

    \b
      # yaml-language-server: $schema=./policies.schema.json
    """
    from mcp_rls.compiler.policy import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False).encode())


@click.command("compile", short_help="The SQL that the policies compile to.")
@policy_file
@target(_NO_DATABASE)
@click.option("--down", is_flag=True, help="The way back instead: everything of ours removed, row security left on.")
def compile_(file: Path, target: Target, down: bool) -> None:
    """Print the SQL for the policies in FILE, the same to the byte from run to run.

    Without a database it is the whole, for a database that has nothing of it yet; tables that FILE doesn't list
    can't be known then, so they are not closed. Against a database it is what `apply` would do there.
    """
    policies = load(file)
    text = _against(policies, target, down) if target.named else _offline(policies, down)
    click.echo(text.encode(), nl=False)


def _offline(policies: PolicySet, down: bool) -> str:
    from mcp_rls.compiler.lower import lower
    from mcp_rls.compiler.resolve import resolve
    from mcp_rls.diagnostics import Diagnostics, Invalid
    from mcp_rls.state import State
    from mcp_rls.ways import script

    diagnostics = Diagnostics()
    resolved = resolve(policies, None, diagnostics)
    if resolved is None:
        raise Invalid(diagnostics)
    show_warnings(diagnostics, policies.path)
    desired = lower(resolved, State())
    header = [f"{Path(policies.path).name}, compiled without a database"]
    if down:
        return _script(header, _removal(desired))
    header.append("tables that the file doesn't list are not closed here: `mcp-rls plan` knows them")
    return _script(header, script(desired))


def _against(policies: PolicySet, target: Target, down: bool) -> str:
    from mcp_rls.database.apply import prepare

    with target.open() as place:
        prepared = prepare(place.connection, policies)
        show_warnings(prepared.diagnostics, policies.path)
        header = [f"{Path(policies.path).name}, compiled against {place.description}"]
        return _script(header, _removal(prepared.desired) if down else prepared.plan.statements)


def _removal(desired: State) -> tuple[str, ...]:
    from mcp_rls.plan import plan
    from mcp_rls.ways import removed

    return plan(desired, removed(desired)).statements


def _script(header: Iterable[str], statements: tuple[str, ...]) -> str:
    """One transaction; the header as comments."""
    from mcp_rls import __version__

    lines = [f"-- {line}" for line in (f"mcp-rls {__version__}", *header)]
    body = ("begin", *_SET_UP, *statements, "commit") if statements else ()
    return "\n".join([*lines, "", *(f"{statement};\n" for statement in body)])


@click.command("explain-code", short_help="What a diagnostic code means, and what to do.")
@click.argument("code", required=False)
def explain_code(code: str | None) -> None:
    """Print the page about a diagnostic CODE, such as unknown-column; without one, what there is, a line each."""
    from mcp_rls import resources
    from mcp_rls.diagnostics import nearest

    known = resources.codes()
    if code is None:
        width = max(map(len, known))
        click.echo("\n".join(f"{name:{width}}  {resources.summary(name)}" for name in known))
    elif code in known:
        click.echo(resources.explanation(code))
    else:
        hint = nearest(code, known) or "mcp-rls explain-code lists all of them"
        raise Problem(f'there is no code "{code}"\n{hint}')
