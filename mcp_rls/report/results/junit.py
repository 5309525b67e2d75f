"""A test run as JUnit XML: one test case for each check, so that a CI server counts and keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO
from xml.sax.saxutils import escape, quoteattr

from mcp_rls.harness.verdict import CheckResult, Verdict
from mcp_rls.report import Results


def write(results: Results, out: TextIO) -> None:
    """One suite. What could not be decided is an error, what didn't hold a failure."""
    result = results.result
    counts = {
        "tests": len(result.results),
        "failures": result.count(Verdict.FAILED),
        "errors": result.count(Verdict.UNDECIDED),
        "skipped": 0,
        "time": f"{result.seconds:.3f}",
    }
    out.write('<?xml version="1.0" encoding="UTF-8"?>\n')
    out.write(f"<testsuites>\n<testsuite{_attributes(name=result.path, **counts)}>\n")
    for one in result.results:
        out.writelines(_case(one, result.path))
    out.write("</testsuite>\n</testsuites>\n")


def _case(one: CheckResult, path: str) -> Iterator[str]:
    name = f"case {one.check.case.number}: {one.check.title}" if one.check.case else one.check.title
    place = {"file": path, "line": one.check.span.line} if one.check.span.line else {}
    head = _attributes(classname=f"{path}.{one.check.token}", name=name, time=f"{one.seconds:.4f}", **place)
    if one.passed:
        yield f"<testcase{head}/>\n"
        return
    kind = "error" if one.verdict is Verdict.UNDECIDED else "failure"
    yield f"<testcase{head}>\n<{kind}{_attributes(message=one.headline)}>{escape(_legal(one.message))}</{kind}>\n"
    yield "</testcase>\n"


def _attributes(**values: object) -> str:
    return "".join(f" {name}={quoteattr(_legal(str(value)))}" for name, value in values.items())


def _legal(text: str) -> str:
    """`text` without the characters that XML 1.0 can't hold, not even escaped."""
    return "".join(
        c if c in "\t\n" or " " <= c < "\ud800" or "\ue000" <= c < "\ufffe" or c > "\uffff" else "\ufffd" for c in text
    )
