"""A row can be given away: the condition on the old row isn't asked of the new one.

## What

USING says which rows may be changed, WITH CHECK what they may become. Where USING ties a column to the token (`owner_id
= auth.uid()`) and WITH CHECK doesn't mention that column, an UPDATE can set it: a client hands a row of its person to
somebody else, or puts one among another's. An UPDATE that reads no column isn't even held to what its role may see.

## Fix

Leave WITH CHECK out, USING is then asked of the new row too; or repeat the condition in it. Where only some columns may
change, `revoke update on TABLE from ROLE; grant update (title, body) on TABLE to ROLE` says that.

## What it doesn't catch

A WITH CHECK that mentions the column and asks less of it. Triggers that keep a column as it was: such a policy is
reported, and can be accepted.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.reading import PolicyText, read
from mcp_rls.inspection.tree import conjuncts
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """UPDATE policies whose WITH CHECK leaves out a column that USING ties to a claim, and that can be set."""
    for text in read(world.facts, world.by_hand()):
        if text.using is None or text.check is None or "update" not in text.commands:
            continue
        free = sorted(c for c in _untied(text) if _settable(world, text, c) and not _kept(text, c))
        if free:
            message = f"{text.subject} lets {', '.join(free)} be set to anything"
            yield Found(
                text.subject,
                f"{message}: USING ties it to the token, WITH CHECK doesn't",
                (f"{text.altered} with check ({' '.join((text.policy.using or '').split())})",),
                text.table.name,
            )


def _untied(text: PolicyText) -> frozenset[str]:
    """The columns that a part of USING ties to a claim where WITH CHECK mentions none of that part's."""
    kept = text.columns(text.check)
    tied = [text.columns(part) for part in conjuncts(text.using) if text.effects(part).settings]
    return frozenset(column for columns in tied if not columns & kept for column in columns)


def _settable(world: World, text: PolicyText, column: str) -> bool:
    """Whether a role that the policy is for may set the column."""
    facts, named = world.facts, set(text.policy.roles)
    bound = [r for r in facts.roles if facts.acts_as(r) & named and facts.binds(r, text.table)]
    held = {g.role for g in text.table.grants if g.privilege == "UPDATE" and g.column in ("", column)}
    return any(facts.acts_as(role) & held for role in bound)


def _kept(text: PolicyText, column: str) -> bool:
    """Whether a restrictive policy for the same asks something of it, or of a restrictive one's each that admits."""

    def asking(*, permissive: bool) -> list[bool]:
        others = [o for o in text.beside(permissive=permissive) if "update" in o.commands]
        return [column in o.columns(o.check or o.using) for o in others]

    admitting = [] if text.policy.permissive else asking(permissive=True)
    return any(asking(permissive=False)) or (bool(admitting) and all(admitting))
