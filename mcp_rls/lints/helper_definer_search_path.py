"""A definer function that policies call can be made to run its caller's code with its owner's rights.

## What

The text of a function in a string is read under a search path each time it is called. Without one of its own that is
the caller's: whoever can make an object in a schema of the path puts a function, an operator or a table of its own in
the place of the one that is meant, and it runs with the rights of the definer function's owner, past row security.

An empty path isn't safe either. Temporary objects come first for tables and *types* wherever `pg_temp` isn't named
last, so that `::uuid` in the text may be a type that the caller made, with code in it. Every role may make temporary
objects until that is revoked.

## Fix

`alter function NAME set search_path = pg_catalog, pg_temp`, and name all else with its schema; or write the body as
`begin atomic .. end` or `return ..`, which is read once, when the function is made.

## What it doesn't catch

Functions that no policy calls. Schemas in which a role may make objects through a function. SQL that is put together
and run by the function itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.facts import Function
from mcp_rls.inspection.reading import alter, helpers
from mcp_rls.inspection.search_path import depends_on_path, may_be_shadowed, temporary_first, unqualified
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Definer functions called from policies with such a path."""
    for function, table in helpers(world.facts, world.by_hand()).items():
        why = _why(world, function) if function.definer and depends_on_path(function) else ""
        if why:
            message = f"{function} runs as {function.owner}, and {why}"
            fix = f"{alter(function)} set search_path = pg_catalog, pg_temp"
            yield Found(str(function), message, (fix, "or a body in BEGIN ATOMIC .. END"), table.name)


def _why(world: World, function: Function) -> str:
    why = may_be_shadowed(world.facts, function, world.roles)
    if not why and temporary_first(world.facts, function, world.roles):
        why = f"a temporary object may take the place of {unqualified(function)}: pg_temp isn't last in its path"
    return why
