"""One arm of an OR can't use an index, so none of them does.

## What

`owner_id = (select auth.uid()) or (select is_admin())` reads the whole table even for whoever isn't an admin: rows of
all arms are found in one go, and an arm without an index has to see every row. Measured on a million rows: 150 to 250
times the price of the indexed arm alone.

## Fix

Give "all rows" to a role of its own (`to admin using (true)`). Fold the gate into the value: `owner_id = (select case
when .. then .. end)`. An index for each column that an arm ties to the token.

## What it doesn't catch

Several policies of one role and command, which are arms too. Tables known to have few rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.indexes import indexed, tied
from mcp_rls.inspection.reading import read
from mcp_rls.inspection.tree import arms, printed
from mcp_rls.lints import Found, World

SEVERITY = Severity.NOTE


def find(world: World) -> Iterator[Found]:
    """Policies whose USING has an arm with an index and one without."""
    for text in read(world.facts, world.by_hand()):
        parts = arms(text.using) if text.using is not None and not text.small else []
        slow = [part for part in parts if not any(indexed(text.table, column) for column in tied(text, part))]
        if 0 < len(slow) < len(parts):
            message = f"{text.subject} reads all of {text.table.name}: no index serves its arm {printed(slow[0])}"
            yield Found(text.subject, message, ("all rows for a role of its own, or an index",), text.table.name)
