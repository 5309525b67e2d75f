"""Any client, or any scope, as the only question about either."""

from tests.postgres.lints.snippets import BASE, CLIENT, SCOPE, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + policy("named", f"({CLIENT}) is not null and ({CLIENT}) = 'a'")
        + policy("scoped", f"({CLIENT}) is not null and 'tickets:read' = any (string_to_array({SCOPE}, ' '))")
        + policy("ceiling", "not ((select app.claims()) ? 'client_id') or status = 'open'", kind="restrictive")
        + policy("person", "owner = (select app.me())"),
        bad=policy("there", f"owner = (select app.me()) and ({CLIENT}) is not null")
        + policy("filled", f"({CLIENT}) <> ''")
        + policy("key", "(select app.claims()) ? 'scope'"),
        fix="".join(f"drop policy {name} on notes;" for name in ("there", "filled", "key")),
        found=tuple(f"policy public.notes {name}" for name in ("there", "filled", "key")),
        details=("any client or scope",),
    ),
    Ways(
        name="narrowed by a restrictive one, or by a table of grants",
        near_miss=BASE
        + "create table grants (client_id text, person uuid);"
        + policy("there", f"({CLIENT}) is not null")
        + policy("gate", f"({CLIENT}) in ('a', 'b')", kind="restrictive")
        + policy(
            "granted",
            f"({CLIENT}) is not null"
            " and exists (select from grants g where g.client_id = app.claims() ->> 'client_id')",
        ),
        bad="drop policy gate on notes;",
        fix="drop policy there on notes;",
        found=("policy public.notes there",),
    ),
]
