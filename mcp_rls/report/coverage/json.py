"""Coverage as one JSON document."""

from __future__ import annotations

import json
from typing import TextIO

from mcp_rls.harness.coverage.result import Coverage


def write(coverage: Coverage, out: TextIO) -> None:
    """The percent with its counts, what was missed and what can't be shown, and every point; lines are 1-based."""
    json.dump(coverage.document(), out, indent=2, ensure_ascii=False)
    out.write("\n")
