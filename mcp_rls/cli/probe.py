"""The command that looks for side channels and ways round: probe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcp_rls import report
from mcp_rls.cli.options import (
    DATABASE_VARIABLE,
    Problem,
    Target,
    load,
    load_cases,
    neighbour,
    output_format,
    policy_file,
)
from mcp_rls.cli.options import target as database_target

if TYPE_CHECKING:
    from mcp_rls.compiler.model import PolicySet
    from mcp_rls.harness.probes.kit.verdict import ProbeRun
    from mcp_rls.harness.suite import Suite

_DATABASE = (
    f"Else {DATABASE_VARIABLE}. One with the tables must hold the policies already, and nothing is committed there."
)


def _list(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from mcp_rls.harness.probes import load as load_probe
        from mcp_rls.harness.probes import names

        for name in names():
            click.echo(f"{name:<20}{load_probe(name).title}")
        ctx.exit()


@click.command(short_help="Tries side channels and ways round row security, as each client's token.")
@policy_file
@click.argument("cases", required=False, type=click.Path(path_type=Path))
@database_target(_DATABASE)
@click.option("--only", multiple=True, metavar="PROBE", help="Run this probe alone. Repeatable; --list names them.")
@click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="Name the probes.")
@click.option("--strict", is_flag=True, help="What row security can't prevent counts as a failure too.")
@click.option("--call-volatile", is_flag=True, help="Call volatile SECURITY DEFINER functions too, and roll back.")
@output_format("probes")
def probe(
    file: Path,
    cases: Path | None,
    target: Target,
    only: tuple[str, ...],
    format_: str,
    *,
    strict: bool,
    call_volatile: bool,
) -> None:
    """Try what a client could learn or change past the policies in FILE, as the tokens of CASES (default: cases.yaml).

    LEAKS was shown on this server. HOLDS was tried against a row that is there, and the same attempt tells of the row
    where it may. KNOWN LIMIT was shown too, but row security can't prevent it: the remedy is named. An object under
    `doors:` in FILE is OPEN BY DECISION. Everything is rolled back, but sequences may skip numbers.

    Exit 1 for LEAKS and UNDECIDED, with --strict for KNOWN LIMIT; 2 if there is nobody to act as or nothing to hide.
    """
    from mcp_rls.harness.probes import names

    unknown = sorted(set(only) - set(names()))
    if unknown:
        raise Problem(f'there is no probe "{unknown[0]}"\nhint: one of {", ".join(names())}')
    policies = load(file)
    suite = load_cases(cases or file.parent / "cases.yaml", policies)
    run, description = _run(policies, suite, target, file, only, strict=strict, call_volatile=call_volatile)
    report.write("probes", format_, report.Probed(run, description), sys.stdout)
    sys.exit(run.exit_code)


def _run(
    policies: PolicySet,
    suite: Suite,
    target: Target,
    file: Path,
    only: tuple[str, ...],
    *,
    strict: bool,
    call_volatile: bool,
) -> tuple[ProbeRun, str]:
    from mcp_rls.harness.probes import run_probes
    from mcp_rls.harness.project import build, connected, project_database

    with target.server() as server:
        if server.kind != "given" or not target.schema:
            database = project_database(server, policies, target.schema or neighbour(file))
            with database as connection:
                run = run_probes(connection, policies, suite, only, strict=strict, call_volatile=call_volatile)
            return run, server.description
        with server.scratch_database() as url, connected(url) as connection:
            build(connection, url, policies, target.schema)
            run = run_probes(connection, policies, suite, only, strict=strict, call_volatile=call_volatile)
        return run, server.description
