"""A SECURITY DEFINER function reads or writes past row security, and everybody's tokens can call it.

## What

A SECURITY DEFINER function acts with the rights of its owner, whoever calls it. Where row security doesn't bind the
owner, policies aren't asked: what the function reads or changes is up to its own conditions, which no review of
policies sees. PUBLIC has EXECUTE on every new function unless it is revoked, and behind an API each one in an exposed
schema can be called over the network.

One in a schema that clients can't enter is called all the same through a view, a rule, an operator, a cast or an
aggregate that was made of it.

A body that can't be analysed, one that runs SQL which it puts together among them, counts as one that reads everything.

## Fix

`revoke execute on function NAME from public, ROLE` if nobody is meant to call it. One that policies call must keep
EXECUTE: move it to a schema that the tokens' roles can't enter, `alter function NAME set schema SCHEMA`; policies still
find it, clients don't. Make it `security invoker` if it needs no more than its caller has. One that is meant to be
called is accepted by its key, with the reason.

## What it doesn't catch

What triggers and cascades on the tables do to others. Functions that extensions made. An owner who is bound by row
security but has policies of its own: what those admit isn't judged. With a policy file `definer-function-door` says it,
as an error.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.doors.functions import open_functions, remedy
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Definer functions that a token's role can call and that pass row security of some table."""
    if world.policies is not None:
        return
    policed = {t.name: t for t in world.tables if t.row_security}
    for door in open_functions(world.facts, world.roles, policed, bound=None):
        yield Found(
            str(door.function),
            f"{door.does}, past row security; {door.who}",
            remedy(world.facts, door),
            door.tables[0] if door.tables else None,
        )
