"""Findings on what the planner reports of a token's own query: how many rows it passed over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mcp_rls import sql
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import Bench, Sight
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.probes.kit.without import removable, without
from mcp_rls.harness.session import CannotTest, one_line
from mcp_rls.harness.stage import Attempt

TITLE = "query plans"
NOTHING = "no row is hidden from any token"
_REMEDY = "PostgreSQL lets whoever may SELECT ask for a plan: give clients no way to send SQL of their own"
_REFUSED = "42501"


def probe(bench: Bench) -> Iterator[Found]:
    for sight in bench.hiding:
        try:
            yield _found(bench, sight, next((k for k, neutral in removable(bench, sight) if neutral), None))
        except CannotTest as problem:
            yield Found(str(sight.name), Verdict.UNDECIDED, str(problem), remedy=_REMEDY)


def _found(bench: Bench, sight: Sight, key: Key | None) -> Found:
    name = str(sight.name)
    if key is None:
        words = "each hidden row that was tried also decides what the token may see, so no plan could be compared"
        return Found(name, Verdict.UNDECIDED, words, vain=True)
    question = [f"explain (analyze, costs off, timing off, format json) select from {sql.table(sight.name)}"]
    gone, row = without(bench, sight, key), sight.row(key)
    first, second = bench.act(question), bench.act(question, plant=gone)
    if _touched(first) != _touched(second):
        words = f"the plan counts the rows that were passed over: it learns that {row} is there"
        return Found(name, Verdict.KNOWN_LIMIT, words, row, _REMEDY)
    error = first.error or second.error
    if error is not None and error.sqlstate != _REFUSED:
        return Found(name, Verdict.UNDECIDED, f"the plan ended in an error: {one_line(error)}", remedy=_REMEDY)
    if _touched(bench.control(question)) == _touched(bench.control(question, plant=gone)):
        return Found(name, Verdict.UNDECIDED, "not even past row security does a plan count it", vain=True)
    return Found(name, Verdict.HOLDS, "its plan is the same without the hidden row", row)


def _touched(attempt: Attempt) -> float:
    """How many rows the plan says that it met."""
    return _counted(attempt.rows[0][0][0]["Plan"]) if attempt.rows else -1


def _counted(node: dict[str, Any]) -> float:
    kept: float = node.get("Actual Rows", 0) + sum(v for k, v in node.items() if k.startswith("Rows Removed"))
    # the look-ups of a policy are the token's own, and stand below as plans of their own
    inner = [n for n in node.get("Plans", ()) if n.get("Parent Relationship") not in ("InitPlan", "SubPlan")]
    loops: float = node.get("Actual Loops", 1)
    return kept * loops + sum(map(_counted, inner))
