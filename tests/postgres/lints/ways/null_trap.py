"""= null, <> on a column that can be NULL, NOT IN with a NULL among them."""

from tests.postgres.lints.snippets import BASE, MEMBERS, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + policy("filled", "status <> 'spam'")
        + policy("distinct_from", "title is distinct from 'spam'")
        + policy("asked", "title is null or title <> 'spam'")
        + policy("coalesced", "coalesce(title, '') <> 'spam'")
        + policy("client", "(select app.claims() ->> 'tier') <> title"),
        bad=policy("never", "title = null")
        + policy("hidden", "title <> 'spam'")
        + policy("listed", "title not in ('a', 'b')"),
        fix="drop policy never on notes; drop policy hidden on notes; drop policy listed on notes;",
        found=("policy public.notes never", "policy public.notes hidden", "policy public.notes listed"),
        details=("is never true", "isn't true where title is NULL"),
    ),
    Ways(
        name="NOT IN, in a policy and in a function",
        near_miss=BASE
        + MEMBERS
        + "create table muted (org_id integer);"
        + policy("outside", "org_id not in (select m.org_id from members m)")
        + policy("unmuted", "org_id not in (select m.org_id from muted m where m.org_id is not null)"),
        bad="""
        create function app.loud(org integer) returns boolean language sql stable
          as $$ select org not in (select org_id from public.muted) $$;
        """
        + policy("muting", "org_id not in (select m.org_id from muted m)")
        + policy("calling", "app.loud(org_id)"),
        fix="alter table muted alter org_id set not null",
        found=("policy public.notes muting", "function app.loud(org integer)"),
    ),
]
