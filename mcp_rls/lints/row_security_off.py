"""Row security is off on a table that tokens reach, in a schema where other tables have it.

## What

Without row security a privilege on the table is a privilege on every row: whoever holds a token of that role, of any
person and any client, reads or writes all of it. Beside tables with policies that is mostly one that was forgotten.

## Fix

`alter table TABLE enable row level security`, and a policy that says who sees what; or `revoke all on TABLE from ROLE`.
A table that everybody may read needs SELECT alone, and says so with a policy `for select using (true)`.

## What it doesn't catch

A schema in which no table has row security at all. Tables with policies (`policies-without-row-security` reports
those), parts of a table that has row security (`partition-open`). With a policy file every table in a covered schema
gets row security, and the note `as-before-open` tells where people keep what they had.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.diagnostics import Severity
from mcp_rls.lints import ROW_PRIVILEGES, Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Tables without row security among others that have it, within reach of a token's role."""
    if world.policies is not None:
        return
    policed = {t.name.schema for t in world.tables if t.row_security}
    for table in world.tables:
        apart = table.row_security or table.policies or table.name.schema not in policed
        apart = apart or any(t.row_security for t in world.facts.ancestors(table))
        roles = () if apart else world.reaching(table, *ROW_PRIVILEGES)
        if roles:
            name = sql.table(table.name)
            holders = world.facts.holders(roles, table.grants, *ROW_PRIVILEGES)
            yield Found(
                f"table {table.name}",
                f"row security of {table.name} is off; {', '.join(roles)} can use it, every row of it",
                (f"alter table {name} enable row level security", f"revoke all on {name} from {sql.roles(holders)}"),
                table.name,
            )
