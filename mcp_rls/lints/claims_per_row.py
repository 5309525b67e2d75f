"""Claims are read, and their JSON taken apart, for every row of the table.

## What

A call in a policy's condition that doesn't stand in a sub-select is computed for each row that is looked at. Reading
one claim takes some ten microseconds: a second for each hundred thousand rows, forty times what the query costs
without. In a sub-select it is computed once a statement.

## Fix

Put the call, and nothing with a column in it, into a sub-select: `owner_id = (select auth.uid())`, `((select
auth.jwt()) ->> 'org') = org`. The parentheses of the second form matter on Supabase: its advisor looks at what
PostgreSQL prints.

A check for INSERT is better without: it is asked once a row anyway, and a sub-select costs more than it saves.

## What it doesn't catch

Tables that are known to have few rows (a thousand, as of the last ANALYZE). Calls within a sub-select that is itself
computed for each row.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.reading import read
from mcp_rls.inspection.tree import printed
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Policies whose USING calls what reads claims outside every sub-select."""
    for text in read(world.facts, world.by_hand()):
        bare = [] if text.small else [c for c in text.bare_calls if not (c.columns and c.effects.tables)]
        if bare:
            call = printed(bare[0].node)
            fix = f"(select {call})" if not bare[0].columns else "= (select ..), with the claim in the sub-select"
            yield Found(
                text.subject,
                f"{text.subject} computes {call} for every row",
                (f"once a statement: {fix}",),
                text.table.name,
            )
