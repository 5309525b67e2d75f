"""A test run as annotations of a GitHub workflow: each expectation that didn't hold, on its line of the cases file."""

from __future__ import annotations

from typing import TextIO

from mcp_rls.harness.verdict import Verdict
from mcp_rls.report import Results, annotation, counted


def write(results: Results, out: TextIO) -> None:
    """One workflow command for each check that didn't pass, and one that counts them all."""
    result = results.result
    for one in result.failures:
        place = {"file": one.check.span.path, "line": one.check.span.line, "col": one.check.span.column}
        message = one.message or one.headline
        out.write(annotation("error", message, **place, title=one.headline.partition(":")[0]) + "\n")
    counts = ", ".join(f"{result.count(verdict)} {verdict}" for verdict in Verdict)
    if result.by_grant:
        counts += f"; {len(result.by_grant)} denied for want of a grant: no policy was asked"
    level = "notice" if result.passed else "error"
    out.write(annotation(level, f"{counted(len(result.results), 'check')}: {counts}", title="mcp-rls test") + "\n")
