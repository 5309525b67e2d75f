"""Membership is asked for in a form that no index serves.

## What

In a policy `org_id in (select ..)` and `exists (select .. where m.org_id = tickets.org_id)` are a filter on every row
of the table: PostgreSQL doesn't make a join of them. Measured on a million rows a count took some sixty times as long
as with `org_id = any (array(select ..))`, which looks the organisations up in an index on `org_id`.

## Fix

`org_id = any (array(select m.org_id from members m where m.user_id = (select auth.uid())))`. For members of many
hundreds of organisations the two are closer, and `in` can win.

## What it doesn't catch

Sub-selects that compare with no claim, `exists (select from tickets t where t.id = ticket_id)` for one: they follow
another table's row security, and an array of it could be long. Tables known to have few rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.reading import read
from mcp_rls.lints import Found, World

SEVERITY = Severity.NOTE


def find(world: World) -> Iterator[Found]:
    """Policies whose USING asks for membership by `in (select ..)` or a correlated `exists`."""
    for text in read(world.facts, world.by_hand()):
        column = "" if text.small else text.membership
        if column:
            message = f"{text.subject} asks for each row of {text.table.name} whether its {column} is in a sub-select"
            yield Found(text.subject, message, (f"{column} = any (array(select ..))",), text.table.name)
