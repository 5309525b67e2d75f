"""Invoker functions whose text is read under their caller's path."""

from tests.postgres.lints.snippets import BASE, function, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE + policy("one", "owner = (select app.me())"),
        bad=function("app.me()", "select (app.claims() ->> 'sub')::uuid", returns="uuid"),
        fix="alter function app.me() set search_path = pg_catalog, pg_temp",
        found=("function app.me()",),
        details=("the path is its caller's", "RETURN"),
    ),
    Ways(
        name="a path with a schema that others may make objects in",
        near_miss=BASE
        + function("app.me()", "select (app.claims() ->> 'sub')::uuid", "set search_path = app", "uuid")
        + policy("one", "owner = (select app.me())"),
        bad="grant create on schema app to public",
        fix="revoke create on schema app from public",
        found=("function app.me()",),
    ),
]
