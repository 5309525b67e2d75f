"""Conditions as small trees of our own: what `predicate.py` admits, and the only thing that becomes SQL.

The printer puts parentheses round every operation, so that no reader and no parser has to know precedence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from mcp_rls import sql


@dataclass(frozen=True)
class Expr:
    """A node; immutable, equal by content."""

    def children(self) -> Iterator[Expr]:
        for name in self.__dataclass_fields__:  # what fields() would look up and copy for every node
            value = getattr(self, name)
            if isinstance(value, Expr):
                yield value
            elif isinstance(value, tuple):
                yield from (v for v in value if isinstance(v, Expr))

    def walk(self) -> Iterator[Expr]:
        yield self
        for child in self.children():
            yield from child.walk()


@dataclass(frozen=True)
class Col(Expr):
    name: str


@dataclass(frozen=True)
class Lit(Expr):
    """A constant: text with its SQL spelling decided by `kind`: 'string' | 'number' | 'boolean' | 'null'."""

    text: str
    kind: str


@dataclass(frozen=True)
class Token(Expr):
    """token.<name>: 'person', 'client' or a declared claim."""

    name: str


@dataclass(frozen=True)
class SetValues(Expr):
    """The values of a named set, as an array."""

    name: str


@dataclass(frozen=True)
class Op(Expr):
    """A binary operator: comparison, arithmetic, text, array or jsonb."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Prefix(Expr):
    """NOT, or a sign."""

    op: str
    operand: Expr


@dataclass(frozen=True)
class Test(Expr):
    """A postfix test: IS NULL, IS NOT TRUE, ..."""

    operand: Expr
    test: str


@dataclass(frozen=True)
class Surely(Expr):
    """True where `operand` is, else false; see `probably`."""

    operand: Expr


@dataclass(frozen=True)
class Kept(Expr):
    """`left op right` for = or <>, true, false or NULL as it is, in a form that the planner doesn't see through."""

    left: Expr
    op: str
    right: Expr


@dataclass(frozen=True)
class Logic(Expr):
    """AND or OR of two or more."""

    op: str
    operands: tuple[Expr, ...]


@dataclass(frozen=True)
class In(Expr):
    """`operand` in a list of constants or expressions."""

    operand: Expr
    items: tuple[Expr, ...]
    negated: bool = False


@dataclass(frozen=True)
class Any(Expr):
    """`left op ANY (array)` or `left op ALL (array)`."""

    left: Expr
    op: str
    array: Expr
    quantifier: str = "any"


@dataclass(frozen=True)
class Call(Expr):
    name: str
    arguments: tuple[Expr, ...]


@dataclass(frozen=True)
class Keyword(Expr):
    """CURRENT_DATE and its like."""

    word: str


@dataclass(frozen=True)
class Cast(Expr):
    operand: Expr
    type: str


@dataclass(frozen=True)
class Array(Expr):
    items: tuple[Expr, ...]


@dataclass(frozen=True)
class Raw(Expr):
    """Text from `sql:`, cut where it names the token: strings are verbatim, nodes are printed."""

    parts: tuple[str | Expr, ...]


def probably(condition: str) -> str:
    """SQL that is true where `condition` is, else false, and that the planner merges with nothing.

    It thinks that 199 rows of 200 are let through, as of any test for NULL of what it knows nothing about; of the same
    as a CASE it would think so of one row in two, and order and join rows in other ways than without policies. And it
    thinks NULLIF a comparison dearer than the condition, so that where that stands by itself too, it is asked first:
    through a table without an index 1.05 times the plain comparison, in place of 1.11 with a CASE.
    """
    return f"(nullif({condition}, false) is not null)"


TRUE = Lit("true", "boolean")
FALSE = Lit("false", "boolean")


def conjunction(operands: tuple[Expr, ...]) -> Expr:
    """AND of all, flattened, duplicates and `true` dropped."""
    return _join("and", operands, neutral=TRUE, absorbing=FALSE)


def disjunction(operands: tuple[Expr, ...]) -> Expr:
    """OR of all, flattened, duplicates and `false` dropped."""
    return _join("or", operands, neutral=FALSE, absorbing=TRUE)


def _join(op: str, operands: tuple[Expr, ...], *, neutral: Expr, absorbing: Expr) -> Expr:
    flat: list[Expr] = []
    for operand in operands:
        parts = operand.operands if isinstance(operand, Logic) and operand.op == op else (operand,)
        flat += [p for p in parts if p != neutral and p not in flat]
    if absorbing in flat:
        return absorbing
    if not flat:
        return neutral
    return flat[0] if len(flat) == 1 else Logic(op, tuple(flat))


def columns(expr: Expr) -> frozenset[str]:
    return frozenset(n.name for n in expr.walk() if isinstance(n, Col))


def constant_over_rows(expr: Expr) -> bool:
    """Whether the value is the same for every row of one statement (no column in it)."""
    return not any(isinstance(n, Col | Raw) for n in expr.walk())


def render(  # noqa: C901, PLR0911, PLR0912 - one flat case for each node
    expr: Expr, value: Callable[[Token | SetValues], str], qualifier: str = ""
) -> str:
    """SQL text of `expr`; `value` gives the text of what a session carries: a token's value, a set's array.

    `qualifier` is put before each column ('r.'); text from `sql:` stays as it is.
    """

    def show(e: Expr) -> str:
        return render(e, value, qualifier)

    match expr:
        case Token() | SetValues():
            return value(expr)
        case Col(name):
            return qualifier + sql.ident(name)
        case Lit(text, kind):
            return sql.literal(text) if kind == "string" else text
        case Op(op, left, right):
            return f"({show(left)} {op} {show(right)})"
        case Prefix(op, operand):
            return f"({op} {show(operand)})"
        case Test(operand, test):
            return f"({show(operand)} {test})"
        case Kept(left, op, right):
            a, b, other = show(left), show(right), {"=": "<>", "<>": "="}[op]
            return f"case when {a} {op} {b} then true when {a} {other} {b} then false end"
        case Surely(operand):
            return probably(show(operand))
        case Logic(op, operands):
            return "(" + f" {op} ".join(map(show, operands)) + ")"
        case In(operand, items, negated):
            return f"({show(operand)} {'not in' if negated else 'in'} ({', '.join(map(show, items))}))"
        case Any(left, op, array, quantifier):
            return f"({show(left)} {op} {quantifier} ({show(array)}))"
        case Call(name, arguments):
            return f"{name}({', '.join(map(show, arguments))})"
        case Keyword(word):
            return word
        case Cast(operand, type_):
            return f"({show(operand)})::{type_}"
        case Array(items):
            return f"array[{', '.join(map(show, items))}]"
        case Raw(parts):
            return "(" + "".join(p if isinstance(p, str) else show(p) for p in parts) + ")"
    raise AssertionError(f"no spelling for {expr!r}")


def harden(expr: Expr, indexed: frozenset[str] | None, *, positive: bool = True) -> Expr:
    """The same condition with every equality that the planner could merge written so that it can't do harm.

    The planner puts equalities that must all hold on one row into classes, with those of the query's own WHERE, and
    may then test another member of the class in place of ours. It finds them below OR and NOT too (common parts of
    an OR, De Morgan, constant folding), so each is rewritten wherever it stands; `positive` says that nothing but AND
    and OR is above it, where NULL may be taken for false.

    A column in `indexed` (None: unknown, taken for indexed) keeps the plain equality, for the index and its order,
    beside one that no class takes up, tested on the rows that are found. It needs the value twice: one sub-plan more,
    about a fifth of a point look-up. What would need it once costs more elsewhere: `= any (array[...])` loses the
    index's order (47 times on the newest 50 of 10,000 rows) and doubles the price of a way through the whole table;
    a comparison of rows, `(col, ...) = (select v, v ...)`, is thought 200 times as selective, and joins go wrong.
    Elsewhere `(...) is true` costs next to nothing. Where NULL must stay NULL, a CASE keeps it. Equality with a
    constant is safe as it is: of several members the planner prefers a constant.
    """

    def inner(e: Expr) -> Expr:
        return harden(e, indexed, positive=positive and isinstance(expr, Logic))

    if isinstance(expr, Raw):
        # nothing is known of an author's SQL; it is a whole condition or one side of an OR, so NULL may be false
        return Test(expr, "is true")
    if isinstance(expr, In) and not all(isinstance(item, Lit) for item in expr.items):
        each = tuple(Op("<>" if expr.negated else "=", expr.operand, item) for item in expr.items)
        return harden(conjunction(each) if expr.negated else disjunction(each), indexed, positive=positive)
    hard = mapped(expr, inner)
    match hard:
        case Op("=" | "<>" as op, left, right):
            return _hard_comparison(op, left, right, indexed, positive=positive)
    return hard


def mapped(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """The node with each of its children changed."""
    changed: dict[str, object] = {}
    for name in expr.__dataclass_fields__:
        value = getattr(expr, name)
        if isinstance(value, Expr):
            changed[name] = change(value)
        elif isinstance(value, tuple):
            changed[name] = tuple(change(v) if isinstance(v, Expr) else v for v in value)
    return replace(expr, **changed)


def _hard_comparison(op: str, left: Expr, right: Expr, indexed: frozenset[str] | None, *, positive: bool) -> Expr:
    if constant_over_rows(left) and not constant_over_rows(right):
        left, right = right, left
    if isinstance(right, Lit) or (isinstance(right, Cast) and isinstance(right.operand, Lit)):
        return Op(op, left, right)
    if op == "=" and positive:
        served = constant_over_rows(right) and isinstance(left, Col) and (indexed is None or left.name in indexed)
        plain = Op(op, left, right)
        return Logic("and", (plain, Surely(plain))) if served else Test(plain, "is true")
    return Kept(left, op, right)
