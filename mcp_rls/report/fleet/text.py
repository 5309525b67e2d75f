"""A command on many databases for a reader: what several share once, a line for each database, and one that sums up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from rich.table import Table
from rich.text import Text

from mcp_rls import report
from mcp_rls.database.fleet import FleetRun, Result, Standing
from mcp_rls.report import Fleetwide, console, counted, outcome_words, shown

_STYLES = {0: "green", 1: "bold yellow", 2: "bold red"}


def write(fleet: Fleetwide, out: TextIO) -> None:
    """The plans, findings or errors of each group of databases; then the table."""
    page = console(out)
    for group in fleet.run.groups():
        subject, value = fleet.part(group)
        report.write(subject, "text", value, out)
        page.print()
    page.print(_table(fleet.run))
    page.print()
    for line in _summary(fleet.run):
        page.print(line, soft_wrap=True)


def _table(run: FleetRun) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("database", overflow="fold")
    table.add_column("state", overflow="fold")
    table.add_column("time", justify="right", no_wrap=True)
    for result in run.results:
        table.add_row(*_row(result))
    return table


def _row(result: Result) -> Iterator[Text]:
    yield Text(shown(result.database))
    yield Text(shown(outcome_words(result.outcome)), _STYLES[result.outcome.standing.exit_code])
    again = f"{result.tries} tries, " if result.tries > 1 else ""
    yield Text(f"{again}{result.seconds:.1f} s" if result.tries else "", "dim")


def _summary(run: FleetRun) -> Iterator[Text]:
    counts = ", ".join(f"{len(names)} {standing.label}" for standing in Standing if (names := run.of(standing)))
    mark = ("→ ", "bold") if run.exit_code else ("✓ ", "bold green")
    yield Text.assemble(mark, f"{counts}; {counted(len(run.results), 'database')} in {run.seconds:.1f} s")
    left = [r.database for r in run.results if r.outcome.standing.exit_code]
    if run.command == "apply" and left and len(left) < len(run.results):
        yield Text(f"  the others are done; for these alone: {' '.join(f'--only {shown(name)}' for name in left)}")
