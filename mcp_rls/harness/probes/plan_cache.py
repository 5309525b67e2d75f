"""Findings on prepared statements that are planned for one token and run as another in the same session."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

from mcp_rls import sql
from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import REFUSED, Bench, Sight, hidden_among, keys_in
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.session import CannotTest, impersonation, one_line
from mcp_rls.harness.stage import Attempt
from mcp_rls.harness.suite import TokenSpec
from mcp_rls.harness.token import claims_text, expected_client, is_client_token

TITLE = "plans kept for another token"
NOTHING = "no two tokens of one role are shown different rows"
_HELD = "a statement that was planned for {other} shows the token its own rows"
_REMEDY = "a function that a policy calls is declared IMMUTABLE and reads the token: declare it STABLE"
_OTHERS = 4  # tokens that statements are planned for
_NUMBERS = itertools.count(1)
# A table whose policy makes just that mistake, for the control.
_TWIN = "pg_temp.mcp_rls_probe"
_MISTAKE = (
    "create temporary table mcp_rls_probe (owner text)",
    "create function pg_temp.mcp_rls_owner() returns text immutable return current_setting('request.jwt.claims', true)",
    f"alter table {_TWIN} enable row level security",
    f"create policy mcp_rls_probe on {_TWIN} using (owner = pg_temp.mcp_rls_owner())",
)


def probe(bench: Bench) -> Iterator[Found]:
    others = list(_others(bench))
    for sight in bench.hiding:
        try:
            found = _found(bench, sight, others)
        except CannotTest as problem:
            found = Found(str(sight.name), Verdict.UNDECIDED, str(problem), remedy=_REMEDY)
        if found is not None:
            yield found


def _others(bench: Bench) -> Iterator[tuple[str, str]]:
    """Names and claims of other tokens that arrive as the same role, the app's own first."""
    mine, policies = bench.bearer, bench.stage.policies
    tokens = sorted(bench.suite.tokens.values(), key=partial(is_client_token, policies))
    roles = {t.name: t.role or policies.role_of(t.class_name) for t in tokens}
    same = [t for t in tokens if roles[t.name] == mine.role and t.name != mine.spec.name]
    for token in same[:_OTHERS]:
        yield token.name, _claims(bench, token)


def _claims(bench: Bench, token: TokenSpec) -> str:
    policies = bench.stage.policies
    return claims_text(policies, token, expected_client(policies, token), bench.role)


def _found(bench: Bench, sight: Sight, others: list[tuple[str, str]]) -> Found | None:
    """What came of the first of the others that is shown a row which is hidden from this token."""
    query = f"select {rows.key_expression(sight.table)} from {sql.table(sight.name)} t"
    for other, claims in others:
        shown = hidden_among(sight, keys_in(bench.act([query], plant=[_as(bench, claims), "reset role"])))
        if shown is not None:
            return _judged(bench, sight, _kept(bench, query, claims), other, claims, shown)
    return None


def _judged(bench: Bench, sight: Sight, attempt: Attempt, other: str, claims: str, shown: Key) -> Found:
    name, key = str(sight.name), hidden_among(sight, keys_in(attempt))
    if key is not None:
        words = f"a statement that was planned for {other} shows {sight.row(key)}, which is hidden"
        return Found(name, Verdict.LEAKS, words, sight.row(key), _REMEDY)
    if attempt.error is not None and attempt.error.sqlstate not in REFUSED:
        return Found(name, Verdict.UNDECIDED, one_line(attempt.error), remedy=_REMEDY)
    if not _control_tells(bench, claims):
        return Found(name, Verdict.UNDECIDED, "not even a policy made to keep rows was seen to", vain=True)
    return Found(name, Verdict.HOLDS, _HELD.format(other=other), sight.row(shown))


def _as(bench: Bench, claims: str) -> str:
    return impersonation(claims, bench.role, resolved=bench.stage.policies.resolved)


def _kept(bench: Bench, query: str, claims: str, plant: tuple[str, ...] = (), *, control: bool = False) -> Attempt:
    """What the token is shown by a statement that was prepared, and run, with the other's claims."""
    name = f"mcp_rls_probe_{next(_NUMBERS)}"
    first = (_as(bench, claims), f"prepare {name} as {query}", f"execute {name}", "reset role")
    again = (_as(bench, bench.bearer.claims), "reset role")
    try:
        return (bench.allowed if control else bench.act)([f"execute {name}"], plant=(*plant, *first, *again))
    finally:
        bench.act([f"deallocate {name}"])


def _control_tells(bench: Bench, claims: str) -> bool:
    mark = ("plan cache", bench.bearer.spec.name)
    if mark not in bench.kept:
        values = ", ".join(f"({sql.literal(c)})" for c in (claims, bench.bearer.claims))
        filled = f"insert into {_TWIN} values {values}"
        granted = f"grant select on {_TWIN} to {sql.role(bench.role)}"
        attempt = _kept(bench, f"select owner from {_TWIN}", claims, (*_MISTAKE, filled, granted), control=True)
        bench.kept[mark] = attempt.rows == [(claims,)]
    return bool(bench.kept[mark])
