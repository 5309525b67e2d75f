"""A command on many databases as annotations of a GitHub workflow."""

from __future__ import annotations

from typing import TextIO

from mcp_rls import report
from mcp_rls.report import Fleetwide, annotation, outcome_words

_LEVELS = {0: "notice", 1: "warning", 2: "error"}


def write(fleet: Fleetwide, out: TextIO) -> None:
    """For each group a notice that names its databases, and what they share; then each database that isn't in step."""
    for group in fleet.run.groups():
        out.write(annotation("notice", fleet.named(group), title=f"fleet: {group.outcome.standing.label}") + "\n")
        subject, value = fleet.part(group)
        report.write(subject, "github", value, out)
    for result in fleet.run.results:
        level = _LEVELS[result.outcome.standing.exit_code]
        if level != "notice":
            out.write(annotation(level, outcome_words(result.outcome), title=f"fleet: {result.database}") + "\n")
