"""A role may change rows that it can't find.

## What

An UPDATE or DELETE with a WHERE, or with RETURNING, reads the row first, and so needs a policy for SELECT as well.
Without one it changes nothing and says nothing. Only a statement without WHERE works, on all rows that the policy
admits, which is seldom what was meant.

## Fix

`create policy NAME on TABLE for select to ROLE using (..)`, with the same condition.

## What it doesn't catch

A SELECT policy that shows other rows than the writing one admits.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.reading import read
from mcp_rls.lints import Found, World
from mcp_rls.sql import ident, roles
from mcp_rls.sql import table as quoted

SEVERITY = Severity.NOTE


def find(world: World) -> Iterator[Found]:
    """Permissive UPDATE and DELETE policies for whose roles no permissive policy admits SELECT."""
    for text in read(world.facts, world.by_hand()):
        policy, table = text.policy, text.table
        if not policy.permissive or policy.command not in ("update", "delete"):
            continue
        if not any(o.permissive and o.is_for("select") and text.meets(o) for o in table.policies):
            made = f"create policy {ident(policy.name + ' seen')} on {quoted(table.name)} for select"
            yield Found(
                text.subject,
                f"{text.subject} admits {policy.command} of rows that {', '.join(policy.roles)} can't read",
                (f"{made} to {roles(policy.roles)} using ({' '.join((policy.using or '').split())})",),
                table.name,
            )
