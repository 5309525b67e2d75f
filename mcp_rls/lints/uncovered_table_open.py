"""A token's role reaches a table in a schema that the policy file doesn't cover.

## What

Only covered schemas are closed to clients by default. On a table of any other schema there is no ceiling: whoever holds
a token of a role with a privilege there, an unknown client too, does what the table's own policies let its person do,
or everything where row security is off. A view that runs as its owner leads there as well, without any privilege on
the table itself.

## Fix

Add the schema to `schemas:`, which closes its tables until a rule opens them. Or take the way there:
`revoke usage on schema SCHEMA from ROLE`, `revoke all on TABLE from ROLE`. A table that may be open to every client is
a door: list it under `doors:` with the reason.

## What it doesn't catch

Tables that an extension made. What functions read there: of those only the covered tables are reported.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.facts import Relation
from mcp_rls.lints import ROW_PRIVILEGES, Found, World

SEVERITY = Severity.ERROR
_OURS = "mcp_rls"


def find(world: World) -> Iterator[Found]:
    """Tables outside the covered schemas that a token's role reaches, by itself or through a view."""
    if world.policies is None:
        return
    outside = {
        t.oid: t for t in world.facts.relations.values()
        if t.is_table and t.name.schema not in {*world.schemas, _OURS} and str(t.name) not in world.doors
    }  # fmt: skip
    for oid, table in outside.items():
        roles = world.reaching(table, *ROW_PRIVILEGES)
        views = [] if roles else list(_views(world, oid))
        if roles or views:
            how = f"{', '.join(roles)} can use it" if roles else f"it is read by {views[0]} as {views[0].owner}"
            holders = world.facts.holders(roles, table.grants, *ROW_PRIVILEGES)
            yield _found(table, how, holders, views)


def _found(table: Relation, how: str, holders: tuple[str, ...], views: list[Relation]) -> Found:
    closed = f"revoke all on {sql.table(table.name)} from {sql.roles(holders)}"
    invoker = [f"alter view {sql.table(v.name)} set (security_invoker = true)" for v in views if v.kind == "view"]
    return Found(
        f"table {table.name}",
        f"{table.name} is in a schema that isn't covered, so no ceiling stands there; {how}",
        (
            f"add {table.name.schema} to `schemas:`",
            *([closed] if holders else invoker),
            "or a line under `doors:`, with the reason",
        ),
    )


def _views(world: World, oid: int) -> Iterator[Relation]:
    """The views that read it as their owner and that a token's role can use."""
    for view in world.facts.relations.values():
        open_ = view.kind == "materialized view" or (view.kind == "view" and not view.option("security_invoker"))
        reads = open_ and oid in {below.oid for below in world.facts.below(view)}
        if reads and str(view.name) not in world.doors and world.reaching(view, *ROW_PRIVILEGES):
            yield view
