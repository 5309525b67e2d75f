"""A function that reads a table is called for every row of another.

## What

`is_member(org_id)` in a policy is called for each row that is looked at, and each call is a query. Measured on a
million rows, a count took two thousand times as long as by hand. No index helps, since the function hides what is
asked.

## Fix

Let the function give all that the token's person is a member of, once a statement: `org_id = any (array(select
app.my_orgs()))`, which an index on `org_id` serves.

## What it doesn't catch

Tables that are known to have few rows (a thousand, as of the last ANALYZE). INSERT, where each row is asked once
anyway. Functions that can't be read. A sub-select of the same kind is `membership-in-subselect`, a note.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.reading import read
from mcp_rls.inspection.tree import printed
from mcp_rls.inspection.words import listed
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Policies whose USING gives a column to a function that reads tables."""
    for text in read(world.facts, world.by_hand()):
        calls = [] if text.small else [c for c in text.bare_calls if c.columns and c.effects.tables]
        if calls:
            call, column = calls[0], min(calls[0].columns)
            read_in_it = listed(sorted(call.effects.tables))
            yield Found(
                text.subject,
                f"{text.subject} calls {printed(call.node)} for every row, and reads {read_in_it}",
                (f"{column} = any (array(select ..)), with a function that gives them all",),
                text.table.name,
            )
