"""SELECT of every row, for a role that many share."""

from tests.postgres.lints.snippets import BASE, alter, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE + policy("own", "owner = (select app.me())") + policy("wide", "true", "delete"),
        bad=policy("listed", "true") + policy("signed_in", "(select app.me()) is not null"),
        fix="drop policy listed on notes; drop policy signed_in on notes;",
        found=("policy public.notes listed", "policy public.notes signed_in"),
        details=("all rows of public.notes",),
    ),
    Ways(
        name="narrowed by a restrictive one",
        near_miss=BASE + policy("listed", "true") + policy("own", "owner = (select app.me())", kind="restrictive"),
        bad="drop policy own on notes;",
        fix=alter("listed", "status = 'open'"),
        found=("policy public.notes listed",),
    ),
]
