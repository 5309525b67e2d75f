"""A function of a column that reads a table."""

from tests.postgres.lints.snippets import BASE, FEW_ROWS, MEMBERS, alter, policy
from tests.postgres.lints.world import Ways

_MEMBER = """
create function app.is_member(org integer) returns boolean
  language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp
  as $$ select exists (select from public.members m where m.org_id = org and m.user_id = app.me()) $$;
create function app.my_orgs() returns setof integer
  language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp
  as $$ select m.org_id from public.members m where m.user_id = app.me() $$;
"""

WAYS = [
    Ways(
        near_miss=BASE
        + MEMBERS
        + _MEMBER
        + policy("all_at_once", "org_id = any (array(select app.my_orgs()))")
        + policy("adding", "app.is_member(org_id)", "insert"),
        bad=policy("each", "app.is_member(org_id)"),
        fix=alter("each", "org_id in (select app.my_orgs())"),
        found=("policy public.notes each",),
        details=("app.is_member(org_id) for every row", "reads public.members", "org_id = any (array(select ..))"),
    ),
    Ways(
        name="on a small table",
        near_miss=BASE + MEMBERS + _MEMBER + FEW_ROWS + policy("each", "app.is_member(org_id)"),
        bad="create table more (like notes); "
        "alter table more enable row level security; grant select on more to authenticated;"
        + policy("each", "not app.is_member(org_id)", table="more"),
        fix="drop table more",
        found=("policy public.more each",),
    ),
]
