"""IMMUTABLE functions that read a claim, a table, the session."""

from tests.postgres.lints.snippets import BASE, MEMBERS, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + "create function app.plain(a text) returns text language sql immutable return lower(a);"
        + "create function app.unused() returns text language sql immutable as $$ select current_setting('app.x') $$;"
        + policy("one", "owner = (select app.me()) and app.plain(status) = 'open'"),
        bad="alter function app.me() immutable",
        fix="alter function app.me() stable",
        found=("function app.me()",),
        details=("reads settings", "alter function app.me() stable"),
    ),
    Ways(
        name="that read a table, or by another function; who is asked",
        near_miss=BASE
        + MEMBERS
        + """
        create function app.orgs() returns integer[] language plpgsql stable as $$
        begin return array(select m.org_id from public.members m where m.user_id = app.me()); end $$;
        create function app.outer() returns integer[] language sql stable as $$ select app.orgs() $$;
        create function app.who() returns text language sql stable return current_user;
        """
        + policy("one", "org_id = any ((select app.outer())::integer[]) and (select app.who()) <> ''"),
        bad="".join(f"alter function app.{name}() immutable;" for name in ("orgs", "outer", "who")),
        fix="".join(f"alter function app.{name}() stable;" for name in ("orgs", "outer", "who")),
        found=("function app.orgs()", "function app.outer()", "function app.who()"),
    ),
]
