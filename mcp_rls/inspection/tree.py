"""Expressions as trees, by PostgreSQL's own grammar: what lints ask of policies and functions is asked of these."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pglast
from pglast import ast

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
    if isinstance(node, ast.Node):
        yield node
        if isinstance(node, ast.SelectStmt) and not into_selects:
            return
        for name in node:
            yield from walk(getattr(node, name), into_selects=into_selects)
    elif isinstance(node, tuple | list):
        for item in node:
            yield from walk(item, into_selects=into_selects)


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
