"""Claims read outside a sub-select."""

from tests.postgres.lints.snippets import BASE, FEW_ROWS, alter, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + policy("wrapped", "owner = (select app.me())")
        + policy("inside", "title = ((select app.claims()) ->> 'name')")
        + policy("whole", "title = (select app.claims() ->> 'name')")
        + policy("adding", "owner = app.me()", "insert"),
        bad=policy("bare", "owner = app.me()")
        + policy("mixed", "owner = (select app.me()) and title = (app.claims() ->> 'name')")
        + policy("setting", "title = current_setting('app.name', true)", "delete"),
        fix=alter("bare", "owner = (select app.me())")
        + alter("mixed", "owner = (select app.me()) and title = ((select app.claims()) ->> 'name')")
        + alter("setting", "title = (select current_setting('app.name', true))"),
        found=("policy public.notes bare", "policy public.notes mixed", "policy public.notes setting"),
        details=("computes app.me() for every row", "(select app.claims())"),
    ),
    Ways(
        name="on a table that is small, and in a function of the row",
        near_miss=BASE
        + FEW_ROWS
        + "create function app.mine(o uuid) returns boolean language sql stable parallel safe return o = app.me();"
        + policy("bare", "app.mine(owner)"),
        bad="insert into notes select n, owner, 1, 'open' from notes, generate_series(100, 1300) n where id = 1;"
        "analyze notes",
        fix=alter("bare", "owner = (select app.me())"),
        found=("policy public.notes bare",),
    ),
]
