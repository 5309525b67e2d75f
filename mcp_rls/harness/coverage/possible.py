"""Values that a condition can't come to, as far as that is proved: they are listed, and not asked of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mcp_rls.catalog import Table
from mcp_rls.compiler import expression as e
from mcp_rls.compiler import reason

Side = Literal["true", "false"]
_COMPARISONS = frozenset({"=", "<>", "<", "<=", ">", ">="})


@dataclass(frozen=True)
class Never:
    """Why a condition is never true, and why it is never false; '' where it may be."""

    true: str = ""
    false: str = ""

    def turned(self) -> Never:
        """The same of its negation."""
        return Never(self.false, self.true)

    def reasons(self) -> dict[Side, str]:
        sides: tuple[tuple[Side, str], ...] = (("true", self.true), ("false", self.false))
        return {side: why for side, why in sides if why}


def never(atom: e.Expr, before: e.Expr, facts: Table | None) -> Never:
    """What an atom can't come to where `before` was not false: a part that stands before it, or what a class sees.

    A NULL in `before` doesn't end an AND; but what is implied or excluded compares the same value, and is NULL then.
    """
    if isinstance(atom, e.Lit):
        said = f"it says {atom.text}"
        return Never("" if atom == e.TRUE else said, "" if atom == e.FALSE else said)
    null = _of_null(atom, facts)
    true, false = null.true, null.false
    if not true and reason.unsatisfiable(atom):
        true = "no row can meet it"
    if before != e.TRUE and not true and reason.disjoint(before, atom):
        true = "what is asked before it excludes it"
    if not false and _never_false(before, atom):
        false = "what is asked before it implies it"
    return Never(true, false)


def _never_false(before: e.Expr, atom: e.Expr) -> bool:
    """Whether the atom is true, or NULL, of every row that meets `before`."""
    match before:
        case e.Logic("or", arms):
            return all(_never_false(arm, atom) for arm in arms)
        case e.Logic(_, parts) if any(_never_false(part, atom) for part in parts):
            return True
        case e.Test(e.Col() as column, "is null"):
            return isinstance(atom, e.Op) and atom.op in _COMPARISONS and column in (atom.left, atom.right)
    return before != e.TRUE and reason.implies(before, atom)


def _of_null(atom: e.Expr, facts: Table | None) -> Never:
    """`is null` of a column that never is."""
    match atom:
        case e.Test(e.Col(name), "is null" | "is not null" as test):
            column = facts.column(name) if facts else None
            if column is not None and column.not_null:
                why = f"the column {name} is NOT NULL"
                return Never(true=why) if test == "is null" else Never(false=why)
    return Never()


def never_all(op: str, parts: Sequence[Never]) -> Never:
    """The same of an AND or OR of such parts."""
    if op == "or":
        return never_all("and", [part.turned() for part in parts]).turned()
    true = next((part.true for part in parts if part.true), "")
    return Never(true, parts[0].false if all(part.false for part in parts) else "")
