"""Roles that a token's role may become."""

from tests.postgres.lints.world import Ways

_ROLES = """
do $$ begin create role lint_boss nologin bypassrls; exception when duplicate_object then null; end $$;
do $$ begin create role lint_owner nologin; exception when duplicate_object then null; end $$;
do $$ begin create role lint_token nologin; exception when duplicate_object then null; end $$;
do $$ begin create role lint_login nologin noinherit; exception when duplicate_object then null; end $$;
grant lint_boss, lint_token to lint_login;
create table notes (id integer primary key);
create table kept (id integer primary key);
alter table notes enable row level security;
alter table kept enable row level security;
alter table kept force row level security;
alter table kept owner to lint_owner;
grant select on notes to lint_token;
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
        near_miss=_ROLES + "grant lint_owner to lint_token;",
        bad="grant lint_boss to lint_token; alter table notes owner to lint_owner;",
        fix="revoke lint_boss from lint_token; revoke lint_owner from lint_token;",
        found=("role lint_token", "role lint_token"),
        details=("lint_boss, which has BYPASSRLS", "owns public.notes", "revoke lint_boss from lint_token"),
    ),
    Ways(
        name="with a policy file: an inherited owner is said by unbound-role",
        file=_FILE,
        near_miss=_ROLES + "grant lint_owner to lint_token; alter table notes owner to lint_owner;",
        bad="revoke lint_owner from lint_token; grant pg_execute_server_program, lint_boss to lint_token;",
        fix="revoke pg_execute_server_program, lint_boss from lint_token",
        found=("role lint_token", "role lint_token"),
        details=("reaches files of the server",),
    ),
]
