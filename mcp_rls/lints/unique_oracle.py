"""A unique key tells whether a hidden row has a value.

## What

Uniqueness is kept over all rows, hidden ones too. An INSERT of a taken e-mail address fails, `on conflict do nothing`
silently does nothing, and either way a client learns that somebody has it. Keys that begin with the owner's column tell
only of the owner's own rows; ids that nobody guesses tell nothing.

## Fix

`unique (owner_id, email)` where uniqueness is meant for each owner. Else let only a definer function insert.

## What it doesn't catch

Keys of numbers and UUIDs, which most tables have as their id. Exclusion constraints.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.facts import Index, Relation
from mcp_rls.inspection.indexes import tied_columns
from mcp_rls.inspection.reading import read
from mcp_rls.inspection.tree import always
from mcp_rls.lints import Found, World

SEVERITY = Severity.NOTE

_SURROGATE = {"smallint", "integer", "bigint", "uuid"}


def find(world: World) -> Iterator[Found]:
    """Unique keys, of tables that clients write and don't read whole, without a column that policies tie to a claim."""
    for table in world.tables:
        texts = read(world.facts, ((table, p) for p in table.policies if not p.ours))
        writers = [r for r in world.reaching(table, "INSERT", "UPDATE") if _writes(world, table, r)]
        open_ = any(t.policy.permissive and "select" in t.commands and t.using and always(t.using) for t in texts)
        if not (table.row_security and writers) or open_:
            continue
        tied = frozenset(column for text in texts for column in tied_columns(text))
        for index in table.indexes:
            if index.unique and tied and not tied & set(index.columns) and _guessable(table, index):
                message = f"{table.name}: {index.name} tells {', '.join(writers)} which values hidden rows have"
                yield Found(str(table), message, (f"a key that begins with {min(tied)}",), table.name, index.name)


def _writes(world: World, table: Relation, role: str) -> bool:
    commands = ("insert", "update")
    return any(p.permissive and not p.ours for c in commands for p in world.binding(table, role, c))


def _guessable(table: Relation, index: Index) -> bool:
    """Whether it has a column that isn't an id, or an expression."""
    types = {column.name: column.type for column in table.columns}
    return any(types.get(name, "") not in _SURROGATE for name in index.columns)
