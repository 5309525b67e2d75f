"""LEAKPROOF functions that clients may call."""

from tests.postgres.lints.snippets import BASE, policy
from tests.postgres.lints.world import Ways

_BASE = BASE + policy("one", "owner = (select app.me())")

WAYS = [
    Ways(
        near_miss=_BASE
        + "create function app.shown(a text) returns integer language sql immutable return length(a);"
        + "create function app.locked(a text) returns integer language sql immutable leakproof return length(a);"
        + "revoke execute on function app.locked from public;",
        bad="alter function app.shown(text) leakproof",
        fix="alter function app.shown(text) not leakproof",
        found=("function app.shown(a text)",),
        details=("sees rows that policies hide", "authenticated may call it"),
    ),
    Ways(
        name="only where there is row security",
        near_miss=_BASE
        + "alter table notes disable row level security;"
        + "create function app.shown(a text) returns integer language sql immutable leakproof return length(a);",
        bad="alter table notes enable row level security",
        fix="revoke execute on function app.shown from public",
        found=("function app.shown(a text)",),
    ),
]
