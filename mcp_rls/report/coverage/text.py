"""Coverage for a reader: what no test decided by, where the policy file says it, and how much that leaves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.text import Text

from mcp_rls.harness.coverage.result import Coverage, Miss
from mcp_rls.report import console, counted, shown


def write(coverage: Coverage, out: TextIO) -> None:
    """A line for each miss, one for each outcome that isn't counted, and one that sums up."""
    page = console(out)
    for miss in coverage.misses:
        page.print(_line(miss, "yellow"), soft_wrap=True)
    if coverage.excluded:
        page.print(Text("not counted, as it can't be shown:", "dim"), soft_wrap=True)
        for miss in coverage.excluded:
            page.print(_line(miss, "dim"), soft_wrap=True)
    page.print(Text.assemble(*_summary(coverage)), soft_wrap=True)


def _line(miss: Miss, style: str) -> Text:
    return Text.assemble(
        "  ", (shown(str(miss.span)), style), "  ", (shown(miss.text), "dim" if style == "dim" else "")
    )


def _summary(coverage: Coverage) -> Iterable[tuple[str, str]]:
    missed = coverage.possible - coverage.shown
    yield ("✓ ", "bold green") if not missed else ("• ", "bold yellow")
    yield f"{shown(coverage.path)}: {coverage.percent:g} % covered, ", ""
    yield f"{coverage.shown} of {counted(coverage.possible, 'outcome')}", ""
