"""A policy ties a column to a claim or a set, and no index begins with that column.

## What

Each query reads the whole table to find the rows of its token: the price is the table's size, whatever the query asks.
An index that begins with the column finds them.

## Fix

`create index concurrently on TABLE (COLUMN)`, or one that begins with it. What the rules of a policy file need, its
sets, consents and registries included, `mcp-rls apply FILE --create-indexes` makes.

## What it doesn't catch

Tables with a thousand rows or fewer as of the last ANALYZE, and tables that nobody analysed yet. Conditions in
functions whose text isn't one expression. An index that is there but doesn't fit the operator. What clients' rules ask
of a row: that is asked of the rows that were found, and no index serves it.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.compiler.resolve import resolve
from mcp_rls.compiler.searches import unserved
from mcp_rls.diagnostics import Diagnostics, Severity
from mcp_rls.inspection.indexes import indexed, many, ties
from mcp_rls.inspection.reading import read
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Large tables of which rows are asked for by a column that no index begins with."""
    found: dict[tuple[str, str], Found] = {}
    for one in (*_of_the_file(world), *_by_hand(world)):
        found.setdefault((one.subject, one.detail), one)
    yield from found.values()


def _of_the_file(world: World) -> Iterator[Found]:
    """What the policies of the file look up, whether they were applied or not."""
    resolved = resolve(world.policies, None, Diagnostics(), partial=True) if world.policies is not None else None
    large = [r for r in world.facts.tables.values() if many(r)]
    if resolved is None or not large:
        return
    there = {r.name: [i.columns for i in r.indexes if i.valid and not i.partial] for r in large}
    for search in unserved(resolved, there):
        hints = (sql.create_index(search.table, search.index), "or: mcp-rls apply --create-indexes")
        message = f"{search.what} looks up {search.table} by {search.index[0]}, and no index begins with it"
        yield Found(f"table {search.table}", message, hints, search.table, search.index[0], search.span)


def _by_hand(world: World) -> Iterator[Found]:
    for text in read(world.facts, world.by_hand()):
        for relation, columns in ties(text):
            if many(relation) and columns and not any(indexed(relation, c) for c in columns):
                column = columns[0]
                statement = sql.create_index(relation.name, (column,))
                message = f"{text.subject} ties {column} of {relation.name} to a claim, and no index begins with it"
                yield Found(f"table {relation.name}", message, (statement,), text.table.name, column)
