"""A token's role may become a role that row security doesn't bind.

## What

A member of a role may SET ROLE to it, unless the membership was granted without SET, and has its privileges, unless
without INHERIT. A superuser, a role with BYPASSRLS and the owner of a table (without FORCE) are bound by no policy
there; the roles that read and write files of the server, or run programs there, are as good as superusers. One
statement of the token's session, or of a function that runs SQL as it is told, then leads past every ceiling.

## Fix

`revoke ROLE from TOKEN_ROLE`; from PostgreSQL 16 on also `grant ROLE to TOKEN_ROLE with set false, inherit false` where
the membership must stay. Or `alter table TABLE force row level security`, where the role only owns tables.

## What it doesn't catch

The role that a connection logs in as before it takes on the token's: if that one may become a superuser, SQL of an
agent may, too. Roles that a SECURITY DEFINER function acts as. With a policy file a token's role that *is* such a role,
or inherits an owner, is the error `unbound-role`. Who may grant a membership to itself, by ADMIN OPTION or CREATEROLE.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.diagnostics import Severity
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR
_AS_GOOD = ("pg_execute_server_program", "pg_write_server_files", "pg_read_server_files")


def find(world: World) -> Iterator[Found]:
    """Roles past row security that a token's role may become or inherits."""
    owned = _owned(world)
    for name in world.roles:
        role = world.facts.roles.get(name)
        reached = role.can_become | role.inherits if role is not None else frozenset[str]()
        for other in sorted(reached):
            free = _free(world, other)
            owns = "" if free else _owns(world, name, other, owned)
            if free or owns:
                yield Found(
                    f"role {name}",
                    f"{name} may become {other}, which {free or owns}",
                    (f"revoke {sql.role(other)} from {sql.role(name)}",),
                    detail=other,
                )


def _free(world: World, other: str) -> str:
    known = world.facts.roles.get(other)
    if known is not None and known.superuser:
        return "is a superuser"
    if known is not None and known.bypass_rls:
        return "has BYPASSRLS"
    return "reaches files of the server" if other in _AS_GOOD else ""


def _owns(world: World, name: str, other: str, owned: dict[str, TableName]) -> str:
    """That it owns a table, where `unbound-role` doesn't say so: of a role that is inherited."""
    said = world.policies is not None and other in world.facts.acts_as(name)
    return f"owns {owned[other]}" if other in owned and not said else ""


def _owned(world: World) -> dict[str, TableName]:
    """A covered table of each owner that row security doesn't bind there."""
    on = world.policies is not None
    return {t.owner: t.name for t in reversed(world.tables) if (on or t.row_security) and not t.force}
