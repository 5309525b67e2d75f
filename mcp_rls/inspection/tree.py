"""Expressions as trees, by PostgreSQL's own grammar: what lints ask of policies and functions is asked of these."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

import pglast
from pglast import ast
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


def conjuncts(node: Node) -> Iterator[Node]:
    """The parts that must all hold."""
    if isinstance(node, ast.BoolExpr) and node.boolop == pglast.enums.BoolExprType.AND_EXPR:
        for part in node.args or ():
            yield from conjuncts(part)
    else:
        yield node


def arms(node: Node) -> Iterator[Node]:
    """The parts of which one suffices."""
    if isinstance(node, ast.BoolExpr) and node.boolop == pglast.enums.BoolExprType.OR_EXPR:
        for part in node.args or ():
            yield from arms(part)
    else:
        yield node


def printed(node: Node, width: int = 100) -> str:
    """The node as SQL on one line, cut at `width`; '' where the printer doesn't know it."""
    try:
        text = _CAST.sub(r"\1", " ".join(RawStream()(node).split()))
    except (NotImplementedError, AttributeError, TypeError):
        return ""
    for symbol, words in (("!~~*", "NOT ILIKE"), ("~~*", "ILIKE"), ("!~~", "NOT LIKE"), ("~~", "LIKE")):
        text = text.replace(f" {symbol} ", f" {words} ")
    return text if len(text) <= width else f"{text[: width - 2]}.."
