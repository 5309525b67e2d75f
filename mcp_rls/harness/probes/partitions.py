"""Findings on partitions and inheriting tables: asked directly, they follow their own policies, not their parent's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from mcp_rls import sql
from mcp_rls.catalog import Table, TableName
from mcp_rls.harness import rows
from mcp_rls.harness.facts import Reach
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import Bench, Sight, Trial, hidden_among, keys_in
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.stage import Attempt

TITLE = "partitions and children"
NOTHING = "no covered table has partitions or children with rows that it hides from a token"
_LEARNT = "asked directly it shows {row}, which its parent hides"
_HELD = "asked directly it hides the row too"
_REMEDY = "revoke all on the child from the tokens' roles, or list it in the policy file with its parent's rules"


def probe(bench: Bench) -> Iterator[Found]:
    covered = {table.name for table in bench.stage.covered}
    for child in bench.stage.catalog.tables.values():
        parents = [parent for parent in child.parents if parent in covered]
        if parents and child.kind != "foreign table":
            trials = (t for parent in parents for t in _trials(bench, child, parent))
            found = bench.judge(str(child.name), trials, Verdict.LEAKS, _HELD, _REMEDY)
            if found is not None:
                yield found


def _trials(bench: Bench, child: Table, parent: TableName) -> Iterator[Trial]:
    there = bench.stage.snapshot(child)
    key = rows.key_expression(child)
    shown = set(keys_in(bench.act([f"select {key} from {sql.table(parent)} t"])))
    hidden = tuple(k for k in there if k not in shown)
    if hidden:
        sight = Sight(child, there, tuple(k for k in there if k in shown), hidden, Reach())
        tells = partial(_shown, sight)
        yield Trial(sight, (f"select {key} from {sql.table(child.name)} t",), tells, _LEARNT)


def _shown(sight: Sight, attempt: Attempt) -> Key | None:
    return hidden_among(sight, keys_in(attempt))
