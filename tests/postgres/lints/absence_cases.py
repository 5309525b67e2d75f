"""A schema, and conditions of person policies over it in which a row that is missing shows more, or never does."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

from tests.postgres.scratch import ANN, BOB, HEAD, NOTES

# Blocks: to a client only those of `seen`. Note 1 is blocked by a block that it doesn't see, note 2 by none.
SCHEMA = (
    NOTES
    + f"""
alter table notes enable row level security;
create table public.blocks (id integer primary key, person uuid, note integer, active boolean, day integer, kind text, unique (note, kind));
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
create function app.still_free(so_far boolean, n integer) returns boolean language sql stable as 'select not app.is_blocked(n)';
create aggregate app.all_free (integer) (sfunc = app.still_free, stype = boolean);
create function app.aggregates(n integer) returns boolean language sql stable as 'select true in (select app.all_free(x) from (values (n)) v(x))';
create view app.aggregated with (security_invoker) as select n.id, app.all_free(n.id) as yes from (values (1), (2)) n(id) group by n.id;
create operator app.!? (function = app.free, rightarg = integer);
create function app.as_note(text) returns integer language sql stable as 'select $1::integer';
create function app.differ(text, text) returns boolean language sql immutable as 'select $1 is distinct from $2';
create operator app.<> (function = app.differ, leftarg = text, rightarg = text);
create aggregate app.all_true (boolean) (sfunc = booland_statefunc, stype = boolean, initcond = 'true');
create function app.plain(n integer) returns boolean language sql immutable as 'select n > 0';
create function app.through(n integer) returns boolean language sql stable as 'select app.guarded(n) and app.plain(n)';
create function app.is_free(n integer) returns boolean language plpgsql stable as $$
begin if exists (select from public.blocks b where b.note = n and b.kind = 'hidden') then return false; end if; return true; end $$;
create function app.blocked() returns setof integer language sql stable as $$ select note from public.blocks where kind = 'hidden' $$;
create function app.all_blocked() returns integer[] language sql stable
  as $$ select array(select note from public.blocks where kind = 'hidden') $$;
create view app.unblocked with (security_invoker) as select n.id from (values (1), (2)) n(id)
  where not exists (select from public.blocks b where b.note = n.id and b.kind = 'hidden');
create function app.is_listed(n integer) returns boolean language plpgsql stable as $$
begin if n < 0 then return false; end if; if exists (select from public.blocks b where b.note = n) then return true; end if; return false; end $$;
create function app.listed() returns setof integer language plpgsql stable as $$ begin return query select note from public.blocks; end $$;
create function app.all_listed() returns integer[] language sql stable begin atomic; select array(select app.listed()); end;
create function app.relisted() returns setof integer language sql stable as 'select app.listed()';
create view app.listed_blocks with (security_invoker) as
  select b.note from public.blocks b join public.blocks c on c.id = b.id where exists (select from app.seen_blocks s where s.id = b.id);
create view app.owners_blocks as select * from public.blocks;
create table app.numbers (n integer);
insert into app.numbers values (3);
grant select on app.numbers, app.unblocked, app.aggregated, app.listed_blocks, app.owners_blocks to authenticated;
"""
)
FILE = (
    HEAD
    + """
tables:
  public.notes: {clients: [{who: helper, allow: [select, insert, update, delete]}]}
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
    "a count in a select list that is the outer query's": "0 in (select (select count(b.id)) from public.blocks b where b.note = notes.id and b.kind = 'hidden')",
    "a limit that counts": f"exists (select from (select 1) x limit (select 1 - count(*) from {MINE}))",
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
    "a view of what isn't there": "exists (select from app.unblocked u where u.id = notes.id)",
    "a limit after an offset": "id in (select b.id - 2 from public.blocks b order by b.id offset 1 limit 1)",
    "a function": "not app.is_blocked(id)",
    "a function that chooses": "app.is_free(id)",
    "a function's rows": "id not in (select app.blocked())",
    "a function's array": "id <> all (app.all_blocked())",
    "a function that calls it": "app.free(id)",
    "a function that calls a function that calls it": "app.freely(id)",
    "a function with an atomic body": "app.atomic(id)",
    "a function that assigns": "app.assigned(id)",
    "a function that runs text": "app.dynamic(id)",
    "a function with a cursor": "app.cursored(id)",
    "a function in FROM": "exists (select from app.is_blocked(notes.id) f(yes) where not f.yes)",
    "an operator": "operator(app.!?) id",
    "an aggregate's own read": "(select app.all_free(x) from (values (id)) v(x))",
    "an aggregate's own read, of a constant": "(select app.all_free(1)) and id = 1",
    "an aggregate's own read, in a function": "app.aggregates(id)",
    "an aggregate's own read, in a view": "exists (select from app.aggregated a where a.id = notes.id and a.yes)",
    "a count below": f"(select count(*) from {MINE}) < 1",
    "a count that is at most": f"0 >= (select count(*) from {MINE})",
    "a count not above": f"not ((select count(*) from {MINE}) > 0)",
    "a count above that isn't so": f"((select count(*) from {MINE}) > 0) is not true",
    "a count of groups": f"((select count(*) from {MINE} group by b.note) > 0) is null",
    "a count above, of what isn't there": f"(select count(*) from (select 1) x where not exists (select from {MINE})) > 0",
    "a count above, by text": f"(select count(*) from (select 1) x, {MINE})::text > '' and (select count(*) from {MINE})::text < '1'",
    "a count above a count": f"1 > (select count(*) from {MINE}) and (select count(*) from public.blocks) > 0",
    "the latest, that must differ": "(select b.kind from public.blocks b where b.note = notes.id order by day desc limit 1) <> 'hidden'",
    "by key, is null": "(select b.kind from public.blocks b where b.id = notes.id) is null",
    "by key, distinct": "(select b.kind from public.blocks b where b.id = notes.id) is distinct from 'hidden'",
    "by key, not true": "((select b.kind from public.blocks b where b.id = notes.id) = 'hidden') is not true",
    "by key, with a default": "coalesce((select b.kind from public.blocks b where b.id = notes.id), 'none') <> 'hidden'",
    "by key, not false": "coalesce((select b.kind from public.blocks b where b.id = notes.id) = 'seen', true)",
    "by key, of what isn't there": f"(select b.kind from public.blocks b where b.id = 2 and not exists (select from {MINE})) = 'seen'",
    "by key, in CASE": "case when (select b.kind from public.blocks b where b.id = notes.id) = 'hidden' then false else true end",
    "by key, with an operator of one's own": "(select b.kind from public.blocks b where b.id = notes.id) operator(app.<>) 'hidden'",
    "coalesce to true": f"coalesce((select false from {MINE} limit 1), true)",
    "coalesce of a sub-select to true": f"coalesce((select b.kind = 'seen' from {MINE}), true)",
    "an aggregated array or itself": f"id = any (coalesce((select array_agg(0) from {MINE}), array[id]))",
    "none of an aggregated array": "id <> all (coalesce((select array_agg(note) from public.blocks where kind = 'hidden'), '{}'))",
    "none of an aggregated array of what isn't there": f"not (id = any ((select array_agg(x.n) from (values (9)) x(n) where not exists (select from {MINE}))::integer[]))",
    "an aggregated array with having": f"id = any ((select array_agg(c.id - 1) from public.blocks c where c.id = 2 having (select count(*) from {MINE}) = 0)::integer[])",
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
    "not the opposite": "not (not exists (select from public.blocks b where b.note = notes.id))",
    "not unequal to all": "not (id <> all (array(select note from public.blocks)))",
    "none that has none": "not exists (select from (select 1) x where not exists (select from public.blocks b where b.note = notes.id))",
    "is not false, within not": "not ((not exists (select from public.blocks b where b.note = notes.id)) is not false)",
    "case": "case when id = 2 then true when exists (select from public.blocks b where b.note = notes.id) then true else false end",
    "coalesce": "coalesce(exists (select from public.blocks b where b.note = notes.id), false)",
    "a limit where one is enough": "exists (select from public.blocks b where b.note = notes.id order by b.day limit 1)",
    "wrapped": "(select exists (select from public.blocks b where b.note = notes.id))",
    "groups": "id in (select note from public.blocks group by note)",
    "with": "id in (with a as (select note from public.blocks), b as (select note from a) select note from b)",
    "with recursive": "id in (with recursive a(n) as (select note from public.blocks union select a.n + 1 from a where a.n < 2) select n from a)",
    "an outer join that reads it whole": "exists (select from public.blocks b left join app.numbers n on n.n = b.note where b.note = notes.id)",
    "a view": "id in (select note from app.seen_blocks)",
    "a view of a view": "exists (select from app.listed_blocks b where b.note = notes.id)",
    "a view of its owner": "not exists (select from app.owners_blocks b where b.note = notes.id and b.kind = 'hidden')",
    "a function": "app.is_blocked(id) or id = 2",
    "a function that chooses": "app.is_listed(id)",
    "a function's rows": "id in (select app.listed())",
    "a function's rows in FROM": "exists (select from app.relisted() r(n) where r.n = notes.id)",
    "a function's array": "id = any (app.all_listed())",
    "a function's array, wrapped": "id = any ((select app.all_listed())::integer[])",
    "a function that reads past row security": "app.guarded(id)",
    "a function that reads nothing": "app.plain(id)",
    "a function that calls one that reads past it": "app.through(id)",
    "its own columns": "status <> 'spam'",
    "an aggregate of one's own that reads nothing": "(select app.all_true(x.id > 0) from (values (notes.id)) x(id))",
    "by key": "(select b.person from public.blocks b where b.id = notes.id) = owner",
    "by key, on the right": "owner = (select b.person from public.blocks b where notes.id = b.id)",
    "by key, unequal": "(select b.kind from public.blocks b where b.id = notes.id) <> 'none'",
    "by key, cast": "(select b.kind from public.blocks b where b.id = notes.id)::varchar = 'hidden'",
    "by key, in a list": "(select b.kind from public.blocks b where b.id = notes.id) in ('hidden', 'seen')",
    "by key, not equal": "not ((select b.kind from public.blocks b where b.id = notes.id) = 'none')",
    "by key, true": "(select b.active from public.blocks b where b.id = notes.id)",
    "by key, not true": "not (select b.active from public.blocks b where b.id = notes.id) or id = 1 and (select b.active from public.blocks b where b.id = 1)",
    "by a key of two columns": "(select b.active from public.blocks b where b.note = notes.id and b.kind = 'hidden')",
    "by key, and more": "(select b.person from public.blocks b where b.id = notes.id and exists (select from app.seen_blocks s where s.note = 1 and s.kind = 'hidden')) = owner",
    "by a key that is looked up by a key": "(select b.kind from public.blocks b where b.id = (select c.id from public.blocks c where c.id = notes.id)) = 'hidden'",
    "any of an array by key": "id = any ((select array[b.note] from public.blocks b where b.id = 1)::integer[])",
    "a count above": "(select count(*) from public.blocks b where b.note = notes.id) > 0",
    "a count of at least": "2 <= (select count(distinct b.kind) from public.blocks b where b.note = notes.id)",
    "a count not below": "not ((select count(b.id) from public.blocks b where b.note = notes.id) < 2)",
    "a count below, of what isn't there": "(select count(*) from (select 1) x where not exists (select from public.blocks b where b.note = notes.id and b.kind = 'hidden')) < 1",
    "coalesce of the one value": "coalesce((select true from public.blocks b where b.note = notes.id and b.kind = 'hidden' limit 1), false)",
    "the one value": "(select 1 from public.blocks b where b.note = notes.id and b.kind = 'hidden' limit 1) = 1",
    "any of an aggregated array": "id = any ((select array_agg(b.note order by b.day) from public.blocks b)::integer[])",
    "any of an aggregated array or of none": "id = any (coalesce((select array_agg(b.note) from public.blocks b where b.kind = 'hidden'), '{}'))",
    "any of an aggregated array or of none, as an array": "id = any (coalesce((select array_agg(distinct b.note) from public.blocks b), array[]::integer[]))",
    "not unequal to all of an aggregated array": "not (id <> all ((select array_agg(b.note) from public.blocks b)::integer[]))",
    "none of an aggregated array or of none": "id <> all (coalesce((select array_agg(x.n) from (values (1)) x(n) where not exists (select from public.blocks b where b.id = 1)), '{}'))",
    "a table that isn't narrowed": "not exists (select from app.numbers x where x.n = notes.id)",
}  # fmt: skip
