"""Diagnostics as one JSON document."""

from __future__ import annotations

import json
from typing import Any, TextIO

from mcp_rls.diagnostics import Diagnostic, Severity
from mcp_rls.report import Findings


def write(findings: Findings, out: TextIO) -> None:
    """`checked`, a count for each severity, and the list; lines and columns are 1-based, 0 where there is none."""
    counts = {severity.label + "s": findings.count(severity) for severity in sorted(Severity, reverse=True)}
    listed = [_entry(diagnostic) for diagnostic in findings.diagnostics]
    json.dump({"checked": findings.checked, **counts, "diagnostics": listed}, out, indent=2, ensure_ascii=False)
    out.write("\n")


def _entry(diagnostic: Diagnostic) -> dict[str, Any]:
    return {
        "severity": diagnostic.severity.label,
        "code": diagnostic.code,
        "message": diagnostic.message,
        "file": diagnostic.span.path,
        "line": diagnostic.span.line,
        "column": diagnostic.span.column,
        "hints": list(diagnostic.hints),
        "subject": diagnostic.subject,
    }
