"""Commands that bring a database to what the policies say: plan, apply, revision."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mcp_rls import report
from mcp_rls.cli.fleets import FleetAsked, fleet_option
from mcp_rls.cli.options import (
    DATABASE_VARIABLE,
    Place,
    Problem,
    Target,
    load,
    output_format,
    policy_file,
    progress,
    show_warnings,
    target,
)

if TYPE_CHECKING:
    from mcp_rls.compiler.model import PolicySet
    from mcp_rls.compiler.resolve import ResolvedPolicies
    from mcp_rls.database.apply import Prepared
    from mcp_rls.operation import Operation, Plan

_ELSE_SCRATCH = f"Else {DATABASE_VARIABLE}, else a scratch one with the tables of schema.sql beside FILE."
_INDEXES = "Then the indexes that the file's rules look up by: one at a time, concurrently, outside the transaction."
_PER_TABLE = "A transaction for each table; one for those that change together because policies of one read another."
_NEEDED = f"Else {DATABASE_VARIABLE}; one of the two is needed."


@click.command(short_help="What would change in a database, and what each change opens or closes.")
@policy_file
@target(_ELSE_SCRATCH)
@fleet_option
@click.option("--sql", "with_sql", is_flag=True, help="Show the statements too.")
@click.option("--create-indexes", is_flag=True, help="With the indexes that `apply --create-indexes` would make.")
@output_format("changes")
def plan(
    file: Path, target: Target, fleet: FleetAsked | None, *, with_sql: bool, create_indexes: bool, format_: str
) -> None:
    """Say what `apply` would do: each change in words, OPENS or CLOSES, and the lock that it takes.

    What was changed by hand, and `apply` would leave so, is told too; it isn't pending.

    Only reads. Exit 1 if anything is pending, 0 if nothing is. Indexes that the file's rules look up by and that aren't
    there are shown in any case, and pending only with --create-indexes.
    """
    from mcp_rls.database.apply import prepare
    from mcp_rls.database.fleet import planning
    from mcp_rls.database.indexes import missing
    from mcp_rls.database.waiting import patiently

    policies = load(file)
    if fleet is not None:
        _for_one(create_indexes)
        fleet.carry_out("plan", file, planning(policies), format_, with_sql=with_sql)
    with target.beside(file).open() as place:
        conn, description = place.connection, place.description
        prepared = patiently(conn, lambda: prepare(conn, policies), waiting=progress)
        indexes = tuple(index.operation for index in missing(conn, prepared.resolved))
    show_warnings(prepared.diagnostics, str(file))
    changes = report.Changes(prepared.plan, description, with_sql, indexes=indexes, create_indexes=create_indexes)
    report.write("changes", format_, changes, sys.stdout)
    sys.exit(1 if changes.operations else 0)


@click.command(short_help="Carry the plan out, in one transaction.")
@policy_file
@target(_NEEDED, scratch=False)
@fleet_option
@click.option(
    "--lock-timeout", default="300ms", show_default=True, help="How long to wait for a lock, and others behind it."
)
@click.option("--patience", default=30.0, show_default=True, help="Seconds in which to try again for a lock.")
@click.option("--per-table", is_flag=True, help=_PER_TABLE)
@click.option("--create-indexes", is_flag=True, help=_INDEXES)
@output_format("changes")
def apply(
    file: Path,
    target: Target,
    fleet: FleetAsked | None,
    lock_timeout: str,
    patience: float,
    format_: str,
    *,
    per_table: bool,
    create_indexes: bool,
) -> None:
    """Bring a database to what the policies in FILE say, in one transaction.

    A table that is in use is asked for again and again, with short waits, so that its readers don't queue up behind.
    Nothing is changed (exit 2) when a lock can't be had in time, or the database moved since it was looked at. With
    --per-table what was done before stays, and another run goes on from there; no step opens what both ends close.
    What was changed by hand, and stays, is told first ("found changed by hand") and then counts as meant for `drift`.
    An index that can't be made (exit 2) leaves the policies as they were applied.
    """
    from mcp_rls.database.apply import prepare
    from mcp_rls.database.fleet import applying
    from mcp_rls.database.waiting import Refused, patiently

    if fleet is not None:
        _for_one(create_indexes)
        work = applying(load(file), lock_timeout=lock_timeout, patience=patience, per_table=per_table)
        fleet.carry_out("apply", file, work, format_)
    _require_database(target)
    policies = load(file)
    with target.open() as place:
        locks: Any = {"lock_timeout": lock_timeout, "patience": patience, "waiting": progress}
        look = partial(patiently, place.connection, lambda: prepare(place.connection, policies), patience, progress)
        prepared = look()
        show_warnings(prepared.diagnostics, str(file))
        _tell_found(prepared, click.echo if format_ == "text" else progress)
        try:
            _carry_out(place, policies, prepared, per_table, locks)
            failed = _make_indexes(place, prepared.resolved) if create_indexes else []
            if create_indexes:
                # where an index is there now, an equality is written so that it serves
                _carry_out(place, policies, look(), per_table, locks)
        except Refused as refused:
            raise Problem(str(refused)) from refused
    if failed:
        raise Problem("\n".join(["the policies are applied, but indexes are missing: run it again for them", *failed]))
    if format_ == "text":
        click.echo(_outcome(prepared, place.description))
    else:
        report.write("changes", format_, report.Changes(prepared.plan, place.description, applied=True), sys.stdout)


def _for_one(asked: bool) -> None:
    if asked:
        raise click.UsageError("--create-indexes is for one database, and not for a fleet")


def _carry_out(place: Place, policies: PolicySet, prepared: Prepared, per_table: bool, locks: Any) -> None:
    from mcp_rls.database.apply import apply_by_table, apply_plan, take_note
    from mcp_rls.database.waiting import patiently

    if not prepared.plan:
        noted = partial(take_note, place.connection, policies)
        for changed in patiently(place.connection, noted, locks["patience"], progress):
            progress(f"took note of {report.shown(changed)}")
    elif per_table:
        apply_by_table(place.connection, policies, progress=progress, **locks)
    else:
        apply_plan(place.connection, policies, prepared.plan, progress=_progress_of(prepared.plan), **locks)


def _make_indexes(place: Place, resolved: ResolvedPolicies) -> list[str]:
    """Makes what the rules look up by; a line for each index that couldn't be made."""
    from mcp_rls.database.indexes import create
    from mcp_rls.harness.project import connected

    with connected(place.url) as watch:
        failed = create(place.connection, resolved, watch=watch, progress=lambda line: progress(report.shown(line)))
    return [report.shown(f"index on {one.index}: {one.why}") for one in failed]


def _progress_of(plan_: Plan) -> Callable[[Operation], None]:
    """Tells each operation when it is done; what a plan tells in one line, when the last of it is."""
    told = report.folded(plan_.operations)

    def done(operation: Operation) -> None:
        if operation in told:
            progress(_said(told[operation]))

    return done


def _said(operation: Operation) -> str:
    first, *rest = report.lines(operation.words)
    return "\n".join([f"{operation.effect.word:<8}{first}", *(f"{'':10}{line}" for line in rest)])


def _tell_found(prepared: Prepared, say: Callable[[str], None] = progress) -> None:
    """What isn't as it was noted, and will be noted as it is: told before anything is done."""
    for found in report.by_hand(prepared.plan):
        say(_said(found))


def _outcome(prepared: Prepared, description: str) -> str:
    number, found = len(prepared.plan.operations), len(prepared.plan.by_hand)
    noted = f"; took note of {found} found changed by hand" if found else ""
    if not number:
        return f"{'nothing of the file was' if found else 'nothing'} pending in {description}{noted}"
    return f"applied {report.counted(number, 'change')} to {description}{noted}"


@click.command(short_help="The same plan as an Alembic revision, up and down.")
@policy_file
@click.option("-m", "--message", required=True, help="What the revision is called.")
@target(_NEEDED, scratch=False)
@click.option(
    "--config", type=click.Path(path_type=Path), default="alembic.ini", show_default=True, help="Alembic's own file."
)
@click.option("--head", default="head", help="Where there are several: the one to go on from, as Alembic names it.")
def revision(file: Path, message: str, target: Target, config: Path, head: str) -> None:
    """Write what `apply` would do as an Alembic revision: finished SQL both ways, and print its path.

    The database must be at the head of the revisions. Nothing pending: nothing is written, exit 0.
    `alembic upgrade head` carries it out; a downgrade that opens needs `-x mcp_rls_open=yes`.
    """
    from mcp_rls import alembic_plugin
    from mcp_rls.database.apply import prepare
    from mcp_rls.database.waiting import patiently

    _require_database(target)
    if not config.is_file():
        raise Problem(
            f"{config}: there is no such file\nname Alembic's configuration with --config, or make one: mcp-rls init"
        )
    policies = load(file)
    with target.open() as place:
        prepared = patiently(place.connection, lambda: prepare(place.connection, policies), waiting=progress)
        show_warnings(prepared.diagnostics, str(file))
        _tell_found(prepared)
        if not prepared.plan:
            click.echo(f"nothing pending in {place.description}: no revision written")
            return
        up, down = alembic_plugin.there_and_back(prepared.actual, prepared.desired)
        try:
            with redirect_stdout(sys.stderr):  # Alembic says what it writes
                path = alembic_plugin.write_revision(config, message, up, down, database=place.url, head=head)
        except (alembic_plugin.NotAtHead, alembic_plugin.CommandError) as error:
            raise Problem(str(error)) from error
    click.echo(path)


def _require_database(target: Target) -> None:
    if target.database is None and not os.environ.get(DATABASE_VARIABLE):
        raise Problem(f"which database? name it with --database URL or {DATABASE_VARIABLE}")
