"""A foreign table can have no row security, and a token's role can use it.

## What

Row security stands on tables of this database alone. A foreign table passes every query on to another server or to a
file, as the role of its user mapping; neither ceilings nor people's policies are asked, and what the other server knows
of the token is nothing.

## Fix

`revoke all on NAME from ROLE`. Let clients read a view of yours that names the rows they may see, or a copy in a
covered table. One that may be open to every client is a door: list it under `doors:` with the reason.

## What it doesn't catch

A foreign table that only a function or a view of another owner reads: that function or view is reported if it reads
covered tables too, and not for the foreign table.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.diagnostics import Severity
from mcp_rls.lints import ROW_PRIVILEGES, Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Foreign tables that a token's role can use, where tables have row security."""
    if world.policies is None and not any(t.row_security for t in world.tables):
        return
    for table in world.facts.relations.values():
        roles = world.reaching(table, *ROW_PRIVILEGES) if table.kind == "foreign table" else ()
        if roles and str(table.name) not in world.doors:
            holders = world.facts.holders(roles, table.grants, *ROW_PRIVILEGES)
            yield Found(
                str(table),
                f"{table.name} is a foreign table and can have no row security; {', '.join(roles)} can use it",
                (
                    f"revoke all on {sql.table(table.name)} from {sql.roles(holders)}",
                    "or a line under `doors:`, with the reason",
                ),
            )
