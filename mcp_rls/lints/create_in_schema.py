"""A token's role may create objects in a schema where functions look for names.

## What

A function without names of schemas in it looks them up along its `search_path`, or along its caller's where it sets
none: `public`, as a rule. Who may create a table, a function or an operator in such a schema can put one there that
fits better or comes first, and it is then used with the rights of the function's owner. Until PostgreSQL 14 every new
database let everybody create in `public`, and databases that were upgraded still do.

## Fix

`revoke create on schema SCHEMA from ROLE`, and from PUBLIC; and `alter function NAME set search_path = pg_catalog,
pg_temp` with all names qualified.

## What it doesn't catch

Temporary objects, which need the privilege TEMPORARY on the database and no schema. Databases whose default
`search_path` names other schemas than `public`.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.doors.traces import search_path
from mcp_rls.inspection.facts import PUBLIC
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Schemas in search paths in which a token's role, or everybody, may create."""
    for name in sorted(_searched(world) & world.facts.schemas.keys()):
        grants = world.facts.schemas[name]
        roles = [r for r in (*world.roles, PUBLIC) if world.facts.holds(r, grants, "CREATE")]
        if roles:
            who = "everybody" if PUBLIC in roles else ", ".join(roles)
            yield Found(
                f"schema {name}",
                f"{who} may create objects in the schema {name}, where functions look for names",
                (f"revoke create on schema {sql.ident(name)} from {sql.roles(tuple(roles))}",),
            )


def _searched(world: World) -> set[str]:
    """Schemas that functions search: `public`, by default, and those that a function names."""
    paths = [search_path(f) or [] for f in world.facts.functions.values() if f.schema != "mcp_rls"]
    return {"public", *(schema for path in paths for schema in path)}
