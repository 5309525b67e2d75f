"""Drift: whatever a database holds otherwise than it was applied is told, whatever else is not; and nothing waits."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg.conninfo import conninfo_to_dict

from mcp_rls.cli import main
from mcp_rls.database import apply, binaries
from mcp_rls.database.drift import Drift, Finding, Kind, Unanswerable, drift
from mcp_rls.database.server import Server, ServerError
from mcp_rls.effect import Effect
from mcp_rls.harness.project import run_sql_file
from tests.postgres.scratch import Scratch, make_roles, policies, scratch_on

pytestmark = pytest.mark.postgres

USER, VISITOR, STAFF = "drift_user", "drift_visitor", "drift_staff"
SCHEMA = f"""
create schema app;
create table app.notes (id integer primary key, owner uuid, status text, secret text);
create table app.tasks (id integer primary key, note integer references app.notes, done boolean);
create table app.parts (id integer, kind text) partition by list (kind);
create table app.parts_a partition of app.parts for values in ('a');
create view app.open_notes with (security_invoker) as select * from app.notes where status = 'open';
alter table app.tasks enable row level security;
alter table app.tasks force row level security;
create policy "own tasks" on app.tasks for select to {USER} using (exists (select from app.notes n where n.id = note));
create policy "no done tasks" on app.tasks as restrictive for update to {USER} using (not done);
grant usage on schema app to {USER}, {VISITOR};
grant select, insert, update, delete on app.notes, app.tasks, app.parts to {USER};
grant select on app.open_notes to {USER};
grant select (id, done) on app.tasks to {VISITOR};
"""
FILE = f"""
mcp_rls: 1
platform: postgres
schemas: [app]
roles: [{USER}, {VISITOR}]
anonymous: [{VISITOR}]
identity: {{direct: no_client}}
classes: {{helper: {{match: {{ids: [helper]}}}}}}
scopes: {{"n:r": {{text: read notes}}}}
sets: {{mine: {{type: integer, query: "select id from app.notes where owner = token.person"}}}}
tables:
  app.notes:
    people:
      - {{allow: [select, insert, update, delete], rows: "owner = token.person"}}
    clients:
      - {{who: helper, allow: select, scope: "n:r", rows: "status = 'open'"}}
      - {{who: helper, allow: update, scope: "n:r", rows: "status = 'open'", check: "status in ('open', 'closed')"}}
  app.tasks:
    clients:
      - {{who: helper, allow: select, rows: "note in mine"}}
"""
WITHOUT_WAITING = 10  # seconds, on a machine that has other things to do as well
OPENS, CLOSES, NEITHER = Effect.OPENS, Effect.CLOSES, Effect.NEITHER
CEILING = "policy app.notes mcp_rls: notes select"

# What somebody does, the object that it is told of, what is said, and what that does.
CHANGES = [
    # policies of ours
    ('alter policy "mcp_rls: notes select" on app.notes using (true)', CEILING, r"changed: using \(true\); was: helper may select where status = 'open'.*clients may select other rows.*apply` puts it back \(policies\.yaml:\d+\)", OPENS),
    ('alter policy "mcp_rls: notes select" on app.notes using (false)', CEILING, r"using \(false\)", CLOSES),
    ('alter policy "mcp_rls: notes update" on app.notes with check (status is not null)', "policy app.notes mcp_rls: notes update", r"with check \(\(status IS NOT NULL\)\); was: helper may", OPENS),
    (f'alter policy "mcp_rls: notes select" on app.notes to {USER}', CEILING, f"changed: to {USER}; was: to {USER}, {VISITOR}; it binds {USER} and nobody else", OPENS),
    ('alter policy "mcp_rls: notes select" on app.notes to public', CEILING, "changed: to public", CLOSES),
    (f'alter policy "mcp_rls: notes people select" on app.notes to {USER}', "policy app.notes mcp_rls: notes people select", f"it admits {USER} and nobody else", CLOSES),
    ('alter policy "mcp_rls: notes people select" on app.notes to public', "policy app.notes mcp_rls: notes people select", "it admits public", OPENS),
    ('drop policy "mcp_rls: notes select" on app.notes', CEILING, r"gone; was: helper may select.*clients may select any row that people may.*apply` puts it back", OPENS),
    ('drop policy "mcp_rls: notes people select" on app.notes', "policy app.notes mcp_rls: notes people select", "gone; was: people may select.*people lose", CLOSES),
    (f'drop policy "mcp_rls: notes delete" on app.notes; create policy "mcp_rls: notes delete" on app.notes for delete to {USER} using (true)', "policy app.notes mcp_rls: notes delete", f"changed: permissive for delete, to {USER}, using .true.; was: restrictive for delete, to .*, no client may delete any row; it is another kind of policy", OPENS),
    ('alter policy "mcp_rls: notes select" on app.notes rename to "mcp_rls: zzz"', "policy app.notes mcp_rls: zzz", "renamed; was: named mcp_rls: notes select; it does what it did; `mcp-rls apply` makes it again", NEITHER),
    ('alter policy "mcp_rls: notes select" on app.notes rename to zzz', "policy app.notes zzz", "renamed; was: named mcp_rls: notes select.*rename it back: .alter policy zzz on app.notes rename to", NEITHER),
    ('create policy "mcp_rls: extra" on app.notes using (true)', "policy app.notes mcp_rls: extra", r"new, permissive for all to public, using \(true\); public may reach more rows.*apply` drops it", OPENS),
    # policies of others
    (f"create policy extra on app.tasks for select to {VISITOR} using (done)", "policy app.tasks extra", f"new, permissive for select to {VISITOR}, using .done.; {VISITOR} may select more rows.*if that is meant, `mcp-rls apply` takes note of it", OPENS),
    ("create policy extra on app.notes as restrictive for select using (id > 7)", "policy app.notes extra", "new, restrictive for select to public.*public may select fewer rows", CLOSES),
    ('alter policy "own tasks" on app.tasks using (true)', "policy app.tasks own tasks", r"changed: using \(true\); people may select other rows.*if that is meant", OPENS),
    ('alter policy "no done tasks" on app.tasks to public', "policy app.tasks no done tasks", f"changed: to public; was: to {USER}", CLOSES),
    ('drop policy "own tasks" on app.tasks', "policy app.tasks own tasks", "gone; was: permissive for select", CLOSES),
    ('drop policy "no done tasks" on app.tasks', "policy app.tasks no done tasks", "gone; was: restrictive for update.*what it kept back is open", OPENS),
    ('alter policy "own tasks" on app.tasks rename to "their tasks"', "policy app.tasks their tasks", "renamed; was: named own tasks.*if that is meant", NEITHER),
    # switches, owners, partitions
    ("alter table app.notes disable row level security", "table app.notes", "row security off; was: row security on; its policies bind nobody.*apply` puts it back", OPENS),
    ("alter table app.tasks no force row level security", "table app.tasks", "FORCE off; was: FORCE on; row security no longer binds its owner", OPENS),
    ("alter table app.notes force row level security", "table app.notes", "FORCE on", CLOSES),
    (f"alter table app.notes owner to {STAFF}", "table app.notes", f"owned by {STAFF}; was: owned by ", OPENS),
    ("create table app.more (id integer)", "table app.more", "a new table; no token role has a grant on it", NEITHER),
    (f"create table app.more (id integer); grant select on app.more to {VISITOR}", "table app.more", f"a new table; {VISITOR} reach it, and no ceiling binds them there; `mcp-rls apply` puts ceilings on it", OPENS),
    (f"create table app.parts_b partition of app.parts for values in ('b'); grant select on app.parts_b to {USER}", "table app.parts_b", "a new table, a partition or child of app.parts.*nor those of its parent", OPENS),
    ("alter table app.parts detach partition app.parts_a", "table app.parts_a", "a partition or child of nothing; was: a partition or child of app.parts", CLOSES),
    ("drop table app.parts_a", "table app.parts_a", "gone; was: a table", CLOSES),
    # grants
    (f"grant truncate on app.notes to {USER}", "table app.notes", f"{USER} has TRUNCATE; was: not granted; row security can't narrow that; `mcp-rls apply` revokes it", OPENS),
    (f"grant select on app.parts to {VISITOR}", "table app.parts", f"{VISITOR} has SELECT; was: not granted.*if that is meant", OPENS),
    (f"grant update (secret) on app.notes to {VISITOR}", "table app.notes", rf"{VISITOR} has UPDATE \(secret\)", OPENS),
    ("grant select on app.parts to public", "table app.parts", "public has SELECT", OPENS),
    (f"revoke insert, delete on app.parts from {USER}", "table app.parts", f"{USER} lost DELETE, INSERT; was: granted", CLOSES),
    (f"revoke select (done) on app.tasks from {VISITOR}", "table app.tasks", rf"{VISITOR} lost SELECT \(done\)", CLOSES),
    # views
    ("alter view app.open_notes set (security_invoker = false)", "table app.open_notes", "without security_invoker; was: with security_invoker.*past the ceilings of what it reads", OPENS),
    (f"create view app.all_notes as select * from app.notes; grant select on app.all_notes to {VISITOR}", "table app.all_notes", f"a new view; {VISITOR} reach it, past the ceilings", OPENS),
    (f"create view app.all_notes with (security_invoker = on) as select * from app.notes; grant select on app.all_notes to {VISITOR}", "table app.all_notes", "a new view; .* below the ceilings of what it reads", NEITHER),
    (f"create materialized view app.kept as select * from app.notes; grant select on app.kept to {USER}", "table app.kept", f"a new materialized view; {USER} reach it, and row security can't cover it", OPENS),
    ("drop view app.open_notes; create table app.open_notes (id integer)", "table app.open_notes", "a table; was: a view", OPENS),
    # functions
    ("create or replace function mcp_rls.claims() returns jsonb language sql as 'select null::jsonb'", "function mcp_rls.claims()", "replaced by another text; was: the claims; every policy that calls it", OPENS),
    ("alter function mcp_rls.claims() reset search_path", "function mcp_rls.claims()", "replaced", OPENS),
    ("drop function mcp_rls.claims()", "function mcp_rls.claims()", "gone; what calls it raises an error; `mcp-rls apply` puts it back", CLOSES),
    ("create function mcp_rls.more() returns integer begin atomic select count(*) from app.notes; end", r"function mcp_rls.more()", "new.*apply` drops it", OPENS),
    ("create function mcp_rls.gate(text, jsonb) returns integer language sql as 'select 1'", "function mcp_rls.gate(text, jsonb)", "new", OPENS),
    ("grant execute on function mcp_rls.claims() to public", "function mcp_rls.claims()", "EXECUTE for public; was: for its owner alone", OPENS),
    (f"revoke execute on function mcp_rls.gate(name, jsonb) from {VISITOR}", "function mcp_rls.gate(name, jsonb)", f"EXECUTE for {USER}; was: for {USER}, {VISITOR}", CLOSES),
    (f"alter function mcp_rls.gate(name, jsonb) owner to {STAFF}", "function mcp_rls.gate(name, jsonb)", f"owned by {STAFF}; was: owned by", OPENS),
    # roles
    (f"alter role {USER} superuser", f"role {USER}", "SUPERUSER; was: not SUPERUSER; row security doesn't bind it", OPENS),
    (f"alter role {VISITOR} bypassrls", f"role {VISITOR}", "BYPASSRLS; was: not BYPASSRLS", OPENS),
    (f"grant {STAFF} to {USER}", f"role {USER}", f"a member of {STAFF}; was: not a member", OPENS),
]  # fmt: skip
# What a restore does to the trees of policies, here done to what was noted of them: ours, and "own tasks".
RESTORED = """
update mcp_rls.manifest set tree = regexp_replace(tree, '[0-9a-f]{32}', md5(tree), 'g') where object like 'policy %';
update mcp_rls.manifest set facts = jsonb_set(facts, '{policies,own tasks}', '"permissive r drift_user using 00000000000000000000000000000000 check"')
where object = 'table app.tasks'
"""
IDS = [f"{number} {change[:60]}" for number, (change, *_) in enumerate(CHANGES)]


@pytest.fixture(scope="module")
def template(server: Server) -> Iterator[str]:
    """A database with the tables, and the policies applied to them, to be copied."""
    with server.scratch_database() as url:
        with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
            make_roles(connection, USER, VISITOR, STAFF)
            connection.execute(SCHEMA.encode())
            apply.install(connection, policies(FILE))
        yield str(conninfo_to_dict(url)["dbname"])


@pytest.fixture
def applied(server: Server, template: str) -> Iterator[Scratch]:
    """A database of the test's own to which FILE was applied. Roles are the server's: they are put back afterwards."""
    with scratch_on(server, template) as made:
        try:
            yield made
        finally:
            made.run(
                f"alter role {USER} nosuperuser nobypassrls; alter role {VISITOR} nosuperuser nobypassrls; revoke {STAFF} from {USER}"
            )


def look(scratch: Scratch, text: str = FILE, lock_timeout: str = "1min") -> Drift:
    """What drift finds: a wait for a lock would be a long one."""
    return drift(scratch.connection, policies(text), lock_timeout=lock_timeout)


def said(found: Drift, kind: Kind = Kind.DRIFT) -> list[str]:
    return [f.words for f in found.of(kind)]


@contextmanager
def locked(scratch: Scratch, *tables: str) -> Iterator[None]:
    """These tables in ACCESS EXCLUSIVE, held by another session."""
    with psycopg.connect(scratch.url) as other:
        other.execute(f"lock table {', '.join(tables)} in access exclusive mode".encode())
        yield


# --- drift


def test_nothing_is_found_after_apply(applied):
    """No drift, nothing pending, nothing left unjudged, and no note."""
    assert look(applied).findings == ()


@pytest.mark.parametrize(("change", "object_", "words", "effect"), CHANGES, ids=IDS)
def test_each_change_is_told_and_nothing_else(change, object_, words, effect, applied):
    """In one line: what it is, what it was, what that means; the same while its table is locked by another session."""
    applied.run(change)
    finding = only(look(applied))
    assert finding.object == object_
    assert re.search(words, finding.words), finding.words
    assert finding.effect is effect
    tables = [
        str(row[0])
        for row in applied.run(
            "select c.oid::regclass from pg_class c where c.relnamespace = 'app'::regnamespace and c.relkind in ('r', 'p')"
        )
    ]
    with locked(applied, *tables):
        began = time.monotonic()
        meanwhile = only(look(applied))
        assert time.monotonic() - began < WITHOUT_WAITING
    assert (meanwhile.object, meanwhile.was, meanwhile.remedy) == (object_, finding.was, finding.remedy)


def only(found: Drift) -> Finding:
    (finding,) = found.of(Kind.DRIFT)
    assert found.answer is Kind.DRIFT
    assert not found.of(Kind.PENDING)
    return finding


def compatible() -> list[tuple[str, str, str, Effect]]:
    """The first change to each object: they can all be made in one database."""
    first = {object_: (change, object_, words, effect) for change, object_, words, effect in reversed(CHANGES)}
    apart = ("rename to", "drop view", "drop table", "detach", "drop function mcp_rls.claims", "owner to")
    return [c for c in first.values() if not any(word in c[0] for word in apart)]


def test_each_major_version_tells_the_same(each_scratch):
    """What was applied is what is there; and what changed is told."""
    make_roles(each_scratch.connection, USER, VISITOR, STAFF)
    each_scratch.run(SCHEMA)
    each_scratch.install(FILE)
    assert look(each_scratch).findings == ()
    for change in (
        'alter policy "mcp_rls: notes select" on app.notes using (true)',
        f"grant truncate on app.tasks to {USER}",
        "alter table app.parts rename to pieces",
        "drop function mcp_rls.claims()",
    ):
        each_scratch.run(change)
    assert [f.object for f in look(each_scratch).of(Kind.DRIFT)] == [
        "function mcp_rls.claims()",
        CEILING,
        "table app.tasks",
    ]


@pytest.mark.parametrize("lock", [False, True], ids=["", "locked"])
def test_all_changes_at_once_are_all_told(lock, applied):
    """Each in its own line; texts that a lock keeps from being read are named, and the rest is told as ever."""
    changes = compatible()
    assert len(changes) > 20
    for change, *_ in changes:
        applied.run(change)
    if lock:
        with locked(applied, "app.notes", "app.tasks"):
            found = look(applied)
    else:
        found = look(applied)
    told = {f.object: f for f in found.of(Kind.DRIFT)}
    assert told.keys() == {object_ for _, object_, *_ in changes}
    unread = [f for f in told.values() if re.search(r"could not be read: app\.(notes|tasks) is locked", f.words)]
    assert bool(unread) is lock
    for _, object_, words, effect in changes:
        assert told[object_] in unread or re.search(words, told[object_].words), told[object_].words
        assert told[object_] in unread or told[object_].effect is effect


def test_what_an_app_changed_on_purpose_is_taken_note_of(applied):
    """Its policy, its view and its grant are told until `apply` has nothing else to do, and then no more."""
    applied.run(
        f"create policy more on app.tasks to {USER} using (done); grant select on app.parts to {VISITOR}; create view app.v with (security_invoker) as select 1"
    )
    assert all("if that is meant, `mcp-rls apply` takes note of it" in words for words in said(look(applied)))
    assert len(said(look(applied))) == 3
    apply.take_note(applied.connection, policies(FILE))
    assert look(applied).findings == ()


def test_apply_puts_back_what_it_made(applied):
    """Afterwards nothing is found."""
    for change in (
        'alter policy "mcp_rls: notes select" on app.notes using (true)',
        "alter table app.notes disable row level security",
        f"grant truncate on app.notes to {USER}",
    ):
        applied.run(change)
    assert len(said(look(applied))) == 3
    applied.install(FILE)
    assert look(applied).findings == ()


def test_a_suspended_table_is_one_line(applied):
    """Not one for each policy that is away."""
    applied.run("select mcp_rls.suspend('app.notes')")
    found = said(look(applied))
    assert any(re.match("table app.notes: suspended.*mcp_rls.resume", words) for words in found)
    assert all("suspended" in words for words in found)
    applied.run("select mcp_rls.resume()")
    assert not said(look(applied))


# --- what is no drift


def test_renamed_columns_are_no_drift(applied):
    """What policies say is the same; the file, which goes by the old name, doesn't fit any more."""
    applied.run("alter table app.notes rename status to state; alter table app.notes rename id to number")
    found = look(applied)
    assert not found.of(Kind.DRIFT)
    assert all("unknown-column" in words and "refuses" in words for words in said(found, Kind.PENDING))
    renamed = FILE.replace("status", "state").replace("select id from", "select number from")
    assert not look(applied, renamed).of(Kind.DRIFT)


@pytest.mark.parametrize("table", ["app.notes", "app.tasks", "app.parts"])
def test_a_renamed_table_is_a_note(table, applied):
    """With its policies, and whatever else is as it was; a change beside it is told under the new name."""
    applied.run(f"alter table {table} rename to renamed")
    found = look(applied)
    assert said(found, Kind.NOTE) == [f"table app.renamed: renamed, with its policies as they were; was: named {table}"]
    assert not found.of(Kind.DRIFT)
    applied.run("alter table app.renamed disable row level security")
    assert [f.object for f in look(applied).of(Kind.DRIFT)] == ["table app.renamed"]


def test_a_renamed_schema_is_a_note(applied):
    """For each table and view in it; what is new in it is told."""
    applied.run("alter schema app rename to app2")
    found = look(applied)
    assert {f.object for f in found.of(Kind.NOTE)} == {
        f"table app2.{n}" for n in ("notes", "tasks", "parts", "parts_a", "open_notes")
    }
    assert not found.of(Kind.DRIFT)
    assert found.answer is Kind.PENDING
    applied.run("create table app2.more (id integer)")
    assert [f.object for f in look(applied).of(Kind.DRIFT)] == ["table app2.more"]


def test_a_table_that_takes_anothers_place_is_no_rename(applied):
    """The old one is gone, and the new one has none of its policies."""
    applied.run(f"drop table app.tasks; create table app.jobs (id integer); grant select on app.jobs to {USER}")
    assert [(f.object, f.now) for f in look(applied).of(Kind.DRIFT)] == [
        ("table app.jobs", "a new table"),
        ("table app.tasks", "gone"),
    ]


def test_a_dump_and_restore_is_a_note(applied, server, tmp_path):
    """Policies are known by their texts, other people's too; what changed since is told."""
    with restored(applied, server, tmp_path) as copy:
        found = look(copy)
        assert found.answer is None
        (note,) = said(found, Kind.NOTE)
        assert re.match("policies app.notes mcp_rls: .* and .* more: made anew with the text that was applied", note)
        copy.run('alter policy "own tasks" on app.tasks using (true)')
        copy.run('alter policy "mcp_rls: notes select" on app.notes using (true)')
        assert {f.object for f in look(copy).of(Kind.DRIFT)} == {CEILING, "policy app.tasks own tasks"}


@contextmanager
def restored(scratch: Scratch, server: Server, directory: Path) -> Iterator[Scratch]:
    """The database dumped and restored into another; without pg_dump, with trees as a restore would leave them."""
    try:
        program = binaries.find_binaries(binaries.server_account(), os.environ).directory / "pg_dump"
    except ServerError:
        scratch.run(RESTORED)
        yield scratch
        return
    dump = directory / "dump.sql"
    subprocess.run([program, "--inserts", "-f", dump, scratch.url], check=True)
    with scratch_on(server) as copy:
        copy.run("create table public.other_numbers (id integer)")
        run_sql_file(copy.connection, dump)
        copy.run("reset all")
        yield copy


def test_a_restored_policy_behind_a_lock_is_not_known(applied):
    """Whether it says what it said can't be told without its text; the table is named."""
    applied.run(RESTORED)
    assert CEILING not in said(look(applied), Kind.UNKNOWN)
    with locked(applied, "app.notes"):
        found = look(applied)
    assert found.answer is Kind.UNKNOWN
    (words,) = (f.words for f in found.of(Kind.UNKNOWN) if f.object == CEILING)
    assert re.search("made anew.*its text could not be read: app.notes is locked", words)


# --- pending


def test_what_the_file_moved_on_is_pending_and_no_drift(applied):
    """Policies, functions and grants by their own names, with what each opens or closes."""
    text = FILE.replace("status = 'open'\", check", "status in ('open', 'new')\", check").replace(
        "{ids: [helper]}", "{ids: [helper, other]}"
    )
    text += "  app.parts: {people: [{allow: select}], clients: none}\n"
    found = look(applied, text)
    assert not found.of(Kind.DRIFT)
    told = {f.object: f for f in found.of(Kind.PENDING)}
    assert told["policy app.notes mcp_rls: notes update"].effect is OPENS
    assert "`mcp-rls apply` would change it; class helper" in told["policy app.notes mcp_rls: notes update"].words
    assert "1 client more" in told["function mcp_rls.gate(name, jsonb)"].words
    assert told["policy app.parts mcp_rls: parts people select"].effect is OPENS
    assert told["policy app.parts mcp_rls: parts as before"].now == "`mcp-rls apply` would drop it"
    revoked = [f.now for f in found.of(Kind.PENDING) if f.object == "table app.parts"]
    assert revoked == [f"`mcp-rls apply` would revoke {p} from {USER}" for p in ("DELETE", "INSERT", "UPDATE")]
    planned = {o.subject for o in applied.prepare(text).plan.operations} - {"schema mcp_rls"}
    assert planned == {f.object for f in found.of(Kind.PENDING)}
    applied.install(text)
    assert look(applied, text).findings == ()


def test_what_the_file_no_longer_lists_would_go(applied):
    """A ceiling that goes opens."""
    text = FILE[: FILE.index("  app.tasks:")].replace("sets:", "#")
    told = {f.object: f for f in look(applied, text).of(Kind.PENDING)}
    assert told["policy app.tasks mcp_rls: tasks select"].now == "`mcp-rls apply` would drop it"
    assert told["policy app.tasks mcp_rls: tasks select"].effect is OPENS
    assert told["policy app.tasks mcp_rls: tasks closed"].effect is CLOSES
    assert told["function mcp_rls.set_mine()"].now == "`mcp-rls apply` would drop it"
    assert {o.subject for o in applied.prepare(text).plan.operations} - {"schema mcp_rls"} == told.keys()


def test_drift_and_pending_are_told_apart(applied):
    """The database changed one policy and the file another: each under its own heading, and one that both changed twice."""
    applied.run('alter policy "mcp_rls: notes select" on app.notes using (true)')
    applied.run('alter policy "mcp_rls: tasks select" on app.tasks using (true)')
    found = look(applied, FILE.replace("note in mine", "note in mine and not done"))
    assert [f.object for f in found.of(Kind.DRIFT)] == [CEILING, "policy app.tasks mcp_rls: tasks select"]
    assert [f.object for f in found.of(Kind.PENDING)] == ["policy app.tasks mcp_rls: tasks select"]


def test_a_new_table_is_drift_and_its_ceilings_are_pending_where_the_file_lists_it(applied):
    """Unlisted, the table is all there is to say."""
    applied.run("create table app.more (id integer)")
    assert not look(applied).of(Kind.PENDING)
    found = look(applied, FILE + "  app.more: {clients: [{who: helper, allow: select}]}\n")
    assert [f.object for f in found.of(Kind.DRIFT)] == ["table app.more"]
    assert {f.object.partition(" mcp")[0] for f in found.of(Kind.PENDING)} == {"policy app.more"}


def test_a_schema_that_the_file_covers_only_now_is_pending(applied):
    """Its tables are no drift."""
    applied.run("create schema late; create table late.t (id integer)")
    found = look(applied, FILE.replace("schemas: [app]", "schemas: [app, late]"))
    assert not found.of(Kind.DRIFT)
    assert "policy late.t mcp_rls: t closed" in {f.object for f in found.of(Kind.PENDING)}


def test_a_file_that_does_not_fit_the_database_is_pending(applied):
    """With the error's code and place. What the database caused by itself is drift; that the file is refused, no news."""
    found = look(applied, FILE.replace("note in mine", "nope in mine"))
    assert re.match(r"file: error\[unknown-column\].*refuses.*\(policies\.yaml:\d+\)", said(found, Kind.PENDING)[0])
    applied.run(f"alter role {USER} bypassrls")
    found = look(applied)
    assert [f.object for f in found.of(Kind.DRIFT)] == [f"role {USER}"] == [f.object for f in found.of(Kind.UNKNOWN)]
    assert not found.of(Kind.PENDING)


def test_a_policy_that_the_file_is_refused_for_has_one_remedy(applied):
    """`apply` neither puts it back nor takes note of it; beside policies of the app it does."""
    create = f"create policy extra on {{}} for select to {USER} using (true)"
    applied.run(create.format("app.notes") + ";" + create.format("app.tasks"))
    beside_rules, beside_policies = look(applied).of(Kind.DRIFT)
    assert [beside_rules.object, beside_policies.object] == ["policy app.notes extra", "policy app.tasks extra"]
    hint = "drop that policy, or keep the app's own with `people: existing`"
    assert beside_rules.remedy == f"`mcp-rls apply` refuses the file in this database: {hint}"
    assert beside_policies.remedy.endswith("takes note of it; if not, drop it: `drop policy extra on app.tasks`")
    (why,) = look(applied).of(Kind.UNKNOWN)
    assert re.fullmatch(r"policy app.notes extra: error\[people-wider\] .* \(policies\.yaml:\d+\)", why.words)
    assert [hint in f.words for f in look(applied).findings] == [True, False, False]
    assert not look(applied).of(Kind.PENDING)
    applied.run("drop policy extra on app.notes")
    assert [f.object for f in look(applied).findings] == ["policy app.tasks extra"]


def test_a_role_that_no_ceiling_binds_is_told(applied):
    """A grant to somebody who isn't a token role is nothing that was noted; the file is refused for it."""
    applied.run(f"alter role {STAFF} login; grant select on app.notes to {STAFF}")
    found = look(applied)
    applied.run(f"alter role {STAFF} nologin")
    assert "unbound-role" in said(found, Kind.PENDING)[0]


# --- locks, rights, writes


def test_a_lock_keeps_nothing_from_being_judged(applied):
    """Neither what is there nor what the file asks for."""
    applied.run("alter view app.open_notes set (security_invoker = false)")
    text = FILE.replace("note in mine", "not done")
    expected = look(applied, text)
    assert {f.kind for f in expected.findings} == {Kind.DRIFT, Kind.PENDING}
    with locked(applied, "app.notes", "app.tasks", "app.parts", "app.open_notes"):
        assert look(applied, text) == expected


def test_a_lock_that_comes_in_between_is_not_waited_for_long(applied, monkeypatch):
    """Taken when locks had been looked at already: the text is not read."""
    monkeypatch.setattr("mcp_rls.database.drift.reading.LOCKED", "select 0::oid as oid, '' as name where false")
    applied.run('alter policy "mcp_rls: notes select" on app.notes using (true)')
    applied.run('alter policy "mcp_rls: tasks select" on app.tasks using (true)')
    with locked(applied, "app.notes"):
        found = look(applied, lock_timeout="50ms")
    notes, tasks = said(found)
    assert "its text could not be read: app.notes is locked" in notes
    assert "using (true)" in tasks


def test_who_waits_for_a_lock_is_not_waited_for(applied):
    """A migration that waits behind a reader would make every other reader wait: drift is no such reader."""
    with psycopg.connect(applied.url) as reader, psycopg.connect(applied.url) as migration:
        reader.execute("select from app.notes")
        waiting = threading.Thread(target=lambda: migration.execute("lock table app.notes"), daemon=True)
        waiting.start()
        try:
            while waiting.is_alive() and not applied.value("select exists(select from pg_locks where not granted)"):
                time.sleep(0.01)
            began = time.monotonic()
            found = look(applied)
            assert time.monotonic() - began < WITHOUT_WAITING
            assert waiting.is_alive()
        finally:
            reader.rollback()
            waiting.join()
        assert found.answer is None


def test_nothing_is_locked_and_nothing_can_be_written(applied, monkeypatch):
    """Asked in the very transaction, when all has been read: it holds the manifest and PostgreSQL's own tables."""
    applied.run('alter policy "mcp_rls: notes select" on app.notes using (true)')
    held: list[tuple[str, ...]] = []

    def told(*_: object) -> list[Finding]:
        held.extend(applied.run("""
            select l.relation::regclass::text, current_setting('transaction_read_only'), current_setting('transaction_isolation')
            from pg_locks l where l.pid = pg_backend_pid() and l.relation >= 16384 and l.relation::regclass::text !~ 'pkey'
        """))  # fmt: skip
        return []

    monkeypatch.setattr("mcp_rls.database.drift.pending.told", told)
    assert look(applied).of(Kind.DRIFT)
    assert held == [("mcp_rls.manifest", "on", "repeatable read")]


def test_a_role_that_reads_the_manifest_and_nothing_else_can_ask(applied):
    """It sees what a superuser sees; without the right to read the manifest it is told what it needs."""
    applied.run('alter policy "mcp_rls: notes select" on app.notes using (true)')
    expected = look(applied)
    with psycopg.connect(applied.url, autocommit=True, prepare_threshold=None) as connection:
        connection.execute(f"set role {STAFF}".encode())
        with pytest.raises(Unanswerable, match=r"USAGE on the schema mcp_rls and SELECT on mcp_rls\.manifest"):
            drift(connection, policies(FILE))
        applied.run(f"grant usage on schema mcp_rls to {STAFF}; grant select on mcp_rls.manifest to {STAFF}")
        assert drift(connection, policies(FILE)) == expected


def test_nothing_of_ours_is_called(applied):
    """What keeps the manifest may be gone: it is told, and so is all the rest."""
    kept = ("claims", "printed", "record", "note", "suspend", "resume")
    names = [row[0] for row in applied.run(f"select f.oid::regprocedure::text from pg_proc f where proname in {kept}")]
    assert len(names) == len(kept)
    for name in names:
        applied.run(f"drop function {name}")
    applied.run('alter policy "mcp_rls: notes select" on app.notes using (true)')
    told = {f.object: f.now for f in look(applied).of(Kind.DRIFT)}
    assert [now for object_, now in told.items() if object_.startswith("function")] == ["gone"] * len(kept)
    assert told[CEILING] == "changed: using (true)"


# --- the command


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MCP_RLS_DATABASE_URL", raising=False)
    path = tmp_path / "policies.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def run(file: Path, *arguments: str, code: int) -> Result:
    result = CliRunner().invoke(main, ["drift", str(file), *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_exit_codes(applied, file):
    """0: nothing. 1: drift, or pending. 2: not all could be judged."""
    place = ["--database", applied.url]
    assert "holds what was applied, and the file asks for no more" in run(file, *place, code=0).stdout
    applied.run(RESTORED)
    with locked(applied, "app.tasks"):
        assert "not judged in" in run(file, *place, code=2).stdout
    file.write_text(FILE.replace("note in mine", "not done"), encoding="utf-8")
    assert re.search(r"(?s)PENDING .*tasks select.* pending in", run(file, *place, code=1).stdout)
    applied.run("alter table app.notes disable row level security")
    assert "1 drifted" in run(file, *place, code=1).stdout


def test_formats(applied, file):
    """The same findings in each; drift that opens is an error to GitHub, a note a notice."""
    applied.run("alter table app.parts rename to pieces; alter table app.notes disable row level security")
    place = ["--database", applied.url]
    text = run(file, *place, code=1).stdout
    document = json.loads(run(file, *place, "--format", "json", code=1).stdout)
    annotations = run(file, *place, "--format", "github", code=1).stdout.splitlines()
    assert document["answer"] == "drift"
    assert len(document["findings"]) == len(annotations) == len(text.splitlines()) - 1
    assert {"kind", "effect", "object", "now", "was", "means", "remedy", "place"} == set(document["findings"][0])
    assert "DRIFT   OPENS  table app.notes: row security off; was: row security on" in text
    assert any(a.startswith("::error title=drift%2C OPENS::table app.notes") for a in annotations)
    assert any(a.startswith("::notice title=note::table app.pieces: renamed") for a in annotations)


def test_a_database_to_which_nothing_was_applied(scratch, file):
    """Exit 2, and what to do; so is a command that names no database."""
    assert "mcp-rls apply" in run(file, "--database", scratch.url, code=2).stderr
    assert "--database" in run(file, code=2).stderr
    assert "lock_timeout" in run(file, "--database", scratch.url, "--lock-timeout", "soon", code=2).stderr


def test_a_manifest_of_another_release_is_not_read(applied):
    """Nothing is guessed from it."""
    applied.run("update mcp_rls.manifest set tree = 'x' where object like 'policy %'")
    with pytest.raises(Unanswerable, match="another release"):
        look(applied)
    applied.run("alter table mcp_rls.manifest drop column tree")
    with pytest.raises(Unanswerable, match="another release"):
        look(applied)


def test_names_of_every_kind(scratch):
    """With dots, blanks, quotes and commas in them: nothing is found, then just what changed."""
    make_roles(scratch.connection, "drift role", "drift,SELECT")
    table, schema = '"my schema"."a \'b\'. c %s"', "my schema"
    scratch.run(f"""create schema "{schema}"; create table {table} (id integer); create table "{schema}".t (id integer);
        create policy "mine, using check" on {table} using (true);
        grant select, insert on {table} to "drift role", "drift,SELECT"; grant update (id) on {table} to "drift role" """)
    text = (
        FILE[: FILE.index("scopes:")]
        .replace("[app]", f"[{schema}]")
        .replace(USER, '"drift role"')
        .replace(VISITOR, '"drift,SELECT"')
    )
    scratch.install(text)
    assert look(scratch, text).findings == ()
    scratch.run(
        f'alter policy "mine, using check" on {table} using (false); grant select (id) on {table} to "drift role"'
    )
    assert len(said(look(scratch, text))) == 2
    scratch.run(f'alter table {table} rename to "other . name"')
    found = look(scratch, text)
    assert (len(found.of(Kind.DRIFT)), len(found.of(Kind.NOTE))) == (2, 1)


def test_a_manifest_without_notes_is_not_enough(applied):
    """Policies and functions are compared all the same; that tables and roles were not is said."""
    applied.run("delete from mcp_rls.manifest where source = 'seen'")
    assert look(applied).answer is Kind.UNKNOWN
    applied.run('drop policy "mcp_rls: notes select" on app.notes')
    assert [f.object for f in look(applied).of(Kind.DRIFT)] == [CEILING]
