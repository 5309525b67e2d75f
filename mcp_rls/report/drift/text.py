"""What drift found for a reader: a line for each thing, and one that sums up."""

from __future__ import annotations

from typing import TextIO

from rich.text import Text

from mcp_rls.database.drift import Finding, Kind
from mcp_rls.effect import Effect
from mcp_rls.report import Drifted, console, shown

_STYLES = {Effect.OPENS: "bold yellow", Effect.CLOSES: "green", Effect.NEITHER: "dim"}
_KINDS = {Kind.DRIFT: "bold red", Kind.PENDING: "bold", Kind.UNKNOWN: "bold magenta", Kind.NOTE: "dim"}


def write(drifted: Drifted, out: TextIO) -> None:
    page = console(out)
    for finding in drifted.drift.findings:
        page.print(_line(finding), soft_wrap=True)
    page.print(_summary(drifted), soft_wrap=True)


def _line(finding: Finding) -> Text:
    return Text.assemble(
        (f"{finding.kind.value.upper():<8}", _KINDS[finding.kind]),
        (f"{finding.effect.word.upper():<7}", _STYLES[finding.effect]),
        shown(" ".join(finding.words.split())),
    )  # fmt: skip


def _summary(drifted: Drifted) -> Text:
    drift, database = drifted.drift, shown(drifted.database)
    if drift.answer is None:
        return Text.assemble(("✓ ", "bold green"), f"{database} holds what was applied, and the file asks for no more")
    counts = [(len(drift.of(kind)), word) for kind, word in _WORDS.items()]
    said = ", ".join(f"{number} {word}" for number, word in counts if number)
    return Text.assemble(("→ ", "bold"), f"{said} in {database}")


_WORDS = {Kind.DRIFT: "drifted", Kind.PENDING: "pending", Kind.UNKNOWN: "not judged"}
