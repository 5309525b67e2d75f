"""A case's UPDATE or DELETE once more without its WHERE: what denied it may have been what a SELECT needs, alone."""

from __future__ import annotations

from mcp_rls.harness import trials
from mcp_rls.harness.observe import Observation
from mcp_rls.harness.stage import Stage
from mcp_rls.harness.suite import Case
from mcp_rls.harness.verdict import Finding, Scene, failed

_TWINS = 20  # rows of one case that are tried


def blind_twin(stage: Stage, case: Case, scene: Scene) -> tuple[Finding, Observation] | None:
    """What the acting token changes after all, row by row, of that which it must not; None when it is nothing.

    A WHERE reads columns, and PostgreSQL then asks for the SELECT privilege too, and the SELECT policies, of the old
    row and of the new one.
    """
    writes = case.command in ("update", "delete")
    if not writes or not case.where or case.expect.reason == "constraint":
        return None
    kept = sorted(scene.matched - set(scene.expected) - scene.brought)[:_TWINS]
    statement = trials.statement(scene.table, case, blind=True)
    for key in kept:
        observation = trials.write(stage, scene.table, case.command, statement, isolate=key)
        if observation.admitted:
            sentence = f"{case.token} {case.command}s 1 row of {case.table} by the same statement without WHERE"
            sentence += ": with it, the policies for SELECT alone kept the row"
            return failed("LEAK", sentence, [key]), observation
    return None
