"""Everybody may write any row: the condition is true, whoever asks.

## What

`using (true)` on a policy that writes gives each token of its role every row of the table. So does `auth.uid() is not
null` or `auth.role() = 'authenticated'`: whoever signed in may change what is everybody's, an agent that acts for
anybody included. In `owner = auth.uid() or true` the rest says nothing, for reading too.

## Fix

Name the rows: `using (owner_id = (select auth.uid()))`. If all rows are meant for one role, give that role to those
alone who may (a role for the server's own jobs), and name it in TO.

## What it doesn't catch

`true` for a role that no policy asks for a claim: such a role is taken for a service. Policies beside a restrictive
one, which narrows them. A condition that is always true in a way that isn't written in it. `using (true)` for SELECT
alone is `readable-by-all`, a note.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.reading import PolicyText, read, shared_roles
from mcp_rls.inspection.tree import always, arms
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Permissive policies for a shared role that admit any row to be written, or that say so beside a condition."""
    shared = shared_roles(world.facts, world.by_hand()) | set(world.policies.roles if world.policies else ())
    for text in read(world.facts, world.by_hand()):
        policy = text.policy
        if not (policy.permissive and shared & set(policy.roles)) or _narrowed(text):
            continue
        if why := _open(text):
            yield Found(
                text.subject,
                f"{text.subject} {why}, for {', '.join(policy.roles)}",
                (f"{text.altered} using (..), with a condition on the row",),
                text.table.name,
            )


def _open(text: PolicyText) -> str:
    decisive = text.check if text.policy.command == "insert" else text.using
    if decisive is None:
        return ""
    parts = arms(decisive)
    if len(parts) > 1 and any(map(always, parts)):
        return "has an arm that is true, so that its condition says nothing"
    if text.policy.command != "select" and (always(decisive) or text.everyone(decisive)):
        return "lets everybody write any row"
    return ""


def _narrowed(text: PolicyText) -> bool:
    return any(not other.policy.ours for other in text.beside(permissive=False))
