"""A table has policies, and row security is off.

## What

Policies count only once row security is enabled on their table. As long as it is off nobody asks them, and whoever has
a privilege on the table has it on every row: the policies only look as if they held. `create policy` gives no warning.

With a policy file `apply` enables it, but takes what was open on a table that is new to it for what people are meant to
have: a policy `as before` then admits everybody but clients, beside the table's own ones.

## Fix

`alter table TABLE enable row level security`, before policies of a file are applied. Or drop the policies.

## What it doesn't catch

Tables in schemas that a policy file doesn't cover. Row security that a session switches off: `row_security = off` shows
nothing more, it only makes queries fail.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.words import listed
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Tables whose policies nobody asks."""
    for table in world.tables:
        if table.policies and not table.row_security:
            names = listed(f'"{policy.name}"' for policy in table.policies)
            yield Found(
                f"table {table.name}",
                f"{table.name} has policies, {names}, and nobody asks them: row security is off",
                (f"alter table {sql.table(table.name)} enable row level security",),
                table.name,
            )
