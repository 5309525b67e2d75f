"""A function that policies call keeps every query on the table from running in parallel.

## What

Functions are PARALLEL UNSAFE when nothing is said. One such call in a policy, even in a sub-select that is computed
once, and no query on the table uses more than one process.

## Fix

`alter function NAME parallel safe`, where it only reads.

## What it doesn't catch

One that writes, catches errors (which needs a subtransaction), or can't be read: it may be unsafe in truth.
`auth.uid()` and its like on Supabase, which are the platform's.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.reading import alter, helpers, reader
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Functions called from policies that are PARALLEL UNSAFE without a need."""
    for function, table in helpers(world.facts, world.by_hand()).items():
        effects = reader(world.facts).effects(function)
        quiet = effects.known and not (effects.writes or effects.volatile or effects.subtransaction)
        if function.parallel == "unsafe" and quiet:
            message = f"{function} only reads, and is PARALLEL UNSAFE: no query on {table.name} runs in parallel"
            yield Found(str(function), message, (f"{alter(function)} parallel safe",), table.name)
