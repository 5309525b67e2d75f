"""A scope is looked for inside a text, so that another scope that contains it passes too.

## What

A token's scopes are words: `tickets:read notes:read`. A search in the text (`like '%tickets:read%'`, `strpos`,
`position`, a regular expression) finds a word inside a longer one: `tickets:read` is in `tickets:read:own`, and
`tickets` in everything about tickets. Who may ask for some scope of that kind has the one that was meant. An array in
JSON is a text of that kind too, and so is the whole document: a name in another claim passes for a scope.

## Fix

Compare words: `'tickets:read' = any (string_to_array(claims ->> 'scope', ' '))`, of an array in JSON
`claims -> 'scopes' ? 'tickets:read'`. A blank round both sides asks for the whole word as well:
`' ' || (claims ->> 'scope') || ' ' like '% tickets:read %'`.

## What it doesn't catch

A search in a claim or column that isn't called a scope or permission. A function that no grammar here reads. `_` in a
pattern, which stands for any one character. A pattern that names no word, only characters: it tells well-formed texts
from others.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.claims import WORDS, Words
from mcp_rls.inspection.comparisons import Comparison, Side
from mcp_rls.inspection.patterns import searched, whole, wordless
from mcp_rls.inspection.reading import read
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Policies, and functions that they call, that search in a scope."""
    names = Words.of(world.policies).scope
    found: dict[str, Found] = {}
    for text in read(world.facts, world.by_hand()):
        for comparison in text.comparisons:
            if _inside(comparison, names):
                subject = comparison.subject
                message = f"{subject} finds a scope inside a longer one: {comparison}"
                hint = "compare words: 'tickets:read' = any (string_to_array(claims ->> 'scope', ' '))"
                found.setdefault(subject, Found(subject, message, (hint,), text.table.name))
    yield from found.values()


def _inside(comparison: Comparison, names: frozenset[str]) -> bool:
    if any(not whole(comparison, *sides) for sides in searched(comparison, names)):
        return True
    right = comparison.right
    if comparison.kind not in ("like", "regex", "position") or right is None or wordless(comparison):
        return False
    column = _column(comparison.left, names) and not whole(comparison, comparison.left, right)
    return column or _document(comparison.left)


def _document(side: Side) -> bool:
    """Whether it is the text of all claims."""
    return any(o.source == "claims" and not o.path and WORDS not in o.marks for o in side.origins)


def _column(side: Side, names: frozenset[str]) -> bool:
    """Whether it is a column of scopes, of a table of grants say."""
    place = side.place
    return place is not None and not place.own and place.name in names
