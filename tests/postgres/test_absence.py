"""Person policies in which a missing row counts: refused, since a client would see more than its person does."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mcp_rls.database.server import Server
from mcp_rls.diagnostics import Invalid
from tests.postgres.scratch import ANN, BOB, HEAD, NOTES, Scratch, ann, helper, scratch_on

pytestmark = pytest.mark.postgres

ACCEPT = frozenset({"gain-by-absence"})
# Blocks: to a client only those of `seen`. Note 1 is blocked by a block that it doesn't see, note 2 by none.
SCHEMA = (
    NOTES
    + f"""
alter table notes enable row level security;
create table public.blocks (id integer primary key, person uuid, note integer, active boolean, day integer, kind text);
insert into public.blocks values (1, '{ANN}', 1, true, 2, 'hidden'), (2, '{ANN}', 1, false, 1, 'seen'), (3, '{BOB}', 3, true, 1, 'seen');
grant select on public.blocks to authenticated;
alter table public.blocks enable row level security;
create policy readable on public.blocks for select using (true);
create schema app;
grant usage on schema app to authenticated;
create view app.seen_blocks with (security_invoker) as select * from public.blocks;
create table app.hidden (note integer);
insert into app.hidden values (1);
alter table app.hidden enable row level security;
create policy blocked on app.hidden using (exists (select from public.blocks b where b.note = hidden.note and b.kind = 'hidden'));
grant select on app.seen_blocks, app.hidden to authenticated;
create function app.is_blocked(n integer) returns boolean language plpgsql stable as $$
begin return exists (select from public.blocks b where b.note = n and b.kind = 'hidden'); end $$;
create function app.free(n integer) returns boolean language sql stable as 'select not app.is_blocked(n)';
create function app.freely(n integer) returns boolean language plpgsql stable as 'begin return app.free(n); end';
create function app.atomic(n integer) returns boolean language sql stable
  begin atomic; select (not exists (select from public.blocks b where b.note = n and b.kind = 'hidden')); end;
create function app.assigned(n integer) returns boolean language plpgsql stable as
  $$ declare found_one boolean := app.is_blocked(n); begin return not found_one; end $$;
create function app.cursored(n integer) returns boolean language plpgsql stable as
  $$ declare c cursor for select 1 from public.blocks b where b.note = n and b.kind = 'hidden'; x integer; begin open c; fetch c into x; close c; return not found; end $$;
create function app.dynamic(n integer) returns boolean language plpgsql stable as
  $$ declare c integer; begin execute 'select count(*) fr' || 'om public.blocks where kind = ''hidden'' and note = $1' into c using n; return c = 0; end $$;
create function app.guarded(n integer) returns boolean language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin return not exists (select from public.blocks b where b.note = n and b.kind = 'hidden'); end $$;
create operator app.!? (function = app.free, rightarg = integer);
create function app.as_note(text) returns integer language sql stable as 'select $1::integer';
create aggregate app.all_true (boolean) (sfunc = booland_statefunc, stype = boolean, initcond = 'true');
create function app.plain(n integer) returns boolean language sql immutable as 'select n > 0';
create function app.through(n integer) returns boolean language sql stable as 'select app.guarded(n) and app.plain(n)';
create table app.numbers (n integer);
insert into app.numbers values (3);
grant select on app.numbers to authenticated;
"""
)
FILE = (
    HEAD
    + """
tables:
  public.notes: {clients: [{who: helper, allow: [select, insert]}]}
  public.blocks: {clients: [{who: helper, allow: select, rows: "kind = 'seen'"}]}
"""
)
READ_AS_PERSON = FILE.replace("[{who: helper, allow: select, rows: \"kind = 'seen'\"}]", "read_as_person")
MINE = "public.blocks b where b.note = notes.id and b.kind = 'hidden'"

# Through each of these a client would see note 1, which its person doesn't.
GAINS = {
    "not exists": f"not exists (select from {MINE})",
    "not in": "id not in (select note from public.blocks b where kind = 'hidden')",
    "not a positive form within not": f"not (id > 5 or exists (select from {MINE}))",
    "all": "id <> all (array(select note from public.blocks where kind = 'hidden'))",
    "all of a sub-select": "id <> all (select note from public.blocks where kind = 'hidden')",
    "a count": f"(select count(*) from {MINE}) = 0",
    "a count on the right": f"1 > (select count(*) from {MINE})",
    "a quota over all": "(select count(*) from public.blocks) < 3",
    "except": "id in (select n from generate_series(1, 9) n except select note from public.blocks where kind = 'hidden')",
    "the latest": "(select b.kind from public.blocks b where b.note = notes.id order by day desc limit 1) is distinct from 'hidden'",
    "the latest, by distinct on": "id in (select distinct on (b.note) case b.kind when 'seen' then b.note end"
    " from public.blocks b order by b.note, b.day desc) or id = 2",
    "the latest, by distinct on, of a column": "id in (select x.note from (select distinct on (b.note) b.note, b.active"
    " from public.blocks b order by b.note, b.day desc) x where not x.active) or id = 2",
    "a window": "id in (select x.note from (select note, kind, row_number() over (partition by note order by day desc) r"
    " from public.blocks) x where x.r = 1 and x.kind = 'seen')",
    "a limit": "id in (select b.day from public.blocks b where b.note = 1 order by b.day desc limit 1)",
    "the first with ties": "id in (select b.day from public.blocks b where b.note = 1 order by b.day desc fetch first row with ties)",
    "a scalar": f"(select b.kind from {MINE}) is null",
    "coalesce": f"coalesce((select b.kind from {MINE}), 'none') = 'none'",
    "case": f"case when exists (select from {MINE}) then false else true end",
    "is not true": f"(exists (select from {MINE})) is not true",
    "is false": f"(exists (select from {MINE})) is false",
    "equal to false": f"(exists (select from {MINE})) = false",
    "unequal to exists": f"true <> (exists (select from {MINE}))",
    "distinct from true": f"(exists (select from {MINE})) is distinct from true",
    "a left join": "exists (select from public.notes n left join public.blocks b on b.note = n.id and b.kind = 'hidden'"
    " where n.id = notes.id and b.id is null)".replace("public.notes n", "(select notes.id) n(id)"),
    "a right join": "exists (select from public.blocks b right join (select notes.id) n(id) on b.note = n.id and b.kind = 'hidden' where b.id is null)",
    "a full join": "exists (select from public.blocks b full join (select notes.id) n(id) on b.note = n.id where b.id is null)"
    " or not exists (select from public.blocks where kind = 'hidden')",
    "a join on not exists": f"exists (select from (select 1) x join (select 1) y on not exists (select from {MINE}))",
    "not exists in a select list": f"true in (select not exists (select from {MINE}))",
    "a count in a select list": f"0 in (select count(*) from {MINE})",
    "a count in an array": f"0 = any (array(select count(*) from {MINE}))",
    "every": f"true in (select coalesce(every(b.note <> notes.id), true) from {MINE})",
    "bool_and": f"true = any (select coalesce(bool_and(false), true) from {MINE})",
    "an aggregate of one's own": f"true in (select app.all_true(false) from {MINE})",
    "a count in FROM": f"exists (select from (select count(*) as n from {MINE}) c where c.n = 0)",
    "a count in a lateral sub-select": f"exists (select from (select 1) x, lateral (select count(*) as n from {MINE}) c where c.n = 0)",
    "a count in WITH": f"exists (with c as (select count(*) as n from {MINE}) select from c where c.n = 0)",
    "having": f"exists (select from {MINE} having count(*) = 0)",
    "group by": "id not in (select note from public.blocks where kind = 'hidden' group by note)",
    "one half of a union": f"0 in (select count(*) from {MINE} union all select 5)",
    "an array's length": f"cardinality(array(select 1 from {MINE})) = 0",
    "an aggregated array": f"(select array_agg(b.id) from {MINE}) is null",
    "a number among numbers": f"0 in (7, (select count(*) from {MINE}))",
    "not exists within exists": f"exists (select from (select 1) x where not exists (select from {MINE}))",
    "a table between, uncovered": "not exists (select from app.hidden h where h.note = notes.id)",
    "a view": "not exists (select from app.seen_blocks b where b.note = notes.id and b.kind = 'hidden')",
    "a function": "not app.is_blocked(id)",
    "a function that calls it": "app.free(id)",
    "a function that calls a function that calls it": "app.freely(id)",
    "a function with an atomic body": "app.atomic(id)",
    "a function that assigns": "app.assigned(id)",
    "a function that runs text": "app.dynamic(id)",
    "a function with a cursor": "app.cursored(id)",
    "a function in FROM": "exists (select from app.is_blocked(notes.id) f(yes) where not f.yes)",
    "an operator": "operator(app.!?) id",
}  # fmt: skip
# A missing row makes these admit less, or they read nothing that is narrowed.
POSITIVE = {
    "exists": "exists (select from public.blocks b where b.note = notes.id)",
    "exists and more": "id < 9 and (exists (select from public.blocks b where b.note = notes.id) or id = 2)",
    "in": "id in (select note from public.blocks)",
    "any": "id = any (select note from public.blocks)",
    "any of an array": "id = any (array(select note from public.blocks))",
    "a union": "id in (select note from public.blocks union select 2)",
    "distinct": "id in (select distinct note from public.blocks)",
    "a join": "exists (select from public.blocks b join public.blocks c on c.id = b.id where b.note = notes.id)",
    "exists within exists": "exists (select from (select 1) x where exists (select from public.blocks b where b.note = notes.id))",
    "a comparison inside": "exists (select from public.blocks b where b.note = notes.id and not b.active)",
    "is true": "(exists (select from public.blocks b where b.note = notes.id)) is true",
    "a function that reads past row security": "app.guarded(id)",
    "a function that reads nothing": "app.plain(id)",
    "a function that calls one that reads past it": "app.through(id)",
    "its own columns": "status <> 'spam'",
    "a table that isn't narrowed": "not exists (select from app.numbers x where x.n = notes.id)",
}  # fmt: skip


def codes(scratch: Scratch, text: str) -> set[str]:
    try:
        scratch.prepare(text)
    except Invalid as invalid:
        return {d.code for d in invalid.diagnostics.errors}
    return set()


@pytest.fixture(scope="module")
def database(server: Server) -> Iterator[Scratch]:
    with scratch_on(server) as made:
        made.run(SCHEMA)
        yield made


@pytest.fixture
def app(database: Scratch) -> Iterator[Scratch]:
    """The database above within a transaction that is rolled back."""
    with database.connection.transaction(force_rollback=True):
        yield database


@pytest.mark.parametrize("condition", GAINS.values(), ids=GAINS)
def test_reads_by_absence_are_refused(condition, app):
    """gain-by-absence; and installed all the same, the client sees a row that its person doesn't."""
    app.run(f"create policy people on notes for select using ({condition})")
    assert 1 not in app.sees(ann()), "the person is kept from note 1"
    assert codes(app, FILE) == {"gain-by-absence"}
    app.install(FILE, ACCEPT)
    assert 1 not in app.sees(ann())
    assert 1 in app.sees(helper()), "the error speaks of a real gain"


@pytest.mark.parametrize("condition", GAINS.values(), ids=GAINS)
def test_read_as_person_makes_them_safe(condition, app):
    """A table that clients read whole makes nothing of it: accepted where that can be seen, and nobody gains."""
    app.run(f"create policy people on notes for select using ({condition})")
    unseen = codes(app, READ_AS_PERSON)
    assert unseen <= ({"gain-by-absence"} if "app." in condition else set())
    app.install(READ_AS_PERSON, ACCEPT)
    assert app.sees(helper()) == app.sees(ann())


@pytest.mark.parametrize("condition", POSITIVE.values(), ids=POSITIVE)
def test_positive_reads_are_accepted(condition, app):
    """They only narrow, and the client sees no row that its person doesn't."""
    app.run(f"create policy people on notes for select using ({condition})")
    assert codes(app, FILE) == set()
    app.install(FILE)
    person = app.sees(ann())
    assert person
    assert set(app.sees(helper())) <= set(person)


def test_a_table_that_gains_hands_it_on(app):
    """An uncovered table whose policy reads by absence is refused, since a positive read of it gains as well."""
    app.run(
        f"""create table app.allowed (note integer); insert into app.allowed values (1), (2);
        alter table app.allowed enable row level security; grant select on app.allowed to authenticated;
        create policy free on app.allowed using ({GAINS["not exists"].replace("notes.id", "allowed.note")});
        create policy people on notes for select using (exists (select from app.allowed a where a.note = notes.id))"""
    )
    assert app.sees(ann()) == [2]
    assert codes(app, FILE) == {"gain-by-absence"}
    app.install(FILE, ACCEPT)
    assert app.sees(ann()) == [2]
    assert app.sees(helper()) == [1, 2]
    assert codes(app, READ_AS_PERSON) == set()


def test_a_quota_on_its_own_table(app):
    """An INSERT policy that counts the table's own rows admits more to a client that sees fewer."""
    app.run(
        "create policy people on notes for select using (true);"
        "create policy quota on notes for insert with check ((select count(*) from notes n where n.owner = notes.owner) < 2)"
    )
    text = FILE.replace("allow: [select, insert]", "allow: [select, insert], rows: \"status = 'open'\"")
    insert = f"insert into notes values (9, '{ANN}', 'open')"
    assert str(app.ask(ann(), insert)).startswith("42501 new row violates")
    assert codes(app, text) == {"gain-by-absence"}
    app.install(text, ACCEPT)
    assert str(app.ask(ann(), insert)).startswith("42501 new row violates")
    assert app.ask(helper(), insert) == 1


@pytest.mark.parametrize("kind", ["restrictive", "permissive"])
@pytest.mark.parametrize("command", ["select", "insert", "update", "delete", "all"])
def test_policies_of_every_kind_and_command_are_read(kind, command, app):
    """Whatever the policy is for, and in USING as well as in WITH CHECK."""
    condition = GAINS["not exists"]
    part = f"with check ({condition})" if command == "insert" else f"using ({condition})"
    app.run(f"create policy people on notes as {kind} for {command} {part}")
    assert codes(app, FILE) == {"gain-by-absence"}


def test_person_rules_of_the_file_are_read_too(app):
    """Given as `sql:` they could read by absence as well as the app's own."""
    text = FILE.replace(
        "public.notes: {", f'public.notes: {{people: [{{allow: select, sql: "{GAINS["not exists"]}"}}], '
    ).replace("allow: [select, insert]", "allow: select")
    assert codes(app, text) == {"gain-by-absence"}
    positive = text.replace(GAINS["not exists"], POSITIVE["exists"])
    assert codes(app, positive) == set()


def test_a_trigger_that_counts_rows_is_refused(app):
    """It runs as the client, so it counts the rows that the client sees."""
    app.run(
        "create policy people on notes using (true);"
        """create function app.quota() returns trigger language plpgsql as $$
        begin if (select count(*) from public.blocks) >= 3 then raise 'full'; end if; return new; end $$;
        create trigger quota before insert on notes for each row execute function app.quota()"""
    )
    insert = f"insert into notes values (9, '{ANN}', 'open')"
    assert app.ask(ann(), insert) == "P0001 full"
    assert codes(app, FILE) == {"gain-by-absence"}
    app.install(FILE, ACCEPT)
    assert app.ask(ann(), insert) == "P0001 full"
    assert app.ask(helper(), insert) == 1


def test_moving_the_read_into_a_definer_function_is_the_way_out(app):
    """What the error advises: the same condition, read past row security, is accepted and gains nothing."""
    app.run("create policy people on notes for select using (app.atomic(id))")
    assert codes(app, FILE) == {"gain-by-absence"}
    app.run("alter function app.atomic(integer) security definer")
    assert codes(app, FILE) == set()
    app.install(FILE)
    assert app.sees(ann()) == app.sees(helper()) == [2, 3]
