"""UPDATE and DELETE of rows that the role can't read."""

from tests.postgres.lints.snippets import BASE, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE + policy("adding", "owner = (select app.me())", "insert"),
        bad=policy("changing", "owner = (select app.me())", "update")
        + policy("dropping", "owner = (select app.me())", "delete"),
        fix=policy("seeing", "owner = (select app.me())"),
        found=("policy public.notes changing", "policy public.notes dropping"),
        details=("can't read", "for select to authenticated using"),
    ),
    Ways(
        name="for another role",
        near_miss=BASE + policy("all_of", "owner = (select app.me())", "all") + policy("more", "org_id = 1", "update"),
        bad="alter policy all_of on notes to anon;",
        fix="alter policy all_of on notes to public;",
        found=("policy public.notes more",),
    ),
]
