"""The command that asks a database whether it still holds what was applied."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mcp_rls import report
from mcp_rls.cli.fleets import FleetAsked, fleet_option
from mcp_rls.cli.options import DATABASE_VARIABLE, Problem, Target, load, output_format, policy_file, target


@click.command(short_help="Does a database still hold what was applied?")
@policy_file
@target(f"Else {DATABASE_VARIABLE}; one of the two is needed.", scratch=False)
@fleet_option
@click.option(
    "--lock-timeout",
    default="500ms",
    show_default=True,
    help="How long to wait for a table, to read a policy that changed.",
)
@output_format("drift")
def drift(file: Path, target: Target, fleet: FleetAsked | None, lock_timeout: str, format_: str) -> None:
    """Tell what changed in a database since policies were applied to it, and what FILE asks for that wasn't applied.

    DRIFT is what the database holds otherwise than it was applied or noted by `apply` or a revision: policies,
    functions, row security, grants, tables, views, token roles. PENDING is what `apply` would do because FILE moved on.
    A table, column or role by another name is no drift, nor a dump and restore, nor an upgrade.

    Only reads: USAGE on the schema mcp_rls and SELECT on mcp_rls.manifest are enough. Waits for nobody's lock: while
    another session holds a table in ACCESS EXCLUSIVE, all is told but the text of policies that changed there. What
    could not be judged is said to be UNKNOWN.

    Exit 0: nothing was found. 1: something drifted or is pending. 2: nothing was found, but not all could be judged, or
    nothing was ever applied here.
    """
    from mcp_rls.database import drift as database
    from mcp_rls.database.drift import Kind
    from mcp_rls.database.fleet import drifting

    if fleet is not None:
        fleet.carry_out("drift", file, drifting(load(file), lock_timeout=lock_timeout), format_)
    if not target.given:
        raise Problem(f"which database? name it with --database URL or {DATABASE_VARIABLE}")
    policies = load(file)
    with target.open() as place:
        found = database.drift(place.connection, policies, lock_timeout=lock_timeout)
    report.write("drift", format_, report.Drifted(found, place.description), sys.stdout)
    sys.exit(0 if found.answer is None else 2 if found.answer is Kind.UNKNOWN else 1)
