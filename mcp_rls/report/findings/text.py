"""Diagnostics for a reader: place, what is wrong, the line with a caret under it, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from rich.text import Text

from mcp_rls.diagnostics import Diagnostic, Severity
from mcp_rls.report import Findings, console, counted, shown

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_SHOWN = 100  # characters of a source line


def write(findings: Findings, out: TextIO) -> None:
    """A paragraph for each, and a line that counts them."""
    page = console(out)
    for diagnostic in findings.diagnostics:
        for line in _paragraph(diagnostic, findings):
            page.print(line, soft_wrap=True)
    page.print(_summary(findings), soft_wrap=True)


def _paragraph(diagnostic: Diagnostic, findings: Findings) -> Iterator[Text]:
    style = _STYLES[diagnostic.severity]
    place = f"{diagnostic.span}: " if diagnostic.span.path else ""
    head = (diagnostic.severity.label, style), (f"[{diagnostic.code}]", style)
    yield Text.assemble((shown(place), "bold"), *head, " ", *_message(diagnostic.message))
    lines = findings.sources.get(diagnostic.span.path, ())
    if 0 < diagnostic.span.line <= len(lines):
        yield from _excerpt(lines[diagnostic.span.line - 1], diagnostic, style)
    for hint in diagnostic.hints:
        yield Text.assemble("    ", ("hint: ", "green"), shown(hint))


def _message(text: str) -> tuple[str, ...]:
    first, *rest = text.splitlines() or [""]
    return (shown(first), *(f"\n    {shown(line)}" for line in rest))


def _excerpt(line: str, diagnostic: Diagnostic, style: str) -> Iterator[Text]:
    """The source line, cut round the caret where it is long."""
    column = min(max(diagnostic.span.column, 1), len(line) + 1) - 1
    start = max(0, column - _SHOWN * 2 // 3) if len(line) > _SHOWN else 0
    before, after = shown(line[start:column]), shown(line[column : start + _SHOWN])
    before = "…" + before if start else before
    after = after + "…" if len(line) > start + _SHOWN else after
    number = f"{diagnostic.span.line:>6} │ "
    yield Text.assemble((number, "dim"), before, after)
    if diagnostic.span.column:
        yield Text.assemble(("       │ ", "dim"), " " * Text(before).cell_len, ("^", style))


def _summary(findings: Findings) -> Text:
    counts = [(severity, findings.count(severity)) for severity in sorted(Severity, reverse=True)]
    said = ", ".join(counted(number, severity.label) for severity, number in counts if number)
    failed = findings.count(Severity.ERROR) > 0
    mark = ("✗ ", "bold red") if failed else ("✓ ", "bold green")
    return Text.assemble(mark, shown(findings.checked), ": " if findings.checked else "", said or "nothing to report")
