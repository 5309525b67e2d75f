"""The server has known faults in row security that a minor release has mended.

## What

Faults in PostgreSQL by which rows came through policies, or values of hidden rows through statistics:

- CVE-2025-8713: the planner's statistics showed sampled values of hidden rows (17.6, 16.10, 15.14, 14.19, 13.22).
- CVE-2024-10976: a plan was used again after a change of role, below sub-queries (17.1, 16.5, 15.9, 14.14, 13.17,
  12.21).
- CVE-2023-39418: MERGE asked no policy for UPDATE and SELECT (15.4).
- CVE-2023-2455: an inlined function kept the policies of another user (15.3, 14.8, 13.11, 12.15, 11.20).

## Fix

The latest minor release of your major version: new programs and a restart, no dump.

## What it doesn't catch

Faults that were found since this list was written, and those that have nothing to do with row security.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING

# by major version: the minor release that mended it
_FAULTS = {
    "CVE-2025-8713": ("statistics show values of hidden rows", {17: 6, 16: 10, 15: 14, 14: 19, 13: 22}),
    "CVE-2024-10976": (
        "a plan keeps another role's policies",
        {17: 1, 16: 5, 15: 9, 14: 14, 13: 17, 12: 21},
    ),
    "CVE-2023-39418": ("MERGE doesn't ask policies for UPDATE and SELECT", {15: 4}),
    "CVE-2023-2455": ("an inlined function keeps another user's policies", {15: 3, 14: 8, 13: 11, 12: 15, 11: 20}),
}


def find(world: World) -> Iterator[Found]:
    """The faults of this server's version, where any table has row security."""
    major, minor = divmod(world.facts.version, 10_000)
    if not any(table.row_security for table in world.tables):
        return
    for name, (what, mended) in _FAULTS.items():
        if minor < mended.get(major, 0):
            message = f"PostgreSQL {major}.{minor}: {what} ({name}); {major}.{mended[major]} mends it"
            yield Found("server", message, (f"update to the latest {major}.x",), detail=name)
