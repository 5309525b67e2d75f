"""A role reaches a table whose restrictive policies are made for others.

## What

A RESTRICTIVE policy narrows what permissive ones give, but only for the roles that it names and for those that inherit
them. A role with a privilege on the table that isn't among them, a NOINHERIT member for example, or one made later,
meets the permissive policies made for PUBLIC and none of the restrictive ones.

## Fix

Make the restrictive policies TO PUBLIC, or name the role in them; revoke its privileges; or, if it is meant to see
more, say so with a policy made for it: then it is no oversight. With a policy file the error `unbound-role` says it.

## What it doesn't catch

A role that a permissive policy names on that table. Whether the restrictive policies that do bind a role are enough.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.facts import EVERYTHING, PUBLIC, Relation, Role
from mcp_rls.inspection.words import listed
from mcp_rls.lints import ROW_PRIVILEGES, Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Roles that policies for PUBLIC admit and that no restrictive policy binds."""
    if world.policies is not None:
        return
    for role in world.facts.roles.values():
        if role.superuser or role.bypass_rls or role.name.startswith("pg_"):
            continue
        policed = [t for t in world.tables if t.row_security]
        tables = [t for t in policed if any(_outside(world, role, t, p) for p in ROW_PRIVILEGES)]
        if tables:
            narrowed = next(p for p in tables[0].policies if not p.permissive)
            yield Found(
                f"role {role.name}",
                f"{role.name} reaches {listed(t.name for t in tables)}, and no restrictive policy there binds it",
                (
                    f"alter policy {sql.ident(narrowed.name)} on {sql.table(tables[0].name)} to public",
                    f"revoke all on {sql.table(tables[0].name)} from {sql.role(role.name)}",
                ),
                tables[0].name,
            )


def _outside(world: World, role: Role, table: Relation, privilege: str) -> bool:
    """Whether the role may use the command, by policies for PUBLIC alone, where others are narrowed."""
    acting = world.facts.acts_as(role.name)
    named = acting - {PUBLIC}
    meant = table.owner in acting or any(named & set(p.roles) for p in table.policies)
    if meant or not _holds(world, role, table, privilege):
        return False
    asked = [p for p in table.policies if p.is_for(privilege.lower())]
    return (
        any(p.permissive and PUBLIC in p.roles for p in asked)
        and any(not p.permissive for p in asked)
        and not any(not p.permissive and PUBLIC in p.roles for p in asked)
    )


def _holds(world: World, role: Role, table: Relation, privilege: str) -> bool:
    """What PUBLIC has counts for who can log in; others are reached through one of those."""
    acting = world.facts.acts_as(role.name) if role.login else world.facts.acts_as(role.name) - {PUBLIC}
    granted = any(g.privilege == privilege and g.role in acting for g in table.grants)
    return EVERYTHING[privilege] in acting or (granted and world.facts.enters(role.name, table.name.schema))
