"""What came of hostile tokens, for a reader: what got through, then a line that counts."""

from __future__ import annotations

from typing import TextIO

from rich.text import Text

from mcp_rls.harness.matrix.result import Hostile, grouped
from mcp_rls.report import console, shown

_FEW = 6  # names of tokens


def write(hostile: Hostile, out: TextIO) -> None:
    """A paragraph for each finding, the notes, and the count."""
    page = console(out)
    for finding, others in grouped(hostile.findings):
        page.print(Text(shown(finding.headline), "bold red"), soft_wrap=True)
        for line in finding.lines():
            page.print(shown(line), soft_wrap=True)
        if others:
            more = f" and {len(others) - _FEW} more" if len(others) > _FEW else ""
            page.print(shown(f"  the same  {'; '.join(others[:_FEW])}{more}"), soft_wrap=True)
        page.print()
    for note in hostile.notes:
        page.print(Text(shown(f"note: {note}"), "dim"), soft_wrap=True)
    if hostile.untwinned:
        text = f"nobody is let in to: {', '.join(hostile.untwinned)}"
        page.print(Text(shown(text), "dim"), soft_wrap=True)
    mark = ("✓ ", "bold green") if hostile.passed else ("✗ ", "bold red")
    page.print(Text.assemble(mark, shown(hostile.sentence())), soft_wrap=True)
