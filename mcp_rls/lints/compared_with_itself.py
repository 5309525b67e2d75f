"""A column, or a claim, is compared with itself, so that nothing is asked.

## What

In `exists (select from members m where m.org_id = org_id)` the second `org_id` is the sub-select's own too: PostgreSQL
reads `m.org_id = m.org_id`. Every member of any organisation then has every organisation's rows. `auth.uid() =
auth.uid()` compares the person with nothing but itself.

## Fix

Name the table that is meant: `m.org_id = tickets.org_id`; in a function give the parameter a name that no column has.

## What it doesn't catch

A column of the wrong table that has another name.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.reading import read
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Policies, and functions that they call, with such a comparison."""
    found: dict[str, Found] = {}
    for text in read(world.facts, world.by_hand()):
        for comparison in text.comparisons:
            if comparison.positive is not False and comparison.with_itself:
                subject = comparison.subject
                message = f"{subject} compares a thing with itself: {comparison}"
                hint = f"name the table that is meant: {text.table.name.name}.COLUMN"
                found.setdefault(subject, Found(subject, message, (hint,), text.table.name))
    yield from found.values()
