"""Indexes for searches under a policy."""

from tests.postgres.lints.snippets import BASE, FEW_ROWS, alter, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + "create index on notes (title); create index on notes (status text_ops);"
        + policy("own", "owner = (select app.me())"),
        bad="create index search on notes using gin (to_tsvector('simple', title))",
        fix="drop index search",
        found=("table public.notes",),
        details=("index search isn't used",),
    ),
    Ways(
        name="for patterns; not under `true`, not on a small table",
        near_miss=BASE
        + FEW_ROWS
        + "create index on notes (title text_pattern_ops);"
        + policy("own", "owner = (select app.me())"),
        bad="insert into notes select n, owner, 1, 'open' from notes, generate_series(100, 1300) n where id = 1;"
        "analyze notes",
        fix=alter("own", "true"),
        found=("table public.notes",),
    ),
]
