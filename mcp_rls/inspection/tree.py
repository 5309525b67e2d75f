"""Expressions as trees, by PostgreSQL's own grammar: what lints ask of policies and functions is asked of these."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

import pglast
from pglast import ast
from pglast.enums import A_Expr_Kind, BoolExprType, BoolTestType, SubLinkType
from pglast.stream import RawStream

_CAST = re.compile(r"CAST\(('[^']*') AS text\)")  # that PostgreSQL prints round each constant

Node = Any  # a pglast node; its classes have no common typed base


@lru_cache(maxsize=20_000)
def expression(text: str) -> Node | None:
    """The tree of an expression as PostgreSQL prints it; None when this grammar can't read it (a newer server)."""
    try:
        (statement,) = pglast.parse_sql(f"select {text}")
    except (pglast.parser.ParseError, ValueError):
        return None
    select: Any = statement.stmt
    return select.targetList[0].val


@lru_cache(maxsize=20_000)
def statements(text: str) -> tuple[Node, ...] | None:
    """The statements of a script; None when this grammar can't read it."""
    try:
        return tuple(raw.stmt for raw in pglast.parse_sql(text))
    except (pglast.parser.ParseError, ValueError):
        return None


def walk(node: Node, *, into_selects: bool = True) -> Iterator[Node]:
    """The node and all below it, outer before inner; `into_selects`: also what stands in sub-selects."""
    waiting = [node]
    while waiting:
        found = waiting.pop()
        if isinstance(found, tuple | list):
            waiting += found[::-1]
        elif isinstance(found, ast.Node):
            yield found
            if into_selects or not isinstance(found, ast.SelectStmt):
                waiting += children(found)[::-1]


def children(node: Node) -> list[Node]:
    """What stands directly below: nodes, and tuples of them."""
    kind: Any = type(node)
    return [part for name in _names(kind) if isinstance(part := getattr(node, name), ast.Node | tuple)]


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(name for name in kind.__slots__ if name != "location")


def called(node: Node) -> str:
    """The name of the function that a FuncCall calls, with its schema if it has one: 'auth.jwt', 'current_setting'."""
    names: Any = node.funcname
    return ".".join(part.sval for part in names)


def operator(node: Node) -> str:
    """The operator of an A_Expr: '=', '->>', '~~'."""
    return str(node.name[-1].sval)


def constant(node: Node) -> str | None:
    """The text of a constant, through casts; None for anything else, NULL too."""
    while isinstance(node, ast.TypeCast):
        node = node.arg
    if not isinstance(node, ast.A_Const) or node.isnull:
        return None
    value = node.val
    for attribute in ("sval", "ival", "fval", "boolval", "bsval"):
        if hasattr(value, attribute):
            return str(getattr(value, attribute))
    return None


def column(node: Node) -> str | None:
    """The column that a ColumnRef names, without its table, through casts; None for anything else."""
    while isinstance(node, ast.TypeCast | ast.CollateClause):
        node = node.arg
    last = node.fields[-1] if isinstance(node, ast.ColumnRef) and node.fields else None
    return str(last.sval) if isinstance(last, ast.String) else None


def is_true(node: Node) -> bool:
    """Whether it is the constant true."""
    return constant(node) == "True"


def conjuncts(node: Node) -> list[Node]:
    """The parts that must all hold, through what doesn't change when they do: see `bare`."""
    return list(_parted(node, BoolExprType.AND_EXPR))


def arms(node: Node) -> list[Node]:
    """The parts of which one suffices, likewise."""
    return list(_parted(node, BoolExprType.OR_EXPR))


def atoms(node: Node) -> Iterator[Node]:
    """The conditions that no AND or OR is in, likewise, each with the NOT before it, in the order of the text."""
    inner = node = bare(node)
    while isinstance(inner, ast.BoolExpr) and inner.boolop == BoolExprType.NOT_EXPR:
        inner = bare((inner.args or ())[0])
    if isinstance(inner, ast.BoolExpr):
        for part in inner.args or ():
            yield from atoms(part)
    else:
        yield node


def _parted(node: Node, word: BoolExprType) -> Iterator[Node]:
    node = bare(node)
    if isinstance(node, ast.BoolExpr) and node.boolop == word:
        for part in node.args or ():
            yield from _parted(part, word)
    else:
        yield node


def bare(node: Node) -> Node:
    """A condition without what doesn't change when it admits: IS TRUE, coalesce(.., false), a sub-select round it."""
    while True:
        match node:
            case ast.BooleanTest() if node.booltesttype == BoolTestType.IS_TRUE:
                node = node.arg
            case ast.CoalesceExpr() if [constant(a) for a in node.args or ()][1:] == ["False"]:
                node = (node.args or ())[0]
            case ast.SubLink() if node.subLinkType == SubLinkType.EXPR_SUBLINK and _lone(node.subselect):
                inner: Node = node.subselect
                node = inner.targetList[0].val
            case ast.TypeCast() if isinstance(node.arg, ast.SubLink | ast.BoolExpr):
                node = node.arg
            case _:
                return node


def _lone(select: Node) -> bool:
    """Whether a sub-select is nothing but its one value."""
    return not (select.fromClause or select.whereClause or select.larg or select.withClause) and bool(select.targetList)


def always(node: Node) -> bool:
    """Whether it is true, or compares constants that are one."""
    node = bare(node)
    if isinstance(node, ast.A_Expr) and node.kind == A_Expr_Kind.AEXPR_OP and operator(node) == "=":
        left = constant(node.lexpr)
        return left is not None and left == constant(node.rexpr)
    return is_true(node)


def printed(node: Node, width: int = 100) -> str:
    """The node as SQL on one line, cut at `width`; '' where the printer doesn't know it."""
    try:
        text = _CAST.sub(r"\1", " ".join(RawStream()(node).split()))
    except (NotImplementedError, AttributeError, TypeError):
        return ""
    for symbol, words in (("!~~*", "NOT ILIKE"), ("~~*", "ILIKE"), ("!~~", "NOT LIKE"), ("~~", "LIKE")):
        text = text.replace(f" {symbol} ", f" {words} ")
    return text if len(text) <= width else f"{text[: width - 2]}.."
