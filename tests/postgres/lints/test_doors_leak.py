"""Doors really lead round the ceilings: a client's token goes through each, its lint finds it, its fix shuts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
import pytest

from tests.postgres.lints.world import subjects
from tests.postgres.scratch import ANN, BOB, Answer, Scratch, helper

pytestmark = pytest.mark.postgres

# Ann has notes 1 and 2, Bob 3; the client `helper` may read Ann's open ones. `keys` is closed to it.
BASE = f"""
do $$ begin create role lint_crew nologin; exception when duplicate_object then null; end $$;
do $$ begin create role lint_boss nologin bypassrls; exception when duplicate_object then null; end $$;
create function public.person() returns uuid language sql stable set search_path = pg_catalog, pg_temp
  as $$ select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
create table public.notes (id integer primary key, owner uuid, status text);
create table public.keys (id integer primary key, note integer, secret text);
insert into public.notes values (1, '{ANN}', 'open'), (2, '{ANN}', 'closed'), (3, '{BOB}', 'open');
insert into public.keys values (1, 1, 'x'), (2, 2, 'y');
alter table public.notes enable row level security;
alter table public.keys enable row level security;
create policy own on public.notes to authenticated using (owner = public.person());
create policy own on public.keys to authenticated using (true);
grant select, insert, update, delete on public.notes, public.keys to authenticated;
"""
FILE = """
tables:
  public.notes:
    clients:
      - {who: helper, allow: [select, insert, delete], rows: "status = 'open'"}
  public.keys: {clients: none}
"""
CONSENT = """
consent: {table: public.grants, columns: {person: person, client: client}}
classes: {helper: {match: {ids: [helper]}, consent: required}}
"""
HEAD = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated, anon]
anonymous: [anon]
identity: {direct: no_client}
"""


@dataclass(frozen=True)
class Door:
    """`through`: what the client does there. `leaks` and `shut`: what it then gets, with the door open and shut."""

    lint: str
    door: str
    through: Sequence[str]
    leaks: Answer
    fix: str
    shut: Answer
    found: tuple[str, ...]
    file: str = FILE
    name: str = ""
    before: str = ""  # what stands there before the policies are installed

    @property
    def id(self) -> str:
        return " ".join(filter(None, (self.lint, self.name)))


DENIED = "42501"  # an answer that begins with it is a refusal
# a function that clients can't name
SECRETS = (
    "create schema inside; create function inside.added(text, integer) returns text language sql security definer"
    " set search_path = pg_catalog, pg_temp as $$ select string_agg(secret, '' order by id) from public.keys $$;"
)
COUNT_KEYS = ("reset role", "select id from public.keys order by id")

DOORS = [
    Door(
        "view-without-invoker",
        "create view through as select * from notes; grant select on through to authenticated;",
        ["select id from through order by id"],
        [1, 2, 3],
        "alter view through set (security_invoker = true)",
        [1],
        ("view public.through",),
    ),
    Door(
        "view-without-invoker",
        "grant select on notes to lint_boss; create view through as select * from notes;"
        "alter view through owner to lint_boss; grant select on through to authenticated;",
        ["select id from through order by id"],
        [1, 2, 3],
        "revoke select on notes from lint_boss",
        DENIED,
        ("view public.through",),
        name="of an owner who may nothing",
    ),
    Door(
        "materialized-view-open",
        "create materialized view copy as select * from notes; grant select on copy to authenticated;",
        ["select id from copy order by id"],
        [1, 2, 3],
        "revoke select on copy from authenticated",
        DENIED,
        ("materialized view public.copy",),
    ),
    Door(
        "definer-function-door",
        "create function all_notes() returns setof integer language sql stable security definer"
        " as $$ select id from public.notes order by id $$;",
        ["select all_notes()"],
        [1, 2, 3],
        "revoke execute on function all_notes() from public",
        DENIED,
        ("function public.all_notes()",),
        name="reads",
    ),
    Door(
        "definer-function-door",
        "grant select on notes to lint_boss; create function all_notes() returns setof integer language sql stable"
        " security definer as $$ select id from public.notes order by id $$;"
        "alter function all_notes() owner to lint_boss;",
        ["select all_notes()"],
        [1, 2, 3],
        "revoke select on notes from lint_boss; grant insert on keys to lint_boss",
        DENIED,
        ("function public.all_notes()",),
        name="of an owner who may nothing",
    ),
    Door(
        "definer-function-door",
        "create function wipe() returns void language plpgsql security definer"
        " as $$ begin delete from public.keys; end $$;",
        ["select wipe()", *COUNT_KEYS],
        [],
        "alter function wipe() security invoker",
        [1, 2],
        ("function public.wipe()",),
        name="writes",
    ),
    Door(
        "definer-function-door",
        "create function peek(t text) returns bigint language plpgsql security definer"
        " as $$ declare n bigint; begin execute 'select count(*) from ' || t into n; return n; end $$;",
        ["select peek('public.keys')"],
        [2],
        "alter function peek(text) security invoker",
        [0],
        ("function public.peek(t text)",),
        name="by SQL that is put together",
    ),
    Door(
        "definer-function-door",
        "create function has_key(note integer) returns boolean language sql stable security definer"
        " return (select exists (select from public.keys k where k.note = has_key.note));"
        "create policy told on notes as restrictive using (has_key(id) is not null);",
        ["select has_key(2)"],
        [True],
        "create schema inside; alter function has_key(integer) set schema inside",
        "42883",
        ("function public.has_key(note integer)",),
        name="asked by a policy",
    ),
    Door(
        "definer-function-door",
        "create schema inside; create function inside.keys() returns bigint language sql security definer"
        " return (select count(*) from public.keys);"
        "create view keys_known with (security_invoker = true) as select inside.keys() as n;"
        "grant select on keys_known to authenticated;",
        ["select n from keys_known"],
        [2],
        "revoke select on keys_known from authenticated",
        DENIED,
        ("function inside.keys()",),
        name="through a view",
    ),
    Door(
        "uncovered-table-open",
        "create schema side; grant usage on schema side to authenticated;"
        "create table side.plans as select 7 as id; grant select on side.plans to authenticated;",
        ["select id from side.plans"],
        [7],
        "revoke usage on schema side from authenticated",
        DENIED,
        ("table side.plans",),
    ),
    Door(
        "cascade-into-closed",
        "alter table keys add constraint of_note foreign key (note) references notes on delete cascade",
        ["delete from notes where id = 1", *COUNT_KEYS],
        [2],
        "alter table keys drop constraint of_note, add constraint of_note foreign key (note) references notes",
        "23503",
        ("foreign key public.keys.of_note",),
    ),
    Door(
        "cascade-into-closed",
        "alter table keys add constraint of_note foreign key (note) references notes on delete set null",
        ["delete from notes where id = 1", "reset role", "select id from keys where note is null"],
        [1],
        "alter table keys drop constraint of_note",
        [],
        ("foreign key public.keys.of_note",),
        name="set null",
    ),
    Door(
        "partition-open",
        "create table log_2 partition of log for values from (2) to (3); insert into log values (2, 'hidden');"
        "grant select on log_2 to authenticated;",
        ["select what from log_2"],
        ["hidden"],
        "revoke select on log_2 from authenticated",
        DENIED,
        ("table public.log_2",),
        before="create table log (day integer, what text) partition by range (day);"
        "create table log_1 partition of log for values from (1) to (2); grant select on log to authenticated;",
    ),
    Door(
        "trigger-writes-past",
        "create function copy_it() returns trigger language plpgsql security definer"
        " as $$ begin insert into public.keys values (new.id, new.id, 'mine'); return new; end $$;"
        "create trigger copy_it after insert on notes for each row execute function copy_it();",
        [f"insert into notes values (9, '{ANN}', 'open')", *COUNT_KEYS],
        [1, 2, 9],
        "alter function copy_it() security invoker",
        DENIED,
        ("trigger public.notes.copy_it",),
    ),
    Door(
        "trigger-writes-past",
        "create function mark() returns trigger language plpgsql security definer"
        " as $$ begin update public.keys set id = id + 10; return new; end $$;"
        "create trigger mark after delete on notes for each row execute function mark();",
        ["delete from notes where id = 1", *COUNT_KEYS],
        [11, 12],
        "alter function mark() security invoker",
        [1, 2],
        ("trigger public.notes.mark",),
        file=FILE.replace("clients: none", 'clients: [{who: helper, allow: [select, update], rows: "note = 7"}]'),
        name="on rows of a table that is narrowed",
    ),
    Door(
        "blind-privilege-granted",
        "grant truncate on keys to lint_crew; grant lint_crew to authenticated;",
        ["truncate keys", *COUNT_KEYS],
        [],
        "revoke truncate on keys from lint_crew; revoke lint_crew from authenticated;",
        DENIED,
        ("table public.keys",),
    ),
    Door(
        "bypass-role-reachable",
        "grant lint_boss to authenticated; grant select on keys to lint_boss;",
        ["set session authorization authenticated", "set role lint_boss", "select id from keys order by id"],
        [1, 2],
        "revoke lint_boss from authenticated",
        DENIED,
        ("role authenticated",),
    ),
    Door(
        "sequence-shared",
        "create sequence numbers; select nextval('numbers'); grant select on sequence numbers to authenticated;",
        ["select last_value from numbers"],
        [1],
        "revoke select on sequence numbers from authenticated",
        DENIED,
        ("sequence public.numbers",),
    ),
    Door(
        "deciding-table-behind-door",
        "create function agree(c text) returns void language sql security definer"
        " as $$ insert into public.grants values (public.person(), c) $$;",
        ["select agree('helper')", "select id from notes order by id"],
        [1],
        "revoke execute on function agree(text) from public",
        DENIED,
        ("table public.grants",),
        file=HEAD + CONSENT + FILE + "  public.grants: {clients: none}\n",
        before="create table grants (person uuid, client text);",
    ),
    Door(
        "deciding-table-behind-door",
        "create view agreed as select * from grants; grant insert on agreed to authenticated;",
        [f"insert into agreed values ('{ANN}', 'helper')", "select id from notes order by id"],
        [1],
        "alter view agreed set (security_invoker = true)",
        DENIED,
        ("table public.grants",),
        file=HEAD + CONSENT + FILE + "  public.grants: {clients: none}\n",
        before="create table grants (person uuid, client text);",
        name="a view",
    ),
    Door(
        "trigger-writes-past",
        "create schema inside; create view through with (security_invoker = true) as select 1 as id;"
        "create function inside.add() returns trigger language plpgsql security definer"
        " set search_path = pg_catalog, pg_temp"
        " as $$ begin insert into public.keys values (new.id, new.id, 'mine'); return new; end $$;"
        "create trigger add instead of update on through for each row execute function inside.add();"
        "revoke execute on function inside.add() from public; grant select, update on through to authenticated;",
        ["update through set id = 9", *COUNT_KEYS],
        [1, 2, 9],
        "revoke update on through from authenticated",
        DENIED,
        ("trigger public.through.add",),
        name="instead of",
    ),
    Door(
        "trigger-writes-past",
        "create view through with (security_invoker = true) as select ''::text as told;"
        "create function tell() returns trigger language plpgsql security definer"
        " as $$ begin select string_agg(secret, '' order by id) into new.told from public.keys; return new; end $$;"
        "create trigger tell instead of insert on through for each row execute function tell();"
        "grant select, insert on through to authenticated;",
        ["insert into through values ('') returning told"],
        ["xy"],
        "alter function tell() security invoker",
        [None],
        ("trigger public.through.tell",),
        name="instead of, and shows what it read",
    ),
    Door(
        "rule-past-ceilings",
        "create view through with (security_invoker = true) as select 1 as id;"
        "create rule away as on insert to through do instead delete from keys where id = new.id;"
        "grant insert on through to authenticated;",
        ["insert into through values (1)", *COUNT_KEYS],
        [2],
        "drop rule away on through",
        "55000",
        ("rule public.through.away",),
        name="of a view",
    ),
    Door(
        "rule-past-ceilings",
        "create rule away as on insert to notes do instead delete from keys where id = new.id;",
        [f"insert into notes values (1, '{ANN}', 'open')", *COUNT_KEYS],
        [2],
        "drop rule away on notes",
        "23505",
        ("rule public.notes.away",),
        name="of a table",
    ),
    Door(
        "rule-past-ceilings",
        "create schema side; grant usage on schema side to authenticated; create table side.log (id integer);"
        "create view inner_one as select 1 as id; create view outer_one as select * from inner_one;"
        "create rule away as on update to inner_one do instead delete from keys where id = new.id;"
        "grant select, update on outer_one to authenticated;",
        ["update outer_one set id = 1", *COUNT_KEYS],
        [2],
        "alter view outer_one set (security_invoker = true)",
        DENIED,
        ("rule public.inner_one.away",),
        name="through a view of its owner",
    ),
    Door(
        "definer-function-door",
        SECRETS + "create aggregate gathered(integer) (sfunc = inside.added, stype = text, initcond = '');"
        "revoke execute on function inside.added(text, integer) from public;",
        ["select gathered(1)"],
        ["xy"],
        "revoke execute on function gathered(integer) from public",
        DENIED,
        ("function inside.added(text, integer)",),
        name="through an aggregate",
    ),
    Door(
        "definer-function-door",
        SECRETS + "create aggregate inside.gathered(integer) (sfunc = inside.added, stype = text, initcond = '');"
        "revoke execute on function inside.added(text, integer) from public;"
        "create view through with (security_invoker = true) as select inside.gathered(1) as told;"
        "grant select on through to authenticated;",
        ["select told from through"],
        ["xy"],
        "revoke execute on function inside.gathered(integer) from public",
        DENIED,
        ("function inside.added(text, integer)",),
        name="through an aggregate in a view",
    ),
    Door(
        "definer-function-door",
        SECRETS + "create operator public.<+> (leftarg = text, rightarg = integer, function = inside.added);",
        ["select ''::text operator(public.<+>) 1"],
        ["xy"],
        "revoke execute on function inside.added(text, integer) from public",
        DENIED,
        ("function inside.added(text, integer)",),
        name="through an operator",
    ),
    Door(
        "definer-function-door",
        "create schema inside; create type told as (t text);"
        "create function inside.keyed(told) returns bigint language sql security definer"
        " set search_path = pg_catalog, pg_temp as $$ select count(*) from public.keys $$;"
        "create cast (told as bigint) with function inside.keyed(told);",
        ["select row('')::told::bigint"],
        [2],
        "revoke execute on function inside.keyed(told) from public",
        DENIED,
        ("function inside.keyed(public.told)",),
        name="through a cast",
    ),
    Door(
        "definer-function-door",
        "create schema inside; create function inside.keys() returns bigint language sql security definer"
        " set search_path = pg_catalog, pg_temp as $$ select count(*) from public.keys $$;"
        "create view through with (security_invoker = true) as select 1::bigint as n;"
        "create table side (n bigint); create rule told as on insert to through do instead"
        " insert into side values (inside.keys()) returning n; grant insert, select on through to authenticated;",
        ["insert into through values (1) returning n"],
        [2],
        "revoke execute on function inside.keys() from public",
        DENIED,
        ("function inside.keys()",),
        name="through a rule",
    ),
    Door(
        "cascade-into-closed",
        "create schema inside; create table inside.log (note integer);"
        "insert into inside.log values (1), (2);"
        "alter table inside.log add constraint of_note foreign key (note) references notes on delete cascade",
        ["delete from notes where id = 1", "reset role", "select note from inside.log"],
        [2],
        "alter table inside.log drop constraint of_note",
        [1, 2],
        ("foreign key inside.log.of_note",),
        name="in a schema that isn't covered",
    ),
    Door(
        "deciding-table-behind-door",
        "create view agreed with (security_invoker = true) as select null::text as client;"
        "create rule agree as on insert to agreed do instead insert into grants values (person(), new.client);"
        "grant insert on agreed to authenticated;",
        ["insert into agreed values ('helper')", "select id from notes order by id"],
        [1],
        "revoke insert on agreed from authenticated",
        DENIED,
        ("table public.grants",),
        file=HEAD + CONSENT + FILE + "  public.grants: {clients: none}\n",
        before="create table grants (person uuid, client text);",
        name="a rule",
    ),
    Door(
        "deciding-table-behind-door",
        "create view agreed with (security_invoker = true) as select null::text as client;"
        "create function agree() returns trigger language plpgsql security definer"
        " as $$ begin insert into public.grants values (public.person(), new.client); return new; end $$;"
        "create trigger agree instead of insert on agreed for each row execute function agree();"
        "grant insert on agreed to authenticated;",
        ["insert into agreed values ('helper')", "select id from notes order by id"],
        [1],
        "revoke insert on agreed from authenticated",
        DENIED,
        ("table public.grants",),
        file=HEAD + CONSENT + FILE + "  public.grants: {clients: none}\n",
        before="create table grants (person uuid, client text);",
        name="a trigger of a view",
    ),
]


@pytest.mark.parametrize("door", DOORS, ids=[door.id for door in DOORS])
def test_a_door_leaks_is_found_and_is_shut(door: Door, scratch: Scratch) -> None:
    """Under installed ceilings: what they hide is reached, then found with nothing else, then out of reach."""
    scratch.run(BASE + door.before)
    scratch.install(door.file)
    assert scratch.ask(helper(), "select id from keys") == []
    assert subjects(scratch, door.lint, door.file) == []
    scratch.run(door.door)
    assert scratch.ask(helper(), *door.through) == door.leaks
    assert subjects(scratch, door.lint, door.file) == sorted(door.found)
    scratch.run(door.fix)
    after = scratch.ask(helper(), *door.through)
    assert (
        after.startswith(door.shut) if isinstance(after, str) and isinstance(door.shut, str) else after == door.shut
    ), after
    assert subjects(scratch, door.lint, door.file) == []


def test_a_foreign_table_leaks(scratch: Scratch) -> None:
    """It leads back into this database as another role, and no ceiling is asked."""
    scratch.run(BASE)
    scratch.install(FILE)
    info = psycopg.conninfo.conninfo_to_dict(scratch.url)
    place = ", ".join(f"{k} '{info[k]}'" for k in ("host", "port", "dbname") if k in info)
    user = f"user '{info.get('user', 'postgres')}'" + (f", password '{info['password']}'" if "password" in info else "")
    scratch.run(
        f"create extension postgres_fdw; create server back foreign data wrapper postgres_fdw options ({place});"
        f"create user mapping for authenticated server back options ({user}, password_required 'false');"
        "create foreign table through (id integer) server back options (schema_name 'public', table_name 'notes');"
        "grant select on through to authenticated"
    )
    assert scratch.ask(helper(), "select id from through order by id") == [1, 2, 3]
    assert subjects(scratch, "foreign-table-open", FILE) == ["foreign table public.through"]
    scratch.run("revoke all on public.through from authenticated")
    assert str(scratch.ask(helper(), "select id from through")).startswith(DENIED)
    assert subjects(scratch, "foreign-table-open", FILE) == []


def test_a_role_outside_ceilings_written_by_hand_leaks(scratch: Scratch) -> None:
    """Without a policy file: the restrictive policy names one role, and another one reaches the table."""
    scratch.run(BASE + "drop policy own on notes; create policy everybody on notes using (owner = person());")
    scratch.run("create policy ceiling on notes as restrictive to authenticated using (status = 'open')")
    scratch.run("grant select on notes to lint_crew")
    assert scratch.sees(helper()) == [1]
    assert scratch.sees(helper(), role="lint_crew") == [1, 2]
    assert subjects(scratch, "role-outside-ceilings") == ["role lint_crew"]
    scratch.run("alter policy ceiling on public.notes to public")
    assert scratch.sees(helper(), role="lint_crew") == [1]
    assert subjects(scratch, "role-outside-ceilings") == []


def test_membership_written_by_oneself_leaks(scratch: Scratch) -> None:
    """Without a policy file: Ann joins an organisation that isn't hers, and reads its notes."""
    scratch.run(
        BASE + "create table members (org uuid, person uuid); grant select, insert on members to authenticated;"
        "alter table members enable row level security;"
        "create policy mine on members for select to authenticated using (person = person());"
        "create policy joining on members for insert to authenticated with check (person = person());"
        "create policy shared on notes for select to authenticated"
        "  using (exists (select from members m where m.org = owner and m.person = person()));"
    )
    joined = (f"insert into members values ('{BOB}', '{ANN}')", "select id from notes order by id")
    assert scratch.ask(helper(), joined[1]) == [1, 2]
    assert scratch.ask(helper(), *joined) == [1, 2, 3]
    assert subjects(scratch, "membership-writable") == ["table public.members"]
    scratch.run("drop policy joining on members")
    assert str(scratch.ask(helper(), *joined)).startswith(DENIED)
    assert subjects(scratch, "membership-writable") == []


def test_a_function_leaks_without_a_policy_file(scratch: Scratch) -> None:
    """Row security written by hand is passed just so; `definer-function-callable` says it."""
    scratch.run(BASE)
    scratch.run(
        "create function all_notes() returns setof integer language sql security definer"
        " as $$ select id from public.notes order by id $$"
    )
    assert scratch.ask(helper(), "select all_notes()") == [1, 2, 3]
    assert subjects(scratch, "definer-function-callable") == ["function public.all_notes()"]
    scratch.run("revoke execute on function public.all_notes() from public")
    assert str(scratch.ask(helper(), "select all_notes()")).startswith(DENIED)
    assert subjects(scratch, "definer-function-callable") == []
