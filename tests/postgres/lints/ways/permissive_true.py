"""true for writing, and as an arm; not for a role of a service."""

from tests.postgres.lints.snippets import BASE, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + policy("own", "owner = (select app.me())", "all")
        + policy("listed", "true")
        + policy("signed_in", "(select app.me()) is not null"),
        bad=policy("wide", "true", "update")
        + policy("adding", "true", "insert")
        + policy("anybody", "(select app.me()) is not null", "delete")
        + policy("role", "(select app.claims() ->> 'role') = 'authenticated'", "all")
        + policy("arm", "owner = (select app.me()) or true"),
        fix="".join(f"drop policy {name} on notes;" for name in ("wide", "adding", "anybody", "role", "arm")),
        found=tuple(f"policy public.notes {name}" for name in ("wide", "adding", "anybody", "role", "arm")),
        details=("lets everybody write any row", "an arm that is true"),
    ),
    Ways(
        name="for a service, and beside a restrictive one",
        near_miss=BASE
        + policy("own", "owner = (select app.me())")
        + "grant all on notes to pg_read_all_data; create policy jobs on notes to pg_read_all_data using (true);"
        + policy("wide", "true", "delete")
        + policy("narrow", "owner = (select app.me())", "delete", kind="restrictive"),
        bad="drop policy narrow on notes; alter policy jobs on notes to public;",
        fix="drop policy wide on notes; alter policy jobs on notes to pg_read_all_data;",
        found=("policy public.notes wide", "policy public.notes jobs"),
    ),
]
