"""A client or a scope is compared without regard to upper and lower case.

## What

A client id and a scope are exact: `Reader` and `reader` are two clients, and whoever registers clients, or asks for
scopes, may get the second one. `lower()`, `ILIKE`, `~*` and `citext` make them one.

## Fix

Compare the claim as it is: `claims ->> 'client_id' = 'reader'`. If an issuer writes scopes in changing case, let it be
told there.

## What it doesn't catch

A collation that doesn't tell cases apart. A search inside a text, which is the fault of its own lint.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.claims import Words
from mcp_rls.inspection.patterns import searched, whole
from mcp_rls.inspection.reading import read
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Policies, and functions that they call, that fold the case of such a claim."""
    words = Words.of(world.policies)
    names = words.client | words.scope
    found: dict[str, Found] = {}
    for text in read(world.facts, world.by_hand()):
        for comparison in text.comparisons:
            inside = any(not whole(comparison, *sides) for sides in searched(comparison, names))
            if comparison.folded and comparison.about(names) and not inside and comparison.kind != "null":
                subject = comparison.subject
                message = f"{subject} takes upper and lower case for one: {comparison}"
                found.setdefault(subject, Found(subject, message, ("compare the claim as it is",), text.table.name))
    yield from found.values()
