"""A policy is for every role, those that are made later included.

## What

A policy without TO is for PUBLIC. It admits rows to each role that ever gets a privilege on the table: to `anon`, to
the role that is made for agents next year, to a reporting role. It is also asked for roles that it never admits
anything to.

## Fix

`alter policy NAME on TABLE to authenticated`: name the roles that it is meant for.

## What it doesn't catch

Restrictive policies: for PUBLIC is right for them, since they narrow. A role that many others inherit.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.facts import PUBLIC
from mcp_rls.inspection.reading import read
from mcp_rls.inspection.words import listed
from mcp_rls.lints import ROW_PRIVILEGES, Found, World
from mcp_rls.sql import roles

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Permissive policies for PUBLIC."""
    for text in read(world.facts, world.by_hand()):
        if text.policy.permissive and text.policy.roles == (PUBLIC,):
            now = world.reaching(text.table, *ROW_PRIVILEGES)
            reached = f"; now that is {listed(now)}" if now else ""
            yield Found(
                text.subject,
                f"{text.subject} is for every role{reached}",
                (f"{text.altered} to {roles(now) or 'ROLE'}",),
                text.table.name,
            )
