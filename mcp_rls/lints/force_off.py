"""Tables belong to a role that can log in, and row security doesn't bind their owner.

## What

Row security isn't asked for a table's owner, unless the table has FORCE. An application that logs in as the owner, with
the one connection string that also ran the migrations, is then bound by no policy, though every test that uses another
role is.

## Fix

Let the application log in as a role that owns nothing. Where it can't: `alter table TABLE force row level security`
(with a policy file `force: true`); look first at SECURITY DEFINER functions of that owner, which are bound then too.

## What it doesn't catch

Which role the application really uses: the database doesn't know. Superusers and roles with BYPASSRLS, whom FORCE
doesn't bind either.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.words import listed
from mcp_rls.lints import Found, World

SEVERITY = Severity.NOTE


def find(world: World) -> Iterator[Found]:
    """Roles that can log in and own tables with row security that doesn't bind them."""
    owned: dict[str, list[TableName]] = {}
    for table in world.tables:
        role = world.facts.roles.get(table.owner)
        ordinary = role is not None and role.login and not (role.superuser or role.bypass_rls)
        if ordinary and table.row_security and not table.force and not _forced(world, table.name):
            owned.setdefault(table.owner, []).append(table.name)
    for owner, tables in sorted(owned.items()):
        yield Found(
            f"role {owner}",
            f"{owner} can log in and owns {listed(tables)}, whose row security doesn't bind it",
            (f"alter table {sql.table(tables[0])} force row level security", "or let nothing log in as it"),
            tables[0],
        )


def _forced(world: World, name: TableName) -> bool:
    rules = world.policies.tables.get(name) if world.policies is not None else None
    return rules is not None and rules.force
