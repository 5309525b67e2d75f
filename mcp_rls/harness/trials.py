"""One statement as the token on stage, to an Observation. Writes are judged by looks, never by their row count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mcp_rls import sql
from mcp_rls.catalog import Table
from mcp_rls.compiler.model import Command
from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key, Observation, Outcome, of_error
from mcp_rls.harness.stage import Attempt, Stage
from mcp_rls.harness.suite import Case


@dataclass(frozen=True)
class Inserted:
    """What came of an INSERT, and the rows that it made."""

    observation: Observation
    new: tuple[rows.StoredRow, ...] = ()


def see(stage: Stage, tables: Iterable[Table]) -> None:
    """Asks for what the token sees of several tables at once, for `select` to tell; what can't be asked is left."""
    assert stage.bearer is not None, "somebody acts"
    reach = stage.facts(stage.bearer.role).reach
    asked = [t for t in tables if t.name in reach and reach[t.name].select and t.name not in stage.sights]
    found = stage.attempt_all([_select(stage, table) for table in asked])
    stage.sights.update(zip((t.name for t in asked), found or (), strict=False))


def _select(stage: Stage, table: Table) -> str:
    if table.name not in stage.queries:
        stage.queries[table.name] = f"select {rows.key_expression(table)} from {sql.table(table.name)} t"
    return stage.queries[table.name]


def select(stage: Stage, table: Table) -> Observation:
    """Which rows the token sees."""
    statement = _select(stage, table)
    known = stage.sights.pop(table.name, None)
    attempt = stage.attempt(statement) if known is None else Attempt(known, [])
    there = stage.snapshot(table)
    if attempt.error is not None:
        observation = replace(of_error("select", statement, attempt.error, table), found=len(there))
        return _counted(stage, table, observation) if observation.refused_by_grant else observation
    seen = {tuple(key) for (key,) in attempt.rows}
    keys = (*(k for k in there if k in seen), *sorted(seen - set(there)))
    return _observed("select", statement, keys, len(there))


def _counted(stage: Stage, table: Table, refused: Observation) -> Observation:
    """A role that may not read the key may still read other columns; then only the number of rows tells."""
    assert stage.bearer is not None, "somebody acts"
    reach = stage.facts(stage.bearer.role).reach.get(table.name)
    if reach is None or not reach.select:
        return refused
    there = stage.snapshot(table)
    statement = f"select count(*) from {sql.table(table.name)}"
    attempt = stage.attempt(statement)
    if attempt.error is not None:
        return replace(of_error("select", statement, attempt.error, table), found=len(there))
    count = attempt.rows[0][0]
    if count in (0, len(there)):
        return _observed("select", statement, tuple(there) if count else (), len(there))
    message = f"the token sees {count} rows, but its role can't read the key, so which ones isn't known"
    return Observation("select", Outcome.ERRORED, found=len(there), statement=statement, error=message)


def insert(stage: Stage, table: Table, values: Mapping[str, str], *, overriding: bool = False) -> Inserted:
    """Inserts one row of SQL expressions, without RETURNING: that would ask the SELECT policies too."""
    statement = rows.insert(table, values, overriding=overriding)
    attempt = stage.attempt(statement, rows.look(table))
    if attempt.error is not None:
        return Inserted(of_error("insert", statement, attempt.error, table))
    before, after = stage.snapshot(table), rows.snapshot(table, attempt.look)
    new = tuple(row for key, row in after.items() if key not in before)
    return Inserted(_observed("insert", statement, tuple(r.key for r in new), None), new)


def write(stage: Stage, table: Table, command: Command, statement: str, isolate: Key | None = None) -> Observation:
    """Runs an UPDATE or DELETE; `isolate`: all rows but this one are skipped once the policies were asked."""
    attempt = stage.attempt(statement, rows.look(table), (table, isolate) if isolate is not None else None)
    return _written(stage, table, command, statement, attempt)


def _written(stage: Stage, table: Table, command: Command, statement: str, attempt: Attempt) -> Observation:
    there = stage.snapshot(table)
    if attempt.error is not None:
        return replace(of_error(command, statement, attempt.error, table), found=len(there))
    keys = rows.changed(there, rows.snapshot(table, attempt.look))
    return _observed(command, statement, keys, len(there))


def perform(stage: Stage, case: Case) -> Inserted:
    """The statement of a case."""
    table = stage.table(case.table)
    if case.command == "select":
        return Inserted(select(stage, table))
    if case.command == "insert":
        return insert(stage, table, rows.literals(table, case.values))
    observation = write(stage, table, case.command, statement(table, case))
    return Inserted(replace(observation, found=len(matched(stage, table, case))))


def statement(table: Table, case: Case, *, blind: bool = False) -> str:
    """The UPDATE or DELETE of a case; `blind`: without its WHERE."""
    clause = "" if blind else rows.where(table, case.where)
    if case.command == "delete":
        return rows.delete(table, clause)
    return rows.update(table, rows.literals(table, case.values), clause)


def matched(stage: Stage, table: Table, case: Case) -> tuple[Key, ...]:
    """The rows that a case's WHERE finds past row security."""
    if not case.where:
        return tuple(stage.snapshot(table))
    query = f"select {rows.key_expression(table)} from {sql.table(table.name)} t{rows.where(table, case.where)}"
    return tuple(tuple(key) for (key,) in stage.ask(query))


def _observed(command: Command, statement: str, keys: tuple[Key, ...], found: int | None) -> Observation:
    outcome = Outcome.ALLOWED if keys else Outcome.HIDDEN
    return Observation(command, outcome, keys, found, statement)
