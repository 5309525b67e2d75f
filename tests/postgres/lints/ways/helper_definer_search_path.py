"""Definer functions without a path, with an empty one, with one that others can make objects in."""

from tests.postgres.lints.snippets import BASE, MEMBERS, policy
from tests.postgres.lints.world import Ways

_BODY = "as $$ select array_agg(m.org_id) from public.members m where m.user_id = app.me() $$"
_BASE = (
    BASE
    + MEMBERS
    + f"""
    create function app.orgs() returns integer[] language sql stable security definer parallel safe
      set search_path = pg_catalog, pg_temp {_BODY};
    """
    + policy("one", "org_id = any ((select app.orgs())::integer[])")
)

WAYS = [
    Ways(
        near_miss=_BASE
        + """
        create function app.stored() returns integer language sql stable security definer parallel safe
        begin atomic select 1; end;
        """
        + policy("two", "org_id = (select app.stored())"),
        bad="alter function app.orgs() reset search_path",
        fix="alter function app.orgs() set search_path = pg_catalog, pg_temp",
        found=("function app.orgs()",),
        details=("the path is its caller's", "runs as"),
    ),
    Ways(
        name="a schema that others may make objects in",
        near_miss=_BASE + "alter function app.orgs() set search_path = app, pg_catalog, pg_temp;",
        bad="grant create on schema app to authenticated",
        fix="revoke create on schema app from authenticated",
        found=("function app.orgs()",),
        details=("app, in which authenticated may make objects",),
    ),
    Ways(
        name="an empty path, and a type that may be a temporary one",
        near_miss=_BASE + "alter function app.orgs() set search_path = '';",
        bad="""
        create or replace function app.orgs() returns integer[] language sql stable security definer parallel safe
          set search_path = '' as $$ select array_agg(m.org_id) from public.members m
            where m.user_id = (current_setting('request.jwt.claims', true)::jsonb ->> 'sub')::uuid $$;
        """,
        fix="do $$ begin execute format('revoke temporary on database %I from public', current_database()); end $$",
        found=("function app.orgs()",),
        details=("pg_temp isn't last",),
    ),
]
