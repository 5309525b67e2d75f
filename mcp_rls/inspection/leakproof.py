"""Indexes that a person's search can't use, because its operator might tell of rows that a policy hides.

PostgreSQL asks a policy before an operator whose function isn't marked LEAKPROOF, whatever either costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mcp_rls.catalog import FEW
from mcp_rls.inspection.facts import Facts, Index, Policy, Relation
from mcp_rls.inspection.indexes import indexed, tied
from mcp_rls.inspection.reading import read
from mcp_rls.inspection.tree import always, arms
from mcp_rls.inspection.words import listed


@dataclass(frozen=True)
class Lost:
    """An index that isn't used, and by which columns the policies find their rows instead: () where they read all."""

    table: Relation
    index: Index
    instead: tuple[str, ...]

    def __str__(self) -> str:
        operators = listed(dict.fromkeys(operator for operator, _ in self.index.leaking))
        return f"{self.table.name}: {operators} can't use index {self.index.name} under the policies"

    @property
    def remedies(self) -> tuple[str, ...]:
        """Best first; what each costs against a search without row security was measured on a million rows."""
        _, function = self.index.leaking[0]
        return (
            "a SECURITY DEFINER function that searches, with the policy's condition in it: 1.2 to 1.5 times",
            f"alter function {function} leakproof, by a superuser who knows that its errors show no value: 1.0 to 1.1",
            "a role of its own for which the condition is true: 0.95 to 1.05",
        )


def lost(facts: Facts, table: Relation, asked: Mapping[str, tuple[Policy, ...]], *, ceilings: bool) -> Iterator[Lost]:
    """What searches on a table lose, given the policies for SELECT that each token's role is asked; `ceilings`: those
    of a policy file stand there, or will.
    """
    leaking = [i for i in table.indexes if i.valid and i.leaking]
    if not leaking or 0 <= table.rows <= FEW:
        return
    roles = [_arms(facts, table, policies, ceilings) for policies in asked.values()]
    for index in leaking:
        entered = set(index.columns[:1] if index.method == "btree" else index.columns)
        found = [columns for columns in roles if not all(set(arm) & entered for arm in columns)]
        if found:
            served = [tuple(c for c in arm if indexed(table, c)) for columns in found for arm in columns]
            yield Lost(table, index, tuple(dict.fromkeys(c for cs in served for c in cs)) if all(served) else ())


def _arms(facts: Facts, table: Relation, policies: tuple[Policy, ...], ceilings: bool) -> list[tuple[str, ...]]:
    """For each arm that admits rows the columns that an index could find them by; none where no row is asked about."""
    permissive = [text for text in read(facts, ((table, p) for p in policies)) if text.policy.permissive]
    narrowed = ceilings or any(not p.permissive for p in policies)
    if not table.row_security or any(text.using is None or always(text.using) for text in permissive):
        return [()] if narrowed else []
    return [tied(text, arm) for text in permissive for arm in arms(text.using)]
