"""A column is cast to fit a claim, so that its index isn't used.

## What

`owner_id::text = (select auth.jwt() ->> 'sub')` turns every row's id into a text before it is compared: an index on
`owner_id` doesn't serve that.

## Fix

Cast the claim: `owner_id = (select (auth.jwt() ->> 'sub')::uuid)`. A claim that isn't one then raises an error, where
before it found nothing; `auth.uid()` is that cast on Supabase.

## What it doesn't catch

An index on the cast itself: then all is well, and the finding can be accepted. Tables known to have few rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.indexes import cast_column
from mcp_rls.inspection.reading import read
from mcp_rls.lints import Found, World

SEVERITY = Severity.NOTE


def find(world: World) -> Iterator[Found]:
    """Policies that compare a cast column of their table with a claim."""
    for text in read(world.facts, world.by_hand()):
        cast = None if text.small else next((c for c in text.comparisons if cast_column(c)), None)
        if cast is not None:
            message = f"{text.subject} casts the column, not the claim: {cast}"
            yield Found(text.subject, message, (f"{cast_column(cast)} = (claim)::TYPE",), text.table.name)
