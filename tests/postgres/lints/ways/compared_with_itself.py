"""m.org_id = org_id where both are the sub-select's."""

from tests.postgres.lints.snippets import BASE, MEMBERS, policy
from tests.postgres.lints.world import Ways

_HEAD = BASE + MEMBERS

WAYS = [
    Ways(
        near_miss=_HEAD
        + policy("meant", "exists (select from members m where m.org_id = notes.org_id and m.user_id = app.me())")
        + policy(
            "selves", "exists (select from members a join members b on a.org_id = b.org_id and a.user_id <> b.user_id)"
        ),
        bad=policy("caught", "exists (select from members m where m.org_id = org_id and m.user_id = app.me())")
        + policy("person", "app.me() = app.me()"),
        fix="drop policy caught on notes; drop policy person on notes;",
        found=("policy public.notes caught", "policy public.notes person"),
        details=("m.org_id = m.org_id",),
    ),
    Ways(
        name="a parameter with the name of a column",
        near_miss=_HEAD
        + """
        create function app.member_of(org integer) returns boolean language sql stable as $$
          select exists (select from public.members m where m.org_id = org and m.user_id = app.me()) $$;
        """
        + policy("gate", "app.member_of(org_id)"),
        bad="""
        create function app.in_org(org_id integer) returns boolean language sql stable as $$
          select exists (select from public.members m where m.org_id = org_id and m.user_id = app.me()) $$;
        """
        + policy("other", "app.in_org(org_id)"),
        fix="""
        create or replace function app.in_org(org_id integer) returns boolean language sql stable as $$
          select exists (select from public.members m where m.org_id = $1 and m.user_id = app.me()) $$;
        """,
        found=("function app.in_org(org_id integer)",),
    ),
]
