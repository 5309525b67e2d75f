"""Findings on materialized views: they hold rows of their own, which no policy is asked about."""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.harness.probes.kit.bench import Bench
from mcp_rls.harness.probes.kit.facts import Relation
from mcp_rls.harness.probes.kit.verdict import Found
from mcp_rls.harness.probes.kit.without import Comparison, judge

TITLE = "materialized views"
NOTHING = "no materialized view of a covered table can be reached by a token's role"
_REMEDY = "revoke SELECT from the tokens' roles, or accept it under doors"


def probe(bench: Bench) -> Iterator[Found]:
    for view in bench.facts.relations:
        columns = bench.facts.reached(bench.role, view).columns
        sights = [s for s in bench.hiding if s.name in view.reads]
        if view.kind == "m" and columns and sights:
            question = [f"select {', '.join(map(sql.ident, columns))} from {sql.table(view.name)}"]
            compared = Comparison(bench, str(view), _REMEDY, _refresh(bench, view))
            found = judge(bench, compared, question, sights)
            if found is not None:
                yield found


def _refresh(bench: Bench, view: Relation) -> list[str]:
    """Fills it anew, after those that it reads: else it has no row of this test."""
    below = [v for v in bench.facts.relations if v.kind == "m" and v.name in view.reads]
    order = sorted(below, key=lambda v: len(v.reads))
    return [f"refresh materialized view {sql.table(v.name)}" for v in (*order, view)]
