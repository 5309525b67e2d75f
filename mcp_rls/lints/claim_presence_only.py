"""A policy asks whether there is a client or a scope, and not which.

## What

`client_id is not null` and `claims ? 'scope'` are true for every client, one that registered itself included, and for
every scope, `openid` included. As the only question about either they tell agents from people, and no agent from
another.

## Fix

Ask which: `client_id = any (array['..'])`, `'tickets:read' = any (string_to_array(claims ->> 'scope', ' '))`, or a row
of a table of grants for this client.

## What it doesn't catch

A policy that treats sessions with and without a client in two ways, as a ceiling for all clients does.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.claims import Words
from mcp_rls.inspection.comparisons import Comparison
from mcp_rls.inspection.reading import PolicyText, read
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Policies that ask for the presence of a client or scope, and of neither for anything more."""
    words = Words.of(world.policies)
    names = words.client | words.scope
    for text in read(world.facts, world.by_hand()):
        asked = [c for c in text.comparisons if c.about(names)]
        present = [c for c in asked if _presence(c) is True]
        if not present or len(present) < len(asked) or text.opaque:
            continue
        if any(_asks(other, names) for other in text.beside(permissive=False)):
            continue
        yield Found(
            text.subject,
            f"{text.subject} asks for any client or scope, and not for one: {present[0]}",
            ("ask which: client_id = any (array['..']), or a scope by its word",),
            text.table.name,
        )


def _presence(comparison: Comparison) -> bool | None:
    """True where it helps that the claim is there, False where it helps that it isn't; None: it asks for more."""
    if comparison.kind == "key":
        return comparison.positive
    empty = comparison.right is not None and comparison.right.constants == ("",)
    if comparison.kind == "null" or (comparison.kind == "equal" and empty):
        return None if comparison.positive is None else not comparison.positive
    return None


def _asks(text: PolicyText, names: frozenset[str]) -> bool:
    return any(c.about(names) and _presence(c) is None for c in text.comparisons)
