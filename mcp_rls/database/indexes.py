"""Indexes that the rules of a policy file look rows up by: which are missing, and making them without closing a table.

CREATE INDEX CONCURRENTLY lets everybody read and write meanwhile, and so it can't be part of the policies' transaction.
What a try that failed leaves behind is an index that isn't valid; the next try takes it away and begins anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from mcp_rls import sql
from mcp_rls.catalog import FEW, TableName
from mcp_rls.compiler.ledger import LOCK_TIMEOUT
from mcp_rls.compiler.resolve import ResolvedPolicies, place
from mcp_rls.compiler.searches import unserved
from mcp_rls.database.waiting import Refused
from mcp_rls.effect import Effect
from mcp_rls.operation import Operation
from mcp_rls.state import digest

Connection = psycopg.Connection[Any]
Progress = Callable[[str], None]

LOCK = "SHARE UPDATE EXCLUSIVE"  # nobody who reads or writes waits for it
LOOK_AGAIN = 2.0  # seconds between two looks at how far a build is

_THERE = """
select n.nspname::text, c.relname::text, c.relkind = 'p',
       coalesce((select jsonb_agg(array(
           select coalesce(a.attname::text, '') from unnest(i.indkey::int2[]) with ordinality k(number, position)
           left join pg_attribute a on a.attrelid = c.oid and a.attnum = k.number
           where k.position <= i.indnkeyatts order by k.position))
         from pg_index i where i.indrelid = c.oid and i.indisvalid and i.indpred is null), '[]')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.reltuples between 0 and %s
"""
_LEAVES = """
select n.nspname::text, c.relname::text from pg_partition_tree(%s::text::regclass) t
join pg_class c on c.oid = t.relid join pg_namespace n on n.oid = c.relnamespace
where t.isleaf and c.relkind = 'r' order by 1, 2
"""
_INVALID = """
select from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %s and c.relname = %s and not i.indisvalid
"""
_FAR = """
select phase, case when blocks_total > 0 then 100 * blocks_done / blocks_total
                   when tuples_total > 0 then 100 * tuples_done / tuples_total end, nullif(current_locker_pid, 0)
from pg_stat_progress_create_index where pid = %s
"""


@dataclass(frozen=True)
class Index:
    """An index to be made; `what` looks up by it, at `place` in the policy file."""

    table: TableName
    columns: tuple[str, ...]
    what: str
    place: str
    partitioned: bool = False

    @property
    def name(self) -> str:
        """The same for one table and these columns, run for run; within PostgreSQL's 63 bytes."""
        whole = f"{self.table.name}_{'_'.join(self.columns)}_mcp_rls"
        if len(whole.encode()) <= 63:
            return whole
        return f"{whole.encode()[:46].decode(errors='ignore')}_{digest(whole)[:8]}_mcp_rls"

    @property
    def statement(self) -> str:
        return sql.create_index(self.table, self.columns, self.name, concurrently=not self.partitioned)

    def __str__(self) -> str:
        return f"{self.table} ({', '.join(self.columns)})"

    @property
    def operation(self) -> Operation:
        """What a plan shows of it."""
        words = f"{self.table}: index on {', '.join(self.columns)}, for {self.what} ({self.place})"
        lock = f"{LOCK} on each partition, then SHARE for a moment" if self.partitioned else LOCK
        return Operation((self.statement,), words, Effect.NEITHER, lock, f"index {self.name}", self.table)


@dataclass(frozen=True)
class Failed:
    """An index that wasn't made, and why."""

    index: Index
    why: str


def missing(conn: Connection, resolved: ResolvedPolicies) -> tuple[Index, ...]:
    """The indexes that the file's rules need and haven't, on tables that aren't known to be small."""
    tables = {TableName(schema, name): rest for schema, name, *rest in conn.execute(_THERE, (FEW,))}
    there = {name: [tuple(columns) for columns in indexes] for name, (_, indexes) in tables.items()}
    found = unserved(resolved, there)
    return tuple(Index(s.table, s.index, s.what, place(s.span), tables[s.table][0]) for s in found)


def create(
    conn: Connection, resolved: ResolvedPolicies, *, watch: Connection, progress: Progress
) -> tuple[Failed, ...]:
    """Makes what is missing, one after the other and outside every transaction; what failed, with PostgreSQL's reason.

    `conn` must commit each statement. `watch` is a second connection, by which it is seen how far a build is. Raises
    Refused when another run is at it: what that has begun would look like a failed try.
    """
    with _alone(conn), _patient(conn):
        tried = [_tried(conn, index, watch, progress) for index in missing(conn, resolved)]
        failed = [one for one in tried if one is not None]
        known = {one.index for one in failed}
        other = [i for i in missing(conn, resolved) if i not in known]
    return (*failed, *(Failed(i, f"there is an index {i.name}, and it is another") for i in other))


def _tried(conn: Connection, index: Index, watch: Connection, progress: Progress) -> Failed | None:
    begun = time.monotonic()
    try:
        for part in (*_leaves(conn, index), index):
            _make(conn, part, watch, progress)
    except psycopg.Error as error:
        if error.sqlstate is None:  # not the server's word: the connection is gone
            raise
        return Failed(index, error.diag.message_primary or "PostgreSQL refused")
    progress(f"index {index.name}: done, after {time.monotonic() - begun:.1f} s")
    return None


@contextmanager
def _alone(conn: Connection) -> Iterator[None]:
    """Keeps others out. Whoever waited for this lock would be waited for by the build, so nobody waits."""
    row = conn.execute("select pg_try_advisory_lock(hashtext('mcp_rls.indexes'))").fetchone()
    if not (row and row[0]):
        raise Refused("another run is making indexes in this database")
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("select pg_advisory_unlock(hashtext('mcp_rls.indexes'))")


@contextmanager
def _patient(conn: Connection) -> Iterator[None]:
    """No limits of time: a build waits for transactions that began before it, and nobody waits for the build."""
    names = ("lock_timeout", "statement_timeout")
    values = [conn.execute("select current_setting(%s)", (name,)).fetchone() for name in names]
    for name in names:
        conn.execute("select set_config(%s, '0', false)", (name,))
    try:
        yield
    finally:
        for name, value in zip(names, values, strict=True):
            if not conn.closed:
                conn.execute("select set_config(%s, %s, false)", (name, value[0] if value else "0"))


def _leaves(conn: Connection, index: Index) -> list[Index]:
    """The same index on each leaf of a partitioned table: its own can't be made concurrently, and takes theirs up."""
    if not index.partitioned:
        return []
    rows = conn.execute(_LEAVES, (sql.table(index.table),))
    return [replace(index, table=TableName(*row), partitioned=False) for row in rows]


def _make(conn: Connection, index: Index, watch: Connection, progress: Progress) -> None:
    schema = index.table.schema
    if conn.execute(_INVALID, (schema, index.name)).fetchone() is not None:
        progress(f"index {index.name} is what a failed try left: dropped, and made again")
        conn.execute(f"drop index concurrently if exists {sql.table(TableName(schema, index.name))}".encode())
    if index.partitioned:
        # its leaves have theirs by now, so that this lasts no longer than a change of policies, and waits as long
        with conn.transaction():
            conn.execute("select set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
            conn.execute(index.statement.encode())
        return
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(conn.execute, index.statement.encode())
        try:
            _watch(building, conn.info.backend_pid, index, watch, progress)
        except BaseException:
            conn.cancel()
            raise


def _watch(building: Future[Any], pid: int, index: Index, watch: Connection, progress: Progress) -> None:
    """Waits for a build to end, and says every now and then how far it is; raises what the build raised."""
    said = ""
    while not wait([building], LOOK_AGAIN).done:
        row = watch.execute(_FAR, (pid,)).fetchone()
        now = _how_far(*row) if row is not None else ""
        if now and now != said:
            progress(f"index {index.name}: {now}")
            said = now
    building.result()


def _how_far(phase: str, percent: int | None, waits_for: int | None) -> str:
    if waits_for is not None:
        return f"{phase}, for the transaction of process {waits_for}"
    return f"{phase}, {percent} %" if percent is not None else phase
