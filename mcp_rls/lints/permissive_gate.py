"""A policy that asks for a client or scope stands beside one that doesn't, and narrows nothing.

## What

Permissive policies add up: a row is there for a token if one of them admits it. A policy for agents (`client_id = ..`,
`'tickets:read' = any (..)`) beside one for people (`owner_id = auth.uid()`) of the same role therefore stops no agent:
the agent's token carries the person, and the other policy admits it. This is the usual way in which a "read-only agent"
writes.

## Fix

Make the gate restrictive: drop it and `create policy NAME on TABLE as restrictive for COMMAND to ROLE using (not
(claims ? 'client_id') or ..)`, so that it holds whatever else admits. Or say in the other policy that it is for
sessions without a client.

## What it doesn't catch

A gate in a function whose text can't be read. Roles of its own for agents need no gate, and none is missed.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.claims import Words
from mcp_rls.inspection.reading import PolicyText, read
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Permissive policies with a gate beside permissive ones of others without, where no restrictive one has it."""
    words = Words.of(world.policies)
    names = words.client | words.scope
    for text in read(world.facts, world.by_hand()):
        if not text.policy.permissive or not _gated(text, names):
            continue
        if any(o.policy.ours or _gated(o, names) for o in text.beside(permissive=False)):
            continue
        open_ = [o for o in text.beside(permissive=True) if not (o.policy.ours or o.opaque or _gated(o, names))]
        if open_:
            other = open_[0].policy.name
            yield Found(
                text.subject,
                f"{text.subject} asks for a client or scope, but {other!r} admits the same tokens without",
                ("make it restrictive: create policy .. as restrictive ..",),
                text.table.name,
            )


def _gated(text: PolicyText, names: frozenset[str]) -> bool:
    return any(c.about(names) for c in text.comparisons)
