"""Indexes for searches under a policy that finds rows by an index of its own."""

from tests.postgres.lints.snippets import BASE, FEW_ROWS, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + "create index on notes (title); create index on notes (owner, title text_pattern_ops);"
        + policy("own", "owner = (select app.me())"),
        bad="create index search on notes using gin (to_tsvector('simple', title))",
        fix="drop index search",
        found=("table public.notes",),
        details=("@@, @@@ can't use index search", "rows are found by owner"),
    ),
    Ways(
        name="the policy's column second in it, where the policy itself enters by the first",
        near_miss=BASE
        + "alter table notes add tenant numeric; create index on notes (tenant, owner);"
        + policy("ours", "tenant = (select (app.claims() ->> 'tenant')::numeric)"),
        bad="create index search on notes (title text_pattern_ops, tenant)",
        fix="drop index search",
        found=("table public.notes",),
    ),
    Ways(
        name="two arms, each with its index; one without is another lint's; and a small table",
        near_miss=BASE
        + FEW_ROWS
        + "create index on notes (org_id); create index on notes (title text_pattern_ops);"
        + policy("two", "owner = (select app.me()) or org_id = (select (app.claims() ->> 'org')::integer)"),
        bad="insert into notes select n, owner, 1, 'open' from notes, generate_series(100, 1300) n where id = 1;"
        "analyze notes",
        fix="drop index notes_org_id_idx",
        found=("table public.notes",),
    ),
]
