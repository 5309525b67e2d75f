"""A plan as one JSON document."""

from __future__ import annotations

import json
from typing import TextIO

from mcp_rls.operation import Operation
from mcp_rls.report import Changes


def write(changes: Changes, out: TextIO) -> None:
    """Whether anything is still pending, each operation with its statements in order, and what is only noted."""
    document = {
        "database": changes.database,
        "pending": bool(changes.operations) and not changes.applied,
        "before": changes.plan.before,
        "after": changes.plan.after,
        "operations": [_operation(o) for o in changes.plan.operations],
        "found_changed_by_hand": [
            {"effect": o.effect.value, "words": o.words, "subject": o.subject} for o in changes.plan.by_hand
        ],
        "indexes": [_operation(o) for o in changes.indexes],
        "create_indexes": changes.create_indexes,
    }
    json.dump(document, out, indent=2, ensure_ascii=False)
    out.write("\n")


def _operation(operation: Operation) -> dict[str, object]:
    return {
        "effect": operation.effect.value,
        "words": operation.words,
        "lock": operation.lock,
        "subject": operation.subject,
        "statements": list(operation.statements),
    }
