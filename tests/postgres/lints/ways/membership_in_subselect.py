"""IN (SELECT ..) and a correlated EXISTS."""

from tests.postgres.lints.snippets import BASE, FEW_ROWS, MEMBERS, alter, policy
from tests.postgres.lints.world import Ways

_ARRAY = "org_id = any (array(select m.org_id from members m where m.user_id = (select app.me())))"

WAYS = [
    Ways(
        near_miss=BASE
        + MEMBERS
        + "create table boards (id integer primary key);"
        + policy("listed", _ARRAY)
        + policy("followed", "exists (select from boards b where b.id = org_id)")
        + policy("adding", "org_id in (select m.org_id from members m where m.user_id = app.me())", "insert"),
        bad=policy("inside", "org_id in (select m.org_id from members m where m.user_id = (select app.me()))")
        + policy("there", "exists (select from members m where m.org_id = notes.org_id and m.user_id = app.me())"),
        fix=alter("inside", _ARRAY) + alter("there", _ARRAY),
        found=("policy public.notes inside", "policy public.notes there"),
        details=("its org_id is in a sub-select",),
    ),
    Ways(
        name="on a small table",
        near_miss=BASE
        + MEMBERS
        + FEW_ROWS
        + policy("inside", "org_id in (select m.org_id from members m where m.user_id = (select app.me()))"),
        bad="insert into notes select n, owner, 1, 'open' from notes, generate_series(100, 1300) n where id = 1;"
        "analyze notes",
        fix=alter("inside", _ARRAY),
        found=("policy public.notes inside",),
    ),
]
