"""Which columns policies tie to a token, in forms that an index serves, and which indexes there are."""

from __future__ import annotations

from collections.abc import Iterator

from pglast import ast
from pglast.enums import A_Expr_Kind, BoolExprType

from mcp_rls.catalog import FEW
from mcp_rls.inspection.comparisons import Comparison, comparisons
from mcp_rls.inspection.facts import Relation
from mcp_rls.inspection.frames import Frame
from mcp_rls.inspection.occurrences import Occurrence
from mcp_rls.inspection.reading import PolicyText
from mcp_rls.inspection.tree import Node, arms, conjuncts, operator, printed

_SERVED = (A_Expr_Kind.AEXPR_OP, A_Expr_Kind.AEXPR_OP_ANY)
# a cast between these changes nothing, and the index stays
_TEXTS = ("text", "character", "name", "citext")


def many(relation: Relation) -> bool:
    """Whether a table is known to have many rows."""
    return relation.is_table and relation.rows > FEW


def indexed(relation: Relation, column: str) -> bool:
    """Whether some index begins with the column."""
    return any(i.valid and i.columns[:1] == (column,) for i in relation.indexes)


def ties(text: PolicyText) -> Iterator[tuple[Relation, tuple[str, ...]]]:
    """Tables of which rows are asked for by a claim, each with the columns of which one with an index suffices: the
    policy's own for each arm of its USING, and those of its sub-selects.
    """
    if text.using is not None:
        for arm in arms(text.using):
            yield text.table, tied(text, arm)
    for at in text.occurrences:
        select = at.node.subselect if isinstance(at.node, ast.SubLink) else None
        if isinstance(select, ast.SelectStmt) and select.fromClause and select.whereClause is not None:
            yield from _in_select(text, select, text.reader.names.inside(select, at.frame))


def _in_select(text: PolicyText, select: Node, frame: Frame) -> Iterator[tuple[Relation, tuple[str, ...]]]:
    found: dict[int, list[str]] = {}
    relations: dict[int, Relation] = {}
    for comparison in _equalities(text, select.whereClause, frame):
        for side, other in comparison.sides:
            place = side.place
            if place is not None and side.plain and not place.own and other is not None:
                relations[place.relation.oid] = place.relation
                found.setdefault(place.relation.oid, []).append(place.name)
    for oid, columns in found.items():
        # a sub-select that is joined to the row finds its own by the join's key
        if text.effects(select).settings:
            yield relations[oid], tuple(columns)


def tied(text: PolicyText, arm: Node) -> tuple[str, ...]:
    """The policy's own columns that one arm compares with what doesn't depend on the row, as an index serves it."""
    return tuple(
        side.place.name
        for comparison in _equalities(text, arm, text.frame)
        for side, other in comparison.sides
        if side.plain and side.place is not None and side.place.own
        if other is not None and not isinstance(other.node, tuple) and not text.columns(other.node)
        if text.effects(other.node).settings
    )


def tied_columns(text: PolicyText) -> frozenset[str]:
    """The policy's own columns that it compares with a claim, or with what is looked up by one, in whatever form."""
    return frozenset(
        side.place.name
        for comparison in text.comparisons
        if comparison.kind == "equal"
        for side, other in comparison.sides
        if side.place is not None and side.place.own
        if other is not None and (other.origins or (other.query and text.effects(other.node).settings))
    )


def _equalities(text: PolicyText, condition: Node, frame: Frame) -> Iterator[Comparison]:
    """The plain equalities that all must hold."""
    for part in conjuncts(condition):
        if isinstance(part, ast.A_Expr) and part.kind in _SERVED and operator(part) == "=":
            yield from comparisons(Occurrence(part, frame, True, False), text.reader.claims)


def plain_equalities(text: PolicyText) -> list[Node]:
    """The conditions `column = claim` of a policy that aren't asked a second time in a form that must be computed."""
    parts = [part for node in text.conditions for arm in arms(node) for part in _raw_conjuncts(arm)]
    asked_twice = {printed(p.arg, 10_000) for p in parts if isinstance(p, ast.BooleanTest)}
    found = []
    for part in parts:
        if isinstance(part, ast.A_Expr) and part.kind == A_Expr_Kind.AEXPR_OP and operator(part) == "=":
            (comparison,) = comparisons(Occurrence(part, text.frame, True, False), text.reader.claims)
            own = any(s.place is not None and s.place.own for s, _ in comparison.sides)
            if own and any(s.origins for s, _ in comparison.sides) and printed(part, 10_000) not in asked_twice:
                found.append(part)
    return found


def _raw_conjuncts(node: Node) -> Iterator[Node]:
    """The parts that must all hold, IS TRUE round one left on."""
    if isinstance(node, ast.BoolExpr) and node.boolop == BoolExprType.AND_EXPR:
        for part in node.args or ():
            yield from _raw_conjuncts(part)
    else:
        yield node


def cast_column(comparison: Comparison) -> str:
    """The policy's own column that is cast to be compared with a claim; '' where there is none."""
    if comparison.kind != "equal" or comparison.positive is not True:
        return ""
    for side, other in comparison.sides:
        place = side.place
        if place is None or side.plain or not place.own or other is None or not other.origins:
            continue
        types = (c.type for c in place.relation.columns if c.name == place.name)
        if not any(t.startswith(_TEXTS) for t in types):
            return place.name
    return ""
