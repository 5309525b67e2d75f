"""What drift found as annotations of a GitHub workflow: drift that opens is an error."""

from __future__ import annotations

from typing import TextIO

from mcp_rls.database.drift import Finding, Kind
from mcp_rls.effect import Effect
from mcp_rls.report import Drifted, annotation


def write(drifted: Drifted, out: TextIO) -> None:
    """One workflow command for each finding."""
    for finding in drifted.drift.findings:
        title = ", ".join(filter(None, [finding.kind.value, finding.effect.word.upper()]))
        out.write(annotation(_level(finding), finding.words, title=title) + "\n")


def _level(finding: Finding) -> str:
    if finding.kind is Kind.NOTE:
        return "notice"
    return "error" if finding.kind is Kind.DRIFT and finding.effect is Effect.OPENS else "warning"
