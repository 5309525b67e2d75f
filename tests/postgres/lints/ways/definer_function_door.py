"""Functions with the rights of their owner, beside a policy file."""

from tests.postgres.lints.world import Ways

_FILE = """
tables: {public.notes: {clients: none}, public.members: {clients: none}}
doors: {"public.counted()": {reason: a number and no row}}
"""
_BASE = """
create table notes (id integer primary key, org integer, body text);
create table members (org integer, person uuid);
create schema inside;
do $$ begin create role lint_keeper nologin; exception when duplicate_object then null; end $$;
create function claim() returns uuid language sql stable
  as $$ select (current_setting('request.jwt.claims', true)::jsonb ->> 'sub')::uuid $$;
"""

WAYS = [
    Ways(
        file=_FILE,
        near_miss=_BASE
        + """
        create function counted() returns bigint language sql stable security definer
          return (select count(*) from public.notes);
        create function revoked() returns setof notes language sql security definer
          as $$ select * from public.notes $$;
        revoke execute on function revoked() from public;
        create function inside.is_member(o integer) returns boolean language sql stable security definer
          as $$ select exists (select from public.members where org = o and person = public.claim()) $$;
        create function careful() returns setof notes language sql as $$ select * from public.notes $$;
        create function nothing() returns integer language plpgsql security definer as $$ begin return 1 + 1; end $$;
        create function stamp() returns trigger language plpgsql security definer
          as $$ begin delete from public.members; return new; end $$;
        alter table notes enable row level security;
        create policy p on notes for select using (inside.is_member(org));
        """,
        bad="""
        create function reads() returns setof notes language sql security definer
          as $$ with n as (select * from notes) select * from n $$;
        create procedure writes(o integer) language plpgsql security definer
          as $$ begin if o > 1 then update public.members set org = o; end if; end $$;
        create function runs(t text) returns void language plpgsql security definer
          as $$ begin execute 'select ' || t; end $$;
        create function far() returns bigint language sql security definer return (select public.near());
        """.replace(
            "create function far",
            "create function near() returns bigint language sql return (select count(*) from public.notes);"
            " create function far",
        ),
        fix="revoke execute on function reads(), runs(text), far() from public;"
        "revoke execute on procedure writes(integer) from public",
        found=(
            "function public.far()",
            "function public.reads()",
            "function public.runs(t text)",
            "function public.writes(IN o integer)",
        ),
        details=("can't be analysed", "writes public.members", "revoke execute on procedure public.writes(integer)"),
    ),
    Ways(
        name="one that policies call keeps EXECUTE and moves",
        file=_FILE,
        near_miss=_BASE
        + """
        create function is_member(o integer) returns boolean language sql stable security definer
          as $$ select exists (select from public.members where org = o and person = public.claim()) $$;
        revoke execute on function is_member(integer) from public;
        alter table notes enable row level security;
        create policy p on notes for select using (is_member(org));
        """,
        bad="grant execute on function is_member(integer) to authenticated",
        fix="alter function is_member(integer) set schema inside",
        found=("function public.is_member(o integer)",),
        details=("alter function public.is_member(integer) set schema",),
    ),
    Ways(
        name="in a schema that clients can't enter, through a view and through a stored body",
        file=_FILE,
        near_miss=_BASE
        + """
        create function inside.one() returns bigint language sql security definer
          as $$ select count(*) from public.notes $$;
        create function inside.two() returns bigint language sql security definer
          as $$ select count(*) from public.members $$;
        create view v with (security_invoker = true) as select inside.one();
        create function by_name() returns bigint language sql as $$ select inside.two() $$;
        """,
        bad="""
        grant select on v to authenticated;
        create function by_tree() returns bigint language sql return (select inside.two());
        """,
        fix="revoke select on v from authenticated; drop function by_tree()",
        found=("function inside.one()", "function inside.two()"),
        details=("through view public.v", "through function public.by_tree()"),
    ),
    Ways(
        name="through an aggregate, an operator, a cast and a rule",
        file=_FILE,
        near_miss=_BASE
        + """
        create type tag as (t text);
        create function inside.plus(bigint, integer) returns bigint language sql security definer
          as $$ select count(*) from public.notes $$;
        create function inside.least(bigint, integer) returns bigint language sql security definer
          as $$ select count(*) from public.notes $$;
        create function inside.like(tag, text) returns boolean language sql security definer
          as $$ select exists (select from public.members) $$;
        create function inside.as_number(tag) returns integer language sql security definer
          as $$ select count(*)::integer from public.members $$;
        create function inside.told() returns integer language sql security definer
          as $$ select count(*)::integer from public.members $$;
        revoke execute on function inside.plus(bigint, integer) from public;
        create aggregate inside.total(integer) (sfunc = inside.least, stype = bigint, initcond = '0');
        create operator inside.~~~ (leftarg = tag, rightarg = text, function = inside.like);
        create view v with (security_invoker = true) as select 1 as n;
        create rule told as on insert to v do instead insert into notes (id) values (inside.told());
        """,
        bad="""
        create aggregate total(integer) (sfunc = inside.plus, stype = bigint, initcond = '0');
        create operator public.~~~ (leftarg = tag, rightarg = text, function = inside.like);
        create cast (tag as integer) with function inside.as_number(tag);
        grant insert on v to authenticated;
        """,
        fix="""
        revoke execute on function total(integer) from public; drop operator ~~~ (tag, text);
        drop cast (tag as integer); revoke insert on v from authenticated
        """,
        found=(
            "function inside.as_number(public.tag)",
            "function inside.like(public.tag, text)",
            "function inside.plus(bigint, integer)",
            "function inside.told()",
        ),
        details=(
            "through aggregate public.total(integer)",
            "through operator public.~~~(public.tag, text)",
            "through cast of public.tag to integer",
            "through rule public.v.told",
            "revoke execute on function public.total(integer) from public",
        ),
    ),
    Ways(
        name="one that adds up by an aggregate whose function reads",
        file=_FILE,
        near_miss=_BASE
        + """
        create function inside.plus(bigint, integer) returns bigint language sql
          as $$ select count(*) from public.notes $$;
        create aggregate inside.total(integer) (sfunc = inside.plus, stype = bigint, initcond = '0');
        """,
        bad="""
        create function by_name() returns bigint language sql security definer as $$ select inside.total(1) $$;
        create function by_tree() returns bigint language sql security definer return (select inside.total(1));
        """,
        fix="drop function by_name(), by_tree()",
        found=("function public.by_name()", "function public.by_tree()"),
        details=("reads public.notes",),
    ),
    Ways(
        name="an owner whom other policies bind passes the ceilings, one who is a token role doesn't",
        file=_FILE,
        near_miss=_BASE
        + """
        grant select on notes to authenticated, lint_keeper;
        alter table notes enable row level security;
        grant create on schema public to authenticated, lint_keeper;
        create function own() returns bigint language sql security definer return (select count(*) from public.notes);
        alter function own() owner to authenticated;
        """,
        bad="alter function own() owner to lint_keeper",
        fix="alter function own() security invoker; revoke create on schema public from authenticated, lint_keeper",
        found=("function public.own()",),
        details=("lint_keeper",),
    ),
    Ways(
        name="a function whose owner is bound calls one whose owner isn't",
        file=_FILE,
        near_miss=_BASE
        + """
        alter table notes enable row level security;
        grant usage on schema inside to lint_keeper;
        create function inside.all_notes() returns bigint language sql security definer
          return (select count(*) from public.notes);
        revoke execute on function inside.all_notes() from public;
        grant execute on function inside.all_notes() to lint_keeper;
        grant create on schema public to lint_keeper;
        create function asks() returns bigint language sql security definer as $$ select 1::bigint $$;
        alter function asks() owner to lint_keeper;
        """,
        bad="create or replace function asks() returns bigint language sql security definer"
        " as $$ select inside.all_notes() $$",
        fix="revoke execute on function asks() from public",
        found=("function public.asks()",),
        details=("reads public.notes",),
    ),
]
