"""`mcp-rls apply` among other sessions: readers, other appliers, other orders of locks; and killed half way."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from mcp_rls.catalog import TableName
from mcp_rls.database import apply
from mcp_rls.database.introspect import read_state
from mcp_rls.database.server import Server
from mcp_rls.database.waiting import Locked
from mcp_rls.state import State
from tests.postgres.forks import Child, Forks, forks
from tests.postgres.scratch import ANN, HEAD, Scratch, helper, policies, scratch_on

pytestmark = pytest.mark.postgres

TABLES = tuple(f"t{n}" for n in range(1, 7))
SCHEMA = "".join(
    f"create table public.{name} (id integer primary key, owner uuid, kind text);"
    f"insert into public.{name} values (1, '{ANN}', 'a'), (2, '{ANN}', 'b'), (3, null, 'a');"
    f"grant all on public.{name} to authenticated;"
    for name in TABLES
)
RULES = (
    "{{people: [{{allow: [{people}], rows: owner = token.person}}],"
    ' clients: [{{who: helper, allow: select, rows: "{rows}"}}]}}'
)
SET = 'sets: {mine: {type: integer, query: "select 2 where token.person is not null"}}\n'


def file(people: str, rows: str, more: str = "") -> str:
    """A policy file with the same rules for each table."""
    rules = RULES.format(people=people, rows=rows)
    return HEAD + more + "tables:\n" + "".join(f"  public.{name}: {rules}\n" for name in TABLES)


# Nobody is recognised anew, so that each can be reached from the others table by table.
ENDS = {
    "first": file("select, update", "kind = 'a'"),
    "second": file("select, delete", "id in mine and kind = 'b'", SET),
    "third": file("select", "kind in ('a', 'b') and id < 2"),
}


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with forks(tmp_path_factory.mktemp("children"), ENDS["second"]) as made:
        yield made


@pytest.fixture(scope="module")
def template(server: Server) -> Iterator[tuple[str, dict[str, State]]]:
    """A database at the first end, to be copied, and the states that the files lead to."""
    with scratch_on(server) as scratch:
        scratch.run(SCHEMA)
        ends = {}
        for name, text in reversed(ENDS.items()):
            scratch.install(text)
            ends[name] = read_state(scratch.connection, ("public",), ("authenticated", "anon"))
        scratch.connection.close()
        yield str(conninfo_to_dict(scratch.url)["dbname"]), ends


class Stage:
    """A database with tables, files for it, and the states that they lead to."""

    def __init__(self, scratch: Scratch, ends: dict[str, State], directory: Path) -> None:
        self.scratch, self.ends = scratch, ends
        self.files = {name: directory / f"{name}.yaml" for name in ENDS}
        for name, text in ENDS.items():
            self.files[name].write_text(text, encoding="utf-8")
        self.assert_at("first")

    def install(self, name: str) -> None:
        self.scratch.install(ENDS[name])
        self.assert_at(name)

    def state(self) -> State:
        return read_state(self.scratch.connection, ("public",), ("authenticated", "anon"))

    def assert_at(self, *names: str) -> str:
        """Which of these ends the database is at."""
        now = self.state().fingerprint
        found = [name for name in names if self.ends[name].fingerprint == now]
        assert found, f"it is at none of {names}"
        return found[0]

    def command(self, name: str, *options: str) -> list[str]:
        return ["apply", str(self.files[name]), "--database", self.scratch.url, *options]

    def waits_for(self, what: str) -> bool:
        """Whether a session waits for a lock on a table, or ('advisory') for another apply, in its transaction."""
        query = f"""select count(*) from pg_locks l join pg_stat_activity a using (pid)
            where not l.granted and a.xact_start is not null
              and {"l.locktype = 'advisory'" if what == "advisory" else f"l.relation = '{what}'::regclass"}"""
        return bool(self.scratch.value(query))

    def locked_exclusively(self) -> set[str]:
        """Tables that some transaction keeps everybody from."""
        found = self.scratch.run(
            "select relation::regclass::text from pg_locks where mode = 'AccessExclusiveLock' and granted"
            " and relation >= 16384"
        )
        return {name for (name,) in found}

    @contextmanager
    def held(self, statement: str) -> Iterator[psycopg.Connection[Any]]:
        """A transaction of somebody else's, in which this was done."""
        with psycopg.connect(self.scratch.url) as other:
            other.execute(statement.encode())
            yield other
            other.rollback()


@pytest.fixture
def stage(server: Server, template: tuple[str, dict[str, State]], tmp_path: Path) -> Iterator[Stage]:
    name, ends = template
    with scratch_on(server, name) as scratch:
        yield Stage(scratch, ends, tmp_path)


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it didn't come to that"
        time.sleep(0.002)


@contextmanager
def real(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in an interpreter of its own."""
    command = [sys.executable, "-m", "mcp_rls", *arguments]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        yield process
        process.kill()


def ended_well(child: Child) -> str:
    """What a child printed that did its work."""
    code, text = child.wait()
    assert code == 0, text
    return text


# --- readers


class Reader(threading.Thread):
    """A session that reads one table as a client without end, and measures how long each read takes."""

    def __init__(self, url: str, table: str) -> None:
        super().__init__()
        self.url, self.table, self.longest, self.reads = url, table, 0.0, 0
        self.seen: set[tuple[int, ...]] = set()
        self.stopping = threading.Event()

    def run(self) -> None:
        with psycopg.connect(self.url, autocommit=True, prepare_threshold=None) as connection:
            connection.execute("select set_config('request.jwt.claims', %s, false)", (str(helper()).replace("'", '"'),))
            connection.execute("set role authenticated")
            while not self.stopping.is_set():
                started = time.monotonic()
                rows = connection.execute(f"select id from public.{self.table} order by id".encode()).fetchall()
                self.longest = max(self.longest, time.monotonic() - started)
                self.reads += 1
                self.seen.add(tuple(i for (i,) in rows))
                time.sleep(0.002)


@contextmanager
def reading(url: str, *tables: str) -> Iterator[list[Reader]]:
    readers = [Reader(url, table) for table in tables]
    for reader in readers:
        reader.start()
    try:
        wait_until(lambda: all(reader.reads for reader in readers))
        yield readers
    finally:
        for reader in readers:
            reader.stopping.set()
            reader.join()


def test_readers_hardly_wait_behind_a_waiting_apply(stage, record_property):
    """Somebody reads a table for three seconds in one transaction: apply waits as long, others never half a second."""
    with reading(stage.scratch.url, "t3", "t3", "t1") as readers, real(*stage.command("second")) as process:
        with stage.held("select from public.t3"):
            wait_until(lambda: stage.waits_for("public.t3"))
            time.sleep(3)
            assert process.poll() is None
            stage.assert_at("first")
        printed, _ = process.communicate(timeout=30)
        wait_until(lambda: all((2,) in reader.seen for reader in readers))
    assert process.returncode == 0, printed
    assert "public.t3 is in use" in printed
    stage.assert_at("second")
    for reader in readers:
        assert reader.seen == {(1,), (2,)}
    longest = max(reader.longest for reader in readers)
    reads = sum(reader.reads for reader in readers)
    record_property("measured", f"apply among {reads:,} reads: the longest of them took {longest * 1000:.0f} ms")
    assert longest < 0.5


def test_waits_for_several_tables_do_not_add_up(stage, children):
    """Five tables are each in use for a moment when apply comes to them; who reads the first hardly waits for that."""
    with reading(stage.scratch.url, "t1") as (reader,), ExitStack() as stack:
        held = {name: stack.enter_context(stage.held(f"select from public.{name}")) for name in TABLES[1:]}
        child = children.start(*stage.command("second"))
        for name, other in held.items():
            wait_until(partial(stage.waits_for, f"public.{name}"))
            time.sleep(0.2)
            other.rollback()
        ended_well(child)
    assert reader.longest < 0.5


# --- killed


@pytest.mark.parametrize("where", ["advisory", "public.t6", "mcp_rls.manifest"])
def test_killed_while_it_waits_in_its_transaction(where, stage, children):
    """At a lock that another session holds: before the first statement, with five tables locked, or with everything
    done but the last note. Nothing is changed, and the next apply has free way.
    """
    lock = {
        "advisory": "select pg_advisory_xact_lock(hashtext('mcp_rls.apply'))",
        "public.t6": "lock table public.t6 in access share mode",
        "mcp_rls.manifest": "lock table mcp_rls.manifest in share mode",
    }[where]
    with stage.held(lock), real(*stage.command("second", "--lock-timeout", "20s")) as process:
        wait_until(lambda: stage.waits_for(where))
        locked = stage.locked_exclusively()
        process.kill()
        process.communicate(timeout=10)
    held = {"advisory": set(), "public.t6": set(TABLES[:5]), "mcp_rls.manifest": set(TABLES)}[where]
    assert {name for name in locked if name in TABLES} == held
    stage.assert_at("first")
    ended_well(children.start(*stage.command("second")))
    stage.assert_at("second")


def kill_after(child: Child, lines: int, more: float) -> None:
    """Once it has told of so many operations, or is done, and then a moment more."""
    wait_until(lambda: child.lines >= lines or not child.is_running)
    time.sleep(more)
    child.kill()


def test_killed_at_any_moment(stage, children, record_property):
    """The database is at one of both ends, and the next apply leads to the other.

    Operations are told of as they are done, within the transaction, and after the last of all the outcome.
    """
    at, to, ends = "first", "second", []
    moments = [(0.0, 0.0), (0.0, 0.03), *((part, 0.0) for part in (0.01, 0.25, 0.5, 0.75, 1.0))]
    for part, more in (*moments, (1.0, 0.01), (1.0, 0.02), (1.0, 0.03), (1.01, 0.0)):
        steps = len(stage.scratch.prepare(ENDS[to]).plan.operations)
        child = children.start(*stage.command(to))
        kill_after(child, math.ceil(part * steps), more)
        ends.append(stage.assert_at(at, to) == to)
        ended_well(children.start(*stage.command(to)))
        stage.assert_at(to)
        at, to = to, at
    assert not any(ends[:6]), "it is one transaction"
    assert ends[-1], "it tells of its end after it"
    told = f"{ends.count(False)} times before its end, {ends.count(True)} times after"
    record_property("measured", f"apply killed {len(ends)} times: {told}")


def of_table(state: State, name: str) -> State:
    """What a state says of one table."""
    table = TableName("public", name)
    return replace(
        State(),
        policies={key: p for key, p in state.policies.items() if p.table == table},
        switches={table: state.switches[table]},
        privileges=frozenset(p for p in state.privileges if p.table == table),
        revoked=frozenset(p for p in state.revoked if p.table == table),
    )


def tables_done(stage: Stage, at: str, to: str) -> int:
    """How many tables are at the other end; each must be at one of both, and each function too."""
    now, done = stage.state(), 0
    for name in TABLES:
        here, *ends = (of_table(state, name).fingerprint for state in (now, stage.ends[at], stage.ends[to]))
        assert here in ends, name
        done += here == ends[1]
    for signature, function in now.functions.items():
        known = [stage.ends[end].functions.get(signature) for end in (at, to)]
        assert function.source in [end.source for end in known if end], signature
    return done


def test_killed_at_any_moment_table_by_table(stage, children, record_property):
    """Each table is at one of its two ends, and the next run does the rest."""
    at, to = "first", "second"
    done: list[int] = []
    for steps in (0, 0, 1, 2, 3, 4, 5, 6, 7):
        child = children.start(*stage.command(to, "--per-table"))
        kill_after(child, steps, 0.002 * len(done))
        done.append(tables_done(stage, at, to))
        ended_well(children.start(*stage.command(to, "--per-table")))
        stage.assert_at(to)
        at, to = to, at
    assert {0, 6} < {*done}
    told = ", ".join(map(str, done))
    record_property("measured", f"apply --per-table killed {len(done)} times: {told} of 6 tables were done")


def test_killed_between_two_tables(stage, children):
    """At the fourth table's lock: three tables are done, the others as they were; the next run does the rest."""
    with stage.held("lock table public.t4 in access share mode"):
        child = children.start(*stage.command("second", "--per-table", "--lock-timeout", "20s"))
        wait_until(lambda: stage.waits_for("public.t4"))
        child.kill()
    assert tables_done(stage, "first", "second") == 3
    ended_well(children.start(*stage.command("second", "--per-table")))
    stage.assert_at("second")


# --- two at once


def test_two_at_once(stage, children):
    """Of the same file and of two: one goes first, the other after it or not at all; what holds is one of the files."""
    outcomes = []
    for turn in range(10):
        stage.install("first")
        names = ("second", "second") if turn % 2 else ("second", "third")
        both = [children.start(*stage.command(name)) for name in names]
        ended = [child.wait() for child in both]
        for code, text in ended:
            assert code in (0, 2), text
            assert "Traceback" not in text
            assert "deadlock" not in text
            assert code == 0 or "the database changed since this plan was made" in text
        reached = stage.assert_at(*names)
        assert 0 in [code for (code, _), name in zip(ended, names, strict=True) if name == reached]
        outcomes.append([code for code, _ in ended])
    assert any(2 in codes for codes in outcomes), "they never met"


def test_two_at_once_table_by_table(stage, children):
    """Of the same file: each is done or refused, in words, and whatever is left the next run does."""
    for _ in range(2):
        stage.install("first")
        both = [children.start(*stage.command("second", "--per-table")) for _ in range(2)]
        for code, text in [child.wait() for child in both]:
            assert code in (0, 2), text
            assert "Traceback" not in text
            assert "deadlock" not in text
        tables_done(stage, "first", "second")
        ended_well(children.start(*stage.command("second", "--per-table")))
        stage.assert_at("second")


def test_another_file_between_two_tables(stage, children):
    """Nobody else applies until the last table is done: one that recognises more clients would meet rules of others."""
    wider = stage.files["third"]
    wider.write_text(file("select, update", "id > 0"), encoding="utf-8")
    more = policies(ENDS["first"].replace("ids: [helper]", "ids: [helper, worker]"))
    connection = stage.scratch.connection
    with stage.held("lock table public.t4 in access share mode"):
        child = children.start(*stage.command("third", "--per-table"))
        wait_until(lambda: stage.waits_for("public.t4"))
        wanted = apply.prepare(connection, more).plan
        with pytest.raises(Locked):
            apply.apply_plan(connection, more, wanted, lock_timeout="50ms", patience=0.3)
    ended_well(child)
    assert stage.scratch.left(wider.read_text(encoding="utf-8")) == []
    worker = {"sub": ANN, "client_id": "worker"}
    assert [stage.scratch.sees(worker, f"public.{name}") for name in TABLES] == [[]] * len(TABLES)


# --- the other way round


def test_whoever_locks_in_another_order_is_not_ended(stage, children):
    """Two who wait for each other: apply gives way, before PostgreSQL would look for a deadlock, and comes again."""
    with stage.held("lock table public.t6 in exclusive mode") as other:
        child = children.start(*stage.command("second"))
        for _ in range(3):
            wait_until(lambda: "t1" in stage.locked_exclusively() and stage.waits_for("public.t6"))
            began = time.monotonic()
            other.execute("savepoint s; lock table public.t1 in exclusive mode; rollback to s")
            assert time.monotonic() - began < 1
    text = ended_well(child)
    assert "public.t6 is in use" in text
    stage.assert_at("second")
