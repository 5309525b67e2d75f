"""A foreign key tells whether a hidden row exists, and lets rows refer to it.

## What

Foreign keys are kept past row security. A client that may insert comments learns by trying ids which tickets exist, and
can attach a comment to a ticket that its person doesn't see.

## Fix

Ask in the check of the policy for INSERT whether the row is seen: `with check (exists (select from tickets t where t.id
= ticket_id))`; a row that isn't is then refused whether it exists or not.

## What it doesn't catch

Keys of UUIDs, which nobody guesses. A check that mentions the column and doesn't ask for the row.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.facts import ForeignKey, Relation
from mcp_rls.inspection.reading import read
from mcp_rls.inspection.tree import always
from mcp_rls.lints import Found, World

SEVERITY = Severity.NOTE


def find(world: World) -> Iterator[Found]:
    """Foreign keys from tables that clients insert into, to tables with hidden rows, that no check asks about."""
    for table in world.tables:
        roles = world.reaching(table, "INSERT")
        inserting = [p for p in table.policies if p.permissive and not p.ours and p.is_for("insert")]
        if not (roles and table.row_security and inserting):
            continue
        texts = read(world.facts, ((table, p) for p in inserting))
        for key in table.foreign_keys:
            asked = all(set(key.columns) & t.columns(t.check or t.using) for t in texts)
            if not asked and _hidden(world, key) and not _unguessable(table, key):
                columns = ", ".join(key.columns)
                message = f"{table.name}: {key.name} tells {', '.join(roles)} which rows of {key.references} exist"
                hint = f"ask in the check for INSERT whether the row of {columns} is seen"
                yield Found(str(table), message, (hint,), table.name, key.name)


def _hidden(world: World, key: ForeignKey) -> bool:
    """Whether the referenced table hides rows."""
    target = world.facts.tables.get(key.references)
    if target is None or not target.row_security:
        return False
    texts = read(world.facts, ((target, p) for p in target.policies if p.permissive and p.is_for("select")))
    return not any(t.using is not None and always(t.using) for t in texts)


def _unguessable(table: Relation, key: ForeignKey) -> bool:
    types = {column.name: column.type for column in table.columns}
    return any(types.get(name) == "uuid" for name in key.columns)
