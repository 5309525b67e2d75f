"""WITH CHECK that leaves out the column of the person, unless nobody may set it."""

from tests.postgres.lints.snippets import BASE, policy
from tests.postgres.lints.world import Ways

_MINE = "owner = (select app.me())"

WAYS = [
    Ways(
        near_miss=BASE
        + policy("same", _MINE, "update")
        + f"create policy repeated on notes for update to authenticated using ({_MINE}) with check ({_MINE});"
        + f"create policy added on notes for update to authenticated using ({_MINE})"
        f" with check ({_MINE} and status = 'open');"
        + "create policy by_status on notes for update to authenticated using (status = 'open')"
        " with check (status <> 'spam');",
        bad=f"create policy given on notes for update to authenticated using ({_MINE}) with check (true);"
        "create policy half on notes to authenticated"
        f" using ({_MINE} and org_id = (select (app.claims() ->> 'org')::int))"
        f" with check ({_MINE});",
        fix=f"alter policy given on notes with check ({_MINE}); drop policy half on notes;",
        found=("policy public.notes given", "policy public.notes half"),
        details=("lets owner be set", "lets org_id be set"),
    ),
    Ways(
        name="a column that nobody may set, or that a restrictive policy keeps",
        near_miss=BASE
        + "revoke update on notes from authenticated; grant update (title) on notes to authenticated;"
        + f"create policy given on notes for update to authenticated using ({_MINE}) with check (status = 'open');",
        bad="grant update (owner) on notes to authenticated;",
        fix=policy("kept", _MINE, "update", kind="restrictive"),
        found=("policy public.notes given",),
    ),
    Ways(
        name="a restrictive policy, of a column that all permissive ones keep",
        near_miss=BASE
        + policy("admits", _MINE, "update")
        + "create policy limits on notes as restrictive for update to authenticated"
        f" using ({_MINE}) with check (status = 'open');",
        bad="create policy published on notes for update to authenticated"
        " using (status = 'open') with check (status = 'open');",
        fix=f"alter policy published on notes using ({_MINE}) with check ({_MINE});",
        found=("policy public.notes limits",),
    ),
]
