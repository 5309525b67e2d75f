"""Policies of one role and command that add up."""

from tests.postgres.lints.snippets import BASE, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + policy("seen", "owner = (select app.me())")
        + policy("changed", "owner = (select app.me())", "update")
        + policy("narrowed", "status = 'open'", kind="restrictive"),
        bad=policy("more", "org_id = 1"),
        fix="drop policy more on notes;",
        found=("table public.notes",),
        details=("'more', 'seen'", "for select"),
    ),
    Ways(
        name="by role, and beside FOR ALL",
        near_miss=BASE
        + policy("own", "owner = (select app.me())", "all")
        + "create policy listed on notes for select to anon using (true);",
        bad="alter policy listed on notes to anon, authenticated;",
        fix="alter policy listed on notes to anon;",
        found=("table public.notes",),
    ),
]
