"""lower() and ILIKE on a client or scope."""

from tests.postgres.lints.snippets import BASE, CLIENT, SCOPE, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE + policy("exact", f"({CLIENT}) = 'reader'") + policy("title", "lower(title) = 'reader'"),
        bad=policy("lowered", f"lower({CLIENT}) = 'reader'") + policy("liked", f"({CLIENT}) ilike 'reader'"),
        fix="drop policy lowered on notes; drop policy liked on notes;",
        found=("policy public.notes lowered", "policy public.notes liked"),
        details=("upper and lower case",),
    ),
    Ways(
        name="of words",
        near_miss=BASE + policy("words", f"'tickets:read' = any (string_to_array({SCOPE}, ' '))"),
        bad=policy("folded", f"'tickets:read' = any (string_to_array(lower({SCOPE}), ' '))"),
        fix="drop policy folded on notes;",
        found=("policy public.notes folded",),
    ),
]
