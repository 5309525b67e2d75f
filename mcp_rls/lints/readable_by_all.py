"""Everybody may read all rows of a table with row security.

## What

A policy for SELECT whose condition is `true`, or asks only whether somebody is signed in, shows the whole table to
every token of its role, an agent's included. For a list of countries that is right; it is worth a look which table it
is.

## Fix

None if it is meant. Else name the rows: `using (owner_id = (select auth.uid()))`.

## What it doesn't catch

A condition that is always true in a way that isn't written in it. Policies beside a restrictive one.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.reading import read, shared_roles
from mcp_rls.inspection.tree import always
from mcp_rls.lints import Found, World

SEVERITY = Severity.NOTE


def find(world: World) -> Iterator[Found]:
    """Permissive SELECT policies for a shared role that ask nothing of the row."""
    shared = shared_roles(world.facts, world.by_hand()) | set(world.policies.roles if world.policies else ())
    for text in read(world.facts, world.by_hand()):
        policy = text.policy
        fitting = policy.permissive and policy.command == "select" and shared & set(policy.roles)
        if not fitting or text.using is None or any(not o.policy.ours for o in text.beside(permissive=False)):
            continue
        if always(text.using) or text.everyone(text.using):
            message = f"{text.subject} shows all rows of {text.table.name} to {', '.join(policy.roles)}"
            yield Found(text.subject, message, (), text.table.name)
