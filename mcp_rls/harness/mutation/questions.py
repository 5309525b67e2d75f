"""What a token can be asked to do in one table: statements as cases without an expectation, and their answers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import Any

from mcp_rls.catalog import Column, Table
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import Command
from mcp_rls.harness import rows, trials
from mcp_rls.harness.columns import admitted
from mcp_rls.harness.facts import Reach
from mcp_rls.harness.mutation.notation import by_key, key_value, plain
from mcp_rls.harness.mutation.original import Original
from mcp_rls.harness.mutation.values import telling_columns, values_of
from mcp_rls.harness.observe import Key, Outcome
from mcp_rls.harness.stage import Stage
from mcp_rls.harness.suite import Case, Expectation, Suite

ROWS = 8  # of a table that are tried
_CHANGES = 12  # ways to change or to make a row
_FRESH = {"smallint": 30_000, "integer": 2_000_000_000, "bigint": 2_000_000_000}
_ANY = Expectation("changes")


@dataclass(frozen=True)
class Answer:
    """What a statement came to: the outcome, rows but the token's own, and the constraint that stopped it."""

    outcome: Outcome
    keys: frozenset[Key] = frozenset()
    constraint: bool = False

    def differs(self, other: Answer, case: Case) -> bool:
        """Whether another thing came of it; a new row's key may be another each time."""
        if case.command == "insert":
            return (self.outcome, self.constraint) != (other.outcome, other.constraint)
        return self != other

    def shown(self, table: Table) -> str:
        """'allowed: 1, 2'."""
        if self.constraint:
            return "let through by the policies, then stopped by a constraint"
        keys = ", ".join(rows.show(key, table) for key in sorted(self.keys))
        return f"{self.outcome}: {keys}" if keys else str(self.outcome)

    def expectation(self, table: Table, case: Case) -> Mapping[str, Any] | None:
        """What a case says that expects this; None where no case can, as where rows have no key to name them by."""
        if self.keys and not table.primary_key and case.command != "insert":
            return None
        if self.constraint:
            return {"refused": "constraint"} if case.command != "select" else None
        if self.outcome is Outcome.REFUSED_BY_GRANT:
            return {"refused": "grant"}
        if self.outcome is Outcome.REFUSED_BY_POLICY:
            return {"refused": "policy"} if case.command in ("insert", "update") else None
        if self.outcome is Outcome.ERRORED or (case.command == "insert" and not self.keys):
            return None
        if case.command == "insert":
            return {"allowed": True}
        keys = [key_value(table, key) for key in sorted(self.keys)]
        return {"sees" if case.command == "select" else "changes": keys}


def answer(stage: Stage, case: Case) -> Answer:
    """What the acting token's statement comes to now."""
    assert stage.bearer is not None, "somebody acts"
    observed = trials.perform(stage, case).observation
    own = {key for name, key in stage.bearer.brought if name == case.table}
    return Answer(observed.outcome, frozenset(observed.keys) - own, bool(observed.constraint))


@dataclass(frozen=True)
class Questions:
    """The questions about one table; `exprs`: the conditions in doubt, whose columns take every side.

    `most`: so many rows are asked about one by one, what was brought last first.
    """

    original: Original
    suite: Suite
    table: Table
    exprs: tuple[e.Expr, ...]
    most: int = ROWS

    def ask(self, stage: Stage, token: str, command: Command) -> Iterator[Case]:
        """Cases of the command, in the order in which they are likely to tell."""
        ways = {"select": self._select, "insert": self._insert, "update": self._update, "delete": self._delete}
        return ways[command](stage, token)

    def _case(self, token: str, command: Command, values: dict[str, Any], where: dict[str, Any]) -> Case:
        return Case(0, token, command, self.table.name, _ANY, values, where)

    def _select(self, _: Stage, token: str) -> Iterator[Case]:
        yield self._case(token, "select", {}, {})

    def _delete(self, stage: Stage, token: str) -> Iterator[Case]:
        for key in self._rows(stage):
            yield self._case(token, "delete", {}, by_key(self.table, key))
        yield self._case(token, "delete", {}, {})

    def _update(self, stage: Stage, token: str) -> Iterator[Case]:
        there = stage.snapshot(self.table)
        for values in islice(self._changes(stage, there), _CHANGES):
            for key in self._rows(stage):
                yield self._case(token, "update", values, by_key(self.table, key))
            yield self._case(token, "update", values, {})

    def _rows(self, stage: Stage) -> list[Key]:
        """Some rows, what was brought last first; none where they have no key."""
        if not self.table.primary_key:
            return []
        brought = stage.fixture_keys.get(self.table.name, ())[::-1]
        there = stage.snapshot(self.table)
        return list(dict.fromkeys((*(key for key in brought if key in there), *there)))[: self.most]

    def _changes(self, stage: Stage, there: rows.Snapshot) -> Iterator[dict[str, Any]]:
        """A change that no condition asks about, one of each column that rules leave out, and then what they ask of."""
        columns, reach = self._columns(there), self._reach(stage)
        assert stage.bearer is not None, "somebody acts"
        mine = reach.update & admitted(stage.policies, self.table, stage.bearer.class_name)
        neutral = neutral_column(self.table, replace(reach, update=mine), [c.name for c in columns])
        barred = [c for c in self.table.columns if c.name in reach.update - mine and not c.generated]
        for column in [*([neutral] if neutral is not None else []), *barred] if there else []:
            yield {column.name: plain(column, next(iter(there.values())).data[column.name])}
        for column in columns:
            for value in values_of(stage, self.original, self.suite, self.table, column):
                yield {column.name: value}

    def _insert(self, stage: Stage, token: str) -> Iterator[Case]:
        there = stage.snapshot(self.table)
        columns = self._columns(there)
        options = [values_of(stage, self.original, self.suite, self.table, c) for c in columns]
        for index, row in enumerate(islice(there.values(), ROWS)):
            base = self._copy(stage, row.data, index)
            for values in islice(product(*options), _CHANGES * 2):
                yield self._case(token, "insert", base | self._set(columns, values), {})

    def _copy(self, stage: Stage, data: rows.Data, index: int) -> dict[str, Any]:
        """A row with a key of its own; what has a default is left to it."""
        allowed = self._reach(stage).insert
        copied = [c for c in self.table.columns if not c.generated and not c.has_default and c.name in allowed]
        found = {c.name: plain(c, data[c.name]) for c in copied if data[c.name] is not None}
        return found | {name: value for name, value in fresh_key(self.table, index).items() if name in allowed}

    @staticmethod
    def _set(columns: list[Column], values: tuple[Any, ...]) -> dict[str, Any]:
        return {c.name: value for c, value in zip(columns, values, strict=True)}

    def _columns(self, there: rows.Snapshot) -> list[Column]:
        """Those that the conditions name; where none is in doubt, those that any rule names, and persons."""
        named = telling_columns(self.table, self.exprs)
        if named:
            return named
        tables = [t for t in self.original.resolved.tables if t.table == self.table.name]
        rules = [r for t in tables for r in (*t.clients, *(t.people or ()))]
        subs = {str(sub).lower() for sub in self.suite.people.values()}
        people = [c for c in self.table.columns if any((r.data[c.name] or "").lower() in subs for r in there.values())]
        ruled = telling_columns(self.table, [x for r in rules for x in (r.rows, r.new_row)])
        return [
            *ruled,
            *(c for c in people if c not in ruled and not c.generated and c.name not in self.table.primary_key),
        ]

    def _reach(self, stage: Stage) -> Reach:
        assert stage.bearer is not None, "somebody acts"
        return stage.facts(stage.bearer.role).reach.get(self.table.name, Reach())


def fresh_key(table: Table, index: int) -> dict[str, Any]:
    """Values for the key columns that no row has, and that refer to nothing."""
    referring = {c for key in table.foreign_keys for c in key.columns}
    found: dict[str, Any] = {}
    for column in (rows.column(table, name) for name in table.primary_key if name not in referring):
        kind = column.base_type or column.type
        if kind in _FRESH:
            found[column.name] = _FRESH[kind] + index
        elif kind == "uuid":
            found[column.name] = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{table.name} {index}"))
        elif kind in ("text", "character varying"):
            found[column.name] = f"mcp-rls-{index}"
    return found


def neutral_column(table: Table, reach: Reach, asked: Sequence[str] = ()) -> Column | None:
    """A column that UPDATE may set and that decides nothing, as far as can be told: rather a text than a reference."""
    referring = {c for key in table.foreign_keys for c in key.columns}
    able = [c for c in table.columns if not c.generated and c.name in reach.update and c.name not in table.primary_key]

    def cost(column: Column) -> tuple[bool, bool, bool]:
        kind = column.base_type or column.type
        return column.name in asked, column.name in referring or kind == "uuid", kind != "text"

    return min(able, key=cost, default=None)
