"""What tests have to tell at the end of a run, from all workers: reads that looked on, servers, measured times."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.postgres.majors import EVERY, LEFT_OUT, found_majors


def pytest_configure() -> None:
    """Ends the run before the first test when a major version that is asked for isn't on this machine."""
    if EVERY:
        found_majors()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Properties that tests recorded: `reads` and `server` are added up, `measured` is printed as it is."""
    servers: Counter[str] = Counter()
    reads, cases, measured = 0, 0, []
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                for key, value in report.user_properties:
                    if key == "server":
                        servers[value] += 1
                    elif key == "reads":
                        reads, cases = reads + value, cases + 1
                    elif key == "measured":
                        measured.append(value)
    if servers:
        terminalreporter.write_line("; ".join(f"{name}: {n} tests" for name, n in sorted(servers.items())))
    if cases:
        terminalreporter.write_line(f"migrations: {reads:,} reads looked on at {cases} of them")
    for (test, major), why in LEFT_OUT.items() if EVERY else ():
        terminalreporter.write_line(f"left out: {test} on PostgreSQL {major}: {why}")
    for line in measured:
        terminalreporter.write_line(line)
