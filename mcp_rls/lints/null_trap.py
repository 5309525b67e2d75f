"""A comparison that NULL decides: it is never true, or not for rows where it looks so.

## What

`x = null` is never true. `status <> 'spam'` isn't true for a row whose status is NULL, so that it is hidden, or a
restrictive policy forbids it. `id not in (select ..)` is never true once the sub-select gives a single NULL.

## Fix

`x is null`; `status is distinct from 'spam'`, or NOT NULL on the column; `not in (select .. where id is not null)`, or
`not exists`.

## What it doesn't catch

A claim that is NULL: an absent claim closes, which is right. Columns of views, and NULLs that an outer join makes.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.comparisons import Comparison
from mcp_rls.inspection.frames import Place
from mcp_rls.inspection.reading import PolicyText, read
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Policies, and functions that they call, with such a comparison."""
    found: dict[tuple[str, str], Found] = {}
    for text in read(world.facts, world.by_hand()):
        asked = {(p.alias, p.name) for c in text.comparisons if c.kind == "null" and (p := c.left.place) is not None}
        for comparison in text.comparisons:
            why, fix = _trap(text, comparison, asked)
            if why:
                subject = comparison.subject
                message = f"{subject}: {comparison} {why}"
                found.setdefault((subject, str(comparison)), Found(subject, message, (fix,), text.table.name, why))
    yield from {(f.subject, f.detail): f for f in found.values()}.values()


def _trap(text: PolicyText, comparison: Comparison, asked: set[tuple[str, str]]) -> tuple[str, str]:
    if comparison.distinct or comparison.kind not in ("equal", "order"):
        return "", ""
    if any(side.null for side, _ in comparison.sides):
        return "is never true", "ask `is null`, or `is not null`"
    if comparison.positive is not False or comparison.kind == "order":
        return "", ""
    for side, other in comparison.sides:
        place = side.place
        if place and other and other.constants and _nullable(place) and (place.alias, place.name) not in asked:
            return f"isn't true where {place.name} is NULL", f"{place.name} is distinct from .., or NOT NULL on it"
    column = text.reader.selected(comparison.right) if comparison.right else None
    if column is not None and _nullable(column) and (column.alias, column.name) not in asked:
        return f"is never true once a {column.name} is NULL", f"add `where {column.name} is not null` to the sub-select"
    return "", ""


def _nullable(place: Place) -> bool:
    columns = (c for c in place.relation.columns if c.name == place.name)
    return place.relation.is_table and any(not c.not_null for c in columns)
