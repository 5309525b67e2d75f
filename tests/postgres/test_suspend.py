"""A migration's way past policies: suspended tables let nobody through, and come back as they were, or not at all."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, pool

from mcp_rls.alembic_plugin import sqlalchemy_url
from mcp_rls.database.waiting import Refused
from tests.postgres.scratch import ANN, BOB, HEAD, NOTES, Scratch, ann, document, helper, make_roles

pytestmark = pytest.mark.postgres

OURS = (
    HEAD
    + "tables: {public.notes: {clients: [{who: helper, allow: [select, update, delete], rows: \"status = 'open' and id < 9\"}]}}"
)
PEOPLE = (
    HEAD
    + """
sets: {mine: {type: uuid, query: "select owner from public.notes where owner = token.person"}}
tables:
  public.notes:
    people: [{allow: select, rows: "owner in mine and id < 9"}, {allow: [insert, update, delete], rows: "owner = token.person"}]
    clients: [{who: helper, allow: select, rows: "status = 'open'"}]
"""
)
OWN = f"""
alter table notes enable row level security;
create policy own on notes using (owner = '{ANN}' or status = 'closed' or id < 0);
comment on policy own on notes is 'ours: it''s {{"a": [1]}} 100%';
"""
SUSPEND_NOTES = "select mcp_rls.suspend('public.notes')"
RESUME_ALL = "select mcp_rls.resume()"
TO_VARCHAR = "alter table public.notes alter column status type varchar(20)"
NARROW = "create policy narrow on notes as restrictive for select to authenticated using (status <> 'closed')"


def all_policies(scratch: Scratch) -> list[tuple[Any, ...]]:
    """Every policy as it stands, with its comment."""
    return scratch.run(
        "set search_path = pg_catalog; select p.polrelid::regclass::text, p.polname, p.polpermissive, p.polcmd, p.polroles,"
        " pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid), obj_description(p.oid, 'pg_policy')"
        " from pg_policy p order by 1, 2"
    ) + scratch.run("reset search_path; select relname, relrowsecurity, relforcerowsecurity from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') order by 1")  # fmt: skip


def notes_left(scratch: Scratch) -> int:
    return int(scratch.value("select count(*) from mcp_rls.manifest where source = 'suspended'"))


def altered(scratch: Scratch, *statements: str, tables: str = "'public.notes'", without: str = "") -> None:
    """What a migration does: suspended, changed and resumed in one transaction."""
    with scratch.connection.transaction():
        for statement in (f"select mcp_rls.suspend({tables})", *statements, f"select mcp_rls.resume({without})"):
            scratch.run(statement)


@contextmanager
def session(scratch: Scratch, **claims: Any) -> Iterator[psycopg.Connection[Any]]:
    """Another connection, as a token's session that waits for no lock."""
    with psycopg.connect(scratch.url, autocommit=True) as connection:
        connection.execute("set lock_timeout = '100ms'")
        connection.execute("select set_config('request.jwt.claims', %s, false)", (document(ann(**claims)),))
        connection.execute("set role authenticated")
        yield connection


# --- another type


@pytest.mark.parametrize("text", [OURS, PEOPLE], ids=["the app's own", "people rules"])
def test_a_column_under_policies_changes_its_type(text, each_scratch):
    """PostgreSQL refuses it bare; suspended it goes, every session has the same answers, and nothing is pending."""
    each_scratch.run(NOTES + (OWN if text is OURS else ""))
    each_scratch.install(text)

    def answers() -> list[Any]:
        clients = [each_scratch.sees(helper()), each_scratch.ask(helper(), "update notes set status = 'open' where id = 2"),
                   each_scratch.ask(helper(), f"insert into notes values (4, '{ANN}', 'open')")]  # fmt: skip
        people = [
            each_scratch.sees(ann()),
            each_scratch.sees({"sub": BOB}),
            each_scratch.ask(ann(), "delete from notes"),
        ]
        return clients + people

    before = answers()
    assert 2 in before[3]
    assert 2 not in before[0]
    assert before[0] != []
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="used in a policy definition"):
        each_scratch.run(TO_VARCHAR)
    altered(each_scratch, TO_VARCHAR, "alter table public.notes alter column id type bigint")
    assert answers() == before
    assert each_scratch.left(text) == []
    assert notes_left(each_scratch) == 0


def test_what_stands_on_a_column_comes_back_as_it_was(each_scratch):
    """Kind, command, roles, expressions and comments, byte for byte, when nothing was changed in between."""
    make_roles(each_scratch.connection, "Odd, role", "bystander")
    each_scratch.run(
        NOTES
        + OWN
        + NARROW
        + """;
create policy "A ""b"" %s: $1" on notes as restrictive for insert to "Odd, role", bystander, anon with check (status <> E'it''s \\\\ :x 100%');
create policy upd on notes for update to public using (true) with check (id > 0 and status ~ '^[a-z]{1,3}$');
create policy del on notes for delete to current_user using (exists (select from notes n where n.id = notes.id));
comment on policy narrow on notes is 'Ü "x" [1] {}';
"""
    )
    each_scratch.install(OURS)
    before = all_policies(each_scratch)
    altered(each_scratch)
    assert all_policies(each_scratch) == before
    assert each_scratch.left(OURS) == []


def test_odd_names(each_scratch):
    """Mixed case, quotes, dots and percent signs in the names of schemas, tables, columns and policies."""
    make_roles(each_scratch.connection, "Odd, role")
    each_scratch.run(
        """
create schema "My: s%s"; create table "My: s%s"."Odd ""t"".x" ("Id #" integer, "select" text, owner uuid);
create table public.other (id integer);
alter table "My: s%s"."Odd ""t"".x" enable row level security; alter table other enable row level security;
create policy "p's %I" on "My: s%s"."Odd ""t"".x" to "Odd, role" using ("Id #" > 0 and "select" <> '');
create policy "p's %I" on other using (exists (select from "My: s%s"."Odd ""t"".x" o where o."Id #" = id));
"""
    )
    each_scratch.install(HEAD + "tables: {}")
    before = all_policies(each_scratch)
    table = '"My: s%s"."Odd ""t"".x"'
    altered(each_scratch, f'alter table {table} alter column "Id #" type bigint', tables=f"'{table}'")
    assert all_policies(each_scratch) == before
    with pytest.raises(psycopg.errors.UndefinedColumn, match=r'policy "p\'s %I" on "My: s%s"'):
        altered(each_scratch, f'alter table {table} drop column "select"', tables=f"'{table}'")
    altered(each_scratch, f'alter table {table} drop column "select"', tables=f"'{table}'",
            without=f"""without => array['p''s %I on {table}']""")  # fmt: skip
    assert [row for row in all_policies(each_scratch) if row[1] == "p's %I"] == [
        row for row in before if row[:2] == ("public.other", "p's %I")
    ]


def test_constants_are_read_as_they_were_meant(each_scratch):
    """Whatever DateStyle the two sessions have, and whatever else says how text is read."""
    each_scratch.run(
        "create table t (id integer, day date, at timestamptz, span interval, x float8, note text); alter table t enable row level security;"
        "create policy own on t using (day < '2024-02-01' and at < '2024-02-01 12:00+02' and span < '1 mon -2 days' and x < 0.1::float8 + 1e-17 and note = E'\\\\a''');"
    )
    each_scratch.install(HEAD + "tables: {}")
    before = all_policies(each_scratch)
    settings = "set datestyle = '{}'; set intervalstyle = '{}'; set timezone = '{}'; set extra_float_digits = {}; set standard_conforming_strings = {}; set transform_null_equals = {}"
    each_scratch.run(settings.format("SQL, DMY", "sql_standard", "America/New_York", -15, "off", "on"))
    each_scratch.run("select mcp_rls.suspend('t')")
    each_scratch.run(settings.format("German", "iso_8601", "Asia/Tokyo", 3, "on", "off"))
    each_scratch.run(RESUME_ALL + "; reset all")
    assert all_policies(each_scratch) == before


def test_policies_of_other_tables_that_read_the_column(each_scratch):
    """They are taken down and made again with those of the table; two tables with each other's columns go in one call."""
    each_scratch.run(
        NOTES
        + OWN
        + """
create table public.comments (id integer, note_id integer); insert into comments values (1, 1), (2, 3); grant select on comments to authenticated, anon;
alter table comments enable row level security;
create policy by_note on comments for select to authenticated using (exists (select from notes n where n.id = comments.note_id and n.status = 'open'));
comment on policy by_note on comments is 'through notes';
"""
    )
    text = (
        HEAD
        + "tables: {public.notes: {clients: [{who: helper, allow: select, rows: \"status = 'open'\"}]}, public.comments: {clients: [{who: helper, allow: select}]}}"
    )
    each_scratch.install(text)

    def answers() -> list[Any]:
        return [
            each_scratch.sees(claims, table)
            for claims in (ann(), helper(), ann(client_id="x"), {"sub": BOB})
            for table in ("notes", "comments")
        ]

    before, policies_before = answers(), all_policies(each_scratch)
    assert before[:6] == [[1, 2], [1], [1], [1], [], []]
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="policy by_note on table comments"):
        each_scratch.run("drop policy own on notes; alter table notes alter column id type bigint")
    altered(each_scratch, TO_VARCHAR)
    altered(
        each_scratch,
        "alter table notes alter column id type bigint",
        "alter table comments alter column note_id type bigint",
        tables="'notes', 'public.comments'",
    )
    altered(each_scratch, "alter table notes alter column status type text")
    assert answers() == before
    assert all_policies(each_scratch) == policies_before
    assert each_scratch.left(text) == []


def test_partitions_and_their_policies(each_scratch):
    """A change of the parent's column reaches the partitions, so their policies go and come back too."""
    each_scratch.run(
        f"""
create table public.notes (id integer, owner uuid, status text) partition by list (status);
create table public.open_notes partition of notes for values in ('open') partition by range (id);
create table public.few partition of open_notes for values from (0) to (10); create table public.rest partition of notes default;
insert into notes values (1, '{ANN}', 'open'), (2, '{ANN}', 'closed'), (3, '{BOB}', 'open'); grant select on notes, few to authenticated;
alter table notes enable row level security; alter table few enable row level security;
create policy own on notes using (owner = '{ANN}'); create policy own on few using (owner = '{BOB}');
"""
    )
    text = HEAD + "tables: {public.notes: {clients: [{who: helper, allow: select, rows: \"status = 'open'\"}]}}"
    each_scratch.install(text)
    before = [each_scratch.sees(claims, table) for claims in (ann(), helper()) for table in ("notes", "few")]
    assert before == [[1, 2], [3], [1], []]
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        each_scratch.run("alter table notes alter column owner type text")
    each_scratch.run("select mcp_rls.suspend('notes')")
    assert each_scratch.sees(ann(), "few") == each_scratch.sees(ann(), "notes") == []
    each_scratch.run("alter table notes add column new integer; select mcp_rls.resume()")
    assert [each_scratch.sees(claims, table) for claims in (ann(), helper()) for table in ("notes", "few")] == before
    altered(
        each_scratch,
        "alter table notes alter column owner type varchar",
        without="'{own on public.notes,own on public.few}'",
    )
    assert each_scratch.sees(ann(), "notes") == each_scratch.sees(ann(), "few") == []
    assert each_scratch.left(text) == []


def test_a_type_that_changes_what_a_condition_means_is_written_anew(each_scratch):
    """The policy comes back from its text, but the plan writes it from the file; then nothing is pending."""
    each_scratch.run(
        "create table public.days (id integer, day date); insert into days values (1, '2024-01-01'), (2, '2024-03-01'); grant select on days to authenticated"
    )
    text = HEAD + "tables: {public.days: {clients: [{who: helper, allow: select, rows: \"day < '2024-02-01'\"}]}}"
    each_scratch.install(text)
    altered(each_scratch, "alter table days alter column day type timestamptz", tables="'days'")
    assert each_scratch.sees(helper(), "days") == [1]
    assert [words.splitlines()[0] for words in each_scratch.left(text)][:1] == [
        "public.days: change policy 'mcp_rls: days select'"
    ]
    each_scratch.install(text)
    assert each_scratch.left(text) == []
    assert each_scratch.sees(helper(), "days") == [1]


def test_a_policy_that_no_longer_fits_ends_it(each_scratch):
    """The error names policy and table, nothing is changed; given up, it admits nobody until the plan writes it anew."""
    each_scratch.run(NOTES + "create type public.stage as enum ('open', 'closed')")
    each_scratch.install(OURS)
    before = all_policies(each_scratch)
    change = "alter table notes alter column status type stage using status::stage"
    with pytest.raises(
        psycopg.errors.UndefinedFunction,
        match=r'policy "mcp_rls: notes .*" on public.notes can.t be made again: operator does not exist',
    ) as raised:
        altered(each_scratch, change)
    assert "mcp_rls.resume(array['mcp_rls: notes" in str(raised.value.diag.message_hint)
    assert all_policies(each_scratch) == before
    assert each_scratch.left(OURS) == []
    given_up = ", ".join(f"'mcp_rls: notes {command} on public.notes'" for command in ("select", "update", "delete"))
    altered(each_scratch, change, without=f"without => array[{given_up}]")
    assert each_scratch.sees(helper()) == each_scratch.sees(ann()) == []
    each_scratch.install(OURS)
    assert each_scratch.left(OURS) == []
    assert each_scratch.sees(helper()) == [1, 3]
    assert each_scratch.sees(ann()) == [1, 2, 3]


# --- no column any more


def test_a_column_goes_after_the_file_let_go_of_it(each_scratch):
    """The recommended way needs no suspending: PostgreSQL refuses while a policy reads it, and not afterwards."""
    each_scratch.run(NOTES)
    each_scratch.install(OURS)
    without = OURS.replace("status = 'open' and ", "")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        each_scratch.run("alter table notes drop column status")
    each_scratch.install(without)
    each_scratch.run("alter table notes drop column status")
    assert each_scratch.left(without) == []
    assert each_scratch.sees(helper()) == [1, 2, 3]


def test_a_column_goes_first_and_its_policies_are_given_up(each_scratch):
    """The error names policy and column; a ceiling that is given up is shut, a permissive policy stays away."""
    each_scratch.run(NOTES + OWN + NARROW)
    each_scratch.install(OURS)
    before = all_policies(each_scratch)
    drop = "alter table notes drop column status"
    with pytest.raises(
        psycopg.errors.UndefinedColumn,
        match=r'policy "mcp_rls: notes delete" on public.notes can.t be made again: column "status" does not exist',
    ):
        altered(each_scratch, drop)
    assert all_policies(each_scratch) == before
    given_up = [f"mcp_rls: notes {command} on public.notes" for command in ("select", "update", "delete")]
    given_up += ["own on public.notes", "narrow on public.notes"]
    altered(each_scratch, drop, without=f"array[{', '.join(map(repr, given_up))}]")
    assert {row[1]: row[5] for row in all_policies(each_scratch) if row[1] in ("own", "narrow", "mcp_rls: notes select")} == {"narrow": "false", "mcp_rls: notes select": "false"}  # fmt: skip
    each_scratch.run("create policy own on notes using (true)")
    assert each_scratch.sees(ann()) == each_scratch.sees(helper()) == []
    each_scratch.run("drop policy narrow on notes")
    assert each_scratch.sees(ann()) == each_scratch.sees(helper()) == []
    without = OURS.replace("status = 'open' and ", "")
    each_scratch.install(without)
    assert each_scratch.left(without) == []
    assert each_scratch.sees(helper()) == [1, 2, 3]


def test_a_policy_that_was_made_anew_is_left_alone(each_scratch):
    """What stands there when it is resumed is the newer word; the rest comes back."""
    each_scratch.run(NOTES + OWN + NARROW)
    each_scratch.install(HEAD + "tables: {public.notes: {clients: [{who: helper, allow: select}]}}")
    anew = f"create policy own on notes for select using (owner = '{BOB}'); create policy narrow on notes as restrictive using (id > 0)"
    altered(each_scratch, "alter table notes drop column status", anew)
    assert each_scratch.sees(ann()) == each_scratch.sees(helper()) == [3]
    own = next(row for row in all_policies(each_scratch) if row[1] == "own")
    assert (own[3], own[7]) == (b"r" if isinstance(own[3], bytes) else "r", None)


def test_another_name_needs_nothing(each_scratch):
    """Policies follow columns and tables by themselves; the file follows, and a plan."""
    each_scratch.run(NOTES)
    each_scratch.install(OURS)
    each_scratch.run("alter table notes rename column status to state")
    assert each_scratch.sees(helper()) == [1, 3]
    renamed = OURS.replace("status", "state")
    each_scratch.install(renamed)
    assert each_scratch.left(renamed) == []
    assert each_scratch.sees(helper()) == [1, 3]


# --- half way, and while it lasts


def test_committed_half_way_it_stays_closed(each_scratch):
    """For clients, direct sessions and everybody else whom row security binds; `resume` gives all back."""
    each_scratch.run(NOTES + OWN)
    each_scratch.install(OURS)
    before, seen = all_policies(each_scratch), [each_scratch.sees(c) for c in (ann(), helper(), {"sub": BOB})]
    assert seen == [[1, 2], [1], [1, 2]]
    each_scratch.run(SUSPEND_NOTES)
    for claims in ({}, {"client_id": "helper"}, {"client_id": "x"}):
        with session(each_scratch, **claims) as other:
            assert other.execute("select * from notes").fetchall() == []
            assert other.execute("delete from notes").rowcount == other.execute("update notes set id = 7").rowcount == 0
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                other.execute(b"insert into notes values (9, '%s', 'open')" % ANN.encode())
    make_roles(each_scratch.connection, "bystander")
    each_scratch.run("grant select on notes to bystander; create policy late on notes using (true)")
    assert each_scratch.sees(None, role="bystander") == []
    assert each_scratch.value("select count(*) from notes") == 3
    each_scratch.run("drop policy late on notes; revoke all on notes from bystander; " + RESUME_ALL)
    assert all_policies(each_scratch) == before
    assert [each_scratch.sees(c) for c in (ann(), helper(), {"sub": BOB})] == seen
    assert each_scratch.left(OURS) == []


def test_nobody_gets_in_while_the_transaction_is_open(each_scratch):
    """Another session waits for the lock; when it is rolled back, all is as before."""
    each_scratch.run(NOTES + OWN)
    each_scratch.install(OURS)
    before = all_policies(each_scratch)
    with session(each_scratch, client_id="helper") as client, session(each_scratch) as direct:
        assert [len(s.execute("select from notes").fetchall()) for s in (client, direct)] == [1, 2]
        with each_scratch.connection.transaction(force_rollback=True):
            for statement in (SUSPEND_NOTES, TO_VARCHAR, RESUME_ALL):
                each_scratch.run(statement)
                for other in (client, direct):
                    with pytest.raises(psycopg.errors.LockNotAvailable):
                        other.execute("select from notes")
        assert [len(s.execute("select from notes").fetchall()) for s in (client, direct)] == [1, 2]
    assert all_policies(each_scratch) == before
    assert notes_left(each_scratch) == 0


def test_an_error_in_between_takes_all_back(each_scratch):
    """The transaction ends as if it had not been."""
    each_scratch.run(NOTES + OWN)
    each_scratch.install(OURS)
    before = all_policies(each_scratch)
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        altered(each_scratch, "alter table notes alter column status type integer using status::integer")
    assert all_policies(each_scratch) == before
    assert notes_left(each_scratch) == 0
    assert each_scratch.left(OURS) == []


READERS = {
    "a policy": "create policy p on reader using (not exists (select from notes n where n.id = reader.id))",
    "a view": "create view seen {}as select id from notes; grant select on seen to authenticated; create policy p on reader using (not exists (select from seen n where n.id = reader.id))",
    "a table between": "create table middle (id integer); insert into middle select id from notes; grant select on middle to authenticated; alter table middle enable row level security;"
    "create policy p on middle using (id in (select id from notes)); create policy p on reader using (not exists (select from middle n where n.id = reader.id))",
}  # fmt: skip


@pytest.mark.parametrize("reads", READERS.values(), ids=READERS)
def test_nothing_opens_because_a_suspended_table_is_empty(reads, each_scratch):
    """'No such row' would let through what the rows keep out: who reads a suspended table is closed with it."""
    each_scratch.install(HEAD + "tables: {}")
    each_scratch.run(
        NOTES
        + "alter table notes enable row level security; create policy own on notes using (true);"
        + "create table reader (id integer); insert into reader values (1), (9); grant select on reader to authenticated;"
        + "alter table reader enable row level security;"
        + reads.format("with (security_invoker = true) ")
    )
    before = all_policies(each_scratch)
    assert each_scratch.sees(ann(), "reader") == [9]
    each_scratch.run(SUSPEND_NOTES)
    assert each_scratch.sees(ann(), "reader") == []
    each_scratch.run(RESUME_ALL)
    assert each_scratch.sees(ann(), "reader") == [9]
    assert all_policies(each_scratch) == before


def test_row_security_that_is_off_stays_off(each_scratch):
    """Nothing is refused there, so nothing can open; its policies go and come back."""
    each_scratch.install(HEAD + "tables: {}")
    each_scratch.run(
        "create table plain (id integer, n integer); insert into plain values (1); grant select on plain to authenticated; create policy own on plain using (n > 0)"
    )
    before = all_policies(each_scratch)
    each_scratch.run("select mcp_rls.suspend('plain')")
    assert each_scratch.sees(ann(), "plain") == [1]
    each_scratch.run("alter table plain alter column n type bigint; " + RESUME_ALL)
    assert all_policies(each_scratch) == before


def test_a_table_without_policies_can_be_suspended(each_scratch):
    """It is closed to everybody, or stays open where row security is off, and is as before when it is resumed."""
    each_scratch.install(HEAD + "tables: {}")
    each_scratch.run("create table bare (id integer); create table shut (id integer); alter table shut enable row level security; insert into shut values (1);"
                     "grant select on shut to authenticated")  # fmt: skip
    before = all_policies(each_scratch)
    each_scratch.run("select mcp_rls.suspend('bare', 'shut'); create policy p on shut using (true)")
    assert each_scratch.sees(ann(), "shut") == []
    each_scratch.run("drop policy p on shut;" + RESUME_ALL)
    assert all_policies(each_scratch) == before


# --- once and again


def test_suspending_what_is_suspended_is_an_error(each_scratch):
    """Also another table: what a policy that is away reads can't be known. Several tables go in one call."""
    each_scratch.run(NOTES + OWN + "create table other (id integer)")
    each_scratch.install(OURS)
    before = all_policies(each_scratch)
    each_scratch.run(SUSPEND_NOTES)
    for again in ("notes", "other"):
        with pytest.raises(
            psycopg.errors.ObjectNotInPrerequisiteState, match=r"suspended public.notes is still there"
        ) as raised:
            each_scratch.run(f"select mcp_rls.suspend('{again}')")
        assert "in one call" in str(raised.value.diag.message_hint)
    each_scratch.run(RESUME_ALL)
    altered(each_scratch, tables="'notes', 'other', 'notes'")
    assert all_policies(each_scratch) == before


def test_resuming_what_is_not_suspended_does_nothing(each_scratch):
    """Never suspended, or resumed already: so a run that ended half way can begin with it."""
    each_scratch.run(NOTES + OWN)
    each_scratch.install(OURS)
    before = all_policies(each_scratch)
    each_scratch.run(RESUME_ALL)
    assert all_policies(each_scratch) == before
    each_scratch.run(SUSPEND_NOTES)
    each_scratch.run(f"{RESUME_ALL}; {RESUME_ALL}")
    assert all_policies(each_scratch) == before


def test_what_was_changed_by_hand_is_still_pending(each_scratch):
    """Coming back doesn't make it ours: the plan mends it as it would have before."""
    each_scratch.run(NOTES)
    each_scratch.install(OURS)
    each_scratch.run("alter policy \"mcp_rls: notes select\" on notes using (status = 'closed')")
    altered(each_scratch, TO_VARCHAR)
    assert each_scratch.sees(ann()) == [2]
    assert [words.splitlines()[0] for words in each_scratch.left(OURS)][:1] == [
        "public.notes: change policy 'mcp_rls: notes select'"
    ]
    each_scratch.install(OURS)
    assert each_scratch.sees(helper()) == [1, 3]


def test_a_table_that_was_dropped_or_renamed_meanwhile(each_scratch):
    """One that is gone is forgotten; one that has another name gets its policies back."""
    each_scratch.run(
        NOTES
        + OWN
        + "create table other (id integer); alter table other enable row level security; create policy o on other using (id > 0)"
    )
    each_scratch.install(HEAD + "tables: {}")
    own = [row[1:] for row in all_policies(each_scratch) if row[0] == "public.notes" and row[1] == "own"]
    altered(each_scratch, "alter table notes rename to slips", "drop table other", tables="'notes', 'other'")
    assert [row[1:] for row in all_policies(each_scratch) if row[0] == "public.slips" and row[1] == "own"] == own
    assert notes_left(each_scratch) == 0


def test_a_dump_that_was_made_half_way(each_scratch):
    """Where it was restored the tables have other numbers, and are known by their names."""
    each_scratch.run(NOTES + OWN)
    each_scratch.install(OURS)
    before = all_policies(each_scratch)
    each_scratch.run(SUSPEND_NOTES)
    each_scratch.run(
        "update mcp_rls.manifest set facts = facts || '{\"oid\": \"1\"}' where source = 'suspended'; " + RESUME_ALL
    )
    assert all_policies(each_scratch) == before
    assert each_scratch.left(OURS) == []


def test_notes_are_kept_when_the_closing_policy_was_dropped(each_scratch):
    """Then `resume` says so, and with the policy in place again it goes through."""
    each_scratch.run(NOTES + OWN)
    each_scratch.install(OURS)
    before = all_policies(each_scratch)
    each_scratch.run(SUSPEND_NOTES)
    each_scratch.run('drop policy "mcp_rls: suspended" on notes')
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=r"public.notes has lost its policy"):
        each_scratch.run(RESUME_ALL)
    assert notes_left(each_scratch) == 1
    each_scratch.run('create policy "mcp_rls: suspended" on notes as restrictive using (false); ' + RESUME_ALL)
    assert all_policies(each_scratch) == before


# --- who may


def test_only_who_may_drop_the_policies_may_suspend(each_scratch):
    """Nobody else may call it; and who may call it must own the tables."""
    make_roles(each_scratch.connection, "bystander")
    each_scratch.run(NOTES + OWN + "grant all on notes to bystander, authenticated")
    each_scratch.install(OURS + '\ntrusted_roles: {bystander: "a job of the operator"}')
    before = all_policies(each_scratch)
    for call in (SUSPEND_NOTES, RESUME_ALL):
        assert str(each_scratch.ask(helper(), call)).startswith("42501 permission denied for schema mcp_rls")
        assert str(each_scratch.ask(None, call, role="bystander")).startswith("42501 permission denied")
    each_scratch.run(
        "grant usage on schema mcp_rls to bystander; grant select, insert, update, delete on mcp_rls.manifest to bystander;"
        "grant execute on all functions in schema mcp_rls to bystander"
    )
    assert each_scratch.ask(None, SUSPEND_NOTES, role="bystander") == "42501 must be owner of table notes"
    each_scratch.run(SUSPEND_NOTES)
    assert str(each_scratch.ask(None, RESUME_ALL, role="bystander")).startswith("42501 policy")
    each_scratch.run(RESUME_ALL)
    assert all_policies(each_scratch) == before


def test_an_owner_needs_to_be_no_superuser(each_scratch):
    """It is enough to own the tables and the schema mcp_rls; also where row security binds the owner (FORCE)."""
    make_roles(each_scratch.connection, "keeper")
    each_scratch.run(NOTES + OWN + "alter table notes owner to keeper")
    each_scratch.run(
        "do $$ begin execute format('grant create on database %I to keeper', current_database()); end $$; set role keeper"
    )
    forced = OURS.replace("public.notes: {", "public.notes: {force: true, ")
    each_scratch.install(forced)
    before = all_policies(each_scratch)
    altered(each_scratch, TO_VARCHAR, "alter table notes alter column status type text")
    assert all_policies(each_scratch) == before
    assert each_scratch.left(forced) == []


def test_a_planted_policy_is_no_note(each_scratch):
    """What other owners write on their tables is neither carried out nor in the way, unless it is in the closed ones."""
    make_roles(each_scratch.connection, "bystander")
    each_scratch.run(NOTES + OWN)
    each_scratch.install(OURS)
    planted = 'create policy "mcp_rls: suspended" on {0} using (true); comment on policy "mcp_rls: suspended" on {0} is \'[{{"name": "x", "using": "true); create table public.pwned (); --"}}]\''
    each_scratch.run(
        "create schema theirs authorization bystander; set role bystander; create table theirs.notes (id integer);"
        + planted.format("theirs.notes")
        + "; reset role"
    )
    altered(each_scratch, TO_VARCHAR)
    assert each_scratch.value("select to_regclass('public.pwned')") is None
    assert each_scratch.value("select count(*) from pg_policies where schemaname = 'theirs'") == 1
    each_scratch.run(planted.format("notes"))
    with pytest.raises(psycopg.errors.DuplicateObject, match="mcp_rls: suspended"):
        each_scratch.run(SUSPEND_NOTES)


def test_an_old_snapshot_is_refused(each_scratch):
    """It may not show a policy that was changed since: READ COMMITTED is what it takes."""
    each_scratch.run(NOTES + OWN)
    each_scratch.install(OURS)
    for isolation in ("repeatable read", "serializable"):
        with pytest.raises(psycopg.errors.ActiveSqlTransaction, match="READ COMMITTED"):
            each_scratch.run(f"begin isolation level {isolation}; {SUSPEND_NOTES}")
        each_scratch.run("rollback")


def test_a_view_is_no_table(each_scratch):
    """There is nothing to close: PostgreSQL's own error."""
    each_scratch.install(HEAD + "tables: {}")
    each_scratch.run("create view public.v as select 1 as id")
    with pytest.raises(psycopg.errors.WrongObjectType):
        each_scratch.run("select mcp_rls.suspend('public.v')")
    assert notes_left(each_scratch) == 0


# --- in Alembic


@contextmanager
def alembic(scratch: Scratch) -> Iterator[Any]:
    """`op`, in one transaction of the usual driver."""
    engine = create_engine(sqlalchemy_url(scratch.url), poolclass=pool.NullPool)
    with engine.begin() as connection:
        yield Operations(MigrationContext.configure(connection))


def change_type(op: Any, *tables: str, **options: Any) -> None:
    with op.mcp_rls_suspend(*tables, **options):
        op.execute(TO_VARCHAR)


def test_in_a_revision(each_scratch):
    """A block of its own: the column changes, and the policies are back after it."""
    each_scratch.run(NOTES + OWN)
    each_scratch.install(OURS)
    with alembic(each_scratch) as op:
        change_type(op, "public.notes")
    assert each_scratch.value("select count(*) from pg_policies where policyname = 'own'") == 1
    assert each_scratch.sees(helper()) == [1]
    assert each_scratch.left(OURS) == []


def test_an_error_in_a_revision_is_its_own(each_scratch):
    """It comes through as it is, and the transaction takes all back."""
    each_scratch.run(NOTES + OWN)
    each_scratch.install(OURS)
    before = all_policies(each_scratch)
    with pytest.raises(ZeroDivisionError), alembic(each_scratch) as op, op.mcp_rls_suspend("public.notes"):
        raise ZeroDivisionError
    assert all_policies(each_scratch) == before


ODD = '"O:dd %(x)s %s\\ it\'s"'


@pytest.mark.parametrize("how", ["online", "offline"])
@pytest.mark.parametrize("name", ["public.notes", f"public.{ODD}"])
def test_a_revision_says_what_it_means(name, how, each_scratch):
    """Also offline in the driver's own style, and whatever stands in names."""
    each_scratch.run(NOTES + OWN)
    each_scratch.run(f"create table public.{ODD} (id integer); alter table public.{ODD} enable row level security;"
                     f"create policy {ODD} on public.{ODD} using (exists (select from notes where status <> ''))")  # fmt: skip
    each_scratch.install(OURS)
    without = [f"{ODD[1:-1]} on public.{ODD}"]
    if how == "online":
        with alembic(each_scratch) as op:
            change_type(op, name, "public.notes", without=without)
    else:
        out = io.StringIO()
        offline = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": out})
        change_type(Operations(offline), name, "public.notes", without=without)
        with each_scratch.connection.transaction():
            each_scratch.run(out.getvalue())
    odd = each_scratch.run("select policyname from pg_policies where tablename like 'O:dd%' and tablename = policyname")
    assert odd == []
    assert each_scratch.sees(helper()) == [1]
    assert each_scratch.left(OURS) == []


def test_nothing_is_planned_while_a_table_is_suspended(scratch):
    """A plan made then would leave the table without what was put away; after resume it is as ever."""
    scratch.run(NOTES)
    scratch.install(PEOPLE)
    scratch.run(SUSPEND_NOTES)
    for ask in (scratch.left, scratch.install):
        with pytest.raises(Refused, match=r"public\.notes: suspended; finish"):
            ask(PEOPLE)
    scratch.run(RESUME_ALL)
    assert scratch.left(PEOPLE) == []
