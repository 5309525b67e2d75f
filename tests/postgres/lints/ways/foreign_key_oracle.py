"""Foreign keys to hidden rows."""

from tests.postgres.lints.snippets import BASE, policy
from tests.postgres.lints.world import Ways

_COMMENTS = """
create table comments (id integer primary key, author uuid not null, note_id integer references notes (id));
alter table comments enable row level security;
grant select, insert on comments to authenticated;
"""
_ASKED = "author = app.me() and exists (select from notes n where n.id = note_id)"

WAYS = [
    Ways(
        near_miss=BASE
        + _COMMENTS
        + policy("own", "owner = (select app.me())")
        + policy("writing", _ASKED, "insert", "comments"),
        bad="alter policy writing on comments with check (author = app.me())",
        fix=f"alter policy writing on comments with check ({_ASKED})",
        found=("table public.comments",),
        details=("comments_note_id_fkey tells authenticated which rows of public.notes exist",),
    ),
    Ways(
        name="not where all rows are seen, and not of UUIDs",
        near_miss=BASE
        + _COMMENTS
        + "create table boards (id uuid primary key); alter table boards enable row level security;"
        + "alter table comments add board_id uuid references boards;"
        + policy("listed", "true")
        + policy("writing", "author = app.me()", "insert", "comments"),
        bad="alter policy listed on notes using (owner = (select app.me()))",
        fix="revoke insert on comments from authenticated",
        found=("table public.comments",),
    ),
]
