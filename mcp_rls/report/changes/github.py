"""A plan as annotations of a GitHub workflow: what opens is a warning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from mcp_rls.effect import Effect
from mcp_rls.operation import Operation
from mcp_rls.report import Changes, annotation, folded


def write(changes: Changes, out: TextIO) -> None:
    """One workflow command for each operation, with rewrites in one, and for each thing that was found changed."""
    state = "applied" if changes.applied else "pending"
    _annotate(folded(changes.operations).values(), state, out)
    _annotate(changes.plan.by_hand, "found changed by hand", out)


def _annotate(operations: Iterable[Operation], state: str, out: TextIO) -> None:
    for operation in operations:
        level = "warning" if operation.effect is Effect.OPENS else "notice"
        message = operation.words + (f" ({operation.lock})" if operation.lock else "")
        title = ", ".join(filter(None, [state, operation.effect.word.upper()]))
        out.write(annotation(level, message, title=title) + "\n")
