"""Coverage as annotations of a GitHub workflow: each miss on its line of the policy file."""

from __future__ import annotations

from typing import TextIO

from mcp_rls.harness.coverage.result import Coverage
from mcp_rls.report import annotation, counted


def write(coverage: Coverage, out: TextIO) -> None:
    """One workflow command for each miss, and one that sums up."""
    for miss in coverage.misses:
        place = {"file": miss.span.path, "line": miss.span.line, "col": miss.span.column}
        out.write(annotation("warning", miss.text, **place, title="not covered") + "\n")
    total = f"{coverage.percent:g} %, {coverage.shown} of {counted(coverage.possible, 'outcome')}"
    out.write(annotation("notice", total, file=coverage.path, title="coverage") + "\n")
