"""Roles that restrictive policies don't name."""

from tests.postgres.lints.world import Ways

_TABLES = """
do $$ begin create role lint_robot nologin noinherit; exception when duplicate_object then null; end $$;
do $$ begin create role lint_heir nologin; exception when duplicate_object then null; end $$;
grant authenticated to lint_heir;
create table notes (id integer primary key, owner uuid);
create table plain (id integer primary key);
alter table notes enable row level security;
alter table plain enable row level security;
create policy own on notes using (owner is not null);
create policy ceiling on notes as restrictive to authenticated using (id > 0);
create policy everybody on plain using (true);
grant select on notes, plain to authenticated, lint_heir;
grant select on plain to lint_robot;
"""

WAYS = [
    Ways(
        near_miss=_TABLES,
        bad="grant select on notes to lint_robot",
        fix="alter policy ceiling on notes to public",
        found=("role lint_robot",),
        details=("public.notes", "alter policy ceiling on public.notes to public"),
    ),
    Ways(
        name="a role that a policy is made for is meant to pass",
        near_miss=_TABLES
        + "grant select on notes to lint_robot; create policy robot on notes to lint_robot using (true);",
        bad="drop policy robot on notes",
        fix="revoke select on notes from lint_robot",
        found=("role lint_robot",),
    ),
    Ways(
        name="with a policy file the error unbound-role says it",
        file="tables: {public.notes: {clients: none}}\n",
        near_miss=_TABLES,
        bad="grant select on notes to lint_robot",
        fix="",
        found=(),
    ),
]
