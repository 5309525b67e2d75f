"""A policy without TO."""

from tests.postgres.lints.snippets import BASE, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + policy("own", "owner = (select app.me())")
        + "create policy narrowed on notes as restrictive using (status = 'open');",
        bad="create policy anyone on notes for select using (owner = (select app.me()));",
        fix="alter policy anyone on notes to authenticated",
        found=("policy public.notes anyone",),
        details=("every role; now that is authenticated", "alter policy anyone on public.notes to authenticated"),
    ),
    Ways(
        name="named with others",
        near_miss=BASE + policy("own", "owner = (select app.me())"),
        bad="alter policy own on notes to public, authenticated",
        fix="alter policy own on notes to authenticated, anon",
        found=("policy public.notes own",),
    ),
]
