"""SQL in rules for people in which a row that a client doesn't see may count, told without a database.

Only a positive EXISTS, IN or = ANY (ARRAY(SELECT ...)) may read a table that is narrowed for clients: one of a covered
schema that isn't `read_as_person`. What views, functions and the app's own policies read is known to a database only,
and the lint of the same code asks that.
"""

from __future__ import annotations

import re

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import Condition, PolicySet
from mcp_rls.diagnostics import Diagnostics

_JOINS_THAT_ONLY_NARROW = {"", "INNER", "CROSS"}
_SELECTS = re.compile(r"\b(select|table)\b", re.IGNORECASE)
_ODD = ("group", "having", "limit", "offset", "with_", "with", "windows", "qualify", "sample")
# What a positive sub-select may select: values, never another look at a table.
_PLAIN = (
    exp.Column,
    exp.Literal,
    exp.Boolean,
    exp.Null,
    exp.Star,
    exp.Cast,
    exp.Paren,
    exp.Alias,
    exp.Identifier,
    exp.DataType,
)


def authored_absence(policies: PolicySet, diagnostics: Diagnostics) -> None:
    """Reports SQL of people rules that reads a narrowed table in another than a positive form."""
    for rules in policies.tables.values():
        for rule in rules.people if rules.people != "existing" else ():
            for condition in (rule.rows, rule.check):
                if condition is not None and condition.raw:
                    _report(condition, policies, diagnostics)


def _report(condition: Condition, policies: PolicySet, diagnostics: Diagnostics) -> None:
    fault = absence_in(condition.text, policies)
    if fault:
        message, hint = f"a client could gain by this: {fault}", "declare a set that reads it: column in NAME"
        diagnostics.error("gain-by-absence", message, condition.span, hint)


def absence_in(text: str, policies: PolicySet) -> str:
    """What stands against SQL in a person rule, '' when nothing does."""
    try:
        condition = sqlglot.parse_one(re.sub(r"\btoken\.\w+", "null", text), dialect="postgres", into=exp.Condition)
    except (SqlglotError, RecursionError):
        return "its expression can't be analysed" if _SELECTS.search(text) else ""
    return _Reads(policies).fault(condition)


class _Reads:
    """Whether a condition reads narrowed tables in positive forms only."""

    def __init__(self, policies: PolicySet) -> None:
        self.policies = policies

    def read_in(self, node: exp.Expr) -> str | None:
        """The first narrowed table below `node`."""
        names = (TableName(table.db, table.name) for table in node.find_all(exp.Table))
        return next((str(name) for name in names if self.narrowed(name)), None)

    def narrowed(self, name: TableName) -> bool:
        rules = self.policies.tables.get(name)
        return name.schema in self.policies.schemas and (rules is None or rules.clients != "read_as_person")

    def fault(self, node: exp.Expr) -> str:
        """'' when positive, else what stands against it."""
        read = self.read_in(node)
        if read is None:
            return ""
        match node:
            case exp.Paren():
                return self.fault(node.this)
            case exp.And() | exp.Or():
                return self.fault(node.this) or self.fault(node.expression)
            case exp.Exists():
                return self.query(node.this)
            case exp.In() if node.args.get("query") is not None:
                return self.scalar(node.this) or self.query(node.args["query"])
            case exp.EQ() if isinstance(node.expression, exp.Any):
                return self.scalar(node.this) or self.array(node.expression.this)
            case exp.Is() if (
                isinstance(node.expression, exp.Boolean) and node.expression.this and not node.args.get("negate")
            ):
                return self.fault(node.this)
        return f"it reads {read} in a form in which a missing row may count"

    def scalar(self, node: exp.Expr) -> str:
        read = self.read_in(node)
        return f"it compares with a value read from {read}" if read else ""

    def array(self, node: exp.Expr) -> str:
        while isinstance(node, (exp.Paren, exp.Cast)):
            node = node.this
        if isinstance(node, exp.Array) and len(node.expressions) == 1:
            node = node.expressions[0]
        return self.query(node) if isinstance(node, (exp.Select, exp.Subquery, exp.Union)) else self.scalar(node)

    def query(self, node: exp.Expr) -> str:
        read = self.read_in(node)
        if read is None:
            return ""
        match node:
            case exp.Subquery() | exp.Paren():
                return self.query(node.this) or self.joins(node, read)
            case exp.Union():
                return self.query(node.this) or self.query(node.expression)
            case exp.Select():
                return self.select(node, read)
        return f"it reads {read} in a form that can't be analysed"

    def select(self, node: exp.Select, read: str) -> str:
        for part in _ODD:
            if node.args.get(part):
                return f"it reads {read} with {part.strip('_').upper()}"
        distinct = node.args.get("distinct")
        if distinct is not None and distinct.args.get("on"):
            return f"it reads {read} with DISTINCT ON"
        if not all(isinstance(part, _PLAIN) for p in node.expressions for part in p.walk()):
            return f"it reads {read} through an aggregate or another expression"
        source = node.args.get("from_") or node.args.get("from")
        fault = self.source(source.this, read) if source is not None else ""
        fault = fault or self.joins(node, read)
        if fault:
            return fault
        where = node.args.get("where")
        return self.fault(where.this) if where is not None else ""

    def source(self, node: exp.Expr, read: str) -> str:
        """Faults of one item in FROM: a table, a parenthesised join, a sub-select."""
        if isinstance(node, exp.Table):
            return self.joins(node, read)
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table):
            return self.source(node.this, read) or self.joins(node, read)
        if isinstance(node, exp.Subquery):
            return self.query(node) or self.joins(node, read)
        return f"it reads {read} in a form that can't be analysed"

    def joins(self, node: exp.Expr, read: str) -> str:
        for join in node.args.get("joins") or []:
            kinds = {str(join.args.get(k) or "").upper() for k in ("side", "kind", "method")}
            if not kinds <= _JOINS_THAT_ONLY_NARROW:
                return f"it reads {read} in an outer join"
            on = join.args.get("on")
            fault = self.source(join.this, read) or (self.fault(on) if on is not None else "")
            if fault:
                return fault
        return ""
