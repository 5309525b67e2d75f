"""One table to try tokens on: its rows, copies to insert, moves to make, and the statement for each form of access."""

from __future__ import annotations

import re
import uuid
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from mcp_rls import sql
from mcp_rls.catalog import Column, Table
from mcp_rls.compiler.model import Command
from mcp_rls.harness import rows
from mcp_rls.harness.facts import Reach
from mcp_rls.harness.matrix.probe import EVERY_ROW, HITS, Try
from mcp_rls.harness.observe import Key

Form = Literal[
    "select", "insert", "update blind", "update", "move blind", "move", "delete blind", "delete",
    "insert returning", "upsert", "do nothing", "merge update", "merge delete", "merge insert",
    "lock", "truncate", "copy",
]  # fmt: skip
COMMAND_OF: Mapping[Form, Command] = {
    "select": "select",
    "lock": "select",
    "insert": "insert",
    "insert returning": "insert",
    "do nothing": "insert",
    "merge insert": "insert",
    "upsert": "insert",
    "copy": "insert",
    "update blind": "update",
    "update": "update",
    "move blind": "update",
    "move": "update",
    "merge update": "update",
    "delete blind": "delete",
    "delete": "delete",
    "merge delete": "delete",
    "truncate": "delete",
}
WORDS: Mapping[Form, str] = {
    "update blind": "by an UPDATE without WHERE",
    "move blind": "by an UPDATE without WHERE",
    "delete blind": "by a DELETE without WHERE",
    "insert returning": "by INSERT ... RETURNING",
    "upsert": "by INSERT ... ON CONFLICT DO UPDATE",
    "do nothing": "by INSERT ... ON CONFLICT DO NOTHING",
    "merge update": "by MERGE",
    "merge delete": "by MERGE",
    "merge insert": "by MERGE",
    "lock": "by SELECT ... FOR UPDATE",
    "truncate": "by TRUNCATE",
    "copy": "by COPY ... FROM",
}
_MOST_COPIES = 12
_MOST_MOVED = 8
_MOST_VALUES = 6
_FAR = {"smallint": 30_000, "integer": 2_000_000_000, "bigint": 2_000_000_000_000, "numeric": 2_000_000_000_000}


@dataclass(frozen=True)
class Copy:
    """A row to insert: one that is there, under a key of its own."""

    number: int
    source: Key
    values: tuple[tuple[str, str], ...]  # SQL by column

    def given(self, names: frozenset[str]) -> dict[str, str]:
        return {name: value for name, value in self.values if name in names}


@dataclass(frozen=True)
class Move:
    """A row to give another value in one column."""

    key: Key
    column: str
    value: str | None  # as PostgreSQL prints it
    blind: bool = True

    @property
    def form(self) -> Form:
        return "move blind" if self.blind else "move"


Subject = Hashable  # a Key, a Copy or a Move; '' for a whole table
Item = tuple[Form, Subject]


@dataclass(frozen=True)
class Question:
    """A statement and what its answer is about: one subject, or all the rows that it may name."""

    try_: Try
    form: Form
    subjects: tuple[Subject, ...]
    single: bool = False


@dataclass(frozen=True)
class Field:
    """A table with its rows. `telling`: columns that rules look at, whose values are worth moving about."""

    table: Table
    there: rows.Snapshot
    telling: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # further values for telling columns
    many: int = 0  # rows of a table that has too many to be tried

    @property
    def keys(self) -> tuple[Key, ...]:
        return tuple(self.there)

    def key_at(self, place: str) -> Key | None:
        """The key of the row at a place, as the trigger notes it."""
        return self._places.get(place)

    @cached_property
    def _places(self) -> Mapping[str, Key]:
        return {place_of(row): key for key, row in self.there.items()}

    # --- statements ---

    def questions(self, reach: Reach) -> Iterator[Question]:
        """What is asked of every token: each command on every row, blind and by key, and an INSERT of every copy."""
        yield Question(Try(self._select(reach)), "select", self.keys)
        statement = self._update(reach)
        if statement is not None:
            yield Question(Try(statement, HITS, EVERY_ROW), "update blind", self.keys)
            yield Question(Try(f"{statement} where {rows.any_key(self.table)}", HITS, EVERY_ROW), "update", self.keys)
        delete = rows.delete(self.table)
        yield Question(Try(delete, HITS, EVERY_ROW), "delete blind", self.keys)
        yield Question(Try(f"{delete} where {rows.any_key(self.table)}", HITS, EVERY_ROW), "delete", self.keys)
        for copy in self.copies():
            yield Question(Try(self.insertion(copy, reach), self.grown()), "insert", (copy,), single=True)

    def _select(self, reach: Reach) -> str:
        name = sql.table(self.table.name)
        if set(self.table.primary_key) <= reach.select:
            return f"select coalesce(jsonb_agg({identity(self.table)}), '[]') from {name} t"
        return f"select to_jsonb(count(*)) from {name} t"  # which ones isn't known, but whether all or none is

    def _update(self, reach: Reach) -> str | None:
        column = settable(self.table, reach, self.telling)
        if column is None or not self.there:
            return None
        data = next(iter(self.there.values())).data
        return rows.update(self.table, rows.stored_literals(data, [column.name]))

    def insertion(self, copy: Copy, reach: Reach) -> str:
        """An INSERT of the columns that the role may set; of all, if it may set none, so that PostgreSQL refuses."""
        allowed = frozenset(name for name, _ in copy.values) & reach.insert
        return rows.insert(self.table, copy.given(allowed or frozenset(name for name, _ in copy.values)))

    def grown(self) -> str:
        """The look that tells whether there are more rows than before."""
        return f"select to_jsonb(count(*) > {len(self.there)}) from {sql.table(self.table.name)}"

    def move(self, move: Move) -> Question:
        """The UPDATE of a move."""
        constant = "null" if move.value is None else sql.literal(move.value)
        where = "" if move.blind else f" where {rows.by_key(self.table, move.key)}"
        statement = rows.update(self.table, {move.column: constant}, where)
        row = self.there[move.key]
        return Question(Try(statement, self.changed(row), place_of(row)), move.form, (move,), single=True)

    def changed(self, row: rows.StoredRow) -> str:
        """The look that tells whether the row isn't any more as it was."""
        part, place, _ = row.version.split(":")
        same = f"tableoid = {part} and ctid = {sql.literal(place)}"
        return f"select to_jsonb(not exists (select from {sql.table(self.table.name)} where {same}))"

    def unknown(self) -> str:
        """A condition that is true of rows and versions that are not among those that were there."""
        known = ", ".join(sql.literal(place_of(row)) for row in self.there.values())
        return f"tableoid::text || ctid::text <> all (array[{known}]::text[])"

    # --- what to insert and to move ---

    def copies(self) -> tuple[Copy, ...]:
        """Rows to insert, of each kind one."""
        return self._copies

    @cached_property
    def _copies(self) -> tuple[Copy, ...]:
        kinds: dict[tuple[str | None, ...], Key] = {}
        fresh = set(self.table.primary_key) - self._kept()
        columns = [c.name for c in self.table.columns if c.name not in fresh]
        told = [c for c in columns if c in self.telling or c in self._kept() or self._personal(c)]
        for key, row in self.there.items():
            kinds.setdefault(tuple(row.data[c] for c in told), key)
        listed = [c.name for c in self.table.columns if not c.generated]
        return tuple(self._copy(n, key, listed) for n, key in enumerate(spread(list(kinds.values()), _MOST_COPIES)))

    def _personal(self, column: str) -> bool:
        """Whether it may say whose a row is: uuids and references."""
        return rows.column(self.table, column).base_type == "uuid" or column in self._referring()

    def _referring(self) -> set[str]:
        return {c for key in self.table.foreign_keys for c in key.columns}

    def _kept(self) -> set[str]:
        """Key columns that mean something, so that a fresh value would be another row altogether."""
        return set(self.table.primary_key) & (self._referring() | set(self.telling))

    def _copy(self, number: int, key: Key, listed: Sequence[str]) -> Copy:
        data = dict(self.there[key].data)
        if self.table.kind != "partitioned":  # a fresh value might have no partition
            for name in set(self.table.primary_key) - self._kept():
                data[name] = fresh(rows.column(self.table, name), data[name] or "", number)
        return Copy(number, key, tuple(rows.stored_literals(data, listed).items()))

    def moves(self, hit: Sequence[Key], reach: Reach, mine: Reach) -> tuple[Move, ...]:
        """What to try with rows that an UPDATE reaches: every telling column set to every other value, and left.

        A WHERE adds the policies for SELECT to those that are asked, so what is refused without one is with one too:
        rows that stay as they are are tried both ways, and so is one row with each value. `mine`: with the columns that
        the token may set by the file; each of the others is set, in one row, to what it is.
        """
        kinds: dict[tuple[str | None, ...], Key] = {}
        for key in hit:
            kinds.setdefault(tuple(self.there[key].data[c] for c in self.telling), key)
        column = settable(self.table, mine, self.telling)
        barred = [c.name for c in self.table.columns if c.name in reach.update - mine.update and not c.generated]
        found: list[Move] = []
        for number, key in enumerate(spread(list(kinds.values()), _MOST_MOVED)):
            data = self.there[key].data
            found += [Move(key, name, data[name]) for name in barred if number == 0]
            stay = [Move(key, column.name, data[column.name])] if column is not None else []
            others = [Move(key, c, v) for c in self._movable(reach) for v in self.values(c) if v != data[c]]
            both = stay + (others if number == 0 else [])
            found += [*stay, *others, *(replace(move, blind=False) for move in both)]
        return tuple(dict.fromkeys(found))

    def _movable(self, reach: Reach) -> list[str]:
        named = [c.name for c in self.table.columns if c.name in self.telling and not c.generated]
        return [name for name in named if name in reach.update and name not in self.table.primary_key]

    def values(self, column: str) -> tuple[str | None, ...]:
        """The values of a telling column: those that rows have, and those that conditions name."""
        stored = dict.fromkeys(row.data[column] for row in self.there.values())
        return tuple(dict.fromkeys([*list(stored)[:_MOST_VALUES], *self.extra.get(column, ())[:_MOST_VALUES]]))


def spread(keys: Sequence[Key], most: int) -> list[Key]:
    """So many of the rows, from all over the table: whose they are differs from one end to the other."""
    if len(keys) <= most:
        return list(keys)
    return [keys[number * len(keys) // most] for number in range(most)]


def identity(table: Table) -> str:
    """The key of row t as an array; without a primary key, its place."""
    if not table.primary_key:
        return "array[t.tableoid::text || t.ctid::text]"
    return rows.key_expression(table)


def place_of(row: rows.StoredRow) -> str:
    """Where the row is, as the trigger notes it: table and tuple."""
    part, place, _ = row.version.split(":")
    return part + place


def settable(table: Table, reach: Reach, telling: Sequence[str]) -> Column | None:
    """A column for an UPDATE that changes nothing: one that the role may set, rather no key and nothing telling."""
    referring = {c for key in table.foreign_keys for c in key.columns}

    def cost(column: Column) -> tuple[bool, bool, bool]:
        special = column.name in referring or column.name in telling
        return column.name not in reach.update, column.name in table.primary_key, special

    return min((c for c in table.columns if not c.generated), key=cost, default=None)


def fresh(column: Column, value: str, number: int) -> str:
    """A key value that no row has; the value itself where there is no telling."""
    kind = column.base_type or column.type
    if kind in _FAR:
        return str(_FAR[kind] + number)
    if kind == "uuid":
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"mcp-rls new {value}"))
    if kind in ("text", "character varying", "citext"):
        room = re.search(r"\((\d+)\)", column.type)
        return f"mcp-rls-new-{number}"[: int(room[1])] if room else f"mcp-rls-new-{number}"
    return value
