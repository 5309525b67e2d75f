"""A role that may connect and run SQL of its own can get round a comparison with `=`.

## What

PostgreSQL puts a policy's `owner_id = VALUE` and a query's own `owner_id = ..` into one class, and may ask only one of
them. SQL that was written to that end reads rows of others through it. Fixed queries don't do that; an agent's own SQL
may.

## Fix

`owner_id = VALUE and (owner_id = VALUE) is true`: the second half is asked of every row, and an index serves the first.
Or `owner_id = any (array[VALUE])`.

## What it doesn't catch

Roles that can't log in: whether SQL of an agent's own runs as one of them can't be seen from the database.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.indexes import plain_equalities
from mcp_rls.inspection.reading import read
from mcp_rls.inspection.tree import printed
from mcp_rls.lints import ROW_PRIVILEGES, Found, World

SEVERITY = Severity.NOTE


def find(world: World) -> Iterator[Found]:
    """Policies with a plain equality, for a role that can log in."""
    for text in read(world.facts, world.by_hand()):
        facts, named = world.facts, set(text.policy.roles)
        roles = [r for r in world.reaching(text.table, *ROW_PRIVILEGES) if facts.acts_as(r) & named]
        login = [r for r in roles if facts.roles[r].login]
        equalities = plain_equalities(text) if login else []
        if equalities:
            equality = printed(equalities[0])
            yield Found(
                text.subject,
                f"{text.subject} asks {equality}, which SQL that {login[0]} writes itself can get round",
                (f"{equality} and ({equality}) is true",),
                text.table.name,
            )
