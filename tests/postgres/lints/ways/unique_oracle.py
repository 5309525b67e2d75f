"""Keys that tell of hidden rows."""

from tests.postgres.lints.snippets import BASE, policy
from tests.postgres.lints.world import Ways

_OWN = policy("own", "owner = (select app.me())", "all")

WAYS = [
    Ways(
        near_miss=BASE + _OWN + "create unique index on notes (owner, title); create unique index on notes (org_id);",
        bad="create unique index by_title on notes (title)",
        fix="drop index by_title",
        found=("table public.notes",),
        details=("by_title tells authenticated", "begins with owner"),
    ),
    Ways(
        name="where clients write, and don't read everything",
        near_miss=BASE
        + "create unique index by_title on notes (title);"
        + policy("listed", "true")
        + policy("adding", "owner = (select app.me())", "insert"),
        bad="alter policy listed on notes using (owner = (select app.me()))",
        fix="revoke insert, update on notes from authenticated",
        found=("table public.notes",),
    ),
]
