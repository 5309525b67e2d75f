"""Who may put names where functions look for them."""

from tests.postgres.lints.world import Ways

_TABLES = """
create table notes (id integer primary key);
alter table notes enable row level security;
grant select on notes to authenticated;
create schema tools;
create schema unsearched;
grant create on schema unsearched to authenticated;
create function pinned() returns integer language sql set search_path = tools, pg_temp as 'select 1';
"""

WAYS = [
    Ways(
        near_miss=_TABLES,
        bad="grant create on schema public to public; grant create on schema tools to authenticated;",
        fix="revoke create on schema public from public; revoke create on schema tools from authenticated;",
        found=("schema public", "schema tools"),
        details=("everybody may create", "revoke create on schema tools from authenticated"),
    ),
    Ways(
        name="with a policy file",
        file="tables: {public.notes: {clients: none}}\n",
        near_miss=_TABLES,
        bad="grant create on schema public to anon",
        fix="revoke create on schema public from anon",
        found=("schema public",),
        details=("anon",),
    ),
]
