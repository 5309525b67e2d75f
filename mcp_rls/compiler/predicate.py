"""Text of a condition to an Expr, or diagnostics that name the place: parsed as a condition and nothing else.

Only constructs listed here get through, so what is emitted depends on no parser's printer. PostgreSQL's grammar and
the parser's differ in how tightly tests such as IS and IN bind; where that could matter, parentheses are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import Condition
from mcp_rls.compiler.raw import Names, first_line, parse_raw
from mcp_rls.diagnostics import Diagnostics, Span, nearest

FUNCTIONS = frozenset(
    """lower upper length char_length coalesce nullif abs greatest least date_trunc starts_with cardinality
    floor ceil round btrim now""".split()
)
TYPES = {
    "INT": "integer",
    "BIGINT": "bigint",
    "SMALLINT": "smallint",
    "TEXT": "text",
    "VARCHAR": "text",
    "UUID": "uuid",
    "BOOLEAN": "boolean",
    "DECIMAL": "numeric",
    "DOUBLE": "double precision",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMPTZ": "timestamptz",
    "INTERVAL": "interval",
}
_COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.NullSafeEQ: "is not distinct from",
    exp.NullSafeNEQ: "is distinct from",
    exp.Like: "like",
    exp.ILike: "ilike",
    exp.RegexpLike: "~",
    exp.RegexpILike: "~*",
    exp.ArrayContainsAll: "@>",
    exp.ArrayOverlaps: "&&",
}
_ARITHMETIC: dict[type[exp.Expr], str] = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.Mod: "%",
    exp.DPipe: "||",
}
_UNITS = frozenset(
    "microseconds milliseconds second minute hour day week month quarter year decade century millennium".split()
)
# Unquoted, these aren't columns to PostgreSQL, whatever the parser makes of them.
_WORDS = frozenset(
    """user current_user current_role session_user system_user current_catalog current_schema current_date
    current_time current_timestamp localtime localtimestamp default""".split()
)
_PREDICATES = (*_COMPARISONS, exp.Is, exp.In, exp.Between, exp.Not, exp.And, exp.Or)


class _Refused(Exception):
    def __init__(self, code: str, message: str, *hints: str) -> None:
        super().__init__(message)
        self.code, self.hints = code, hints


@dataclass
class _Reader:
    condition: Condition
    names: Names
    diagnostics: Diagnostics
    seen: list[str] = field(default_factory=list)

    def place(self, node: exp.Expr | None) -> Span:
        start = (node.meta.get("start") if node is not None else None) or 0
        before = self.condition.text[:start]
        span = self.condition.span
        if "\n" in before:
            return Span(span.path, span.line + before.count("\n"), 1)
        return span.shifted(start) if span.line else span

    # --- leaves

    def column(self, node: exp.Column) -> e.Expr:
        identifier = node.this
        if not isinstance(identifier, exp.Identifier) or node.args.get("db"):
            raise _Refused("bad-condition", f"can't read {node.sql('postgres')} here")
        name = identifier.this if identifier.args.get("quoted") else _folded(identifier.this)
        if not identifier.args.get("quoted") and not node.table and name in _WORDS:
            raise _Refused("bad-condition", f"{name} is a word of PostgreSQL's own", f'a column of that name: "{name}"')
        if node.table and node.table.lower() == "token":
            return self.token(identifier, name)
        table = self.names.table
        if node.table and table is not None and node.table.lower() != table.name.name:
            raise _Refused("bad-condition", f'a condition reads the columns of its own table, not of "{node.table}"')
        if table is not None and table.column(name) is None:
            hints = [nearest(name, [c.name for c in table.columns])]
            if name in self.names.sets:
                hints = [f"a set is used as: column in {name}"]
            self.diagnostics.error(
                "unknown-column",
                f'table "{table.name}" has no column "{name}"',
                self.place(identifier),
                *hints,
            )
        return e.Col(name)

    def token(self, identifier: exp.Identifier, name: str) -> e.Expr:
        known = {"person", "client"} | self.names.claims
        if name not in known:
            self.diagnostics.error(
                "unknown-claim",
                f'token.{name} is not declared under "claims"',
                self.place(identifier),
                nearest(name, known) or f"declared: {', '.join('token.' + k for k in sorted(known))}",
            )
        return e.Token(name)

    def literal(self, node: exp.Literal) -> e.Expr:
        if node.is_string:
            if "\x00" in node.this:
                raise _Refused("bad-condition", "a constant with a NUL character")
            return e.Lit(node.this, "string")
        return e.Lit(node.this, "number")

    # --- operations

    def operand(self, node: exp.Expr) -> e.Expr:
        """An operand of a comparison or test: a predicate only in parentheses (see the module's docstring)."""
        if isinstance(node, _PREDICATES):
            raise _Refused("bad-condition", "put parentheses round each side", "(a = b) is true; not (a in (1, 2))")
        return self.read(node)

    def comparison(self, node: exp.Expr, op: str) -> e.Expr:
        if node.args.get("escape"):
            raise _Refused("bad-condition", "LIKE ... ESCAPE isn't supported", "give the condition as sql:")
        left, right = node.this, node.expression
        if isinstance(right, exp.Any) and node.args.get("negate"):
            raise _Refused(
                "bad-condition", "NOT with ANY", "say which is meant: not (a like any (...)), or a <> all (...)"
            )
        if isinstance(right, exp.Any):
            inner = right.this.this if isinstance(right.this, exp.Paren) else right.this
            return e.Any(self.operand(left), op, self.read(inner))
        negated = "not " if node.args.get("negate") else ""
        return e.Op(negated + op, self.operand(left), self.operand(right))

    def test(self, node: exp.Is, negated: bool) -> e.Expr:
        negated = negated != bool(node.args.get("negate"))  # NOT (a IS NOT NULL) is IS NULL
        value = node.expression
        if isinstance(value, exp.Boolean):
            word = "true" if value.this else "false"
        elif isinstance(value, exp.Null):
            # the parser folds IS UNKNOWN into IS NULL; for a boolean the two mean the same
            word = "null"
        else:
            raise _Refused("bad-condition", "IS is followed by NULL, TRUE or FALSE")
        return e.Test(self.operand(node.this), f"is {'not ' if negated else ''}{word}")

    def membership(self, node: exp.In, negated: bool) -> e.Expr:
        left = self.operand(node.this)
        container = node.args.get("field")
        if container is not None:
            name = container.name.lower() if isinstance(container, exp.Column) else ""
            if name not in self.names.sets:
                known = nearest(name, self.names.sets)
                raise _Refused("unknown-set", f'no set is named "{container.sql("postgres")}"', known)
            self.seen.append(name)
            values = e.SetValues(name)
            return e.Any(left, "<>", values, "all") if negated else e.Any(left, "=", values)
        if node.args.get("query") or not node.expressions:
            raise _Refused(
                "bad-condition", "IN with a sub-select", "declare it under `sets:` and write: column in NAME"
            )
        return e.In(left, tuple(self.operand(item) for item in node.expressions), negated)

    def between(self, node: exp.Between, negated: bool) -> e.Expr:
        if node.args.get("symmetric"):
            raise _Refused("bad-condition", "BETWEEN SYMMETRIC isn't supported")
        value, low, high = (self.operand(node.args[k]) for k in ("this", "low", "high"))
        both = e.conjunction((e.Op(">=", value, low), e.Op("<=", value, high)))
        return e.Prefix("not", both) if negated else both

    def negation(self, node: exp.Not) -> e.Expr:
        inner = node.this
        if isinstance(inner, exp.In):
            return self.membership(inner, negated=True)
        if isinstance(inner, exp.Is):
            return self.test(inner, negated=True)
        if isinstance(inner, exp.Between):
            return self.between(inner, negated=True)
        return e.Prefix("not", self.read(inner))

    def call(self, node: exp.Expr) -> e.Expr:
        if isinstance(node, exp.Anonymous):
            name, arguments = str(node.this).lower(), list(node.expressions)
        else:
            name = _function_name(node)
            if isinstance(node, exp.Trim) and any(v for k, v in node.args.items() if k not in ("this", "expression")):
                raise _Refused("bad-condition", "trim with a side or a collation", "btrim(a) or btrim(a, 'x')")
            arguments = [v for k in node.arg_types for v in _as_list(node.args.get(k)) if isinstance(v, exp.Expr)]
        if name not in FUNCTIONS:
            raise _Refused(
                "unknown-function",
                f"the function {name}() isn't on the list that conditions may use",
                nearest(name, FUNCTIONS),
                f"allowed: {', '.join(sorted(FUNCTIONS))}; anything else can be given as sql:",
            )
        return e.Call(name, tuple(self.operand(a) for a in arguments))

    def cast(self, node: exp.Cast) -> e.Expr:
        target = node.to
        kind = TYPES.get(getattr(target.this, "name", ""))
        if kind is None or target.expressions or type(node) is not exp.Cast:
            known = ", ".join(sorted(set(TYPES.values())))
            raise _Refused("bad-condition", f"a cast to {target.sql('postgres')}", f"casts may be to: {known}")
        return e.Cast(self.operand(node.this), kind)

    def interval(self, node: exp.Interval) -> e.Expr:
        unit = node.args.get("unit")
        plain = isinstance(node.this, exp.Literal) and node.this.is_string and (unit is None or type(unit) is exp.Var)
        if not plain:
            raise _Refused("bad-condition", "an interval is written interval '3 days'")
        amount = node.this.name if node.this is not None else ""
        text = f"{amount} {unit.name.lower()}" if unit is not None else amount
        return e.Cast(e.Lit(text, "string"), "interval")

    # --- the switch

    def read(self, node: exp.Expr) -> e.Expr:
        simple = _SIMPLE.get(type(node))
        if simple is not None:
            return simple(self, node)
        if type(node) in _COMPARISONS:
            return self.comparison(node, _COMPARISONS[type(node)])
        if type(node) in _ARITHMETIC:
            return e.Op(_ARITHMETIC[type(node)], self.operand(node.this), self.operand(node.expression))
        if isinstance(node, exp.Func):
            return self.call(node)
        if isinstance(node, (exp.Subquery, exp.Select, exp.Exists)):
            raise _Refused("bad-condition", "a sub-select in a condition", "declare it under `sets:`: column in NAME")
        raise _Refused("bad-condition", f"{node.sql('postgres')!r} isn't part of the condition language", "use sql:")


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _function_name(node: exp.Expr) -> str:
    names = {
        exp.CurrentTimestamp: "now",
        exp.Trim: "btrim",
        exp.TimestampTrunc: "date_trunc",
        exp.Ceil: "ceil",
    }
    for kind, name in names.items():
        if isinstance(node, kind):
            return name
    return node.sql_name().lower() if isinstance(node, exp.Func) else type(node).__name__.lower()


def _folded(name: str) -> str:
    """An unquoted name as PostgreSQL stores it: only ASCII letters are folded, in any encoding alike."""
    return "".join(c.lower() if c.isascii() else c for c in name)


def _date_trunc(reader: _Reader, node: exp.TimestampTrunc) -> e.Expr:
    if node.args.get("zone") or type(node.args["unit"]) is not exp.Var or node.args["unit"].name.lower() not in _UNITS:
        raise _Refused("bad-condition", "date_trunc takes a unit in quotes and a value: date_trunc('day', created_at)")
    unit = node.args["unit"].name.lower()
    return e.Call("date_trunc", (e.Lit(unit, "string"), reader.operand(node.this)))


def _now(_reader: _Reader, node: exp.Expr) -> e.Expr:
    if any(node.args.values()):
        raise _Refused("bad-condition", "now() takes no argument")
    return e.Call("now", ())


def _array(reader: _Reader, node: exp.Array) -> e.Expr:
    return e.Array(tuple(reader.operand(item) for item in node.expressions))


# Each reader takes the node type that stands beside it; a dict can't say so, hence Any.
_SIMPLE: dict[type[exp.Expr], Callable[[_Reader, Any], e.Expr]] = {
    exp.Column: _Reader.column,
    exp.Literal: _Reader.literal,
    exp.Boolean: lambda _, n: e.TRUE if n.this else e.FALSE,
    exp.Null: lambda _r, _n: e.Lit("null", "null"),
    exp.Paren: lambda r, n: r.read(n.this),
    exp.And: lambda r, n: e.conjunction((r.read(n.this), r.read(n.expression))),
    exp.Or: lambda r, n: e.disjunction((r.read(n.this), r.read(n.expression))),
    exp.Not: _Reader.negation,
    exp.Is: lambda r, n: r.test(n, negated=False),
    exp.In: lambda r, n: r.membership(n, negated=False),
    exp.Between: lambda r, n: r.between(n, negated=False),
    exp.Neg: lambda r, n: e.Prefix("-", r.operand(n.this)),
    exp.Cast: _Reader.cast,
    exp.Interval: _Reader.interval,
    exp.Array: _array,
    exp.CurrentTimestamp: _now,
    exp.CurrentDate: lambda _r, _n: e.Keyword("current_date"),
    exp.TimestampTrunc: _date_trunc,
}


class _TooDeep(Exception):
    """The parser gave up."""


@lru_cache(maxsize=1024)
def _tree(text: str) -> exp.Expr:
    """What the parser makes of a text, which is only read: one that stands in many rules is parsed once."""
    try:
        tokens = sqlglot.tokenize(text, read="postgres")
        if any(token.comments for token in tokens):
            raise _Refused("bad-condition", "a condition has no comments")
        for name, _, unit in zip(tokens, tokens[1:], tokens[2:], strict=False):
            # the parser reads a column here as the unit of the same name
            if name.text.lower() == "date_trunc" and unit.token_type is not TokenType.STRING:
                raise _Refused("bad-condition", "date_trunc takes a unit in quotes")
        return sqlglot.parse_one(text, dialect="postgres", into=exp.Condition)
    except RecursionError as error:
        raise _TooDeep(str(error)) from error


def parse(condition: Condition, names: Names, diagnostics: Diagnostics) -> e.Expr | None:
    """The condition as an Expr, or None after saying why not."""
    if condition.raw:
        return parse_raw(condition, names, diagnostics)
    reader = _Reader(condition, names, diagnostics)
    try:
        return reader.read(_tree(condition.text))
    except (SqlglotError, _TooDeep) as error:
        message = f"not a condition: {first_line(error)}"
        diagnostics.error("bad-condition", message, condition.span, "one boolean expression")
    except _Refused as refusal:
        diagnostics.error(refusal.code, str(refusal), condition.span, *refusal.hints)
    except RecursionError:
        diagnostics.error("bad-condition", "the condition is nested too deeply", condition.span)
    return None
