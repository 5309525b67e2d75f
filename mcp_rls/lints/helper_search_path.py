"""The meaning of a function that policies call depends on its caller's search path.

## What

The text of a function in a string is read under the search path of the moment. A session whose path has a schema of its
own before the others gives another meaning to each table and function that the text doesn't name in full, and so to the
policy.

## Fix

Write the body as `return ..` or `begin atomic .. end`: it is read once, when the function is made, and can still be
written out into the query. Or `alter function NAME set search_path = pg_catalog, pg_temp`.

## What it doesn't catch

Functions that no policy calls. A definer function is the matter of `helper-definer-search-path`, an error.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.reading import alter, helpers
from mcp_rls.inspection.search_path import depends_on_path, may_be_shadowed
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Invoker functions called from policies with a path of their caller's, or one that others can make objects in."""
    for function, table in helpers(world.facts, world.by_hand()).items():
        if function.definer or not depends_on_path(function):
            continue
        if why := may_be_shadowed(world.facts, function, world.roles):
            fix = f"{alter(function)} set search_path = pg_catalog, pg_temp"
            hints = ("write its body as RETURN .. or BEGIN ATOMIC .. END", f"or {fix}")
            yield Found(str(function), f"{function} is read anew at each call, and {why}", hints, table.name)
