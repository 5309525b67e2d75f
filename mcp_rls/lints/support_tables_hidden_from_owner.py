"""A named set, a registry or the consent table is read by a role that row security keeps rows from.

## What

Sets, registries and the consent table are read by functions of the schema `mcp_rls` with the rights of their owner, so
that no client's ceiling stands in between. Where that owner is bound by row security itself (FORCE on the table, or a
table of another owner), the function sees what the owner's policies show, as a rule nothing: sets are empty, no client
is in its class, no consent stands. Where it has no privilege on the table, every statement of a client fails.

## Fix

Apply the policies as the owner of these tables, or as a role with BYPASSRLS; `alter table TABLE no force row level
security`; or a policy for that role: `create policy NAME on TABLE for select to ROLE using (true)`.

## What it doesn't catch

What a set reads through a view or a function. Before the first `apply` the role that looks is taken for the owner.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.doors.deciding import tables_in
from mcp_rls.inspection.doors.traces import sees_all
from mcp_rls.inspection.facts import Relation
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Tables that decide and that the owner of our functions doesn't see whole."""
    if world.policies is None:
        return
    for name, what in sorted(_deciding(world.policies).items()):
        table = world.facts.tables.get(name)
        if table is None:
            continue
        for owner in _owners(world):
            if fault := _fault(world, owner, _planned(world.policies, table)):
                words, remedies = fault
                yield Found(f"table {name}", f"{owner}, whose functions read {what}, {words} {name}", remedies, name)
                break


def _fault(world: World, owner: str, table: Relation) -> tuple[str, tuple[str, ...]] | None:
    """What keeps rows from the owner, and what helps; None when nothing does."""
    name, role = sql.table(table.name), sql.role(owner)
    if not _readable(world, owner, table):
        return "has no privilege on", (f"grant select on {name} to {role}",)
    if sees_all(world.facts, owner, table):
        return None
    forced = (f"alter table {name} no force row level security",) if table.force else ()
    policy = f"create policy NAME on {name} for select to {role} using (true)"
    return "is bound by row security of", (*forced, policy)


def _owners(world: World) -> list[str]:
    """Who our functions read as."""
    definers = (f for f in world.facts.functions.values() if f.schema == "mcp_rls" and f.definer)
    return sorted({f.owner for f in definers}) or [world.facts.user]


def _readable(world: World, owner: str, table: Relation) -> bool:
    known = world.facts.roles.get(owner)
    acting = world.facts.acts_as(owner)
    free = known is not None and known.superuser
    return free or bool(acting & {table.owner, "pg_read_all_data"}) or world.facts.holds(owner, table.grants, "SELECT")


def _deciding(policies: PolicySet) -> dict[TableName, str]:
    """The tables that our functions read, and what is read there."""
    found = {name: f"the set {s.name}" for s in policies.sets.values() for name in tables_in(s.query)}
    found |= {c.registry.table: f"the registry of {c.name}" for c in policies.classes.values() if c.registry}
    return found | ({policies.consent.table: "consents"} if policies.consent else {})


def _planned(policies: PolicySet, table: Relation) -> Relation:
    """The table as the file wants it: people's rules of ours show the owner nothing."""
    rules = policies.tables.get(table.name)
    if rules is None:
        return table
    on = table.row_security or rules.people != "existing"
    return replace(table, force=table.force or rules.force, row_security=on)
