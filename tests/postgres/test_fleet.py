"""One policy file and twenty databases on two servers: whatever happens to one, the others hold what the file says."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from mcp_rls.cli import main
from mcp_rls.cli.options import problem_of
from mcp_rls.database.apply import apply_plan, prepare
from mcp_rls.database.drift import drift
from mcp_rls.database.embedded import embedded
from mcp_rls.database.fleet import FleetRun, Outcome, Standing, Stop, Work, applying, run
from mcp_rls.database.introspect import read_state
from mcp_rls.database.server import Server
from mcp_rls.database.waiting import Connection
from mcp_rls.state import State
from tests.postgres.scratch import HEAD, NOTES, ROLES, make_roles, policies

pytestmark = pytest.mark.postgres

SCHEMA = NOTES + NOTES.replace("public.notes", "public.tasks")
RULE = "{clients: [{who: helper, allow: select, rows: \"status = 'open'\"}]}"
FILE = f"{HEAD}tables:\n  public.notes: {RULE}\n  public.tasks: {RULE}\n"
POLICIES = policies(FILE)
SIZE = 20
VICTIM = "db-07"
FIRST = f"db-{SIZE:02}"  # the only one on the second server, where that matters


@dataclass
class Fleet:
    """Databases by name, and a fleet file that finds each through an environment variable."""

    urls: dict[str, str]
    file: Path
    policies: Path
    monkeypatch: pytest.MonkeyPatch

    def point(self, name: str, url: str) -> None:
        self.monkeypatch.setenv(_variable(name), url)

    def ask(self, command: str, *options: str, code: int = 0) -> dict[str, Any]:
        """The JSON report of a command on the fleet."""
        arguments = [command, str(self.policies), "--fleet", str(self.file), "--format", "json", *options]
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == code, result.output
        document: dict[str, Any] = json.loads(result.stdout)
        assert document["exit_code"] == code
        return document

    def connect(self, name: str) -> Connection:
        return psycopg.connect(self.urls[name], autocommit=True, prepare_threshold=None)

    def state(self, name: str) -> State:
        """All that a plan looks at."""
        with self.connect(name) as connection:
            return read_state(connection, POLICIES.schemas, POLICIES.acting)

    def holds_it(self, name: str) -> bool:
        """Whether nothing is pending, and nothing differs from what was applied."""
        with self.connect(name) as connection:
            return not prepare(connection, POLICIES).plan and drift(connection, POLICIES).findings == ()


def _variable(name: str) -> str:
    return f"FLEET_{name.replace('-', '_').upper()}"


def states(document: dict[str, Any]) -> dict[str, str]:
    return {each["database"]: each["state"] for each in document["databases"]}


@pytest.fixture(scope="module")
def both(server: Server) -> Iterator[tuple[Server, Server]]:
    """The usual server, and another embedded one, with the roles of the policies."""
    with embedded() as other:
        for each in (server, other):
            with psycopg.connect(each.url, autocommit=True) as connection:
                make_roles(connection, *ROLES)
        yield server, other


Make = Callable[[int, int], Fleet]


@pytest.fixture
def make(both: tuple[Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes a fleet: so many databases on the first server, so many on the second, copies of one template each."""
    monkeypatch.delenv("MCP_RLS_DATABASE_URL", raising=False)
    with ExitStack() as stack:

        def made(first: int, second: int) -> Fleet:
            listed = [*_databases(stack, both[0], first), *_databases(stack, both[1], second)]
            urls = {f"db-{number:02}": url for number, url in enumerate(listed, 1)}
            file, policy_file = tmp_path / "fleet.yaml", tmp_path / "policies.yaml"
            lines = "".join(f"  {name}: ${{{_variable(name)}}}\n" for name in urls)
            file.write_text(f"mcp_rls_fleet: 1\nretries: 1\ndatabases:\n{lines}", encoding="utf-8")
            policy_file.write_text(FILE, encoding="utf-8")
            fleet = Fleet(urls, file, policy_file, monkeypatch)
            for name, url in urls.items():
                fleet.point(name, url)
            return fleet

        yield made


def _databases(stack: ExitStack, server: Server, number: int) -> list[str]:
    """The URLs of so many databases with the same tables."""
    template = stack.enter_context(server.scratch_database())
    with psycopg.connect(template, autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
        name = connection.info.dbname
    return [stack.enter_context(server.scratch_database(name)) for _ in range(number)]


# --- ways in which one fails, each with how long it lasts


@contextmanager
def locked(fleet: Fleet, name: str) -> Iterator[None]:
    """A reader that doesn't end holds one of the tables."""
    with psycopg.connect(fleet.urls[name]) as other:
        other.execute("select from public.tasks")
        yield


@contextmanager
def unreachable(fleet: Fleet, name: str) -> Iterator[None]:
    """Nobody listens at the port."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        fleet.point(name, f"postgresql://nobody@127.0.0.1:{taken.getsockname()[1]}/nowhere")
        yield
    fleet.point(name, fleet.urls[name])


def sql(wrong: str, right: str) -> Callable[[Fleet, str], AbstractContextManager[None]]:
    """Statements that make the database another than the policies are for, and that undo it."""

    @contextmanager
    def cause(fleet: Fleet, name: str) -> Iterator[None]:
        with fleet.connect(name) as connection:
            connection.execute(wrong.encode())
            yield
            connection.execute(right.encode())

    return cause


TRIGGER = """
create function public.no_comments() returns event_trigger language plpgsql as $$ begin raise 'not tonight'; end $$;
create event trigger no_comments on ddl_command_end when tag in ('COMMENT') execute function public.no_comments()
"""
TASKS = "alter table public.tasks"
CAUSES = {
    "a table that is in use": (VICTIM, locked, "failed", "public.tasks is in use", 2, 2),
    "a server that doesn't answer": (VICTIM, unreachable, "failed", "the database doesn't answer", 2, 2),
    "a column that isn't there": (
        VICTIM, sql(f"{TASKS} rename status to state", f"{TASKS} rename state to status"),
        "doesn't fit", "", 1, 1,
    ),
    "a role that isn't there": (
        FIRST, sql("alter role authenticated rename to anyone", "alter role anyone rename to authenticated"),
        "doesn't fit", "", 1, 1,
    ),
    "a schema of our name": (
        VICTIM, sql("create schema mcp_rls", "drop schema mcp_rls"), "refused", "it isn't ours", 1, 2
    ),
    "an error half way": (
        VICTIM, sql(TRIGGER, "drop event trigger no_comments; drop function public.no_comments"),
        "refused", "not tonight", 1, 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("cause", CAUSES)
def test_one_that_fails_leaves_the_others_in_step(make: Make, cause: str):
    """The other 19 hold what the file says; it holds what it held, and is done alone when the cause is gone."""
    name, failing, state, reason, tries, code = CAUSES[cause]
    fleet = make(SIZE - 1, 1) if name == FIRST else make(SIZE // 2, SIZE // 2)
    before = fleet.state(name)
    with failing(fleet, name):
        meanwhile = fleet.state(name)
        first = fleet.ask("apply", "--lock-timeout", "50ms", "--patience", "0.1", code=code)
        assert fleet.state(name) == meanwhile
        others = set(fleet.urls) - {name}
        assert states(first) == {**dict.fromkeys(others, "applied"), name: state}
        assert all(fleet.holds_it(other) for other in others)
    failed = next(each for each in first["databases"] if each["database"] == name)
    assert reason in failed["reason"]
    assert failed["tries"] == tries
    shared = first["groups"][0]
    assert (set(shared["databases"]), shared["changes"]["pending"]) == (others, False)
    assert fleet.state(name) == before
    alone = fleet.ask("apply", "--only", name)
    assert states(alone) == {name: "applied"}
    assert alone["groups"][0]["changes"]["operations"] == shared["changes"]["operations"]
    assert states(fleet.ask("apply")) == dict.fromkeys(fleet.urls, "in step")
    assert all(fleet.holds_it(each) for each in fleet.urls)


def test_plan_and_drift_of_a_fleet(make: Make):
    """The same plan is told once; afterwards drift finds the one database that somebody changed, and that alone."""
    fleet = make(SIZE // 2, SIZE // 2)
    planned = fleet.ask("plan", code=1)
    assert states(planned) == dict.fromkeys(fleet.urls, "pending")
    (group,) = planned["groups"]
    assert group["databases"] == list(fleet.urls)
    assert states(fleet.ask("drift", code=2)) == dict.fromkeys(fleet.urls, "not judged")  # nothing was ever applied
    fleet.ask("apply")
    assert states(fleet.ask("plan")) == dict.fromkeys(fleet.urls, "in step")
    assert states(fleet.ask("drift")) == dict.fromkeys(fleet.urls, "in step")
    with fleet.connect(VICTIM) as connection:
        connection.execute('drop policy "mcp_rls: notes select" on public.notes')
    drifted = fleet.ask("drift", code=1)
    assert {name for name, state in states(drifted).items() if state != "in step"} == {VICTIM}
    (group,) = drifted["groups"]
    assert group["databases"] == [VICTIM]
    assert "mcp_rls: notes select" in group["drift"]["findings"][0]["object"]
    assert states(fleet.ask("apply"))[VICTIM] == "applied"
    assert fleet.holds_it(VICTIM)


def test_a_table_at_a_time_in_each_database(make: Make):
    """With --per-table, too."""
    fleet = make(2, 1)
    assert set(states(fleet.ask("apply", "--per-table")).values()) == {"applied"}
    assert all(fleet.holds_it(each) for each in fleet.urls)


# --- how it is carried out


def carried_out(fleet: Fleet, work: Work, **options: Any) -> FleetRun:
    return run("apply", fleet.urls, work, words=problem_of, **options)


def standings(ran: FleetRun) -> dict[str, str]:
    return {result.database: result.outcome.standing.label for result in ran.results}


APPLYING = applying(POLICIES, lock_timeout="50ms", patience=0.1)


def test_no_more_than_the_limit_at_a_time(make: Make):
    """Four meet at a barrier each time, and the servers never see a fifth session."""
    fleet, limit = make(SIZE // 2, SIZE // 2), 4
    barrier, seen = threading.Barrier(limit, timeout=60), set()
    names = [psycopg.conninfo.conninfo_to_dict(url)["dbname"] for url in fleet.urls.values()]

    def sessions() -> int:
        query = "select count(*) from pg_stat_activity where datname = any(%s)"
        total = 0
        for url in (fleet.urls["db-01"], fleet.urls[FIRST]):
            with psycopg.connect(url, dbname="postgres") as connection:
                total += connection.execute(query, (names,)).fetchall()[0][0]
        return total

    def work(connection: Connection, waiting: Callable[[str], None]) -> Outcome:
        if barrier.wait() == 0:
            seen.add(sessions())
        barrier.wait()
        return Outcome(Standing.IN_STEP)

    ran = carried_out(fleet, work, parallel=limit, retries=0)
    assert set(standings(ran).values()) == {"in step"}
    assert seen == {limit}


def test_what_may_pass_is_tried_again_when_the_others_are_through(make: Make):
    """The lock is gone by then; nothing else is tried twice."""
    fleet, told = make(3, 2), list[str]()
    with ExitStack() as lock:
        lock.enter_context(locked(fleet, "db-02"))

        def tell(message: str) -> None:
            told.append(message)
            if message.startswith("trying again"):
                lock.close()

        ran = carried_out(fleet, APPLYING, tell=tell)
    assert set(standings(ran).values()) == {"applied"}
    assert [r.tries for r in ran.results] == [1, 2, 1, 1, 1]
    assert told[-1].endswith(": db-02")
    assert all(fleet.holds_it(each) for each in fleet.urls)


def test_a_database_that_moved_is_planned_for_anew(make: Make):
    """A table came after the plan was made: the next try closes it too."""
    fleet, moved = make(1, 0), list[str]()

    def work(connection: Connection, waiting: Callable[[str], None]) -> Outcome:
        prepared = prepare(connection, POLICIES)
        if not moved:
            with fleet.connect("db-01") as other:
                other.execute("create table public.late (id integer)")
            moved.append("once")
        apply_plan(connection, POLICIES, prepared.plan)
        return Outcome(Standing.APPLIED, prepared.plan)

    (result,) = carried_out(fleet, work).results
    assert (result.outcome.standing, result.tries) == (Standing.APPLIED, 2)
    assert result.outcome.plan is not None
    assert any("public.late" in operation.words for operation in result.outcome.plan.operations)


def test_a_bug_met_in_one_is_told_whole_and_ends_no_other(make: Make):
    """Exit 2, and no second try."""
    fleet, told = make(3, 0), list[str]()

    def work(connection: Connection, waiting: Callable[[str], None]) -> Outcome:
        if connection.info.dbname in fleet.urls["db-02"]:
            raise ZeroDivisionError("a bug of ours")
        return APPLYING(connection, waiting)

    ran = carried_out(fleet, work, tell=told.append)
    assert standings(ran) == {"db-01": "applied", "db-02": "failed", "db-03": "applied"}
    assert (ran.exit_code, ran.results[1].tries) == (2, 1)
    assert "Traceback" in "".join(told)


def test_the_databases_of_a_server_share_its_roles(each_server: Server):
    """Class roles are made and granted by all at once; whoever is second at one tries again, and none fails."""
    rules = "{people: [{allow: select, rows: owner = token.person}], clients: [{who: helper, allow: select}]}"
    shared = policies(f"{HEAD}class_roles: {{taken_by: [fleet_login]}}\ntables:\n  public.notes: {rules}\n")
    with ExitStack() as stack:
        with psycopg.connect(each_server.url, autocommit=True) as connection:
            make_roles(connection, *ROLES, "fleet_login", "mcp_helper")
        stack.callback(_drop_roles, each_server, "fleet_login", "mcp_helper")
        urls = {url: url for url in _databases(stack, each_server, 6)}
        work = applying(shared, lock_timeout="20s", patience=60)
        ran = run("apply", urls, work, words=problem_of, parallel=6, retries=0)
        assert [(r.outcome.standing, r.outcome.reason) for r in ran.results] == [(Standing.APPLIED, "")] * 6
        for url in urls:
            with psycopg.connect(url, autocommit=True) as connection:
                assert not prepare(connection, shared).plan


def _drop_roles(server: Server, *names: str) -> None:
    """Of databases that are gone."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        for name in names:
            connection.execute(f"drop role {name}".encode())


# --- ended early


def test_a_run_that_is_stopped_begins_no_other(make: Make):
    """What was done stands, what wasn't begun is unchanged, and the next run goes on."""
    fleet, stop = make(5, 0), Stop()
    ran = carried_out(
        fleet, APPLYING, parallel=1, stop=stop, done=lambda result: stop.ask() if result.database == "db-02" else None
    )
    assert list(standings(ran).values()) == ["applied", "applied", *["not started"] * 3]
    assert ran.exit_code == 2
    assert [fleet.state(name).installed for name in fleet.urls] == [True, True, False, False, False]
    assert list(states(fleet.ask("apply")).values()) == ["in step", "in step", *["applied"] * 3]


def test_asked_again_what_is_running_is_cancelled(make: Make):
    """And rolled back; it isn't tried again."""
    fleet, stop = make(2, 0), Stop()
    asleep = "select from pg_stat_activity where datname = %s and wait_event = 'PgSleep'"

    def work(connection: Connection, waiting: Callable[[str], None]) -> Outcome:
        if connection.info.dbname in fleet.urls["db-01"]:
            with connection.transaction():
                connection.execute("create table public.half (id integer)")
                connection.execute("select pg_sleep(600)")
        return APPLYING(connection, waiting)

    def done(result: Any) -> None:
        if result.database == "db-02":
            with fleet.connect("db-01") as other:
                while other.execute(asleep, (other.info.dbname,)).fetchone() is None:
                    time.sleep(0.01)
            stop.ask()
            stop.ask()

    ran = carried_out(fleet, work, parallel=2, stop=stop, done=done)
    assert standings(ran) == {"db-01": "refused", "db-02": "applied"}
    assert "canceling statement" in ran.results[0].outcome.reason
    with fleet.connect("db-01") as connection:
        assert connection.execute("select to_regclass('public.half')").fetchone() == (None,)


def test_interrupted_it_still_reports(make: Make):
    """Ctrl-C while one waits for a lock: its wait ends, the others aren't begun, and the report says so."""
    fleet = make(3, 0)
    options = ["--fleet", str(fleet.file), "--parallel", "1", "--lock-timeout", "50ms", "--patience", "600"]
    command = [sys.executable, "-m", "mcp_rls", "apply", str(fleet.policies), *options]
    with (
        locked(fleet, "db-01"),
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child,
    ):
        assert child.stderr is not None
        while "trying again" not in (line := child.stderr.readline()):
            assert line, "it ended before"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 2, out + err
    assert "stopped while it waited for a lock" in out
    assert "1 failed, 2 not started; 3 databases" in out
    assert not any(fleet.state(name).installed for name in fleet.urls)
