"""Policies that call what their roles may not."""

from tests.postgres.lints.snippets import BASE, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + policy("one", "owner = (select app.me())")
        + "revoke usage on schema app from authenticated; revoke execute on function app.me from public;"
        + "grant execute on function app.me to authenticated;",
        bad="revoke execute on function app.me from authenticated",
        fix="grant execute on function app.me to authenticated",
        found=("policy public.notes one",),
        details=("which authenticated may not", "grant execute on function app.me() to authenticated"),
    ),
    Ways(
        name="through another function, unless that is a definer's",
        near_miss=BASE
        + policy("one", "owner = (select app.me())")
        + policy("two", "owner = (select app.me())", "insert")
        + "alter function app.me() security definer; revoke execute on function app.claims from public;",
        bad="alter function app.me() security invoker; revoke insert on notes from authenticated;",
        fix="drop policy one on notes",
        found=("policy public.notes one",),
        details=("calls function app.claims()",),
    ),
]
