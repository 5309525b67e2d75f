"""A plain equality, for a role that can log in."""

from tests.postgres.lints.snippets import BASE, alter, policy
from tests.postgres.lints.world import Ways

_HARD = "owner = (select app.me()) and (owner = (select app.me())) is true"
_LOGIN = """
do $$ begin create role lint_agent login; exception when duplicate_object or unique_violation then null; end $$;
alter role lint_agent login;
grant select on notes to lint_agent; grant usage on schema app to lint_agent;
"""

WAYS = [
    Ways(
        near_miss=BASE
        + _LOGIN
        + policy("shared", "owner = (select app.me())")
        + f"create policy hard on notes for select to lint_agent using ({_HARD});"
        + "create policy listed on notes for select to lint_agent using (owner = any (array[(select app.me())]));",
        bad="create policy plain on notes for select to lint_agent using (owner = (select app.me()));",
        fix=alter("plain", _HARD),
        found=("policy public.notes plain",),
        details=("SQL that lint_agent writes itself", "is true"),
    ),
    Ways(
        name="for PUBLIC",
        near_miss=BASE + policy("shared", "owner = (select app.me())") + "alter policy shared on notes to public;",
        bad=_LOGIN,
        fix="revoke all on notes from lint_agent",
        found=("policy public.notes shared",),
    ),
]
