"""One policy file and many databases: which they are, one command carried out on each, and what came of it."""

from __future__ import annotations

from mcp_rls.database.fleet.file import Fleet, load_fleet
from mcp_rls.database.fleet.outcome import Command, FleetRun, Group, Outcome, Result, Standing
from mcp_rls.database.fleet.run import Stop, Stopped, run
from mcp_rls.database.fleet.work import Work, applying, drifting, planning

__all__ = [
    "Command",
    "Fleet",
    "FleetRun",
    "Group",
    "Outcome",
    "Result",
    "Standing",
    "Stop",
    "Stopped",
    "Work",
    "applying",
    "drifting",
    "load_fleet",
    "planning",
    "run",
]
