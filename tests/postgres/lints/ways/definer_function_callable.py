"""Functions with the rights of their owner, where there is no policy file."""

from tests.postgres.lints.world import Ways

_BASE = """
create table notes (id integer primary key, owner uuid);
create table open_ones (id integer primary key);
alter table notes enable row level security;
create policy own on notes for select to authenticated using (owner is not null);
grant select on notes, open_ones to authenticated;
"""

WAYS = [
    Ways(
        near_miss=_BASE
        + """
        create function of_open() returns bigint language sql security definer
          return (select count(*) from public.open_ones);
        create function careful() returns bigint language sql return (select count(*) from public.notes);
        create function nobody_s() returns bigint language sql security definer
          return (select count(*) from public.notes);
        revoke execute on function nobody_s() from public;
        """,
        bad="grant execute on function nobody_s() to authenticated",
        fix="revoke execute on function nobody_s() from authenticated",
        found=("function public.nobody_s()",),
        details=("reads public.notes", "revoke execute on function public.nobody_s() from authenticated"),
    ),
    Ways(
        name="dynamic SQL, and a view that hides the table",
        near_miss=_BASE + "create view notes_v as select * from notes;",
        bad="""
        create function fetch_all() returns setof record language plpgsql security definer
          as $$ begin return query execute 'select * from ' || 'notes'; end $$;
        create function hidden_way() returns bigint language plpgsql security definer set search_path = public
          as $$ declare n bigint; begin select count(*) into n from notes_v; return n; end $$;
        """,
        fix="revoke execute on function fetch_all(), hidden_way() from public",
        found=("function public.fetch_all()", "function public.hidden_way()"),
        details=("can't be analysed",),
    ),
    Ways(
        name="a function that policies call",
        near_miss=_BASE
        + """
        create schema inside;
        create function inside.mine(o uuid) returns boolean language sql stable security definer
          as $$ select exists (select from public.notes where owner = o) $$;
        create table parts (id integer primary key, owner uuid);
        alter table parts enable row level security;
        create policy p on parts for select using (inside.mine(owner));
        """,
        bad="alter function inside.mine(uuid) set schema public",
        fix="alter function mine(uuid) set schema inside",
        found=("function public.mine(o uuid)",),
        details=("alter function public.mine(uuid) set schema",),
    ),
]
