"""Columns tied to a claim, on a large table."""

from tests.postgres.lints.snippets import BASE, FEW_ROWS, MEMBERS, ROWS, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + ROWS
        + policy("own", "owner = (select app.me()) and org_id = (select (app.claims() ->> 'org')::integer)")
        + policy("open", "status = 'open'"),
        bad=policy("org", "org_id = (select (app.claims() ->> 'org')::integer)"),
        fix="create index on notes (org_id, status)",
        found=("table public.notes",),
        details=("create index concurrently on public.notes (org_id)", "no index begins with it"),
    ),
    Ways(
        name="an array, an arm, and the table of a sub-select",
        near_miss=BASE
        + MEMBERS
        + FEW_ROWS
        + policy("orgs", "org_id = any (array(select m.org_id from members m where m.user_id = (select app.me())))")
        + policy("arms", "owner = (select app.me()) or title = (select app.claims() ->> 'name')"),
        bad="insert into notes select n, owner, 1, 'open' from notes, generate_series(100, 1300) n where id = 1;"
        "insert into members select n, gen_random_uuid() from generate_series(1, 1200) n;"
        "alter table members drop constraint members_pkey; create index on members (org_id); analyze notes, members",
        fix="create index on notes (org_id); create index on notes (title); create index on members (user_id)",
        found=("table public.notes", "table public.notes", "table public.members"),
    ),
]
