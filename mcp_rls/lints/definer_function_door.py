"""A SECURITY DEFINER function reads or writes covered tables past the ceilings, and clients can call it.

## What

A SECURITY DEFINER function acts with the rights of its owner, whoever calls it. Where row security doesn't bind the
owner, or binds it by other policies than those for the token's roles, the ceilings aren't asked: a client sees or
changes through the function what its rules keep from it. Everybody may call a new function, for PUBLIC has EXECUTE
unless it is revoked. That holds for a function which only says yes or no, too: it tells of rows that are hidden.

A function in a schema that clients can't enter is called all the same through what was made to call it: a view, a rule,
a function that is stored as a tree, an operator, a cast, an aggregate. Of an aggregate its own EXECUTE is asked for,
not that of the functions that it is made of.

What the function does is read from its body, through functions that it calls and views that it reads. A body that
can't be analysed, one that runs SQL which it puts together among them, counts as one that reads everything.

## Fix

`revoke execute on function NAME from public, ROLE` if no client needs to call it; that of the aggregate, if it is one
that calls it. One that policies call must keep EXECUTE: move it to a schema that the tokens' roles can't enter,
`alter function NAME set schema SCHEMA`; policies still find it, clients don't. Make it `security invoker` if it needs
no more than its caller has. One that clients are meant to call is a door: list it under `doors:` with the reason.

## What it doesn't catch

What triggers and cascades on the tables do to others. Functions that extensions made. Functions that only a column's
default, an index, an operator class, a domain or a constraint calls. A function whose owner has no privilege on the
table: its call ends in an error. It doesn't judge what the function tells: one that returns nothing but what its caller
may see anyway is reported all the same. Without a policy file `definer-function-callable` says it.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.doors.functions import open_functions, remedy
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Definer functions that a token's role can call and that pass the ceilings of a covered table."""
    if world.policies is None:
        return
    tables = {t.name: t for t in world.tables}
    for door in open_functions(world.facts, world.roles, tables, bound=world.roles):
        if not door.function.called & world.doors.keys():
            yield Found(
                str(door.function),
                f"{door.does}, past the ceilings; {door.who}",
                (*remedy(world.facts, door), f"or a line under `doors:` for {door.name}, with the reason"),
                door.tables[0] if door.tables else None,
            )
