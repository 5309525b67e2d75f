"""Indexes for searches under a policy that finds rows by no index."""

from tests.postgres.lints.snippets import BASE, FEW_ROWS, ROWS, alter, policy
from tests.postgres.lints.world import Ways

_FILE = """
tables:
  public.notes: {clients: [{who: helper, allow: select, rows: "status = 'open'"}]}
"""

WAYS = [
    Ways(
        near_miss=BASE
        + "create index on notes (title); create index on notes (status text_ops); create index on notes (org_id);"
        + policy("open_ones", "status = 'open'"),
        bad="create index search on notes using gin (to_tsvector('simple', title))",
        fix="drop index search",
        found=("table public.notes",),
        details=("@@, @@@ can't use index search", "alter function ts_match_vq(tsvector,tsquery) leakproof"),
    ),
    Ways(
        name="for patterns; not under `true`, not on a small table",
        near_miss=BASE
        + FEW_ROWS
        + "create index on notes (title text_pattern_ops);"
        + policy("open_ones", "status = 'open'"),
        bad="insert into notes select n, owner, 1, 'open' from notes, generate_series(100, 1300) n where id = 1;"
        "analyze notes",
        fix=alter("open_ones", "true"),
        found=("table public.notes",),
        details=("textlike(text,text)",),
    ),
    Ways(
        name="numbers, enums and documents; second in an index, and with the policy's column in it",
        near_miss=BASE + "create type mood as enum ('good', 'bad');"
        "alter table notes add price numeric, add mood mood, add tags jsonb; create index on notes (org_id, price);"
        + policy("open_ones", "status = 'open'"),
        bad="create index on notes (price); create index on notes using hash (mood);"
        "create index on notes using gin (tags)",
        fix="drop index notes_price_idx, notes_mood_idx, notes_tags_idx",
        found=("table public.notes", "table public.notes", "table public.notes"),
        details=("numeric_", "enum_eq(anyenum,anyenum)", "?, ?&, ?| and 3 more can't use index notes_tags_idx"),
    ),
    Ways(
        name="one role of two, and an arm without an index",
        near_miss=BASE
        + ROWS
        + "create index on notes (title text_pattern_ops); grant select on notes to anon;"
        + policy("own", "owner = (select app.me())", "update")
        + policy("whole", "true")
        + "create policy whole_too on notes for select to anon using (true);",
        bad="alter policy whole_too on notes using (owner = (select app.me()) or status = 'open')",
        fix="drop policy whole_too on notes",
        found=("table public.notes",),
    ),
    Ways(
        name="a ceiling that a policy file brings, also before it is applied",
        file=_FILE,
        near_miss="create table notes (id integer primary key, owner uuid, status text, title text);"
        "create index on notes (title text_pattern_ops);",
        bad="grant select on notes to authenticated",
        fix="drop index notes_title_idx",
        found=("table public.notes",),
    ),
]
