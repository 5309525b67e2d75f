"""A column that is cast to be compared with a claim."""

from tests.postgres.lints.snippets import BASE, FEW_ROWS, alter, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + "alter table notes add short varchar(20);"
        + policy("claim", "owner = (select (app.claims() ->> 'sub')::uuid)")
        + policy("relabelled", "short = (select app.claims() ->> 'name')")
        + policy("constant", "org_id::text = '7'"),
        bad=policy("cast_to_text", "owner::text = (select app.claims() ->> 'sub')"),
        fix=alter("cast_to_text", "owner = (select (app.claims() ->> 'sub')::uuid)"),
        found=("policy public.notes cast_to_text",),
        details=("casts the column", "owner = (claim)::TYPE"),
    ),
    Ways(
        name="on a small table",
        near_miss=BASE + FEW_ROWS + policy("cast_to_text", "owner::text = (select app.claims() ->> 'sub')"),
        bad="insert into notes select n, owner, 1, 'open' from notes, generate_series(100, 1300) n where id = 1;"
        "analyze notes",
        fix=alter("cast_to_text", "owner = (select app.me())"),
        found=("policy public.notes cast_to_text",),
    ),
]
