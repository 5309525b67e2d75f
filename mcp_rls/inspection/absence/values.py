"""The value of a sub-select, where a row that is missing can make it only NULL, or smaller, or shorter."""

from __future__ import annotations

from pglast import ast
from pglast.enums import A_Expr_Kind, LimitOption

from mcp_rls.inspection.facts import Relation
from mcp_rls.inspection.tree import Node, called, column, conjuncts, constant, operator, walk

_CHOOSING = (
    "distinctClause", "groupClause", "havingClause", "windowClause", "valuesLists", "sortClause", "limitCount",
    "limitOffset", "larg",
)  # fmt: skip
_ELSE = ("fromClause", "whereClause", "withClause", *_CHOOSING)
# whether more on their left makes them true; None: neither
_COMPARISONS = {"=": None, "<>": None, ">": True, ">=": True, "<": False, "<=": False}
_SYSTEM = frozenset({"tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"})


def sole(select: Node) -> Node | None:
    """The expression of a SELECT that is nothing but one: `(select auth.uid())`."""
    plain = isinstance(select, ast.SelectStmt) and not any(getattr(select, part) for part in _ELSE)
    return _target(select) if plain else None


def aggregated(select: Node, aggregate: str) -> Node | None:
    """The query of the rows of which a SELECT is one count or one array, and nothing else."""
    call = _target(select)
    if not isinstance(call, ast.FuncCall) or called(call) not in (aggregate, f"pg_catalog.{aggregate}"):
        return None
    if call.agg_filter or call.over or any(getattr(select, part) for part in _CHOOSING):
        return None
    targets = tuple(ast.ResTarget(val=argument) for argument in call.args or ())
    kept = {part: getattr(select, part) for part in ("fromClause", "whereClause", "withClause", "op")}
    return ast.SelectStmt(targetList=targets, **kept)


def is_same(select: Node) -> bool:
    """Whether a SELECT gives one constant or nothing: `select true from ... limit 1`."""
    limited = constant(select.limitCount) == "1" and select.limitOption == LimitOption.LIMIT_OPTION_COUNT
    return limited and constant(_target(select)) is not None


def is_keyed(select: Node, item: Node, table: Relation) -> bool:
    """Whether WHERE compares each column of a key of the table, the one item of FROM, with something else."""
    if item.alias is not None and item.alias.colnames:
        return False
    bound = {name for part in conjuncts(select.whereClause) for name in _bound(part, item, table)}
    return any(index.key and bound.issuperset(index.columns) for index in table.indexes)


def compares(node: Node) -> bool:
    """Whether an operator compares, so that it makes NULL of NULL: `=` of PostgreSQL's own, and the like."""
    return isinstance(node, ast.A_Expr) and len(node.name or ()) == 1 and operator(node) in _COMPARISONS


def sides(node: Node) -> tuple[tuple[Node, bool | None], ...]:
    """The two sides of a comparison, each with whether more of it makes it true; None: neither more nor less."""
    more = _COMPARISONS[operator(node)]
    return (node.lexpr, more), (node.rexpr, None if more is None else not more)


def uncast(node: Node) -> Node:
    """The node without casts to types of PostgreSQL's own, which leave NULL what it is."""
    while isinstance(node, ast.TypeCast):
        named: Node = node.typeName
        if len(named.names) > 1 and named.names[0].sval != "pg_catalog":
            break
        node = node.arg
    return node


def is_empty(node: Node) -> bool:
    """Whether it is an array without elements."""
    inner = node
    while isinstance(inner, ast.TypeCast):
        inner = inner.arg
    return constant(inner) == "{}" or (isinstance(inner, ast.A_ArrayExpr) and not inner.elements)


def _target(select: Node) -> Node | None:
    targets = select.targetList if isinstance(select, ast.SelectStmt) and select.larg is None else None
    return targets[0].val if targets and len(targets) == 1 else None


def _bound(part: Node, item: Node, table: Relation) -> list[str]:
    """The columns of the table that a condition compares with what depends on none of them."""
    plain = compares(part) and part.kind == A_Expr_Kind.AEXPR_OP and operator(part) == "="
    if not plain or any(isinstance(n, ast.CollateClause) for n in walk(part)):
        return []
    pairs = ((part.lexpr, part.rexpr), (part.rexpr, part.lexpr))
    free = [side for side, other in pairs if not any(_own(n, item, table) for n in walk(other))]
    return [column(side) or "" for side in free if _own(side, item, table)]


def _own(node: Node, item: Node, table: Relation) -> bool:
    """Whether it is a column of the table, or may be."""
    if not isinstance(node, ast.ColumnRef):
        return False
    alias = item.alias.aliasname if item.alias is not None else item.relname
    *before, last = (part.sval if isinstance(part, ast.String) else "*" for part in node.fields or ())
    return before[-1] == alias if before else last in {alias, "*", *_SYSTEM, *(c.name for c in table.columns)}
