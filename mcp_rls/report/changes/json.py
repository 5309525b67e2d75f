"""A plan as one JSON document."""

from __future__ import annotations

import json
from typing import TextIO

from mcp_rls.report import Changes


def write(changes: Changes, out: TextIO) -> None:
    """Whether anything is still pending, and each operation with its statements in order."""
    document = {
        "database": changes.database,
        "pending": bool(changes.plan) and not changes.applied,
        "before": changes.plan.before,
        "after": changes.plan.after,
        "operations": [
            {
                "effect": operation.effect.value,
                "words": operation.words,
                "lock": operation.lock,
                "subject": operation.subject,
                "statements": list(operation.statements),
            }
            for operation in changes.plan.operations
        ],
    }
    json.dump(document, out, indent=2, ensure_ascii=False)
    out.write("\n")
