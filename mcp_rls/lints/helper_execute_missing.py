"""A policy calls a function that the role it is for may not call, so that each query fails.

## What

A policy's expressions run with the rights of whoever queries. Without EXECUTE on a function in it every statement on
the table ends in `permission denied for function`, which reads like a missing grant on the table. USAGE on the
function's schema isn't needed for that.

## Fix

`grant execute on function NAME to ROLE`.

## What it doesn't catch

A function in a string body that is called by the policy's function: its schema's USAGE is asked for too, at the call.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.facts import Function
from mcp_rls.inspection.reading import PolicyText, alter, read, reader
from mcp_rls.lints import Found, World
from mcp_rls.sql import roles

SEVERITY = Severity.ERROR

_PRIVILEGES = {"select": "SELECT", "insert": "INSERT", "update": "UPDATE", "delete": "DELETE"}


def find(world: World) -> Iterator[Found]:
    """Policies for a token's role that has the table's privilege, and not that of a function in them."""
    for text in read(world.facts, world.by_hand()):
        if not text.table.row_security:
            continue
        for function in _called(world, text):
            refused = [r for r in _bound(world, text) if not world.facts.holds(r, function.execute, "EXECUTE")]
            if refused:
                what = alter(function).replace("alter function", "grant execute on function", 1)
                yield Found(
                    text.subject,
                    f"{text.subject} calls {function}, which {', '.join(refused)} may not",
                    (f"{what} to {roles(tuple(refused))}",),
                    text.table.name,
                    str(function).removeprefix("function "),
                )


def _called(world: World, text: PolicyText) -> list[Function]:
    """The functions in a policy, and those that its invoker functions call."""
    functions, doings = world.facts.functions, reader(world.facts).doings
    found: dict[Function, None] = {}
    queue = [functions[oid] for oid in sorted(text.policy.functions) if oid in functions]
    while queue:
        function = queue.pop(0)
        if function not in found:
            found[function] = None
            queue += [] if function.definer else doings.called_by(function)
    return list(found)


def _bound(world: World, text: PolicyText) -> list[str]:
    """The tokens' roles that the policy is for and that may use the table so."""
    facts, named = world.facts, set(text.policy.roles)
    wanted = [_PRIVILEGES[command] for command in text.commands]
    return [role for role in world.reaching(text.table, *wanted) if facts.acts_as(role) & named]
