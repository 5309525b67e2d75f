"""A client is known by a part of its id, which another client can have too.

## What

`client_id like 'assistant%'`, `left(client_id, 9) = 'assistant'`, `client_id ~ 'assistant'` admit each client whose id
looks like that. Where clients register themselves the id is often theirs to choose: an address
(`https://assistant.evil.example/`), or a name of their own. An issuer that hands out UUIDs never makes such an id, so
that the policy admits nobody, which isn't what was meant either.

An address is asked for safely up to the slash after its host: `client_id like 'https://claude.ai/%'`.

## Fix

Name the clients: `client_id = any (array['..', '..'])`, better from a table that says which class a client is of; or
the address with its scheme and whole host.

## What it doesn't catch

A part of an id in a claim of another name than `client_id`, `azp`, `cid`, `appid` or the policy file's. A table whose
ids are patterns. A pattern that names no word, `client_id ~ '[^!-~]'` say: it tells well-formed ids from others.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.claims import Words
from mcp_rls.inspection.comparisons import Comparison
from mcp_rls.inspection.patterns import address, parted, searched, whole
from mcp_rls.inspection.reading import read
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Policies, and functions that they call, that ask for a part of a client's id."""
    names = Words.of(world.policies).client
    found: dict[str, Found] = {}
    for text in read(world.facts, world.by_hand()):
        for comparison in text.comparisons:
            if _part(comparison, names):
                subject = comparison.subject
                message = f"{subject} knows a client by a part of its id: {comparison}"
                hints = (
                    "name the clients: client_id = any (array['..', '..'])",
                    "an address is whole up to the slash after its host: like 'https://claude.ai/%'",
                )
                found.setdefault(subject, Found(subject, message, hints, text.table.name))
    yield from found.values()


def _part(comparison: Comparison, names: frozenset[str]) -> bool:
    for side, wanted in searched(comparison, names):
        if not whole(comparison, side, wanted) and not address(comparison, wanted):
            return True
    if comparison.kind != "equal":
        return False
    return any(parted(s.among(names)) and not address(comparison, other) for s, other in comparison.sides)
