"""On a streaming read replica policies decide as on the primary: nothing that they call writes, or needs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from mcp_rls import sql
from mcp_rls.catalog import Table
from mcp_rls.compiler.policy import load_policies
from mcp_rls.database.drift import drift
from mcp_rls.database.embedded import embedded
from mcp_rls.database.server import Server
from mcp_rls.harness import rows
from mcp_rls.harness.clients import enter
from mcp_rls.harness.keys import KeyReader
from mcp_rls.harness.session import impersonate
from mcp_rls.harness.token import Bearer
from mcp_rls.resources import bundled
from tests.postgres.plans import template
from tests.postgres.scratch import scratch_on
from tests.postgres.standby import STREAMING, catch_up, standby_of

Connection = psycopg.Connection[Any]
Seen = dict[str, list[tuple[str, ...]] | str]  # keys by table, or the error's SQLSTATE

pytestmark = pytest.mark.postgres


@dataclass(frozen=True)
class Acting:
    """A token, the statements that bring and remove the rows it needs, and the keys that the suite says it sees."""

    bearer: Bearer
    bring: tuple[str, ...]
    remove: tuple[str, ...]
    sees: dict[str, list[tuple[str, ...]]]


@dataclass(frozen=True)
class Pair:
    """The help desk on a primary and its standby, fixtures committed."""

    primary: Connection
    standby: Connection
    tables: tuple[Table, ...]
    acting: tuple[Acting, ...]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A primary that can be followed."""
    with embedded(settings=STREAMING) as primary:
        yield primary


@pytest.fixture(scope="module")
def pair(server: Server) -> Iterator[Pair]:
    with scratch_on(server) as scratch:
        with template("help-desk", scratch) as runner:
            tables, suite = runner.stage.covered, runner.suite
            acting = tuple(_acting(runner, name) for name in suite.tokens)
        for name, values in suite.fixtures.items():
            table = next(t for t in tables if t.name == name)
            for row in values:
                scratch.run(rows.insert(table, rows.literals(table, row), overriding=True))
        with standby_of(server) as standby:
            database = scratch.connection.info.dbname
            with psycopg.connect(standby.url_of(database), autocommit=True) as connection:
                yield Pair(scratch.connection, connection, tables, acting)


def _acting(runner: Any, name: str) -> Acting:
    """What a suite's token needs and sees, from a run that leaves nothing."""
    bearer = enter(runner.stage, runner.suite.tokens[name])
    bring, remove = [], []
    for table_name, key in sorted(bearer.brought):
        table = runner.stage.table(table_name)
        one = rows.by_key(table, key)
        ((row,),) = runner.stage.ask(f"select to_jsonb(t)::text from {sql.table(table_name)} t where {one}")
        target = sql.table(table_name)
        bring.append(
            f"insert into {target} select * from jsonb_populate_record(null::{target}, {sql.literal(row)}::jsonb)"
        )
        remove.append(f"delete from {target} where {one}")
    sees: dict[str, list[tuple[str, ...]]] = {}
    for case in runner.suite.cases:
        if case.token == name and case.command == "select":
            keys = KeyReader(runner.stage).read(runner.stage.table(case.table), case.expect.keys)
            assert not isinstance(keys, str), keys
            sees[str(case.table)] = sorted(keys)
    return Acting(bearer, tuple(bring), tuple(remove), sees)


@contextmanager
def brought(pair: Pair, acting: Acting) -> Iterator[None]:
    """The rows that a token needs stand on both servers meanwhile."""
    for statement in acting.bring:
        pair.primary.execute(statement.encode())
    catch_up(pair.primary, pair.standby)
    try:
        yield
    finally:
        for statement in acting.remove:
            pair.primary.execute(statement.encode())


def seen(connection: Connection, acting: Acting, tables: tuple[Table, ...]) -> Seen:
    """The keys of the rows that a token reads in each table."""
    found: Seen = {}
    for table in tables:
        query = f"select {rows.key_expression(table)} from {sql.table(table.name)} t"
        answer = ask(connection, acting.bearer, query)
        found[str(table.name)] = answer if isinstance(answer, str) else sorted(tuple(key) for (key,) in answer)
    return found


def ask(connection: Connection, bearer: Bearer, statement: str) -> list[Any] | str:
    """The rows of a statement as the token, or its error's SQLSTATE."""
    try:
        with connection.transaction(force_rollback=True):
            impersonate(connection, bearer.claims, bearer.role)
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []
    except psycopg.Error as error:
        return str(error.sqlstate)


def test_every_token_sees_the_same(pair: Pair) -> None:
    """On the standby, which can't write, each token reads what it reads on the primary, and what the suite says."""
    assert pair.standby.execute("show transaction_read_only").fetchall() == [("on",)]
    rows_seen = 0
    for acting in pair.acting:
        with brought(pair, acting):
            there = seen(pair.standby, acting, pair.tables)
            assert there == seen(pair.primary, acting, pair.tables), acting.bearer.spec.name
            said = {table: there[table] for table in acting.sees}
            assert said == acting.sees, acting.bearer.spec.name
            rows_seen += sum(map(len, acting.sees.values()))
    assert rows_seen > 50


def test_a_revoked_consent_is_revoked_there_too(pair: Pair) -> None:
    """Once the standby has followed, a token whose consent ended on the primary reads nothing there."""
    (acting,) = (a for a in pair.acting if a.bearer.spec.name == "ann-assistant")
    with brought(pair, acting):
        before = seen(pair.standby, acting, pair.tables)
        assert len(before["public.tickets"]) == 4
    catch_up(pair.primary, pair.standby)
    assert seen(pair.standby, acting, pair.tables)["public.tickets"] == []


def test_a_write_ends_as_on_any_standby(pair: Pair) -> None:
    """What a policy allows the standby refuses, as it refuses its owner."""
    (acting,) = (a for a in pair.acting if a.bearer.spec.name == "ann")
    change = "update public.tickets set subject = subject where id = 1 returning id"
    assert ask(pair.primary, acting.bearer, change) == [(1,)]
    assert ask(pair.standby, acting.bearer, change) == "25006"


def test_drift_is_told_from_a_standby(pair: Pair) -> None:
    """`drift` only reads: it answers there, and finds what it finds on the primary."""
    policies, _ = load_policies(bundled("policy_templates") / "help-desk" / "policies.yaml")
    assert policies is not None
    assert drift(pair.primary, policies) == drift(pair.standby, policies)


def test_nothing_is_left(server: Server) -> None:
    """A standby that ends leaves no directory, no process, and no slot on its primary."""
    with standby_of(server) as standby:
        directory = Path(parse_qs(urlsplit(standby.url).query)["host"][0])
        pid = int((directory / "data" / "postmaster.pid").read_text(encoding="utf-8").split()[0])
        assert Path(f"/proc/{pid}").exists() == Path("/proc/self").exists()
    assert not directory.exists()
    assert not Path(f"/proc/{pid}").exists()
    with psycopg.connect(server.url) as connection:
        assert connection.execute("select count(*) from pg_replication_slots").fetchall() == [(0,)]
