"""An arm without an index beside one that has one."""

from tests.postgres.lints.snippets import BASE, FEW_ROWS, alter, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + "create index on notes (org_id);"
        + policy("both_of", "owner = (select app.me()) or org_id = (select (app.claims() ->> 'org')::integer)")
        + policy("neither", "title = (select app.claims() ->> 'name') or status = 'open'"),
        bad=policy("gate", "owner = (select app.me()) or (select (app.claims() ->> 'admin')::boolean)")
        + policy("column_of", "owner = (select app.me()) or title = (select app.claims() ->> 'name')", "delete"),
        fix=alter("gate", "owner = (select app.me())") + "drop policy column_of on notes;",
        found=("policy public.notes gate", "policy public.notes column_of"),
        details=("no index serves its arm",),
    ),
    Ways(
        name="on a small table",
        near_miss=BASE + FEW_ROWS + policy("gate", "owner = (select app.me()) or status = 'open'"),
        bad="insert into notes select n, owner, 1, 'open' from notes, generate_series(100, 1300) n where id = 1;"
        "analyze notes",
        fix=alter("gate", "owner = (select app.me())"),
        found=("policy public.notes gate",),
    ),
]
