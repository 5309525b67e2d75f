"""A policy ties a column to a claim, and no index begins with that column.

## What

Each query reads the whole table to find the rows of its token: the price is the table's size, whatever the query asks.
An index that begins with the column finds them.

## Fix

`create index concurrently on TABLE (COLUMN)`, or one that begins with it.

## What it doesn't catch

Tables with a thousand rows or fewer as of the last ANALYZE, and tables that nobody analysed yet. Conditions in
functions whose text isn't one expression. An index that is there but doesn't fit the operator.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.indexes import indexed, many, ties
from mcp_rls.inspection.reading import read
from mcp_rls.lints import Found, World
from mcp_rls.sql import ident
from mcp_rls.sql import table as quoted

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Large tables of which rows are asked for by a column that no index begins with."""
    found: dict[tuple[str, str], Found] = {}
    for text in read(world.facts, world.by_hand()):
        for relation, columns in ties(text):
            if many(relation) and columns and not any(indexed(relation, c) for c in columns):
                column = columns[0]
                statement = f"create index concurrently on {quoted(relation.name)} ({ident(column)})"
                message = f"{text.subject} ties {column} of {relation.name} to a claim, and no index begins with it"
                found.setdefault(
                    (str(relation), column),
                    Found(str(relation), message, (statement,), text.table.name, column),
                )
    yield from found.values()
