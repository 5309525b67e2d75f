"""Every part of a condition, and of the functions that it calls, with whether its truth admits a row or refuses it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pglast
from pglast import ast
from pglast.enums import A_Expr_Kind, BoolExprType, BoolTestType, SubLinkType

from mcp_rls.inspection.bodies import body_of
from mcp_rls.inspection.claims import PLATFORM, Claims
from mcp_rls.inspection.facts import Function
from mcp_rls.inspection.frames import Frame, fields
from mcp_rls.inspection.tree import Node, called, children, constant, operator

_NEGATIVE = {"<>", "!=", "!~~", "!~~*", "!~", "!~*"}


@dataclass(frozen=True, slots=True, eq=False)
class Occurrence:
    """A node in a policy or in a function that it calls.

    `positive`: True where its truth helps to admit a row, False where it helps to refuse it, None where neither is
    sure. `inner`: it stands in a sub-select.
    """

    node: Node
    frame: Frame
    positive: bool | None
    inner: bool


class Walk:
    """Goes through conditions; the text of a function is gone through once for each set of claims that it is given."""

    def __init__(self, claims: Claims) -> None:
        self.claims, self.names = claims, claims.names
        self._bodies: dict[object, tuple[Occurrence, ...]] = {}
        self._entered: list[int] = []
        self._calls = True  # whether to go into what is called
        self._open: set[tuple[int, tuple[str, ...]]] = set()  # variables that are being gone through

    def alone(self, node: Node, frame: Frame) -> Iterator[Occurrence]:
        """The node and all below it, without what the called functions say."""
        self._calls = False
        try:
            yield from tuple(self.through(node, frame))
        finally:
            self._calls = True

    def through(
        self, node: Node, frame: Frame, positive: bool | None = True, *, inner: bool = False
    ) -> Iterator[Occurrence]:
        """The node and all below it, outer before inner, then what the called functions say."""
        here = Occurrence(node, frame, positive, inner)
        match node:
            case None:
                return
            case tuple() | list():
                for item in node:
                    yield from self.through(item, frame, positive, inner=inner)
                return
            case ast.SelectStmt():
                yield from self._select(here, targets=positive)
                return
            case ast.Node():
                yield here
        for part, sign in self._parts(here):
            yield from self.through(part, frame, sign, inner=inner)
        match node:
            case ast.SubLink():
                wanted = positive if node.subLinkType == SubLinkType.EXPR_SUBLINK else None
                yield from self._select(replace(here, node=node.subselect), targets=wanted)
            case ast.FuncCall() if self._calls:
                yield from self._call(here)
            case ast.ColumnRef():
                yield from self._variable(here)

    def _parts(self, here: Occurrence) -> Iterable[tuple[Any, bool | None]]:
        """The parts of a node, and what the truth of each does."""
        node, positive = here.node, here.positive
        match node:
            case ast.BoolExpr():
                return [(node.args, opposite(positive) if node.boolop == BoolExprType.NOT_EXPR else positive)]
            case ast.BooleanTest():
                same = node.booltesttype in (BoolTestType.IS_TRUE, BoolTestType.IS_NOT_FALSE)
                return [(node.arg, positive if same else opposite(positive))]
            case ast.TypeCast() | ast.CollateClause():
                return [(node.arg, positive)]
            case ast.CoalesceExpr():
                return [(node.args, positive)]
            case ast.CaseExpr():
                return list(_case(node, positive))
            case ast.A_Expr() if operator(node) == "=" and node.kind != A_Expr_Kind.AEXPR_DISTINCT:
                return [((node.lexpr, node.rexpr), positive)]
        # of a sub-select only what is compared with it: the rest stands in a scope of its own
        return [(node.testexpr if isinstance(node, ast.SubLink) else children(node), None)]

    def _select(self, here: Occurrence, *, targets: bool | None) -> Iterator[Occurrence]:
        """A SELECT: where its truth is asked for, that of its conditions is."""
        select, positive = here.node, here.positive
        if not isinstance(select, ast.SelectStmt):
            return
        if select.larg is not None:
            union = select.op != pglast.enums.SetOperation.SETOP_EXCEPT
            yield from self._select(replace(here, node=select.larg), targets=targets)
            yield from self._select(replace(here, node=select.rarg, positive=positive if union else None), targets=None)
            return
        frame = self.names.inside(select, here.frame)
        sign = None if _aggregates(select) else positive
        yield from self.through(_queries(select), here.frame, sign, inner=True)
        yield from self.through(_conditions(select), frame, sign, inner=True)
        inner = bool(select.fromClause) or here.inner
        values = [t.val for t in select.targetList or ()]
        yield from self.through(values, frame, targets, inner=inner)

    def _call(self, here: Occurrence) -> Iterator[Occurrence]:
        function = self.names.function(here.node, here.frame)
        if function is None or function.oid in self._entered or called(here.node) in PLATFORM:
            return
        arguments = tuple(self.claims.origins(a, here.frame) for a in here.node.args or ())
        constants = tuple(constant(a) for a in here.node.args or ())
        key = (function.oid, here.positive, here.inner, arguments, constants)
        if key not in self._bodies:
            self._entered.append(function.oid)
            self._bodies[key] = tuple(self._inside(function, here))
            self._entered.pop()
        yield from self._bodies[key]

    def _inside(self, function: Function, here: Occurrence) -> Iterator[Occurrence]:
        """A function's text: its one expression, else all its statements."""
        body = body_of(function)
        frame = self.names.entered(function, here.node, here.frame)
        if body.returned is not None:
            yield from self.through(body.returned, frame, here.positive, inner=here.inner)
        else:
            for statement in body.statements:
                yield from self.through(statement, frame, None, inner=here.inner)

    def _variable(self, here: Occurrence) -> Iterator[Occurrence]:
        """What a variable of PL/pgSQL holds, where it is put in once; arguments were gone through already."""
        name = fields(here.node)
        bound = here.frame.bound(name) if name and here.frame.place(name) is None else ()
        key = (id(here.frame.names), name)
        if len(bound) == 1 and bound[0][1].names is here.frame.names and key not in self._open:
            self._open.add(key)
            yield from self.through(bound[0][0], bound[0][1], here.positive, inner=here.inner)
            self._open.discard(key)


def opposite(sign: bool | None) -> bool | None:
    return None if sign is None else not sign


def negated(node: Node) -> bool:
    """Whether a comparison asks for the opposite of what its operator's name says: `<>`, `NOT LIKE`, `IS NOT NULL`."""
    match node:
        case ast.A_Expr():
            return (node.kind == A_Expr_Kind.AEXPR_DISTINCT) or operator(node) in _NEGATIVE
        case ast.NullTest():
            return bool(node.nulltesttype == pglast.enums.NullTestType.IS_NOT_NULL)
    return False


def _case(node: Node, positive: bool | None) -> Iterator[tuple[Any, bool | None]]:
    """The conditions and results of a CASE. A condition whose result is false refuses, any other admits."""
    for when in node.args or ():
        condition = when.expr
        if node.arg is not None:
            condition = ast.A_Expr(
                kind=A_Expr_Kind.AEXPR_OP, name=(ast.String("="),), lexpr=node.arg, rexpr=when.expr
            )  # fmt: skip
        yield condition, opposite(positive) if constant(when.result) == "False" else positive
        yield when.result, positive
    yield node.defresult, positive


def _queries(select: Node) -> list[Node]:
    """The sub-selects in FROM and WITH, and functions there."""
    ctes = [cte.ctequery for cte in (select.withClause.ctes if select.withClause else ())]
    return ctes + [part for item in select.fromClause or () for part in _sources(item)]


def _sources(item: Node) -> Iterator[Node]:
    match item:
        case ast.JoinExpr():
            yield from _sources(item.larg)
            yield from _sources(item.rarg)
        case ast.RangeSubselect():
            yield item.subquery
        case ast.RangeFunction():
            yield from (functions[0] for functions in item.functions or ())


def _conditions(select: Node) -> list[Node]:
    joins = [c for item in select.fromClause or () for c in _joins(item)]
    return [*joins, *filter(None, (select.whereClause, select.havingClause))]


def _joins(item: Node) -> Iterator[Node]:
    if isinstance(item, ast.JoinExpr):
        yield from _joins(item.larg)
        yield from _joins(item.rarg)
        if item.quals is not None:
            yield item.quals


def _aggregates(select: Node) -> bool:
    """Whether a missing row may count for it: an aggregate, or a function of all rows."""
    if not select.fromClause or select.groupClause or select.havingClause:
        return bool(select.groupClause or select.havingClause)
    targets: Any = select.targetList or ()
    return any(
        isinstance(t.val, ast.FuncCall)
        and called(t.val).rpartition(".")[2] in ("count", "sum", "min", "max", "bool_and")
        for t in targets
    )
