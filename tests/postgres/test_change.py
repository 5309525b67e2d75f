"""mcp_rls.change, which revisions call: all statements or none, patient for locks, and nobody's but the owner's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from mcp_rls.compiler import ledger
from mcp_rls.plan import plan
from mcp_rls.state import State
from tests.postgres.scratch import HEAD, NOTES, Scratch, helper

pytestmark = pytest.mark.postgres

FILE = HEAD + "tables: {public.notes: {people: existing}}"
CHANGE = "select mcp_rls.change(%s, %s)"
COMMENT = "comment on table public.notes is 'changed'"
ROWS = "select count(*) from public.notes"


@pytest.fixture
def scratch(scratch: Scratch) -> Scratch:
    scratch.run(NOTES)
    scratch.install(FILE)
    return scratch


def comment(scratch: Scratch) -> str | None:
    found: str | None = scratch.value("select obj_description('public.notes'::regclass)")
    return found


def wait_until_asked(scratch: Scratch) -> None:
    """Until somebody has asked for the lock of the table, in vain so far."""
    until = time.monotonic() + 30
    asked = "select exists (select from pg_locks where relation = 'public.notes'::regclass and not granted)"
    while not scratch.value(asked):
        assert time.monotonic() < until, "nobody asks for the lock"


def change(url: str, statement: str, *before: str) -> None:
    with psycopg.connect(url) as connection:
        for one in before:
            connection.execute(one.encode())
        connection.execute(CHANGE, ("public.notes", [statement]))


@contextmanager
def changing(url: str, *before: str) -> Iterator[Future[None]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(change, url, COMMENT, *before)


def test_it_waits_for_a_reader_and_keeps_none_waiting(scratch: Scratch) -> None:
    """The reader goes on while it asks, so do others; when the reader is done the change is made."""
    with psycopg.connect(scratch.url) as reader, psycopg.connect(scratch.url, autocommit=True) as another:
        reader.execute(ROWS)
        another.execute("set lock_timeout = '10s'")
        with changing(scratch.url) as changed:
            for _ in range(3):
                wait_until_asked(scratch)
                assert another.execute(ROWS).fetchone() == (3,)
            assert comment(scratch) is None
            reader.commit()
            changed.result(60)
    assert comment(scratch) == "changed"


def test_two_at_once_come_one_after_the_other(scratch: Scratch) -> None:
    """Both wait for a reader, then for each other, and both are done."""
    with ThreadPoolExecutor(2) as pool, psycopg.connect(scratch.url) as reader:
        reader.execute(ROWS)
        others = [f"alter table public.notes add column c{n} integer" for n in range(2)]
        both = [pool.submit(change, scratch.url, other) for other in others]
        wait_until_asked(scratch)
        reader.commit()
        for one in both:
            one.result(60)
    assert scratch.run("select c0, c1 from public.notes limit 1") == [(None, None)]


@pytest.mark.parametrize("held", ["create table public.other (); lock table public.other in access exclusive mode", ""])
def test_it_does_not_wait_with_a_lock_that_keeps_readers_away(scratch: Scratch, held: str) -> None:
    """Readers of the other table would wait with it; without such a lock it goes on asking."""
    before = ["set local statement_timeout = '4s'", *([held] if held else [])]
    wanted = psycopg.errors.LockNotAvailable if held else psycopg.errors.QueryCanceled
    with psycopg.connect(scratch.url) as reader:
        reader.execute(ROWS)
        with changing(scratch.url, *before) as changed, pytest.raises(wanted) as raised:
            changed.result(60)
    if held:
        assert "lock table public.notes in access exclusive mode" in str(raised.value)
    assert comment(scratch) is None
    change(scratch.url, COMMENT, *before)
    assert comment(scratch) == "changed"


def test_what_a_session_made_itself_is_not_taken_for_the_catalog(scratch: Scratch) -> None:
    """A temporary pg_locks that says that it holds a lock doesn't make it give up."""
    false = "create temp table pg_locks as select pg_backend_pid() as pid, 'AccessExclusiveLock' as mode"
    with psycopg.connect(scratch.url) as reader:
        reader.execute(ROWS)
        with psycopg.connect(scratch.url, autocommit=True) as connection:
            connection.execute(false.encode())
            connection.execute("set statement_timeout = '4s'")
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute(CHANGE, ("public.notes", [COMMENT]))
            reader.commit()
            connection.execute(CHANGE, ("public.notes", [COMMENT]))
    assert comment(scratch) == "changed"


def test_an_error_names_its_statement_and_leaves_nothing(scratch: Scratch) -> None:
    wrong = "alter policy missing on public.notes using (true)"
    with pytest.raises(psycopg.errors.UndefinedObject) as raised:
        scratch.connection.execute(CHANGE, ("public.notes", [COMMENT, wrong]))
    assert f'SQL statement "{wrong}"' in (raised.value.diag.context or "")
    assert COMMENT not in str(raised.value)
    assert comment(scratch) is None
    scratch.connection.execute(CHANGE, ("public.notes", [COMMENT]))
    assert comment(scratch) == "changed"


def test_parts_stand_in_their_places(scratch: Scratch) -> None:
    """As often as they are named, in any order; a per cent sign in a part is the part's, and without parts itself."""
    both = "comment on table public.notes is %2$s; comment on column public.notes.id is %1$s"
    scratch.connection.execute("select mcp_rls.change('', %s, %s)", ([both], ["'a'", "'100 %'"]))
    assert comment(scratch) == "100 %"
    assert scratch.value("select col_description('public.notes'::regclass, 1)") == "a"
    scratch.connection.execute(CHANGE, ("", ["comment on table public.notes is '%1$s'"]))
    assert comment(scratch) == "%1$s"


def test_a_table_that_is_not_there_is_named(scratch: Scratch) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable, match=r"public\.nowhere"):
        scratch.connection.execute(CHANGE, ("public.notes, public.nowhere", [COMMENT]))


def test_settings_are_its_own(scratch: Scratch) -> None:
    """A bare name is PostgreSQL's, strings and NULL are read as usual; afterwards all is as it was."""
    names = ("search_path", "lock_timeout", "transform_null_equals")
    noted = "||' '||".join(f"current_setting('{name}')" for name in names)
    scratch.run("create table public.noted (said text); set search_path = public; set transform_null_equals = on")
    before = scratch.value(f"select {noted}")
    scratch.connection.execute(CHANGE, ("", [f"insert into public.noted select {noted}"]))
    assert scratch.run("select said from public.noted") == [("pg_catalog, pg_temp 300ms off",)]
    assert scratch.value(f"select {noted}") == before


def test_only_who_owns_it_may_call_it(scratch: Scratch) -> None:
    """Clients and people can't, and it would do nothing for them that they couldn't do; its owner can."""
    for role in ("authenticated", "anon", "public"):
        asked = f"select has_function_privilege('{role}', 'mcp_rls.change(text, text[], text[])', 'execute')"
        assert scratch.value(asked) is False
    refused = scratch.ask(helper(), "select mcp_rls.change('', array['select 1'])")
    assert str(refused).startswith("42501")
    assert scratch.run("select prosecdef from pg_proc where proname = 'change'") == [(False,)]
    assert scratch.run("select mcp_rls.change('', array['select 1'])") == [("",)]


def test_a_state_has_it_or_not() -> None:
    """A plan is steady where both its ends have it as it is written."""
    there = State(installed=True, functions={ledger.CHANGE.signature: ledger.CHANGE})
    assert plan(there, there).steady
    assert not plan(State(), there).steady
    assert not plan(there, State()).steady
