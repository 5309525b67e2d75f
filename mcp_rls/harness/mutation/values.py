"""Values that a column could take in a row that tells: those of its type, of the policy file, and of rows there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp_rls.catalog import Column, Table
from mcp_rls.compiler import expression as e
from mcp_rls.harness.mutation.notation import plain
from mcp_rls.harness.mutation.original import Original
from mcp_rls.harness.stage import Stage
from mcp_rls.harness.suite import Suite

_MOMENTS = ("2001-01-01 00:00:00+00", "2999-01-01 00:00:00+00", "now")  # `now`: the moment of the run itself
_MOST = 6


def values_of(stage: Stage, original: Original, suite: Suite, table: Table, column: Column) -> list[Any]:
    """Some values, different ones first; NULL where the column takes it."""
    found: list[Any] = []
    kind = column.base_type or column.type
    if kind == "boolean":
        found += [True, False]
    elif kind.startswith("timestamp") or kind == "date":
        found += _MOMENTS
    found += [_value(item) for item in original.values.get(table.name, {}).get(column.name, ())]
    stored = [row.data[column.name] for row in stage.snapshot(table).values()]
    subs = {str(sub).lower() for sub in suite.people.values()}
    if any(text is not None and text.lower() in subs for text in stored):
        found += suite.people.values()
    if not found:
        found += [plain(column, text) for text in (*_referred(stage, table, column), *stored) if text is not None]
    distinct = [value for index, value in enumerate(found) if value not in found[:index]][:_MOST]
    return distinct if column.not_null else [*distinct, None]


def _referred(stage: Stage, table: Table, column: Column) -> list[str | None]:
    """What the column can refer to."""
    for key in table.foreign_keys:
        parent = next((t for t in stage.covered if t.name == key.references), None)
        if column.name in key.columns and parent is not None:
            target = key.referenced_columns[key.columns.index(column.name)]
            return [row.data[target] for row in stage.snapshot(parent).values()]
    return []


def telling_columns(table: Table, exprs: Sequence[e.Expr]) -> list[Column]:
    """The columns that conditions name, which can be set; of a key only those that refer to something."""
    names = {name for expr in exprs for name in (*e.columns(expr), *_named_in_sql(table, expr))}
    meaningless = set(table.primary_key) - {c for key in table.foreign_keys for c in key.columns}
    return [c for c in table.columns if c.name in names and not c.generated and c.name not in meaningless]


def _named_in_sql(table: Table, expr: e.Expr) -> set[str]:
    """Columns that an author's SQL seems to name."""
    texts = " ".join(
        part for node in expr.walk() if isinstance(node, e.Raw) for part in node.parts if isinstance(part, str)
    )
    return {c.name for c in table.columns if c.name in texts}


def _value(item: e.Lit) -> Any:
    return int(item.text) if item.kind == "number" and item.text.isdigit() else item.text
