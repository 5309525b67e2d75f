"""A partition or an inheritance child can be read past the policies of its parent.

## What

A query of the parent asks the parent's policies; a query of the child itself asks the child's alone. A new partition
has row security off, whatever its parent has, and a `grant ... on all tables` opens it. The same goes for a child whose
permissive policies admit rows and that lacks the restrictive ones of its parent.

With a policy file each child is a covered table of its own, closed unless it is listed. Then a child is reported that
has no ceiling yet while its parent has: one that was made after the last `apply`.

## Fix

With a policy file `mcp-rls apply`, which closes the child too; row security alone leaves it without a ceiling. Without
one `alter table CHILD enable row level security`: with no policy nobody but its owner reads it directly. Or, in both
cases, `revoke all on CHILD from ROLE`. Queries of the parent need nothing on the child.

## What it doesn't catch

A child whose policies are as many as its parent's and say something else. Children in schemas that a policy file
doesn't cover: `uncovered-table-open` reports those.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.facts import Relation
from mcp_rls.lints import ROW_PRIVILEGES, Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Children that a token's role reaches and that their parents' policies don't guard."""
    for child in world.tables:
        parents = [p for p in world.facts.ancestors(child) if p.row_security]
        roles = world.reaching(child, *ROW_PRIVILEGES) if parents and str(child.name) not in world.doors else ()
        for parent in parents:
            why = _fault(world, child, parent, roles)
            if why:
                yield _found(world, child, parent, why, roles)
                break


def _fault(world: World, child: Relation, parent: Relation, roles: tuple[str, ...]) -> str:
    """What the child lacks that its parent has; '' for nothing."""
    if not roles:
        return ""
    if world.policies is not None:
        bare = any(p.ours for p in parent.policies) and not any(p.ours for p in child.policies)
        return "has no ceiling" if bare else ""
    if not child.row_security:
        return "has row security off"
    if any(_wider(world, child, parent, role, p.lower()) for role in roles for p in ROW_PRIVILEGES):
        return "has fewer restrictive policies"
    return ""


def _wider(world: World, child: Relation, parent: Relation, role: str, command: str) -> bool:
    mine, theirs = world.binding(child, role, command), world.binding(parent, role, command)
    narrowing = [len([p for p in each if not p.permissive]) for each in (mine, theirs)]
    return any(p.permissive for p in mine) and narrowing[0] < narrowing[1]


def _found(world: World, child: Relation, parent: Relation, why: str, roles: tuple[str, ...]) -> Found:
    name = sql.table(child.name)
    holders = world.facts.holders(roles, child.grants, *ROW_PRIVILEGES)
    closed = "mcp-rls apply" if world.policies is not None else f"alter table {name} enable row level security"
    return Found(
        f"table {child.name}",
        f"{child.name} {why}, unlike {parent.name}, which it is a part of; {', '.join(roles)} can use it directly",
        (closed, f"revoke all on {name} from {sql.roles(holders)}"),
        child.name,
    )
