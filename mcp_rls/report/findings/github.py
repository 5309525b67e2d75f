"""Diagnostics as annotations of a GitHub workflow: shown on the lines of a pull request."""

from __future__ import annotations

from typing import TextIO

from mcp_rls.diagnostics import Severity
from mcp_rls.report import Findings, annotation

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def write(findings: Findings, out: TextIO) -> None:
    """One workflow command for each."""
    for diagnostic in findings.diagnostics:
        message = "\n".join([diagnostic.message, *(f"hint: {hint}" for hint in diagnostic.hints)])
        place = {"file": diagnostic.span.path, "line": diagnostic.span.line, "col": diagnostic.span.column}
        out.write(annotation(_LEVELS[diagnostic.severity], message, **place, title=diagnostic.code) + "\n")
