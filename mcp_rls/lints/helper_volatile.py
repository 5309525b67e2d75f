"""A function that policies call is VOLATILE, as functions are when nothing is said.

## What

A VOLATILE function is computed for every row, its text sees changes that its own statement makes, no index serves a
comparison with it, and it is never written out into the query. One that only reads needs none of that.

## Fix

`alter function NAME stable`.

## What it doesn't catch

One that writes, or that can't be read: it may have to be volatile.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.reading import alter, helpers, reader
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Functions called from policies that are VOLATILE and only read."""
    for function, table in helpers(world.facts, world.by_hand()).items():
        effects = reader(world.facts).effects(function)
        quiet = effects.known and not (effects.writes or effects.volatile)
        if function.volatility == "volatile" and quiet:
            message = f"{function} only reads, and is VOLATILE: computed for every row"
            yield Found(str(function), message, (f"{alter(function)} stable",), table.name)
