"""More than one permissive policy for one role and command: they add up, and each is asked.

## What

A row is there if one permissive policy admits it, so a second policy can only widen the first. Who reads one of them
alone takes it for the rule. Each is also planned and asked in every statement.

## Fix

One policy with OR for a role and command. A FOR ALL policy beside one for SELECT is often meant for writing only: give
it a policy each for INSERT, UPDATE and DELETE.

## What it doesn't catch

Policies of ours, and of roles that meet only by SET ROLE.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.reading import COMMANDS, read
from mcp_rls.inspection.words import listed
from mcp_rls.lints import Found, World

SEVERITY = Severity.NOTE


def find(world: World) -> Iterator[Found]:
    """Tables on which permissive policies by hand add up, with the commands."""
    for table in world.tables:
        texts = [
            t for t in read(world.facts, ((table, p) for p in table.policies if not p.ours)) if t.policy.permissive
        ]
        pairs = {
            (command, text.policy.name)
            for text in texts
            for other in text.beside(permissive=True)
            for command in set(text.commands) & set(other.commands)
            if not other.policy.ours
        }
        if pairs:
            commands = [c for c in COMMANDS if any(c == command for command, _ in pairs)]
            names = listed(sorted({repr(name) for _, name in pairs}))
            message = f"policies {names} of {table.name} add up for {', '.join(commands)}"
            yield Found(str(table), message, ("one policy with OR for a role and command",), table.name)
