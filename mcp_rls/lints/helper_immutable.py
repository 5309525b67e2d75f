"""A function that policies call says that it always gives the same, and doesn't.

## What

IMMUTABLE is a promise that equal arguments give equal results for ever. PostgreSQL computes such a call when it plans.
A function that reads a claim, a setting or a table breaks the promise: a prepared statement that was planned for one
token keeps that token's value and gives its rows to the next one. Pools and drivers prepare statements by themselves.

## Fix

`alter function NAME stable parallel safe`: computed once a statement where the call stands in a sub-select.

## What it doesn't catch

Functions in C and other languages that can't be read, and of extensions.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.reading import alter, helpers, reader
from mcp_rls.inspection.words import listed
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Functions called from policies that are IMMUTABLE and read what differs between tokens."""
    for function, table in helpers(world.facts, world.by_hand()).items():
        effects = reader(world.facts).effects(function)
        if function.volatility == "immutable" and effects.reads:
            what = listed(sorted(effects.tables)) or ("settings" if effects.settings else "the session")
            message = f"{function} is IMMUTABLE and reads {what}: a plan keeps one token's value for another"
            yield Found(str(function), message, (f"{alter(function)} stable",), table.name)
