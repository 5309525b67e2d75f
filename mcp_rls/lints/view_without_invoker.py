"""A view shows rows past the row security of the tables below it.

## What

A view that a token's role can read runs with the rights of its owner, unless it was made `security_invoker`. Row
security of the tables that it reads is then asked for the owner, who is seldom bound by it: every client sees through
the view what its own policies hide.

## Fix

`alter view NAME set (security_invoker = true)` (PostgreSQL 15 and later), or revoke the privilege from the role. A view
that is meant to show more, counts for example, is a door: list it under `doors:` with the reason.

## What it doesn't catch

What a function that the view calls reads, what its triggers and rules do: `definer-function-door`,
`trigger-writes-past` and `rule-past-ceilings` say that. A view whose owner is bound by row security for the same roles
is reported too: which rows it shows then depends on the owner, not on the token. Tables on which the owner has no
privilege aren't named: to use the view is an error there.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.doors.traces import CALLER, Tracer
from mcp_rls.inspection.facts import Relation
from mcp_rls.inspection.words import listed
from mcp_rls.lints import ROW_PRIVILEGES, Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Views that a token's role can use, run as their owner, and that read a covered table."""
    tracer = Tracer(world.facts)
    for view in world.facts.relations.values():
        if view.kind != "view" or view.option("security_invoker") or str(view.name) in world.doors:
            continue
        roles = world.reaching(view, *ROW_PRIVILEGES)
        below = _reached(world, tracer, view) if roles else []
        if below:
            read = listed(t.name for t in below)
            yield Found(
                str(view),
                f"{view.name} reads {read} as its owner, {view.owner}; {', '.join(roles)} can use it",
                (f"alter view {view.name} set (security_invoker = true)", "or a line under `doors:`, with the reason"),
                below[0].name,
            )


def _reached(world: World, tracer: Tracer, view: Relation) -> list[Relation]:
    """The covered tables below a view on which whoever reads them there has a privilege that roles have on the view."""
    held = [p for p in ROW_PRIVILEGES if world.reaching(view, p)]
    readers = {(t.table, t.role) for t in tracer.follow(CALLER, view).touches}
    covered = [t for t in world.facts.below(view) if t.is_table and t.name.schema in world.schemas]
    return [t for t in covered if any(name == t.name and world.facts.able(r, t, *held) for name, r in readers)]
