"""A command on many databases as one JSON document."""

from __future__ import annotations

import io
import json
from typing import Any, TextIO

from mcp_rls import report
from mcp_rls.database.fleet import Group, Result
from mcp_rls.report import Fleetwide


def write(fleet: Fleetwide, out: TextIO) -> None:
    """Each database with its state, and each plan, list of findings or of errors once, with those that share it."""
    document = {
        "command": fleet.run.command,
        "exit_code": fleet.run.exit_code,
        "seconds": round(fleet.run.seconds, 3),
        "databases": [_database(result) for result in fleet.run.results],
        "groups": [_group(fleet, group) for group in fleet.run.groups()],
    }
    json.dump(document, out, indent=2, ensure_ascii=False)
    out.write("\n")


def _database(result: Result) -> dict[str, Any]:
    outcome = result.outcome
    return {
        "database": result.database,
        "state": outcome.standing.label,
        "reason": outcome.reason,
        "tries": result.tries,
        "seconds": round(result.seconds, 3),
    }


def _group(fleet: Fleetwide, group: Group) -> dict[str, Any]:
    subject, value = fleet.part(group)
    part = io.StringIO()
    report.write(subject, "json", value, part)
    return {
        "state": group.outcome.standing.label,
        "databases": list(group.databases),
        subject: json.loads(part.getvalue()),
    }
