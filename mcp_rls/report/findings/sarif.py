"""Diagnostics as SARIF 2.1.0 (OASIS), as code scanning services read it."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any, TextIO

from mcp_rls import resources
from mcp_rls.diagnostics import Diagnostic, Severity
from mcp_rls.report import Findings

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


def write(findings: Findings, out: TextIO) -> None:
    """One run; a rule for each code that was found, with its page."""
    codes = sorted({d.code for d in findings.diagnostics})
    rules = [_rule(code) for code in codes]
    run = {
        "tool": {"driver": {"name": "mcp-rls", "version": version("mcp-rls"), "rules": rules}},
        "results": [_result(d) for d in findings.diagnostics],
    }
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    json.dump({"$schema": schema, "version": "2.1.0", "runs": [run]}, out, indent=2, ensure_ascii=False)
    out.write("\n")


def _rule(code: str) -> dict[str, Any]:
    page = resources.explanation(code) or code
    first = next((line for line in page.splitlines() if line.startswith("**")), code)
    return {
        "id": code,
        "shortDescription": {"text": first.partition("** ")[2] or code},
        "help": {"markdown": page, "text": page},
    }


def _result(diagnostic: Diagnostic) -> dict[str, Any]:
    text = "\n".join([diagnostic.message, *(f"hint: {hint}" for hint in diagnostic.hints)])
    result: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "level": _LEVELS[diagnostic.severity],
        "message": {"text": text},
        # what is one finding from run to run, wherever its line has moved
        "partialFingerprints": {"mcp-rls/1": f"{diagnostic.code} {diagnostic.subject or diagnostic.message}"},
    }
    places: dict[str, Any] = {}
    if diagnostic.span.path:
        region = {"startLine": diagnostic.span.line or 1, "startColumn": diagnostic.span.column or 1}
        places["physicalLocation"] = {"artifactLocation": {"uri": diagnostic.span.path}, "region": region}
    if diagnostic.subject:
        places["logicalLocations"] = [{"fullyQualifiedName": diagnostic.subject}]
    return result | ({"locations": [places]} if places else {})
