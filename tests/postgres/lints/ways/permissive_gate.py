"""A gate for clients beside a policy that has none."""

from tests.postgres.lints.snippets import BASE, CLIENT, SCOPE, policy
from tests.postgres.lints.world import Ways

_GATE = f"({CLIENT}) = 'assistant' and status = 'open'"

WAYS = [
    Ways(
        near_miss=BASE
        + policy("agents", _GATE)
        + policy("people", "owner = (select app.me()) and not ((select app.claims()) ? 'client_id')")
        + policy("writes", "owner = (select app.me())", "delete"),
        bad=policy("everybody", "owner = (select app.me())", "all"),
        fix="drop policy everybody on notes;",
        found=("policy public.notes agents", "policy public.notes people"),
        details=("'everybody' admits the same tokens",),
    ),
    Ways(
        name="a restrictive gate",
        near_miss=BASE
        + policy("people", "owner = (select app.me())", "all")
        + policy("gate", f"not ((select app.claims()) ? 'client_id') or ({_GATE})", kind="restrictive"),
        bad=policy("scoped", f"'notes:write' = any (string_to_array({SCOPE}, ' '))", "update"),
        fix="drop policy scoped on notes;",
        found=("policy public.notes scoped",),
    ),
]
