"""Findings on the other ways to read: locking reads, copies, cursors, samples, queries that make a table."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import psycopg

from mcp_rls import sql
from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import Bench, Sight, Trial, hidden_among, keys_in
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.probes.kit.writable import copies, inserts
from mcp_rls.harness.stage import Attempt

TITLE = "other ways to read"
NOTHING = "no row is hidden from any token"
_HELD = "locking reads, cursors, samples, copies and queries that make a table don't show the hidden row"
_REMEDY = "see which policy admits the row: mcp-rls test shows the policies of the table"
_STRENGTHS = ("update", "share")  # the others ask the same policies
_MADE = "pg_temp.mcp_rls_probe"


def probe(bench: Bench) -> Iterator[Found]:
    for sight in bench.hiding:
        found = bench.judge(str(sight.name), _trials(bench, sight), Verdict.LEAKS, _HELD, _REMEDY)
        if found is not None:
            yield found


def _trials(bench: Bench, sight: Sight) -> Iterator[Trial]:
    for way, statements in _ways(sight):
        yield Trial(sight, statements, partial(_shown, sight), f"{way} shows {{row}}, which is hidden", way=way)
    run, tells = partial(_copied, bench, sight), partial(_more_lines, sight)
    yield Trial(sight, (), tells, "a copy of the table holds {row}, which is hidden", run=run, way="a copy")
    yield from _returned(bench, sight)


def _ways(sight: Sight) -> Iterator[tuple[str, tuple[str, ...]]]:
    name, key = sql.table(sight.name), rows.key_expression(sight.table)
    plain, made = f"select {key} as key from {name} t", f"select key from {_MADE}"
    for strength in _STRENGTHS:
        yield "a locking read", (f"{plain} for {strength}",)
    yield "a cursor", (f"declare mcp_rls_probe cursor for {plain}", "fetch all from mcp_rls_probe")
    yield "a sample", (f"select {key} from {name} t tablesample system (100)",)
    yield "a table made of a query", (f"create temporary table mcp_rls_probe as {plain}", made)
    into = f"select {key} as key into temporary mcp_rls_probe from {name} t"
    yield "a table made of a query", (into, made)


def _shown(sight: Sight, attempt: Attempt) -> Key | None:
    return hidden_among(sight, keys_in(attempt))


def _returned(bench: Bench, sight: Sight) -> Iterator[Trial]:
    """Rows that the token may insert and isn't shown then, as an INSERT gives them back."""
    name, readable = sql.table(sight.name), [c.name for c in sight.table.columns if c.name in sight.reach.select]
    learnt, tells = "an insert gives back what is hidden like {row}", partial(_given_back, sight)
    for row in copies(bench, sight) if readable and inserts(bench, sight) else ():
        insert = rows.insert(sight.table, row, overriding=True)
        after = bench.act([insert, f"select {rows.key_expression(sight.table)} from {name} t"], rows.look(sight.table))
        new = set(rows.snapshot(sight.table, after.look)) - set(sight.there)
        if new and not new & set(keys_in(after)):
            statement = f"{insert} returning {sql.ident(readable[0])}"
            yield Trial(sight, (statement,), tells, learnt, way="an insert that gives back")


def _given_back(sight: Sight, attempt: Attempt) -> Key | None:
    return sight.hidden[0] if attempt.rows else None


def _copied(bench: Bench, sight: Sight, past: bool) -> Attempt:
    """The lines of the table as COPY writes them out. Any column will do: only their number is looked at."""
    readable = [c.name for c in sight.table.columns if past or not sight.reach.select or c.name in sight.reach.select]
    names = ", ".join(map(sql.ident, readable[:1]))
    # a partitioned table can't be copied itself
    target = f"(select {names} from {sql.table(sight.name)})" if sight.table.kind == "partitioned" else None
    statement = f"copy {target or f'{sql.table(sight.name)} ({names})'} to stdout"
    ready = (bench.control if past else bench.act)(["select"])
    if ready.error is not None:
        return ready
    try:
        with bench.stage.conn.cursor().copy(statement.encode()) as copy:
            return Attempt([(line,) for line in copy.rows()], [])
    except psycopg.Error as error:
        return Attempt([], [], error)


def _more_lines(sight: Sight, attempt: Attempt) -> Key | None:
    return sight.hidden[0] if len(attempt.rows) > len(sight.seen) else None
