"""The columns that rules hold an UPDATE to: which ones a token may not set, and a case's UPDATE once more with each."""

from __future__ import annotations

from mcp_rls.catalog import Table
from mcp_rls.compiler.model import PolicySet
from mcp_rls.harness import rows, trials
from mcp_rls.harness.facts import Reach
from mcp_rls.harness.observe import Observation
from mcp_rls.harness.stage import Stage
from mcp_rls.harness.suite import Case
from mcp_rls.harness.verdict import Finding, Scene, failed


def admitted(policies: PolicySet, table: Table, class_name: str | None) -> frozenset[str]:
    """The columns that an UPDATE by a client of the class may set; of no class: that a person may."""
    held = policies.held_to(table.name, class_name)
    return frozenset(c.name for c in table.columns if all(limit.admit(c.name) for limit in held))


def column_twin(stage: Stage, case: Case, scene: Scene) -> tuple[Finding, Observation] | None:
    """What the case's UPDATE, which changes rows, changes with a column that rules don't let it set; None: nothing.

    That column keeps the value that it has in the first of these rows: no condition can tell the two statements apart.
    """
    if case.command != "update" or not scene.expected or stage.bearer is None:
        return None
    table, data = scene.table, stage.snapshot(scene.table)[scene.expected[0]].data
    reach = stage.facts(stage.bearer.role).reach.get(table.name, Reach())
    kept = reach.update - admitted(stage.policies, table, stage.bearer.class_name)
    for column in (c.name for c in table.columns if c.name in kept and not c.generated and c.name not in case.values):
        values = {**rows.literals(table, case.values), **rows.stored_literals(data, [column])}
        where = f" where {rows.by_key(table, scene.expected[0])}"
        observation = trials.write(stage, table, "update", rows.update(table, values, where))
        if observation.admitted:
            sentence = (
                f"{case.token} updates {case.table} by the same statement with {column}, which its rule leaves out"
            )
            return failed("LEAK", sentence, list(scene.expected[:1])), observation
    return None
