"""What is compared with what in a condition, in one form for the many that SQL has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pglast import ast
from pglast.enums import A_Expr_Kind, SubLinkType

from mcp_rls.inspection.claims import FOLDED, NONE, Claims, Origin, Origins, pieces
from mcp_rls.inspection.frames import Frame, Place, fields
from mcp_rls.inspection.occurrences import Occurrence, negated, opposite
from mcp_rls.inspection.tree import Node, called, constant, operator, printed

UNKNOWN = "\0"  # in a pattern: what isn't a constant

_OPERATORS = {
    "=": "equal", "<>": "equal", "!=": "equal", "~~": "like", "!~~": "like", "~~*": "like", "!~~*": "like",
    "~": "regex", "!~": "regex", "~*": "regex", "!~*": "regex", "^@": "prefix", "?": "key", "?|": "key", "?&": "key",
    "&&": "overlap", "@>": "overlap", "<@": "overlap", "<": "order", ">": "order", "<=": "order", ">=": "order",
}  # fmt: skip
_FUNCTIONS = {
    "strpos": "position", "position": "position", "starts_with": "prefix", "regexp_like": "regex",
    "regexp_match": "regex", "regexp_matches": "regex", "regexp_count": "regex", "regexp_instr": "regex",
    "jsonb_exists": "key", "jsonb_exists_any": "key", "jsonb_exists_all": "key",
}  # fmt: skip
_REFLEXIVE = {"=", "<=", ">="}
_KINDS = {
    A_Expr_Kind.AEXPR_OP, A_Expr_Kind.AEXPR_OP_ANY, A_Expr_Kind.AEXPR_OP_ALL, A_Expr_Kind.AEXPR_DISTINCT,
    A_Expr_Kind.AEXPR_NOT_DISTINCT, A_Expr_Kind.AEXPR_IN, A_Expr_Kind.AEXPR_LIKE, A_Expr_Kind.AEXPR_ILIKE,
    A_Expr_Kind.AEXPR_SIMILAR,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two that are compared."""

    node: Node
    frame: Frame
    origins: Origins = NONE

    @cached_property
    def constants(self) -> tuple[str, ...]:
        """Its texts, where it is one constant or an array of them; () where anything else is in it."""
        return _constants(self.node, self.frame)

    @cached_property
    def patterns(self) -> tuple[str, ...]:
        """Its texts, with UNKNOWN for what isn't constant in them."""
        return self.constants or (_text(self.node, self.frame),)

    @property
    def place(self) -> Place | None:
        """The column that it is, through casts."""
        node = _without_casts(self.node)
        return self.frame.place(fields(node)) if isinstance(node, ast.ColumnRef) and fields(node) else None

    @property
    def plain(self) -> bool:
        """Whether it is a column and nothing else: no cast, so that an index on it serves."""
        return isinstance(self.node, ast.ColumnRef) and self.place is not None

    @property
    def null(self) -> bool:
        """Whether it is the constant NULL."""
        node = _without_casts(self.node)
        return isinstance(node, ast.A_Const) and bool(node.isnull)

    @property
    def query(self) -> bool:
        """Whether it is a sub-select from tables, or an array of one's rows."""
        node = _without_casts(self.node)
        select = node.subselect if isinstance(node, ast.SubLink) else node
        return isinstance(select, ast.SelectStmt) and bool(select.fromClause)

    def among(self, names: frozenset[str], *sources: str) -> Origins:
        """Its origins of these names, of any source but for those named."""
        return frozenset(o for o in self.origins if o.name in names and (not sources or o.source in sources))


@dataclass(frozen=True, eq=False)
class Comparison:
    """kind: equal (also IN, = ANY), like, regex, prefix, position, null, key, element, overlap, order.

    `positive`: True where it helps to admit a row that the two are equal (alike, there, NULL); False where it helps
    that they are not.
    """

    kind: str
    left: Side
    right: Side | None
    positive: bool | None
    at: Occurrence
    folded: bool = False
    distinct: bool = False  # IS [NOT] DISTINCT FROM

    @property
    def subject(self) -> str:
        """The policy or the function that it stands in."""
        return self.at.frame.subject

    @property
    def sides(self) -> tuple[tuple[Side, Side | None], ...]:
        """Each side with the other."""
        return ((self.left, self.right), *(((self.right, self.left),) if self.right is not None else ()))

    def __str__(self) -> str:
        return printed(self.at.node)

    @property
    def with_itself(self) -> bool:
        """Whether both sides are one column or one claim, so that it holds for whatever is there."""
        if self.right is None or not isinstance(self.at.node, ast.A_Expr) or operator(self.at.node) not in _REFLEXIVE:
            return False
        left, right = self.left.place, self.right.place
        if left is not None and right is not None:
            return (left.relation.oid, left.alias, left.name) == (right.relation.oid, right.alias, right.name)
        return bool(self.left.origins) and printed(self.left.node, 10_000) == printed(self.right.node, 10_000)

    def about(self, names: frozenset[str]) -> Origins:
        """Claims of these names on either side."""
        return frozenset(o for side, _ in self.sides for o in side.among(names))


def comparisons(at: Occurrence, claims: Claims) -> Iterator[Comparison]:
    """What is compared in a node itself."""
    node, frame = at.node, at.frame

    def side(part: Node) -> Side:
        return Side(part, frame, NONE if isinstance(part, tuple) else claims.origins(part, frame))

    sign = opposite(at.positive) if negated(node) else at.positive
    match node:
        case ast.A_Expr() if node.lexpr is not None and node.kind in _KINDS:
            kind = _OPERATORS.get(operator(node))
            if kind is not None:
                sign = None if node.kind == A_Expr_Kind.AEXPR_OP_ANY and operator(node) in ("<>", "!=") else sign
                found = Comparison(kind, side(node.lexpr), side(node.rexpr), sign, at)
                yield from _refined(replace(found, folded=operator(node).endswith("*"), distinct=_distinct(node)))
        case ast.NullTest():
            yield Comparison("null", side(node.arg), None, sign, at)
        case ast.FuncCall(args=(searched, wanted, *_)):
            kind = _FUNCTIONS.get(called(node).removeprefix("pg_catalog."))
            if kind is not None:
                yield from _refined(Comparison(kind, side(searched), side(wanted), at.positive, at))
        case ast.SubLink() if node.testexpr is not None:
            symbol: Any = node.operName
            against = symbol and symbol[-1].sval in ("<>", "!=")
            sign = at.positive if not against else False if node.subLinkType == SubLinkType.ALL_SUBLINK else None
            yield Comparison("equal", side(node.testexpr), side(node.subselect), sign, at)


def _refined(found: Comparison) -> Iterator[Comparison]:
    """The same; of a question to a whole document, one for each key that it asks for."""
    whole = frozenset(o for o in found.left.origins if not o.path and o.source != "setting")
    if not whole or found.right is None or found.kind not in ("key", "overlap"):
        folded = found.folded or any(FOLDED in o.marks for s, _ in found.sides for o in s.origins)
        yield replace(found, kind="element" if found.kind == "key" else found.kind, folded=folded)
    elif found.kind == "key":
        keyed = frozenset(o.at([key], text=False) for o in whole for key in found.right.constants or ("?",))
        yield replace(found, left=replace(found.left, origins=keyed))
    else:
        for path in _leaves(found.right.constants):
            inside = frozenset(o.at(path, text=False) for o in whole)
            yield replace(found, kind="equal", left=replace(found.left, origins=inside))


def _leaves(texts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The paths to the values in a JSON object."""
    for text in texts:
        try:
            yield from _paths(json.loads(text))
        except ValueError:
            continue


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))
    elif path:
        yield path


def _distinct(node: Node) -> bool:
    return node.kind in (A_Expr_Kind.AEXPR_DISTINCT, A_Expr_Kind.AEXPR_NOT_DISTINCT)


def _without_casts(node: Node) -> Node:
    while isinstance(node, ast.TypeCast | ast.CollateClause):
        node = node.arg
    return node


def _resolved(node: Node, frame: Frame) -> tuple[Node, Frame]:
    """What a parameter or variable holds, where it holds one thing; else the node itself."""
    for _ in range(10):
        bare = _without_casts(node)
        name = fields(bare) if isinstance(bare, ast.ColumnRef) else ()
        if isinstance(bare, ast.ParamRef):
            name = (f"${bare.number}",)
        bound = frame.bound(name) if name and frame.place(name) is None else ()
        if len(bound) != 1:
            return node, frame
        node, frame = bound[0]
    return node, frame


def _constants(node: Node, frame: Frame) -> tuple[str, ...]:
    node, frame = _resolved(node, frame)
    if isinstance(node, tuple):
        parts = [_constants(part, frame) for part in node]
        return tuple(p for part in parts for p in part) if all(parts) else ()
    text = constant(node)
    if text is not None:
        array = isinstance(node, ast.TypeCast) and node.typeName and node.typeName.arrayBounds
        return tuple(part.strip().strip('"') for part in text.strip("{}").split(",")) if array else (text,)
    bare = _without_casts(node)
    return _constants(tuple(bare.elements or ()), frame) if isinstance(bare, ast.A_ArrayExpr) else ()


def _text(node: Node, frame: Frame) -> str:
    """A text made of constants and of what isn't."""
    parts = []
    for piece in pieces(node):
        inner, where = _resolved(piece, frame)
        text = constant(inner)
        parts.append(text if text is not None else _text(inner, where) if inner is not piece else UNKNOWN)
    return "".join(parts)


def leaf(origins: Origins) -> Origin | None:
    """One of some origins, for a message."""
    return min(origins, key=lambda o: (o.path, sorted(o.marks)), default=None)
