"""A token's role holds a privilege that row security can't narrow.

## What

Row security is asked for SELECT, INSERT, UPDATE and DELETE. TRUNCATE empties a table whatever its policies say;
REFERENCES lets a foreign key of one's own tell whether a hidden row is there; TRIGGER puts code on the table that then
runs with the rights of others; MAINTAIN locks and rewrites it. A `grant all` gives all of them, and some platforms
grant it on every new table.

With a policy file `apply` revokes them on covered tables from the roles of the file and from PUBLIC; then only what a
role has through another one is reported.

## Fix

`revoke truncate, references, trigger on TABLE from ROLE`, and `maintain` from PostgreSQL 17 on; and the same in
`alter default privileges`, so that the next table doesn't have them again.

## What it doesn't catch

The same privileges of roles that no token arrives as. Default privileges, before a table is made with them.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.facts import PUBLIC, Grant, Relation
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING
_BLIND = ("TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN")


def find(world: World) -> Iterator[Found]:
    """Covered tables with row security on which a token's role may do what no policy is asked of."""
    for table in world.tables:
        held = [grant for grant in table.grants if _counts(world, table, grant)]
        if held and (table.row_security or world.policies is not None):
            privileges = tuple(p for p in _BLIND if any(g.privilege == p for g in held))
            holders = tuple(sorted({g.role for g in held}))
            yield Found(
                f"table {table.name}",
                f"{', '.join(holders)} may {', '.join(privileges)} on {table.name}, past row security",
                (f"revoke {', '.join(privileges).lower()} on {sql.table(table.name)} from {sql.roles(holders)}",),
                table.name,
            )


def _counts(world: World, table: Relation, grant: Grant) -> bool:
    """Whether a token's role has it, and no plan would take it away."""
    if grant.privilege not in _BLIND or grant.role == table.owner:
        return False
    if world.policies is not None and grant.role in {*world.policies.roles, PUBLIC}:
        return False
    return any(grant.role in world.facts.acts_as(role) for role in world.roles)
