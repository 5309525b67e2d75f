"""Further ways to the same rows: RETURNING, upserts, MERGE, row locks, TRUNCATE, COPY. Each asks in its own way."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from mcp_rls import sql
from mcp_rls.harness import rows
from mcp_rls.harness.facts import Reach
from mcp_rls.harness.matrix.field import Copy, Field, Question, identity, place_of, settable, spread
from mcp_rls.harness.matrix.outcome import ALLOWED, HIDDEN, Outcome, of_error
from mcp_rls.harness.matrix.probe import Answer, Probe, Try
from mcp_rls.harness.observe import Key
from mcp_rls.harness.session import impersonate, one_line

_FEW = 6  # rows, and copies, of one table
_MERGE = 150000  # the first version that has it


def further_questions(field: Field, reach: Reach, version: int) -> Iterator[Question]:
    """What is asked beyond the four commands."""
    copies, keys = field.copies()[::2][:_FEW], _different(field)
    for copy in copies:
        yield from _insertions(field, reach, copy, version)
    for key in keys:
        yield from _upserts(field, reach, key)
        if version >= _MERGE:
            yield from _merges(field, reach, key)
    if keys:
        yield Question(Try(_lock(field, reach)), "lock", field.keys)
        emptied = f"select to_jsonb(count(*) = 0) from {sql.table(field.table.name)}"
        yield Question(Try(f"truncate {sql.table(field.table.name)}", emptied), "truncate", ("",), single=True)


def _different(field: Field) -> tuple[Key, ...]:
    """Some rows, of each kind one."""
    kinds: dict[tuple[str | None, ...], Key] = {}
    for key, row in field.there.items():
        kinds.setdefault(tuple(row.data[c] for c in field.telling), key)
    return tuple(spread(list(kinds.values()), _FEW))


def _insertions(field: Field, reach: Reach, copy: Copy, version: int) -> Iterator[Question]:
    read = next((c.name for c in field.table.columns if c.name in reach.select), field.table.columns[0].name)
    statement = f"{field.insertion(copy, reach)} returning {sql.ident(read)}"
    yield Question(Try(statement, field.grown()), "insert returning", (copy,), single=True)
    if version >= _MERGE:
        given = copy.given(_settable(field, reach))
        columns, values = ", ".join(map(sql.ident, given)), ", ".join(given.values())
        statement = (
            f"merge into {sql.table(field.table.name)} using (select 1) one on false"
            f" when not matched then insert ({columns}) values ({values})"
        )
        yield Question(Try(statement, field.grown()), "merge insert", (copy,), single=True)


def _settable(field: Field, reach: Reach) -> frozenset[str]:
    """The columns that the role may give a new row; all, if it may give none."""
    open_ = frozenset(c.name for c in field.table.columns if not c.generated)
    return (open_ & reach.insert) or open_


def _upserts(field: Field, reach: Reach, key: Key) -> Iterator[Question]:
    """The row itself once more, which meets itself."""
    column = settable(field.table, reach, field.telling)
    if not field.table.primary_key or column is None:
        return
    row = field.there[key]
    names = sorted(_settable(field, reach) | set(field.table.primary_key))
    insertion = rows.insert(field.table, rows.stored_literals(row.data, names), overriding=True)
    target = ", ".join(map(sql.ident, field.table.primary_key))
    same = rows.stored_literals(row.data, [column.name])[column.name]
    update = f"{insertion} on conflict ({target}) do update set {sql.ident(column.name)} = {same}"
    yield Question(Try(update, field.changed(row)), "upsert", (key,), single=True)
    yield Question(Try(f"{insertion} on conflict do nothing", field.changed(row)), "do nothing", (key,), single=True)


def _merges(field: Field, reach: Reach, key: Key) -> Iterator[Question]:
    column, row = settable(field.table, reach, field.telling), field.there[key]
    head = f"merge into {sql.table(field.table.name)} t using (select 1) one on {rows.by_key(field.table, key, 't.')}"
    if column is not None:
        same = rows.stored_literals(row.data, [column.name])[column.name]
        statement = f"{head} when matched then update set {sql.ident(column.name)} = {same}"
        yield Question(Try(statement, field.changed(row)), "merge update", (key,), single=True)
    statement = f"{head} when matched then delete"
    yield Question(Try(statement, field.changed(row), place_of(row)), "merge delete", (key,), single=True)


def _lock(field: Field, reach: Reach) -> str:
    """SELECT ... FOR UPDATE of all rows."""
    columns = ", ".join(map(sql.ident, field.table.primary_key)) or "tableoid, ctid"
    readable = set(field.table.primary_key) <= reach.select
    found = f"coalesce(jsonb_agg({identity(field.table)}), '[]')" if readable else "to_jsonb(count(*))"
    listed = columns if readable else "1"
    return f"select {found} from (select {listed} from {sql.table(field.table.name)} for update) t"


def copy_in(probe: Probe, field: Field, role: str, claims: str, reach: Reach) -> Outcome:
    """What comes of COPY ... FROM of no row at all: refused wherever row security is on."""
    question = Question(Try(f"copy {sql.table(field.table.name)} from stdin"), "copy", ("",))
    try:
        with probe.conn.transaction(force_rollback=True):
            impersonate(probe.conn, claims, role, resolved=probe.resolved)
            with probe.conn.cursor().copy(question.try_.statement.encode()):
                pass
    except psycopg.errors.FeatureNotSupported:
        return HIDDEN
    except psycopg.Error as error:
        return of_error(field.table, question, Answer(None, error.sqlstate or "?", one_line(error)), reach)
    return ALLOWED
