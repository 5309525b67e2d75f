"""A table of a covered schema has no ceiling for a command that its roles may give.

## What

The policies of the file are in force on other tables, and this one lacks them: it was made after the last apply, or a
ceiling was dropped by hand. Until they are applied again a client does there what its person does.

## Fix

`mcp-rls apply FILE`: a table that the file doesn't list is closed to clients. Revisions that autogenerate makes close a
table as they make it.

## What it doesn't catch

A database in which nothing was applied yet. Partitions and children of tables with a ceiling: `partition-open` reports
those. A ceiling that says something else: `mcp-rls drift` compares what it says.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.facts import Relation
from mcp_rls.inspection.words import listed
from mcp_rls.lints import ROW_PRIVILEGES, Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Tables within reach of a token's role, without a ceiling where others have theirs."""
    if world.policies is None or not any(map(_ours, world.tables)):
        return
    for table in world.tables:
        part = not _ours(table) and any(map(_ours, world.facts.ancestors(table)))
        commands = [] if part or str(table.name) in world.doors else list(_open(world, table))
        if commands:
            roles = ", ".join(world.reaching(table, *ROW_PRIVILEGES))
            message = f"{table.name} has no ceiling for {listed(commands)}, and {roles} can use it"
            yield Found(str(table), message, ("mcp-rls apply",), table.name)


def _ours(table: Relation) -> bool:
    return any(p.ours and not p.permissive for p in table.policies)


def _open(world: World, table: Relation) -> Iterator[str]:
    """The commands that a token's role may give on it with no ceiling of ours to bind it."""
    for command in map(str.lower, ROW_PRIVILEGES):
        for role in world.reaching(table, command.upper()):
            if not any(p.ours and not p.permissive for p in world.binding(table, role, command)):
                yield command
                break
