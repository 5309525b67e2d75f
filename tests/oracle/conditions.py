"""Random conditions over the columns of one table: small trees, mostly of leaves that some rows meet and some don't."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .choices import Choices
from .expressions import (
    And,
    Between,
    Coalesce,
    Col,
    Compare,
    Distinct,
    Expr,
    InList,
    InSet,
    Is,
    Lit,
    Lower,
    Not,
    Or,
    Plus,
    StartsWith,
    TokenValue,
    Value,
)
from .world import Column

UUIDS = (
    "00000000-0000-4000-8000-00000000000a",
    "00000000-0000-4000-8000-00000000000b",
    "00000000-0000-4000-8000-00000000000c",
)
DOMAIN: Mapping[str, tuple[Value, ...]] = {
    "uuid": UUIDS,
    "text": ("open", "closed", "Open", "o'clock"),
    "int": (1, 2, 3, 0),
    "bool": (True, False),
}


@dataclass(frozen=True)
class Names:
    """What a condition may speak of. `tokens` and `sets`: name -> column type."""

    columns: tuple[Column, ...]
    tokens: Mapping[str, str] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)
    alias: str = ""
    qualifier: str = ""
    domain: Mapping[str, tuple[Value, ...]] = field(default_factory=lambda: DOMAIN)

    def col(self, column: Column) -> Col:
        return Col(column.name, self.alias, self.qualifier)

    def of_type(self, kind: str) -> tuple[Column, ...]:
        return tuple(c for c in self.columns if c.type == kind)


def condition(c: Choices, names: Names, depth: int = 2) -> Expr:
    """A boolean expression of at most `depth` levels of AND, OR and NOT."""
    if depth == 0 or not c.chance(45):
        return leaf(c, names)
    if c.chance(25):
        return Not(condition(c, names, depth - 1))
    operands = tuple(condition(c, names, depth - 1) for _ in range(c.number(2, 3)))
    return Or(operands) if c.chance(70) else And(operands)


def leaf(c: Choices, names: Names) -> Expr:
    makers: list[Callable[[Choices, Names, Column], Expr | None]] = [
        _token, _token, _set, _compare, _compare, _list, _null, _typed, _typed, _column, _different,
    ]  # fmt: skip
    column = c.pick(tuple(col for col in names.columns if col.type in names.domain))
    return c.pick(makers)(c, names, column) or _compare(c, names, column)


def _token(c: Choices, names: Names, column: Column) -> Expr | None:
    fitting = [name for name, kind in names.tokens.items() if kind == column.type]
    return Compare("=", names.col(column), TokenValue(c.pick(fitting))) if fitting else None


def _set(c: Choices, names: Names, column: Column) -> Expr | None:
    fitting = [name for name, kind in names.sets.items() if kind == column.type]
    return InSet(names.col(column), c.pick(fitting)) if fitting else None


def _compare(c: Choices, names: Names, column: Column) -> Expr:
    value = Lit(c.pick(names.domain[column.type]))
    if column.type == "int":
        return Compare(c.pick(("=", "<=", ">=", "<", ">")), names.col(column), value)
    return Compare("=", names.col(column), value)


def _list(c: Choices, names: Names, column: Column) -> Expr:
    items = c.some(names.domain[column.type], 2)
    return InList(names.col(column), items, c.chance(15))


def _null(c: Choices, names: Names, column: Column) -> Expr:
    return Is(names.col(column), "null", c.chance(60))


def _typed(c: Choices, names: Names, column: Column) -> Expr:
    """A form of its own for each type."""
    col = names.col(column)
    if column.type == "bool":
        return c.pick((col, Is(col, "true"), Is(col, "false", True), Coalesce(col, True), Coalesce(col, False)))
    if column.type == "text":
        like = (Compare("=", Lower(col), Lit("open")), Compare("=", Coalesce(col, "open"), Lit("open")))
        return c.pick((StartsWith(col, "o"), *like))
    if column.type == "int":
        sums = (Compare(">=", Plus(col, 1), Lit(2)), Compare("<", Coalesce(col, 0), Lit(3)))
        return c.pick((Between(col, 1, 2), *sums))
    return Is(col, "null", True)


def _column(c: Choices, names: Names, column: Column) -> Expr | None:
    others = [other for other in names.of_type(column.type) if other != column]
    return Compare("=", names.col(column), names.col(c.pick(others))) if others else None


def _different(c: Choices, names: Names, column: Column) -> Expr:
    value = Lit(c.pick(names.domain[column.type]))
    if c.chance(50):
        return Distinct(names.col(column), value, c.chance(50))
    return Compare("<>", names.col(column), value)
