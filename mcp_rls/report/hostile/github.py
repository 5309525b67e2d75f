"""What came of hostile tokens, as annotations of a GitHub workflow."""

from __future__ import annotations

from typing import TextIO

from mcp_rls.harness.matrix.result import Hostile, grouped
from mcp_rls.report import annotation


def write(hostile: Hostile, out: TextIO) -> None:
    """One workflow command for each finding on its line of the policy file, and one that counts."""
    for finding, _ in grouped(hostile.findings):
        place = {"file": finding.span.path, "line": finding.span.line, "col": finding.span.column}
        message = "\n".join([finding.headline, *finding.lines()])
        out.write(annotation("error", message, **place, title=finding.kind) + "\n")
    level = "notice" if hostile.passed else "error"
    out.write(annotation(level, hostile.sentence(), title="hostile tokens") + "\n")
