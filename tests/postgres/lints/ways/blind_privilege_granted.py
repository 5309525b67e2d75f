"""What row security isn't asked for."""

from tests.postgres.lints.world import Ways

_TABLES = """
do $$ begin create role lint_crew nologin; exception when duplicate_object then null; end $$;
do $$ begin create role lint_token nologin; exception when duplicate_object then null; end $$;
create table notes (id integer primary key);
create table plain (id integer primary key);
alter table notes enable row level security;
grant select, insert, update, delete on notes to authenticated;
grant truncate on plain to authenticated;
grant truncate on notes to lint_crew;
"""
_FILE = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [lint_token]
identity: {direct: no_client}
classes: {helper: {match: {ids: [helper]}}}
tables: {public.notes: {clients: none}}
"""

WAYS = [
    Ways(
        near_miss=_TABLES,
        bad="grant truncate, trigger on notes to authenticated; grant references (id) on notes to public;",
        fix="revoke truncate, references, trigger on notes from authenticated, public;"
        "revoke references (id) on notes from public",
        found=("table public.notes",),
        details=("TRUNCATE, REFERENCES, TRIGGER", "from authenticated, public"),
    ),
    Ways(
        name="with a policy file only what apply doesn't revoke: through another role",
        file=_FILE,
        near_miss=_TABLES + "grant truncate on notes to lint_token; grant trigger on notes to public;",
        bad="grant lint_crew to lint_token",
        fix="revoke lint_crew from lint_token",
        found=("table public.notes",),
        details=("lint_crew may TRUNCATE",),
    ),
]
