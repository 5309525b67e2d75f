"""What the acting token may write, found by trying: rows that it may insert, and rows that it may update or delete.

An attempt on a hidden row says more when the same statement with an allowed row goes through.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mcp_rls import sql
from mcp_rls.catalog import Column
from mcp_rls.compiler.model import Command
from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import Bench, Sight
from mcp_rls.harness.probes.kit.facts import Unique
from mcp_rls.harness.stage import Attempt
from mcp_rls.harness.suite import Case

_T = TypeVar("_T")
_NUMBERS = {"smallint": 31_000, "integer": 1_000_000_000, "bigint": 1_000_000_000_000, "numeric": 1_000_000_000_000}
_MOST = 4  # rows of a table that are tried for each command

Row = Mapping[str, str]  # SQL expressions by column


@dataclass(frozen=True)
class Writable:
    """A row that the token may update, and columns with values that it may set."""

    key: Key
    sets: Row


def inserts(bench: Bench, sight: Sight) -> tuple[Row, ...]:
    """Rows that the token may insert: those of its cases, and copies of rows with a key of their own."""
    return _kept(bench, sight, "insert", lambda: tuple(_inserts(bench, sight))[:2])


def updates(bench: Bench, sight: Sight) -> tuple[Writable, ...]:
    """Rows that it may update."""
    return _kept(bench, sight, "update", lambda: tuple(_updates(bench, sight))[:2])


def deletes(bench: Bench, sight: Sight) -> tuple[Key, ...]:
    """Rows that it may delete."""
    return _kept(bench, sight, "delete", lambda: tuple(_deletes(bench, sight)))


def copies(bench: Bench, sight: Sight) -> Iterator[Row]:
    """Copies of rows with a fresh key: of shown ones, then of hidden ones, then the latter as the person's own."""
    for number, key in enumerate([*sight.seen[:2], *sight.hidden[:2]]):
        yield {**_stored(sight, key), **fresh(bench, sight, number)}
    person, own = bench.bearer.identity.person, people_columns(bench, sight)
    if sight.hidden and person is not None and own:
        copy = {**_stored(sight, sight.hidden[0]), **fresh(bench, sight, _MOST)}
        yield {**copy, **dict.fromkeys(own, sql.literal(person))}


def refused(bench: Bench, sight: Sight) -> tuple[Row, ...]:
    """One row to try with where none may be inserted: the last of the copies, the person's own if there is a person."""
    return tuple(copies(bench, sight))[-1:]


def fresh(bench: Bench, sight: Sight, number: int) -> Row:
    """Values that no row has, one for each unique key: rather not of references and people, which policies look at."""
    made: dict[str, str] = {}
    telling = {*(c for key in sight.table.foreign_keys for c in key.columns), *people_columns(bench, sight)}
    for unique in bench.facts.uniques:
        if unique.table == sight.name and not made.keys() & set(unique.columns):
            candidates = ((n, _fresh(rows.column(sight.table, n), number)) for n in unique.columns if n not in telling)
            made.update(next(([pair] for pair in candidates if pair[1]), []))
    return made


def absent(sight: Sight, names: Sequence[str]) -> Row:
    """Values that no row of the table has in these columns, as far as such can be made up."""
    made = {n: _fresh(rows.column(sight.table, n), 7) for n in names}
    return {n: value for n, value in made.items() if value}


def people_columns(bench: Bench, sight: Sight) -> list[str]:
    """Columns in which some row holds a person of the suite."""
    people = {str(sub).lower() for sub in bench.suite.people.values()}
    data = [row.data for row in sight.there.values()]
    return [c.name for c in sight.table.columns if any((row[c.name] or "").lower() in people for row in data)]


def clashing(bench: Bench, sight: Sight, unique: Unique, key: Key) -> Iterator[Row]:
    """What a row must hold to be a duplicate of a hidden one by this key and by no other; nothing where there is none.

    What an index on expressions or with a condition is about can't be told from its columns, so both ways are tried.
    """
    others = [u for u in bench.facts.uniques if u.table == sight.name and u != unique]
    if unique.plain and any(set(u.columns) <= set(unique.columns) for u in others):
        return  # whatever this key refuses, that one does
    shared = {name for u in others for name in u.columns}
    narrow = [name for name in unique.columns if name not in shared]
    for names in [list(unique.columns)] if unique.plain else [narrow, list(unique.columns)] if narrow else []:
        values = stored(sight, key, names)
        if "null" not in values.values():  # a NULL is nobody's duplicate
            yield values


def settable(sight: Sight) -> list[str]:
    """Columns for UPDATE to set, best first: rather no key and no reference, and what the role may set."""
    special = {*sight.table.primary_key, *(c for key in sight.table.foreign_keys for c in key.columns)}
    names = [c.name for c in sight.table.columns if not c.generated and c.name in sight.reach.update]
    return sorted(names, key=lambda n: n in special)


def constant(bench: Bench, sight: Sight, names: Collection[str]) -> Row:
    """One column with a hidden row's value, for an UPDATE that reads nothing; no key, and rather no reference."""
    unique = {c for u in bench.facts.uniques if u.table == sight.name for c in u.columns}
    referring = {c for key in sight.table.foreign_keys for c in key.columns}
    free = [c.name for c in sight.table.columns if c.name in names and not c.generated and c.name not in unique]
    best = sorted(free, key=lambda n: n in referring)
    return stored(sight, sight.hidden[0], best[:1])


def stored(sight: Sight, key: Key, names: Sequence[str]) -> Row:
    """What the row holds in these columns."""
    return rows.stored_literals(sight.there[key].data, names)


def _kept(bench: Bench, sight: Sight, what: str, find: Callable[[], tuple[_T, ...]]) -> tuple[_T, ...]:
    """What was found out about the acting token, once."""
    mark = (what, sight.name)
    if mark not in bench.kept:
        bench.kept[mark] = find()
    found: tuple[_T, ...] = bench.kept[mark]
    return found


def _cases(bench: Bench, sight: Sight, command: Command) -> Iterator[Case]:
    for case in bench.suite.cases:
        if (case.token, case.table, case.command) == (bench.bearer.spec.name, sight.name, command):
            yield case


def _inserts(bench: Bench, sight: Sight) -> Iterator[Row]:
    if not sight.reach.insert:
        return
    told = [rows.literals(sight.table, case.values) for case in _cases(bench, sight, "insert")]
    for row in (*({**fresh(bench, sight, 9), **values} for values in told), *copies(bench, sight)):
        tried = {name: value for name, value in row.items() if name in sight.reach.insert}
        if bench.act([rows.insert(sight.table, tried, overriding=True)]).error is None:
            yield tried


def _updates(bench: Bench, sight: Sight) -> Iterator[Writable]:
    if not sight.reach.update:
        return
    told = [rows.literals(sight.table, c.values) for c in _cases(bench, sight, "update") if c.expect.keys]
    plain = settable(sight)[:1]
    for key in sight.seen[:_MOST]:
        for sets in (stored(sight, key, plain), *told):
            statement = rows.update(sight.table, sets, f" where {rows.by_key(sight.table, key)}")
            if sets and key in _changed(sight, bench.act([statement], rows.look(sight.table))):
                yield Writable(key, sets)
                break


def _deletes(bench: Bench, sight: Sight) -> Iterator[Key]:
    if not sight.reach.delete:
        return
    for key in sight.seen:
        statement = rows.delete(sight.table, f" where {rows.by_key(sight.table, key)}")
        attempt = bench.act([statement], rows.look(sight.table))
        # what a reference stops, the policies had let through
        if key in _changed(sight, attempt) or (attempt.error is not None and attempt.error.sqlstate == "23503"):
            yield key


def _changed(sight: Sight, attempt: Attempt) -> tuple[Key, ...]:
    return () if attempt.error is not None else rows.changed(sight.there, rows.snapshot(sight.table, attempt.look))


def _stored(sight: Sight, key: Key) -> Row:
    return stored(sight, key, [c.name for c in sight.table.columns if not c.generated])


def _fresh(column: Column, number: int) -> str:
    """A value of the column's type that no row is likely to have, as SQL, or '' where there is no telling."""
    kind = column.base_type or column.type
    if kind in _NUMBERS:
        return str(_NUMBERS[kind] + number)
    if kind == "uuid":
        return sql.literal(str(uuid.uuid5(uuid.NAMESPACE_OID, f"mcp-rls probe {number}")))
    if kind in ("text", "character varying", "citext"):
        room = re.search(r"\((\d+)\)", column.type)
        return sql.literal(f"mcp-rls-probe-{number}"[: int(room[1])] if room else f"mcp-rls-probe-{number}")
    return ""
