"""A function says that it tells nothing about its arguments, and so is shown rows that a policy hides.

## What

A LEAKPROOF function may be computed before the policies are asked: it sees hidden rows. Only a superuser can say so of
a function. If it raises an error for some values, or writes a notice, whoever calls it reads hidden rows by it. A
function in SQL or PL/pgSQL raises one as soon as a cast fails or a number is too large.

## Fix

`alter function NAME not leakproof`.

## What it doesn't catch

PostgreSQL's own operators that were marked so: for `@@` or `like` that can be right, and is for whoever did it to
judge. Functions in C.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.reading import alter
from mcp_rls.inspection.words import listed
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """LEAKPROOF functions in SQL or PL/pgSQL that a token's role may call, where there is row security."""
    if not any(table.row_security for table in world.tables):
        return
    for function in world.facts.functions.values():
        claimed = function.leakproof and function.language in ("sql", "plpgsql") and function.schema != "mcp_rls"
        callers = world.calling(function) if claimed else ()
        if callers:
            message = f"{function} is LEAKPROOF: it sees rows that policies hide, and {listed(callers)} may call it"
            yield Found(str(function), message, (f"{alter(function)} not leakproof",))
