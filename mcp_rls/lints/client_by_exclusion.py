"""A policy names the clients that are kept out, so that every new one is let in.

## What

`client_id <> 'scraper'`, `client_id not in ('a', 'b')` and `not in (select id from blocked)` admit whoever isn't
listed: a client that registered itself a minute ago, or the blocked one under a new id. With `<>` and `not in` a
session without a client is kept out as well, since NULL isn't true: the people themselves see nothing.

## Fix

List who may: `client_id = any (array['assistant'])`, or a table of approved clients. A list of the blocked beside a
list of the admitted is fine.

## What it doesn't catch

A list of the blocked in `not exists (select ..)`, which may be a matter of revoked grants.
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
    """Policies in which a client is only ever told from those that it isn't."""
    names = Words.of(world.policies).client
    for text in read(world.facts, world.by_hand()):
        excluding = next((c for c in text.comparisons if _names(c, names) and c.positive is False), None)
        if (
            excluding is None
            or _admitting(text, names)
            or any(_admitting(o, names) for o in text.beside(permissive=False))
        ):
            continue
        yield Found(
            text.subject,
            f"{text.subject} admits every client that it doesn't name: {excluding}",
            ("list who may: client_id = any (array['..'])",),
            text.table.name,
        )


def _admitting(text: PolicyText, names: frozenset[str]) -> bool:
    return any(_names(c, names) and c.positive for c in text.comparisons)


def _names(comparison: Comparison, names: frozenset[str]) -> bool:
    """Whether it compares a client's id with ids: constants, a column, or a sub-select's."""
    if comparison.kind != "equal":
        return False
    for side, other in comparison.sides:
        if side.among(names) and other is not None and not other.null:
            return bool(set(other.constants) - {""}) or other.query or other.place is not None
    return False
