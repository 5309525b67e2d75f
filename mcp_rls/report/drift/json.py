"""What drift found as one JSON document."""

from __future__ import annotations

import json
from typing import TextIO

from mcp_rls.report import Drifted


def write(drifted: Drifted, out: TextIO) -> None:
    """The answer, and each finding with its parts."""
    answer = drifted.drift.answer
    document = {
        "database": drifted.database,
        "answer": answer.value if answer else "unchanged",
        "findings": [
            {
                "kind": finding.kind.value,
                "effect": finding.effect.value,
                "object": finding.object,
                "now": finding.now,
                "was": finding.was,
                "means": finding.means,
                "remedy": finding.remedy,
                "place": finding.place,
            }
            for finding in drifted.drift.findings
        ],
    }
    json.dump(document, out, indent=2, ensure_ascii=False)
    out.write("\n")
