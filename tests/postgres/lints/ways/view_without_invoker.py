"""Views as their owner, over a table with row security."""

from tests.postgres.lints.world import Ways

_TABLE = """
create table notes (id integer primary key, owner uuid);
alter table notes enable row level security;
grant select on notes to authenticated;
create policy own on notes for select to authenticated using (owner = auth_uid());
"""
_CLAIM = """
create function auth_uid() returns uuid language sql stable set search_path = pg_catalog, pg_temp
  as $$ select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
"""

WAYS = [
    Ways(
        near_miss=_CLAIM
        + _TABLE
        + """
        create view mine with (security_invoker = on) as select * from notes;
        create view nobody_s as select * from notes;
        create view of_nothing as select 1 as one;
        grant select on mine, of_nothing to authenticated;
        """,
        bad="create view through as select id from notes; grant select on through to authenticated;",
        fix="alter view through set (security_invoker = true)",
        found=("view public.through",),
        details=("public.notes", "authenticated"),
    ),
    Ways(
        name="a view on a view, reached through PUBLIC",
        near_miss=_CLAIM + _TABLE + "create view inner_one as select * from notes;",
        bad="create view outer_one as select * from inner_one; grant select on outer_one to public;",
        fix="revoke select on outer_one from public",
        found=("view public.outer_one",),
    ),
    Ways(
        name="a door that the file accepts",
        file='tables: {public.notes: {clients: none}}\ndoors: {public.counts: {reason: "counts only"}}\n',
        near_miss=_CLAIM
        + _TABLE
        + "create view counts as select count(*) from notes; grant select on counts to authenticated;",
        bad="create view more as select * from notes; grant select on more to anon;",
        fix="drop view more",
        found=("view public.more",),
    ),
]
