"""A test run as one JSON document."""

from __future__ import annotations

import json
from typing import Any, TextIO

from mcp_rls.harness.verdict import CheckResult, Verdict
from mcp_rls.report import Results


def write(results: Results, out: TextIO) -> None:
    """Counts, and every check: a case of the file, or a cell (no `case`) whose rows must all be denied.

    `by_grant` are cells that are denied for want of a grant, so that no policy was asked.
    `coverage` and `hostile` are there where they were asked for.
    """
    result = results.result
    document = {
        "file": result.path,
        "database": results.database,
        "passed": result.passed,
        "counts": {str(verdict): result.count(verdict) for verdict in Verdict},
        "by_grant": len(result.by_grant),
        "attempts": result.attempts,
        "seconds": round(result.seconds, 3),
        "checks": [_entry(one) for one in result.results],
    }
    if results.coverage is not None:
        document["coverage"] = results.coverage.document()
    if results.hostile is not None:
        document["hostile"] = results.hostile.as_data()
    json.dump(document, out, indent=2, ensure_ascii=False)
    out.write("\n")


def _entry(one: CheckResult) -> dict[str, Any]:
    observed = one.observation
    return {
        "token": one.check.token,
        "table": str(one.check.table),
        "command": one.check.command,
        "case": one.check.case.number if one.check.case else None,
        "line": one.check.span.line,
        "verdict": str(one.verdict),
        "expected": one.expected,
        "outcome": observed.outcome.name if observed else None,
        "keys": [list(key) for key in observed.keys] if observed else [],
        "policy": observed.policy if observed else "",
        "by_catalog": one.by_catalog,
        "by_grant": one.by_grant,
        "headline": one.headline,
        "message": one.message,
        "attempts": one.attempts,
        "seconds": round(one.seconds, 4),
    }
