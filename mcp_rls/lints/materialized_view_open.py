"""A materialized view shows rows past the row security of the tables below it.

## What

A materialized view holds copies of rows, made with the rights of whoever refreshes it. PostgreSQL has no row security
on it, so no ceiling can stand there: every client whose role may read it sees every row that was copied, its person's
or anybody's.

## Fix

`revoke select on NAME from ROLE`, and let clients read through a view `with (security_invoker = true)` on the tables
themselves, or through an ordinary table that is filled instead and has row security. One that is meant for everybody,
sums for example, is a door: list it under `doors:` with the reason.

## What it doesn't catch

A copy that a job makes in an ordinary table: that table is covered like any other. What a function in the view reads
is followed where its body can be analysed.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.doors.traces import Tracer
from mcp_rls.inspection.facts import Relation
from mcp_rls.inspection.words import listed
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Materialized views that a token's role can read and that were made from covered tables."""
    tracer = Tracer(world.facts)
    for view in world.facts.relations.values():
        if view.kind != "materialized view" or str(view.name) in world.doors:
            continue
        roles, copied = world.reaching(view, "SELECT"), _copied(world, tracer, view)
        if roles and copied:
            holders = world.facts.holders(roles, view.grants, "SELECT")
            yield Found(
                str(view),
                f"{view.name} holds rows of {listed(copied)} and can have no row security;"
                f" {', '.join(roles)} can read it",
                (
                    f"revoke select on {sql.table(view.name)} from {sql.roles(holders)}",
                    "or a line under `doors:`, with the reason",
                ),
                copied[0],
            )


def _copied(world: World, tracer: Tracer, view: Relation) -> list[TableName]:
    """The covered tables that its rows come from; without a policy file, of those the ones with row security."""
    names = {t.name for t in world.facts.below(view)} | {touch.table for touch in tracer.through(view).touches}
    counts = [t for t in world.tables if t.row_security or world.policies is not None]
    return sorted(t.name for t in counts if t.name in names)
