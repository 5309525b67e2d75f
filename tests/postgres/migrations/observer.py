"""Readers that look on while a database changes: between any two statements, and freely while a transaction runs."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg

from mcp_rls import sql
from tests.postgres.migrations.migration import Ids, Migration, Session
from tests.postgres.scratch import document

Seen = dict[tuple[str, str], Ids | str]  # (reader, query) to ids, or the error that isn't a refusal

# Each probe is a session's own statement, undone at once; 42501 is a refusal, and shows nothing.
_PROBE = """
create function pg_temp.probe(claims text, acting text, query text, counted boolean, out answer text) language plpgsql as $$
declare number bigint;
begin
  perform set_config('request.jwt.claims', claims, true);
  if to_regprocedure('mcp_rls.resolve(name)') is not null then execute format('select mcp_rls.resolve(%L)', acting); end if;
  perform set_config('role', acting, true);
  if counted then
    execute query;
    get diagnostics number = row_count;
    select coalesce(string_agg('#' || n, ' '), '') into answer from generate_series(1, number) n;
    if query like 'truncate%' then answer := 'everything'; end if;
  else
    execute format('with q(id) as (%s) select coalesce(string_agg(distinct id::text, '' ''), '''') from q', query) into answer;
  end if;
  raise exception using errcode = 'MRUND';
exception
  when sqlstate 'MRUND' then null;
  when insufficient_privilege then answer := '';
  when others then answer := '! ' || sqlstate || ' ' || sqlerrm;
end $$
"""  # noqa: E501
_ASK = """
select pg_temp.probe(c, r, q, counted) from unnest(%s::text[], %s::text[], %s::text[], %s::bool[])
with ordinality as u(c, r, q, counted, n) order by n
"""


def _answer(text: str) -> Ids | str:
    return text if text.startswith("!") else frozenset(text.split())


@dataclass
class Looker:
    """One that, when asked, tries every statement of every reader, in a connection of its own."""

    connection: psycopg.Connection[Any]
    migration: Migration
    reads: int = 0

    def look(self, *, writes: bool = True) -> Seen:
        """What each reader sees, or could change, now; nothing of it stays."""
        asked = [
            (reader, query)
            for reader in self.migration.sessions
            for query in (*self.migration.reads, *(self.migration.writes if writes else ()))
        ]
        sessions = [self.migration.sessions[reader] for reader, _ in asked]
        arguments = (
            [document(claims) for claims, _ in sessions],
            [role for _, role in sessions],
            [query for _, query in asked],
            [not (query.startswith("select") or " returning " in query) for _, query in asked],
        )
        answers = self.connection.execute(_ASK, arguments).fetchall()
        self.reads += len(answers)
        return {key: _answer(text) for key, (text,) in zip(asked, answers, strict=True)}


@contextmanager
def looker(url: str, migration: Migration) -> Iterator[Looker]:
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        connection.execute(_PROBE.encode())
        yield Looker(connection, migration)


def wider(now: Seen, start: Seen, end: Seen) -> dict[str, str]:
    """What in `now` is more than at the wider of both ends, or an error that is at neither; empty when all is well."""
    found = {}
    for key, seen in now.items():
        if isinstance(seen, str):
            if seen not in (start[key], end[key]):
                found[" ".join(key)] = seen
        elif not any(isinstance(limit, frozenset) and seen <= limit for limit in (start[key], end[key])):
            found[" ".join(key)] = f"sees {sorted(seen)}, at the ends {_told(start[key])} and {_told(end[key])}"
    return found


def _told(seen: Ids | str) -> str:
    return seen if isinstance(seen, str) else str(sorted(seen))


# --- readers that run freely


@dataclass
class FreeReader:
    """One session that reads without end: a statement by itself, then two in a transaction."""

    connection: psycopg.Connection[Any]
    queries: tuple[str, ...]
    seen: dict[tuple[str, str], set[Ids]] = field(default_factory=lambda: defaultdict(set))  # by phase and query
    errors: list[str] = field(default_factory=list)
    reads: int = 0
    rounds: int = 0
    phase: str = ""

    def once(self) -> None:
        """A round. A grant that is taken away shows nothing, and ends a transaction."""
        try:
            for query in self.queries:
                with suppress(psycopg.errors.InsufficientPrivilege):
                    self._read(query)
            with suppress(psycopg.errors.InsufficientPrivilege), self.connection.transaction():
                for query in (*self.queries, *self.queries):
                    self._read(query)
        except psycopg.Error as error:
            self.errors.append(f"{self.phase}: {error.sqlstate} {error.diag.message_primary}")
        self.rounds += 1

    def _read(self, query: str) -> None:
        phase, ids = self.phase, frozenset[str]()
        self.reads += 1
        try:
            ids = frozenset(str(row[0]) for row in self.connection.execute(query.encode()))
        finally:
            self.seen[phase, query].add(ids)


@dataclass
class FreeReaders:
    """Threads that read until they are told to stop; what each saw is judged afterwards."""

    readers: dict[str, FreeReader]
    stopping: threading.Event

    @property
    def reads(self) -> int:
        return sum(reader.reads for reader in self.readers.values())

    def begin(self, phase: str) -> None:
        """From now on each reads in this phase, and has read once already when this returns."""
        for reader in self.readers.values():
            reader.phase = phase
        self.settle()

    def settle(self) -> None:
        """Waits until each reader has read a whole round that began after this call."""
        for reader in self.readers.values():
            target = reader.rounds + 2
            while reader.rounds < target:
                time.sleep(0.0005)

    def run(self, reader: FreeReader) -> None:
        while not self.stopping.is_set():
            reader.once()
            time.sleep(0.001)  # the plan, made in this process, must come on too


@contextmanager
def free_readers(
    url: str, sessions: Mapping[str, Session], queries: tuple[str, ...], phase: str
) -> Iterator[FreeReaders]:
    """Sessions that read all the time, each as its token; `phase` is what they begin with."""
    with ExitStack() as stack:
        found = {}
        for name, session in sessions.items():
            connection = stack.enter_context(psycopg.connect(url, autocommit=True, prepare_threshold=None))
            become(connection, session)
            found[name] = FreeReader(connection, queries, phase=phase)
        readers = FreeReaders(found, threading.Event())
        threads = [threading.Thread(target=readers.run, args=(reader,)) for reader in found.values()]
        for thread in threads:
            thread.start()
        try:
            yield readers
        finally:
            readers.stopping.set()
            for thread in threads:
                thread.join()


def become(connection: psycopg.Connection[Any], session: Session) -> None:
    """Makes a connection a token's for as long as it lasts."""
    claims, role = session
    connection.execute("set lock_timeout = '5s'")
    connection.execute("select set_config('request.jwt.claims', %s, false)", (document(claims),))
    connection.execute(f"set role {sql.ident(role)}".encode())
