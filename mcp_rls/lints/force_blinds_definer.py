"""A definer function in a policy doesn't see the rows that it was made to see.

## What

A policy asks a SECURITY DEFINER function so that it sees rows which its caller doesn't. Row security binds the
function's owner too where the table has FORCE, or where the table is another's and the owner has no BYPASSRLS: then the
function sees what policies show its owner, as a rule nothing. The policy is false for everybody or, where it asks
whether something is *not* there, true for everybody; and where the function reads its own policy's table, PostgreSQL
may go round in circles.

## Fix

`alter table TABLE no force row level security`, or `alter function NAME owner to` the owner of the table or a role with
BYPASSRLS; or a policy for the owner: `create policy NAME on TABLE for select to ROLE using (true)`.

## What it doesn't catch

Functions that triggers call. What runs SQL that it puts together. An owner with policies of its own that show it the
rows it needs is reported if they aren't just `true`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mcp_rls import sql
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.doors.traces import Tracer, sees_all
from mcp_rls.inspection.facts import Function, Relation
from mcp_rls.inspection.words import listed
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Definer functions that policies call and that row security keeps rows from."""
    tracer = Tracer(world.facts)
    for function in _asked(world):
        read = {t.table for t in tracer.trace(function).touches if t.command == "select" and t.role == function.owner}
        tables = [_planned(world, world.facts.tables[name]) for name in sorted(read)]
        hidden = [t for t in tables if not sees_all(world.facts, function.owner, t)]
        if hidden:
            yield _found(function, hidden)


def _found(function: Function, hidden: list[Relation]) -> Found:
    name = f"{sql.ident(function.schema)}.{sql.ident(function.name)}({function.types})"
    table, owner = sql.table(hidden[0].name), sql.role(function.owner)
    moved = f"alter function {name} owner to {sql.role(hidden[0].owner)}"
    undone = f"alter table {table} no force row level security"
    return Found(
        str(function),
        f"policies ask {function}, and row security of {listed(t.name for t in hidden)} binds its owner,"
        f" {function.owner}",
        (
            undone if hidden[0].owner == function.owner else moved,
            f"or: create policy NAME on {table} for select to {owner} using (true)",
        ),
        hidden[0].name,
    )


def _asked(world: World) -> list[Function]:
    """Definer functions that policies written by hand call."""
    oids = {oid for _, policy in world.by_hand() for oid in policy.functions}
    functions = [f for f in world.facts.functions.values() if f.oid in oids]
    return [f for f in functions if f.definer and f.schema != "mcp_rls"]


def _planned(world: World, table: Relation) -> Relation:
    """The table as the policy file wants it."""
    rules = world.policies.tables.get(table.name) if world.policies is not None else None
    return replace(table, force=table.force or (rules is not None and rules.force))
