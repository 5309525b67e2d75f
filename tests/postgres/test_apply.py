"""Plans carried out on a server: nothing is left to do, nothing else is touched, and what was is given back."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from mcp_rls.alembic_plugin import way_back
from mcp_rls.catalog import TableName
from mcp_rls.database import apply
from mcp_rls.database.waiting import Refused
from mcp_rls.diagnostics import Invalid
from mcp_rls.operation import Plan
from mcp_rls.plan import plan
from mcp_rls.ways import by_table, removed, with_tables
from tests.postgres.scratch import ANN, BOB, HEAD, NOTES, Scratch, ann, helper, make_roles, policies

pytestmark = pytest.mark.postgres

FILE = (
    HEAD
    + """
scopes: {"n:r": {text: t}}
sets: {mine: {type: uuid, query: "select owner from public.notes where owner = token.person"}}
tables:
  public.notes:
    people:
      - {allow: select, rows: "owner in mine"}
      - {allow: [insert, update, delete], rows: "owner = token.person"}
    clients:
      - {who: helper, allow: select, scope: "n:r", rows: "status = 'open'"}
      - {who: helper, allow: update, scope: "n:r", rows: "status = 'open'", check: "status in ('open', 'closed')"}
"""
)
EXISTING = HEAD + "tables: {public.notes: {clients: [{who: helper, allow: select, rows: \"status = 'open'\"}]}}"


def snapshot(scratch: Scratch, *, ours: bool = True) -> dict[str, Any]:
    """All that policies, privileges and switches are in this database; without our schema and policies, if so asked."""
    ignore = "" if ours else "and n.nspname <> 'mcp_rls'"
    return {
        "policies": scratch.run(
            "select p.*, obj_description(o.oid, 'pg_policy') from pg_policies p join pg_policy o on o.polname = p.policyname"
            " and o.polrelid = format('%I.%I', p.schemaname, p.tablename)::regclass"
            + ("" if ours else " where p.policyname not like 'mcp\\_rls: %'")
            + " order by schemaname, tablename, policyname"
        ),
        "tables": scratch.run(
            "select n.nspname, c.relname, c.relrowsecurity, c.relforcerowsecurity, (select array_agg(a::text order by a::text)"
            " from unnest(c.relacl) a), (select array_agg(a.attacl::text order by a.attnum) from pg_attribute a where"
            " a.attrelid = c.oid and a.attacl is not null), (select count(*) from pg_trigger t where t.tgrelid = c.oid)"
            " from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^(pg_|information_schema)'"
            f" and c.relkind in ('r', 'p', 'v') {ignore} order by 1, 2"
        ),
        "functions": scratch.run(
            "select n.nspname, f.proname, md5(pg_get_functiondef(f.oid)), f.proacl::text from pg_proc f join pg_namespace n"
            f" on n.oid = f.pronamespace where n.nspname !~ '^(pg_|information_schema)' and f.prokind = 'f' {ignore} order by 1, 2"
        ),
        "schemas": scratch.run(f"select nspname, nspacl::text from pg_namespace n where true {ignore} order by 1"),
    }


def carry_out(scratch: Scratch, carried: Plan) -> None:
    """The plan's statements, as `apply` would run them."""
    with scratch.connection.transaction():
        scratch.run("set local search_path = pg_catalog")
        for statement in carried.statements:
            scratch.run(statement)


def told(carried: Plan) -> str:
    """The plan's words."""
    return "\n".join(o.words for o in carried.operations)


def wait_until(what: Callable[[], bool]) -> None:
    """Returns when it holds, or fails after some seconds."""
    until = time.monotonic() + 10
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


# --- what is done stays done


@pytest.mark.parametrize("text", [FILE, EXISTING, HEAD], ids=["people rules", "the app's own", "all closed"])
def test_installing_twice_does_nothing_the_second_time(text, each_scratch):
    """The second plan is empty, and so is one made after it."""
    each_scratch.run(NOTES)
    assert each_scratch.install(text)
    before = snapshot(each_scratch)
    assert not each_scratch.install(text)
    assert each_scratch.left(text) == []
    assert snapshot(each_scratch) == before


SET_TYPES = """integer,int,bigint,smallint,text,varchar,varchar(20),char(3),numeric,numeric(9, 2),decimal,real,uuid,boolean,date,time,
timestamp,timestamptz,interval,inet,jsonb,bytea,name,character varying,double precision,timestamp with time zone,public.mood,public."Odd Mood"
"""


@pytest.mark.parametrize("kind", re.split(r",\s*(?!\s*\d)", SET_TYPES.strip()))
def test_a_set_may_have_any_type(kind, scratch):
    """Each that the file admits, however it is spelt: installed once, nothing to do the second time."""
    scratch.run(
        "create type public.mood as enum ('a'); create type public.\"Odd Mood\" as enum ('a');"
        f"create table public.things (id integer, it {kind}); insert into public.things values (1, null);"
        "grant select on public.things to authenticated"
    )
    text = (
        HEAD
        + f"""
sets: {{its: {{type: {json.dumps(kind)}, query: "select it from public.things where token.person is not null"}}}}
tables: {{public.things: {{clients: [{{who: helper, allow: select, rows: "it in its or id = 1"}}]}}}}
"""
    )
    scratch.install(text)
    assert scratch.left(text) == []
    assert scratch.sees(helper(), "public.things") == [1]


def test_a_set_may_change_its_type(each_scratch):
    """What stands on it is taken down and made anew in one transaction; the same is seen as before."""
    each_scratch.run(NOTES)
    before = (
        HEAD
        + """
sets: {ids: {type: integer, query: "select id from public.notes where owner = token.person"}}
tables: {public.notes: {clients: [{who: helper, allow: select, rows: "id in ids"}]}}
"""
    )
    each_scratch.install(before)
    assert each_scratch.sees(helper()) == [1, 2]
    after = before.replace("type: integer", "type: bigint").replace("select id", "select id::bigint")
    each_scratch.install(after)
    assert each_scratch.left(after) == []
    assert each_scratch.sees(helper()) == [1, 2]
    assert each_scratch.sees(ann()) == [1, 2, 3]


def test_a_plan_can_be_carried_out_inside_a_transaction(scratch):
    """Rolled back with it, nothing stays; the session's own settings are as they were."""
    scratch.run(NOTES + "set search_path = public, pg_catalog; set lock_timeout = '7s'")
    before = snapshot(scratch)
    with scratch.connection.transaction(force_rollback=True):
        scratch.install(FILE)
        assert scratch.left(FILE) == []
        assert scratch.run("select current_setting('search_path'), current_setting('lock_timeout')") == [
            ("public, pg_catalog", "7s")
        ]
    assert snapshot(scratch) == before
    scratch.install(FILE)
    assert scratch.run("select current_setting('search_path'), current_setting('lock_timeout')") == [
        ("public, pg_catalog", "7s")
    ]


# --- what was changed by hand


HAND = {
    "a people policy dropped": 'drop policy "mcp_rls: notes people select" on notes',
    "a people policy opened": 'alter policy "mcp_rls: notes people select" on notes using (true)',
    "a people policy for others": 'alter policy "mcp_rls: notes people update" on notes to public',
    "a people policy renamed": 'alter policy "mcp_rls: notes people delete" on notes rename to other',
    "a people policy with another check": 'alter policy "mcp_rls: notes people insert" on notes with check (true)',
    "a ceiling dropped": 'drop policy "mcp_rls: notes delete" on notes',
    "a ceiling opened": 'alter policy "mcp_rls: notes select" on notes using (true)',
    "a ceiling made again, as permissive": 'drop policy "mcp_rls: notes select" on notes; create policy "mcp_rls: notes select" on notes for select using (true)',
    "a ceiling for fewer roles": 'alter policy "mcp_rls: notes select" on notes to anon',
    "a literal in another case": 'alter policy "mcp_rls: notes update" on notes with check (status = \'OPEN\')',
    "row security off": "alter table notes disable row level security",
    "the gate replaced": "create or replace function mcp_rls.gate(acting name, rules jsonb) returns integer language sql as 'select -1'",
    "a function's rights": "grant execute on function mcp_rls.gate(name, jsonb) to public",
    "a function's right taken": "revoke execute on function mcp_rls.set_mine() from authenticated",
    "a function dropped": "drop function mcp_rls.person() cascade",
    "a set's function made invoker": "alter function mcp_rls.set_mine() security invoker",
    "a function's path": "alter function mcp_rls.set_mine() reset search_path",
    "TRUNCATE granted": "grant truncate on notes to authenticated",
    "TRUNCATE granted to all": "grant truncate on notes to public",
    "a policy of ours too many": 'create policy "mcp_rls: notes extra" on notes using (true)',
}  # fmt: skip


@pytest.mark.parametrize("change", HAND.values(), ids=HAND)
def test_a_change_by_hand_is_found_and_mended(change, scratch):
    """The next plan isn't empty, and when it was carried out all is as it was."""
    scratch.run(NOTES)
    scratch.install(FILE)
    before = snapshot(scratch)
    scratch.run(change)
    if "rename to" in change:
        scratch.run("drop policy other on notes")  # it is a foreign one now, and in the way of people rules
    assert scratch.left(FILE) != []
    scratch.install(FILE)
    assert scratch.left(FILE) == []
    assert snapshot(scratch) == before


@pytest.mark.parametrize("change", ["drop policy \"mcp_rls: notes as before\" on notes", "alter policy \"mcp_rls: notes as before\" on notes using (false)",
    "alter policy \"mcp_rls: notes as before\" on notes to anon", "alter table notes disable row level security",
    "alter table notes no force row level security"])  # fmt: skip
def test_the_policy_as_before_is_kept_too(change, scratch):
    """What keeps people as they were is mended like the rest, and FORCE where the file asks for it."""
    scratch.run(NOTES)
    text = EXISTING.replace("public.notes: {", "public.notes: {force: true, ")
    scratch.install(text)
    before = snapshot(scratch)
    scratch.run(change)
    opens = scratch.sees(ann()) != [1, 2, 3]  # before it is put back
    assert bool(scratch.prepare(text).plan.opens) == opens
    scratch.install(text)
    assert snapshot(scratch) == before
    assert scratch.sees(ann()) == [1, 2, 3]


def test_row_security_switched_off_by_hand_opens_nothing(scratch):
    """On a table that has the app's own policies it only goes on again: no policy for everybody comes with it."""
    scratch.run(
        NOTES + "alter table notes enable row level security;"
        f"create policy own on notes using (owner = '{ANN}' and current_setting('request.jwt.claims') like '%0a%')"
    )
    scratch.install(EXISTING)
    assert scratch.sees(ann()) == [1, 2]
    scratch.run("alter table notes disable row level security")
    assert scratch.sees(ann()) == [1, 2, 3]
    scratch.install(EXISTING)
    assert scratch.sees(ann()) == [1, 2]
    assert scratch.sees({"sub": BOB}) == []


def test_who_switched_it_off_by_hand_is_not_told_that_people_keep_all(scratch):
    """`as-before-open` is said of a table that comes to us without row security, and of none that was ours already."""

    def noted() -> list[str]:
        return [d.subject for d in scratch.prepare(EXISTING).diagnostics if d.code == "as-before-open"]

    scratch.run(NOTES)
    assert noted() == ["table public.notes"]
    scratch.run("alter table notes enable row level security")
    scratch.install(EXISTING)
    assert noted() == []
    scratch.run("alter table notes disable row level security; create table public.later (id integer)")
    assert noted() == ["table public.later"]
    assert scratch.sees(ann()) == [1, 2, 3]
    scratch.install(EXISTING)
    assert scratch.sees(ann()) == []


def test_a_table_made_later_is_pending(scratch):
    """In a covered schema it is closed by the next plan."""
    scratch.run(NOTES)
    scratch.install(EXISTING)
    scratch.run(
        "create table public.later (id integer); insert into later values (1); grant select on later to authenticated"
    )
    assert scratch.sees(helper(), "later") == [1]
    assert any("public.later" in words for words in scratch.left(EXISTING))
    scratch.install(EXISTING)
    assert scratch.sees(helper(), "later") == []
    assert scratch.sees(ann(), "later") == [1]


# --- when it can't be done


def test_a_plan_for_another_state_is_refused(scratch):
    """The database moved since it was made: refused, and nothing changed."""
    scratch.run(NOTES)
    stale = scratch.prepare(FILE).plan
    for move in (
        "grant truncate on notes to public",
        "alter table notes force row level security",
        "create table public.new (id integer)",
    ):
        scratch.run(move)
        before = snapshot(scratch)
        with pytest.raises(Refused, match="changed since"):
            apply.apply_plan(scratch.connection, policies(FILE), stale)
        assert snapshot(scratch) == before
        stale = scratch.prepare(FILE).plan
    apply.apply_plan(scratch.connection, policies(FILE), stale)
    assert scratch.left(FILE) == []


def test_a_plan_of_another_file_is_refused(scratch):
    """What is carried out is what the file says, or nothing."""
    scratch.run(NOTES)
    other = scratch.prepare(EXISTING).plan
    before = snapshot(scratch)
    with pytest.raises(Refused):
        apply.apply_plan(scratch.connection, policies(FILE), other)
    assert snapshot(scratch) == before


@pytest.mark.parametrize("how", ["install", "apply_plan", "apply_by_table"])
def test_a_lock_that_is_not_to_be_had_is_refused(how, scratch, monkeypatch):
    """After the last try, with nothing changed; without the lock it goes through."""
    monkeypatch.setattr(apply, "LOCK_TIMEOUT", "50ms")
    scratch.install(HEAD)
    scratch.run(NOTES)
    wanted = scratch.prepare(FILE).plan
    locks: dict[str, Any] = {"lock_timeout": "50ms", "patience": 0.3}

    def carry() -> None:
        if how == "install":
            scratch.install(FILE)
        elif how == "apply_plan":
            apply.apply_plan(scratch.connection, policies(FILE), wanted, **locks)
        else:
            apply.apply_by_table(scratch.connection, policies(FILE), **locks)

    before = snapshot(scratch)
    with psycopg.connect(scratch.url) as other:
        other.execute("lock table notes in access share mode")
        with pytest.raises(Refused, match="lock"):
            carry()
        after = snapshot(scratch)
    assert (after["policies"], after["tables"]) == (before["policies"], before["tables"])
    assert how == "apply_by_table" or after == before
    carry()
    assert scratch.left(FILE) == []


def test_a_lock_is_asked_for_again(scratch):
    """As soon as the table is free the plan is carried out; the tries before it are told."""
    scratch.run(NOTES)
    wanted, tries = scratch.prepare(FILE).plan, list[str]()
    with psycopg.connect(scratch.url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("lock table notes in access share mode")
        done = pool.submit(
            apply.apply_plan, scratch.connection, policies(FILE), wanted, lock_timeout="50ms", waiting=tries.append
        )
        wait_until(lambda: len(tries) >= 2)
        assert not done.done()
        other.rollback()
        done.result(timeout=20)
    assert all("public.notes is in use" in line for line in tries)
    assert scratch.left(FILE) == []


def test_a_statement_without_its_effect_is_noticed(scratch):
    """Whom somebody else gave a privilege, keeps it after a REVOKE of the owner's: refused, with nothing changed."""
    make_roles(scratch.connection, "agent")
    scratch.run(NOTES + TWO_TABLES)
    text = FILE + "trusted_roles: {agent: a job}\n"
    scratch.install(HEAD)
    scratch.run("grant truncate on notes to agent with grant option")
    scratch.run("set role agent; grant truncate on notes to authenticated; reset role")
    before, wanted = snapshot(scratch), scratch.prepare(text).plan
    with pytest.raises(Refused, match=r"still to be done.*public\.notes: authenticated loses TRUNCATE"):
        apply.apply_plan(scratch.connection, policies(text), wanted)
    assert snapshot(scratch) == before
    scratch.run("revoke truncate on notes from agent cascade")
    scratch.install(text)
    assert scratch.left(text) == []


def test_what_was_changed_is_looked_at_alone(scratch):
    """Of the tables that are asked for, all that a look at everything finds; of others no policy."""
    scratch.run(NOTES + TWO_TABLES)
    scratch.install(WITH_DRAFTS)
    whole, notes = apply.state_for(scratch.connection, policies(WITH_DRAFTS)), TableName("public", "notes")
    part = apply.state_for(scratch.connection, policies(WITH_DRAFTS), frozenset({notes}))
    assert {t for t, _ in whole.policies} == {notes, TableName("public", "drafts")}
    assert dict(part.policies) == {key: p for key, p in whole.policies.items() if p.table == notes}
    assert all(p.source and p.meaning for p in part.policies.values())
    assert with_tables(whole, frozenset({notes}), part).fingerprint == whole.fingerprint


# --- a transaction for each table

TWO_TABLES = """
create table public.drafts (like public.notes including all); grant select on public.drafts to authenticated;
insert into public.drafts select * from public.notes;
"""
WITH_DRAFTS = FILE + "  public.drafts: {people: existing, clients: [{who: helper, allow: select}]}\n"


@pytest.mark.parametrize("text", [WITH_DRAFTS, HEAD], ids=["rules", "all closed"])
def test_by_table_leads_to_the_same_state(text, scratch):
    """From nothing, and from another file: what is left is what one transaction leaves, and nothing is to be done."""
    scratch.run(NOTES + TWO_TABLES)
    scratch.install(EXISTING)
    scratch.install(text)
    wanted = snapshot(scratch)
    scratch.install(EXISTING)
    told: list[str] = []
    assert apply.apply_by_table(scratch.connection, policies(text), progress=told.append) == len(told) >= 2
    assert snapshot(scratch) == wanted
    assert scratch.left(text) == []
    assert apply.apply_by_table(scratch.connection, policies(text)) == 0


def test_no_step_by_table_locks_two(scratch):
    """Nor does one of them need what a later one makes."""
    scratch.run(NOTES + TWO_TABLES)
    for text in (WITH_DRAFTS, EXISTING, HEAD):
        prepared = scratch.prepare(text)
        steps = [step for _, step in by_table(prepared.actual, prepared.desired, {}) or []]
        assert max(len(step.locked) for step in steps) == 1
        assert {t for step in steps for t in step.locked} == set(prepared.plan.locked)
        for step in steps:
            carry_out(scratch, step)
        assert scratch.left(text) == []


def test_by_table_goes_on_where_it_stopped(scratch):
    """What was done stays, is recorded, and closes no less than before; the second run does the rest."""
    scratch.run(NOTES + TWO_TABLES)
    with psycopg.connect(scratch.url) as other:
        other.execute("lock table notes in access share mode")
        with pytest.raises(Refused, match=r"public\.notes.* 2 of 3 steps were done"):
            apply.apply_by_table(scratch.connection, policies(WITH_DRAFTS), lock_timeout="20ms", patience=0)
    assert scratch.sees(helper(), "public.drafts") == [1, 2, 3]
    assert scratch.sees({"sub": ANN, "client_id": "stranger"}, "public.drafts") == []
    assert all("drafts" not in words for words in scratch.left(WITH_DRAFTS))
    assert scratch.left(WITH_DRAFTS)
    apply.apply_by_table(scratch.connection, policies(WITH_DRAFTS))
    assert scratch.left(WITH_DRAFTS) == []


def test_of_several_at_once_one_carries_out(scratch):
    """The others find nothing left to do, or are refused; in the end the file holds, and no error is of another kind."""
    scratch.run(NOTES)
    wanted = policies(FILE)

    def carry(_: int) -> bool | str:
        with psycopg.connect(scratch.url, autocommit=True, prepare_threshold=None) as connection:
            try:
                return bool(apply.install(connection, wanted))
            except Refused:
                return "refused"

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(carry, range(3)))
    assert answers.count(True) == 1
    assert scratch.left(FILE) == []


def test_a_schema_of_that_name_which_is_not_ours_is_left_alone(scratch):
    """Refused, with nothing changed."""
    scratch.run(NOTES + "create schema mcp_rls; create table mcp_rls.theirs (id integer)")
    before = snapshot(scratch)
    with pytest.raises(Refused, match="mcp_rls"):
        scratch.install(FILE)
    assert snapshot(scratch) == before


def test_a_privilege_that_another_role_passed_on_is_refused(scratch):
    """A REVOKE by the owner wouldn't take it; so nothing is changed, and the message says what is left."""
    make_roles(scratch.connection, "grantor", "dependent")
    scratch.run(
        NOTES
        + "grant truncate on notes to grantor with grant option; set role grantor; grant truncate on notes to authenticated; reset role"
    )
    before = snapshot(scratch)
    with pytest.raises(Refused, match="TRUNCATE"):
        scratch.install(FILE + 'trusted_roles: {grantor: "a job of the operator"}')
    assert snapshot(scratch) == before


def test_a_privilege_that_a_token_role_passed_on_is_refused(scratch):
    """Others depend on it: the owner must decide."""
    make_roles(scratch.connection, "dependent")
    scratch.run(
        NOTES + "grant truncate on notes to authenticated with grant option; set role authenticated;"
        "grant truncate on notes to dependent; reset role"
    )
    before = snapshot(scratch)
    with pytest.raises(Refused, match=r"dependent privileges|TRUNCATE"):
        scratch.install(FILE + 'trusted_roles: {dependent: "a job of the operator"}')
    assert snapshot(scratch) == before


def test_errors_come_all_at_once_and_change_nothing(scratch):
    """Invalid carries each of them with its place."""
    scratch.run(NOTES)
    before = snapshot(scratch)
    wrong = (
        HEAD
        + """
tables:
  public.notes:
    clients:
      - {who: helper, allow: select, rows: "ownr = token.person"}
      - {who: helper, allow: insert, check: "status = 7 + 'x'"}
      - {who: helper, allow: delete, rows: "pg_sleep(1) is null"}
  public.nowhere: {}
"""
    )
    with pytest.raises(Invalid) as raised:
        scratch.install(wrong)
    assert {"unknown-column", "unknown-function", "unknown-table"} <= {d.code for d in raised.value.diagnostics.errors}
    assert all(d.span.line for d in raised.value.diagnostics.errors)
    assert snapshot(scratch) == before


# --- what is others'


OTHERS = """
create schema two; create table two.t (id integer); grant select, truncate on two.t to authenticated, bystander;
grant all on notes to bystander with grant option;
grant truncate, references, trigger on notes to authenticated; grant trigger on notes to public;
grant select (id), references (id) on notes to bystander; grant update (status) on notes to authenticated;
alter table notes enable row level security; alter table notes force row level security;
create policy "Theirs: %s :x" on notes as permissive for select to authenticated, bystander using (status <> 'it''s :y 100%');
create policy narrow on notes as restrictive for all to authenticated using (id < 9) with check (id < 9);
create policy others on notes for update to bystander using (true) with check (false);
comment on policy narrow on notes is 'ours';
create function public.f() returns integer language sql as 'select 1'; grant execute on function f() to bystander;
create trigger t before insert on notes for each row execute function suppress_redundant_updates_trigger();
""".replace("before insert", "before update")


def test_what_others_made_is_not_touched(each_scratch):
    """After up and down again policies, grants, switches, functions and comments are those of before, byte for byte;
    in between others' are too, but for the privileges of token roles that ignore row security.
    """
    make_roles(each_scratch.connection, "bystander")
    each_scratch.run(NOTES + OTHERS)
    before = snapshot(each_scratch, ours=False)
    text = EXISTING + '\ntrusted_roles: {bystander: "a job of the operator"}'
    each_scratch.install(text)
    up = snapshot(each_scratch, ours=False)
    for part in ("policies", "functions", "schemas"):
        assert up[part] == before[part]
    assert [t for t in up["tables"] if t[0] != "public"] == [t for t in before["tables"] if t[0] != "public"]
    assert each_scratch.value("select has_table_privilege('bystander', 'notes', 'truncate')")
    for privilege in ("truncate", "references", "trigger"):
        assert not each_scratch.value(f"select has_table_privilege('authenticated', 'notes', '{privilege}')")
    assert each_scratch.value("select relforcerowsecurity from pg_class where relname = 'notes'")
    state = each_scratch.prepare(text).actual
    carry_out(each_scratch, plan(state, removed(state)))
    assert snapshot(each_scratch) == before


def test_the_way_back_restores_what_was_before(each_scratch):
    """People rules took grants away; the way back gives them back, and leaves row security on with the old rows."""
    each_scratch.run(NOTES + "grant all on notes to authenticated; grant select on notes to public")
    before = snapshot(each_scratch)
    prepared = each_scratch.prepare(FILE)
    each_scratch.install(FILE)
    assert snapshot(each_scratch)["tables"] != before["tables"]
    carry_out(each_scratch, way_back(prepared.actual, prepared.desired))
    after = snapshot(each_scratch)
    assert [row[:2] + row[3:] for row in after["tables"]] == [row[:2] + row[3:] for row in before["tables"]]
    assert (after["functions"], after["schemas"]) == (before["functions"], before["schemas"])
    assert each_scratch.run("select relrowsecurity from pg_class where relname = 'notes'") == [(True,)]
    assert [row[2] for row in after["policies"]] == ["mcp_rls: notes as before"]
    for claims in (ann(), helper(), None):
        assert each_scratch.sees(claims) == [1, 2, 3]
    assert each_scratch.install(FILE)
    assert each_scratch.left(FILE) == []
    assert each_scratch.sees(helper()) == []


def test_what_rules_need_again_comes_back(scratch):
    """A grant that people rules had no use for returns with a rule that has, and is restored on the way down."""
    scratch.run(NOTES)
    reading = HEAD + 'tables: {public.notes: {people: [{allow: select, rows: "owner = token.person"}]}}'
    insert = f"insert into notes values (9, '{ANN}', 'open')"
    assert scratch.ask(ann(), insert) == 1
    scratch.install(reading)
    assert scratch.ask(ann(), insert) == "42501 permission denied for table notes"
    writing = reading.replace("allow: select", "allow: [select, insert]")
    scratch.install(writing)
    assert scratch.ask(ann(), insert) == 1
    assert scratch.ask(ann(), "delete from notes") == "42501 permission denied for table notes"
    state = scratch.prepare(writing).actual
    carry_out(scratch, plan(state, removed(state)))
    for privilege in ("select", "insert", "update", "delete"):
        assert scratch.value(f"select has_table_privilege('authenticated', 'notes', '{privilege}')")


def test_a_schema_that_is_not_covered_any_more(scratch):
    """Its tables lose their ceilings, keep their people's rows, and get back what was revoked."""
    scratch.run(
        NOTES
        + "create schema two; create table two.t (id integer); insert into two.t values (1); grant all on two.t to authenticated; grant usage on schema two to authenticated"
    )
    both = EXISTING.replace("[public]", "[public, two]")
    scratch.install(both)
    assert scratch.sees(ann(), "two.t") == [1]
    assert scratch.sees(helper(), "two.t") == []
    assert not scratch.value("select has_table_privilege('authenticated', 'two.t', 'truncate')")
    scratch.install(EXISTING)
    assert scratch.left(EXISTING) == []
    assert scratch.sees(ann(), "two.t") == scratch.sees(helper(), "two.t") == [1]
    assert scratch.value("select has_table_privilege('authenticated', 'two.t', 'truncate')")


def test_a_role_that_inherits_keeps_its_own_policy(scratch):
    """A policy of the app's for a role that is a member of a token role goes on adding its rows for direct sessions."""
    make_roles(scratch.connection, "staff")
    scratch.run(
        NOTES
        + "grant authenticated to staff; alter table notes enable row level security; create policy staff on notes to staff using (true)"
    )
    for clients in ("{who: helper, allow: select}", '{who: helper, allow: select, rows: "id < 99"}'):
        scratch.install(
            HEAD
            + f'tables: {{public.notes: {{people: [{{allow: select, rows: "owner = token.person"}}], clients: [{clients}]}}}}'
        )
        assert scratch.sees(ann()) == [1, 2]
        assert scratch.sees(ann(), role="staff") == [1, 2, 3]
        assert scratch.sees(ann(client_id="stranger"), role="staff") == []


@pytest.mark.parametrize("resolved", ["", "resolved: true\n"])
def test_a_scope_that_implies_the_other_narrows(resolved, scratch):
    """Whoever holds it held the other too, so the plan there opens nothing, and the plan back does."""
    low = resolved + 'scopes: {"n:r": {text: t}, "n:w": {text: t, implies: ["n:r"]}}\ntables: {public.notes: {people: '
    low += '[{allow: select, rows: "owner = token.person"}], clients: [{who: helper, allow: select, scope: "n:r"}]}}'
    high = low.replace('scope: "n:r"', 'scope: "n:w"')
    scratch.run(NOTES)
    scratch.install(low)
    seen = {words: scratch.sees(helper(scope=words)) for words in ("n:r", "n:w")}
    assert seen == {"n:r": [1, 2], "n:w": [1, 2]}
    assert "needs the scope n:w to select" in told(scratch.prepare(high).plan)
    assert not scratch.prepare(high).plan.opens
    scratch.install(high)
    assert {words: scratch.sees(helper(scope=words)) for words in seen} == {"n:r": [], "n:w": [1, 2]}
    assert "needs the scope n:r to select" in told(scratch.prepare(low).plan)
    assert scratch.prepare(low).plan.opens


# --- at every point in between


IDS = 'sets: {ids: {type: integer, query: "select id from public.notes where owner = token.person"}}\n'
BY_SET = EXISTING.replace("tables:", IDS + "tables:").replace("status = 'open'", "id in ids")
STAGES = {
    "the app's own policies": (
        HEAD + "tables: {public.notes: {clients: none}}",
        EXISTING,
        BY_SET,
        BY_SET.replace("integer", "bigint").replace("select id", "select id::bigint"),
        EXISTING.replace("'open'", "'closed'"),
    ),
    "people rules": (
        FILE,
        FILE.replace("status = 'open'", "status = 'closed'"),
        FILE.replace("type: uuid", "type: text").replace("select owner from", "select owner::text from").replace("owner in mine", "owner::text in mine"),
    ),
}  # fmt: skip


def reach(scratch: Scratch) -> dict[str, set[Any]]:
    """What each session sees and may remove now."""
    sessions = {"ann": (ann(), "authenticated"), "client": (helper(scope="n:r"), "authenticated"),
        "stranger": (ann(client_id="x"), "authenticated"), "nobody": (None, "anon")}  # fmt: skip
    found = {}
    for name, (claims, role) in sessions.items():
        for query in ("select id from public.notes", "delete from public.notes returning id"):
            answer = scratch.ask(claims, query, role=role)
            assert isinstance(answer, list) or str(answer).startswith("42501"), answer
            found[f"{name} {query[:6]}"] = set(answer) if isinstance(answer, list) else set()
    truncated = scratch.ask(helper(), "truncate public.notes")
    return found | {"client truncate": set() if str(truncated).startswith("42501") else {"all"}}


@pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES)
def test_no_session_sees_more_half_way(stages, scratch):
    """Stopped after any statement, every session has at most the wider of the two ends: for each change and back."""
    scratch.run(NOTES + "grant truncate on notes to authenticated")
    steps = 0
    for text in stages:
        prepared = scratch.prepare(text)
        for carried in (prepared.plan, way_back(prepared.actual, prepared.desired), prepared.plan):
            start, seen = reach(scratch), []
            for statement in carried.statements:
                scratch.run(f"set search_path = pg_catalog; {statement}")
                seen.append((statement, reach(scratch)))
            end = seen[-1][1] if seen else start
            for statement, now in seen:
                for session, rows in now.items():
                    assert rows <= start[session] | end[session], (session, statement)
            steps += len(seen)
        assert scratch.left(text) == []
    assert steps > 60


# --- names


NAMES = ('Ti"ck', "a.b", "x$y", "it's", "a\\b", "per%cent", ":colon", "na me", "SELECT", "ünï", "a;b", "$$", "$mcp_rls$", "%s", "{x}",
    "o'; drop table notes; --", "x of y", "t" * 63, "ü" * 31, " as before", "policy", "${x}", "\\:y",
    "\"\"\"")  # fmt: skip


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def test_names_of_every_kind(scratch):
    """Tables, columns, schemas, roles, ids, scopes and constants of any spelling: installed, enforced, nothing left."""
    roles = [f"r {n}"[:60] for n in NAMES if n != "ü" * 31]
    make_roles(scratch.connection, *roles)
    names = [n for n in NAMES if n == n.strip()]
    ids = [*names, "i'd", 'i"d', "i\\d"]
    text = HEAD.replace("[public]", json.dumps(["public", 'S"c $mcp_rls$ %s:x']))
    text = text.replace("[authenticated, anon]", json.dumps(["authenticated", "anon", *roles]))
    text = text.replace("anonymous: [anon]", "anonymous: " + json.dumps(["anon", *roles])).replace(
        "[helper]", json.dumps(["helper", *ids])
    )
    text += 'scopes: {"s\'x": {text: t}, "s$mcp_rls$:%s": {text: t, implies: ["s\'x"]}, "$$;{}": {text: t}}\ntables:\n'
    scratch.run(f"create schema {quoted('S' + chr(34) + 'c $mcp_rls$ %s:x')}")
    for number, name in enumerate(names):
        schema = "public" if number % 2 else 'S"c $mcp_rls$ %s:x'
        table = f"{quoted(schema)}.{quoted(name)}"
        scratch.run(f"create table {table} (id integer primary key, {quoted(name)} uuid, note text)")
        scratch.connection.execute(
            f"insert into {table} values (1, '{ANN}', %s), (2, '{BOB}', %s)".replace("%s:x", "%%s:x")
            .replace('%s"', '%%s"')
            .replace("per%cent", "per%%cent")
            .encode(),
            (name, name),
        )
        scratch.run(f"grant all on {table} to authenticated; grant usage on schema {quoted(schema)} to authenticated")
        note = "'" + name.replace("'", "''") + "'"
        rows = json.dumps(f"{quoted(name)} = token.person")
        seen = json.dumps(f"{quoted(name)} is not null and note = {note}")
        rule = f'{{who: helper, allow: select, scope: ["s\'x"], rows: {seen}}}'
        text += f"  {json.dumps(quoted(schema) + '.' + quoted(name))}: {{people: [{{allow: select, rows: {rows}}}], clients: [{rule}]}}\n"
    scratch.install(text)
    assert scratch.left(text) == []
    for number, name in enumerate(names):
        table = f"{quoted('public' if number % 2 else 'S' + chr(34) + 'c $mcp_rls$ %s:x')}.{quoted(name)}"
        assert scratch.sees(ann(), table) == [1], name
        assert scratch.sees(ann(client_id=name, scope="s$mcp_rls$:%s"), table) == [1], name
        assert scratch.sees(ann(client_id=name, scope="$$;{}"), table) == [], name
        assert scratch.sees(ann(client_id=name + "x", scope="s'x"), table) == [], name
        assert scratch.sees({"sub": BOB, "client_id": name, "scope": "s'x"}, table) == [2], name
    assert scratch.value("select max(octet_length(polname)) from pg_policy") <= 63
    state = scratch.prepare(text).actual
    carry_out(scratch, plan(state, removed(state)))
    assert scratch.run("select nspname from pg_namespace where nspname = 'mcp_rls'") == []


def test_two_long_names_never_share_a_policy(scratch):
    """Names that agree in their first 50 bytes: each table has its four ceilings, found again by the next plan."""
    names = ["t" * 61 + "a", "t" * 61 + "b"]
    scratch.run(
        "".join(
            f"create table public.{n} (id integer); insert into {n} values (1); grant select on {n} to authenticated;"
            for n in names
        )
    )
    text = (
        HEAD
        + "tables:\n"
        + "".join(f"  public.{n}: {{clients: [{{who: helper, allow: select}}]}}\n" for n in names[:1])
    )
    scratch.install(text)
    assert scratch.left(text) == []
    assert scratch.sees(helper(), names[0]) == [1]
    assert scratch.sees(helper(), names[1]) == []
    assert [scratch.sees(ann(), n) for n in names] == [[1], [1]]


# --- tables of every kind


def test_partitions_are_tables_of_their_own(each_scratch):
    """A partition, or an inheriting table, that the file doesn't list is closed, though its parent is open."""
    each_scratch.run(
        "create table public.logs (id integer, day date) partition by range (day);"
        "create table public.logs_1 partition of logs for values from ('2020-01-01') to ('2021-01-01');"
        "create table public.logs_2 partition of logs for values from ('2021-01-01') to ('2022-01-01') partition by list (id);"
        "create table public.logs_2a partition of logs_2 default;"
        "insert into logs values (1, '2020-05-05'), (2, '2021-05-05');"
        "create table public.base (id integer); create table public.child () inherits (base); insert into child values (3);"
        "grant select on logs, logs_1, logs_2, logs_2a, base, child to authenticated"
    )
    text = (
        HEAD
        + "tables: {public.logs: {clients: [{who: helper, allow: select}]}, public.base: {clients: [{who: helper, allow: select}]}}"
    )
    each_scratch.install(text)
    assert each_scratch.left(text) == []
    assert each_scratch.sees(helper(), "logs") == each_scratch.sees(ann(), "logs") == [1, 2]
    assert each_scratch.sees(helper(), "base") == each_scratch.sees(ann(), "child") == [3]
    for table, ids in {"logs_1": [1], "logs_2": [2], "logs_2a": [2], "child": [3]}.items():
        assert each_scratch.sees(helper(), table) == []
        assert each_scratch.sees(ann(), table) == ids


def test_operators_of_an_extension_mean_what_they_mean(scratch):
    """citext compares without regard to case; a rule on such a column says so too, or is refused."""
    scratch.run(
        "create extension citext; create table public.mail (id integer, sender citext);"
        "insert into mail values (1, 'Ann@Example.org'), (2, 'bob@example.org'); grant select on mail to authenticated"
    )
    for condition, rows in (
        ("sender = 'ann@example.org'", [1]),
        ("sender <> 'ann@example.org'", [2]),
        ("sender in ('ANN@example.org')", [1]),
    ):
        assert scratch.ask(None, f"select id from mail where {condition}") == rows
        try:
            scratch.install(
                HEAD + f'tables: {{public.mail: {{clients: [{{who: helper, allow: select, rows: "{condition}"}}]}}}}'
            )
        except Invalid:
            continue
        assert scratch.sees(helper(), "mail") == rows


# --- roles that no policy binds


@pytest.mark.parametrize(
    "unbound",
    [
        "alter table notes owner to token_role",
        "grant table_owner to token_role; alter table notes owner to table_owner",
        "alter role token_role bypassrls",
        "alter role token_role superuser",
    ],
    ids=["owner", "member of the owner", "bypassrls", "superuser"],
)
def test_token_roles_that_row_security_does_not_bind_are_refused(unbound, scratch):
    """No ceiling would hold for them; without what makes them so the same file installs and holds."""
    make_roles(scratch.connection, "token_role", "table_owner")
    text = EXISTING.replace("roles: [authenticated, anon]", "roles: [authenticated, anon, token_role]")
    try:
        scratch.run(NOTES + "grant select on notes to token_role;" + unbound)
        assert scratch.sees(helper(), role="token_role") == [1, 2, 3]
        with pytest.raises(Invalid, match="token_role"):
            scratch.install(text)
    finally:
        scratch.run(
            "alter table notes owner to current_user; revoke table_owner from token_role; alter role token_role nosuperuser nobypassrls"
        )
    scratch.run("grant select on notes to token_role")
    scratch.install(text)
    assert scratch.sees(helper(), role="token_role") == [1, 3]
    assert scratch.sees(ann(), role="token_role") == [1, 2, 3]


def test_a_way_back_to_all_rows_says_so(scratch):
    """Where people's rules end and row security stays on, they get back what they could do before."""
    scratch.run(NOTES)
    prepared = scratch.prepare(FILE)
    scratch.install(FILE)
    back = way_back(prepared.actual, prepared.desired)
    assert "public.notes: people may do all again that they have privileges for" in [o.words for o in back.opens]
    carry_out(scratch, back)
    assert scratch.sees(ann()) == [1, 2, 3]


def test_what_a_plan_switched_is_noted_with_it(scratch):
    """FORCE alone, without any other change, isn't taken for somebody's afterwards."""
    scratch.run(NOTES)
    scratch.install(EXISTING)
    prepared = scratch.prepare(EXISTING.replace("public.notes: {", "public.notes: {force: true, "))
    scratch.install(EXISTING.replace("public.notes: {", "public.notes: {force: true, "))
    assert prepared.plan.operations
    after = scratch.prepare(EXISTING.replace("public.notes: {", "public.notes: {force: true, "))
    assert (after.plan.operations, after.plan.by_hand) == ((), ())


def test_force_binds_an_owner(scratch):
    """A token role may own its tables where row security binds the owner too."""
    make_roles(scratch.connection, "token_role")
    text = EXISTING.replace("[authenticated, anon]", "[authenticated, anon, token_role]").replace(
        "{clients", "{force: true, clients"
    )
    scratch.run(NOTES + "alter table notes owner to token_role")
    scratch.install(text)
    assert scratch.sees(helper(), role="token_role") == [1, 3]
    assert scratch.sees(ann(), role="token_role") == [1, 2, 3]
    assert scratch.left(text) == []


# --- grants on columns, and those that may be passed on


def test_column_grants_and_grant_options_come_back(scratch):
    """What is revoked is given back as it was: on its columns alone, with the option to pass it on."""
    scratch.run(NOTES)
    scratch.run(
        "grant references (id), update (status) on notes to authenticated;"
        " grant truncate on notes to authenticated with grant option"
    )
    before, prepared = snapshot(scratch), scratch.prepare(FILE)
    scratch.install(FILE)
    told = "select has_column_privilege('authenticated', 'notes', 'id', 'references')"
    told += ", has_table_privilege('authenticated', 'notes', 'truncate')"
    told += ", has_column_privilege('authenticated', 'notes', 'status', 'update')"
    assert scratch.run(told) == [(False, False, True)]
    carry_out(scratch, way_back(prepared.actual, prepared.desired))
    assert snapshot(scratch)["tables"][0][4:] == before["tables"][0][4:]
