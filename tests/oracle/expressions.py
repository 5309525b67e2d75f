"""Small expression trees with two readings: PostgreSQL text, `sql()`, and a result in three-valued logic, `value()`.

Values are None (NULL), bool, int and str; a uuid is its canonical text; a timestamptz is an int, days from now().
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Value = None | bool | int | str
Row = Mapping[str, Any]  # of Values; a text[] is a tuple

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")
APP_PERSON = "nullif(current_setting('app.person', true), '')"


@dataclass(frozen=True)
class Scope:
    """What an expression may look at while it is evaluated."""

    rows: Mapping[str, Row]  # alias -> row; '' is the row being judged
    token: Callable[[str], Value]  # token.<name>
    members: Callable[[str], frozenset[Value]]  # of a named set, NULLs dropped
    table: Callable[[str], Iterable[Row]]  # the rows that a sub-select sees
    app_person: str | None  # the person as the app's own policies know it

    def inside(self, alias: str, row: Row) -> Scope:
        return Scope({**self.rows, alias: row}, self.token, self.members, self.table, self.app_person)


def quoted(name: str) -> str:
    """An identifier, in double quotes only where it needs them."""
    return name if _PLAIN.match(name) else '"' + name.replace('"', '""') + '"'


def literal(value: Value, kind: str = "") -> str:
    """A constant; a timestamptz is written relative to now()."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"now() + interval '{value} days'" if kind == "timestamptz" else str(value)
    return "'" + value.replace("'", "''") + "'"


class Expr:
    """A node. `level` orders binding: 1 OR, 2 AND, 3 NOT, 4 a comparison, 5 an operand."""

    level = 4

    def sql(self) -> str:
        raise NotImplementedError

    def value(self, scope: Scope) -> Value:
        raise NotImplementedError

    def holds(self, scope: Scope) -> bool:
        """IS TRUE: NULL does not hold."""
        return self.value(scope) is True

    def within(self, level: int) -> str:
        return self.sql() if self.level >= level else f"({self.sql()})"


@dataclass(frozen=True)
class Lit(Expr):
    literal: Value
    level = 5

    def sql(self) -> str:
        return literal(self.literal)

    def value(self, scope: Scope) -> Value:
        return self.literal


@dataclass(frozen=True)
class Col(Expr):
    """A column. `qualifier` is what stands before it in SQL; `alias` is the row it is looked up in."""

    name: str
    alias: str = ""
    qualifier: str = ""
    level = 5

    def sql(self) -> str:
        prefix = self.qualifier or self.alias
        return f"{prefix}.{quoted(self.name)}" if prefix else quoted(self.name)

    def value(self, scope: Scope) -> Value:
        value: Value = scope.rows[self.alias][self.name]
        return value


@dataclass(frozen=True)
class TokenValue(Expr):
    name: str
    level = 5

    def sql(self) -> str:
        return f"token.{self.name}"

    def value(self, scope: Scope) -> Value:
        return scope.token(self.name)


@dataclass(frozen=True)
class Now(Expr):
    level = 5

    def sql(self) -> str:
        return "now()"

    def value(self, scope: Scope) -> Value:
        return 0


@dataclass(frozen=True)
class OwnRow(Expr):
    """The app's own idea of "mine": the column names the person that the app has put into a setting."""

    column: Expr

    def sql(self) -> str:
        return f"{self.column.sql()}::text = {APP_PERSON}"

    def value(self, scope: Scope) -> Value:
        mine = self.column.value(scope)
        return None if mine is None or scope.app_person is None else str(mine) == scope.app_person


@dataclass(frozen=True)
class Compare(Expr):
    operator: str  # = <> < <= > >=
    left: Expr
    right: Expr

    def sql(self) -> str:
        return f"{self.left.within(5)} {self.operator} {self.right.within(5)}"

    def value(self, scope: Scope) -> Value:
        left, right = self.left.value(scope), self.right.value(scope)
        if left is None or right is None:
            return None
        if self.operator in ("=", "<>"):
            return (left == right) is (self.operator == "=")
        assert isinstance(left, int)
        assert isinstance(right, int)
        return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[self.operator]


@dataclass(frozen=True)
class Distinct(Expr):
    left: Expr
    right: Expr
    negated: bool = False

    def sql(self) -> str:
        word = "is not distinct from" if self.negated else "is distinct from"
        return f"{self.left.within(5)} {word} {self.right.within(5)}"

    def value(self, scope: Scope) -> Value:
        return (self.left.value(scope) == self.right.value(scope)) is self.negated


@dataclass(frozen=True)
class InList(Expr):
    operand: Expr
    items: tuple[Value, ...]
    negated: bool = False

    def sql(self) -> str:
        word = "not in" if self.negated else "in"
        return f"{self.operand.within(5)} {word} ({', '.join(literal(i) for i in self.items)})"

    def value(self, scope: Scope) -> Value:
        found = member(self.operand.value(scope), self.items)
        return found if found is None or not self.negated else not found


@dataclass(frozen=True)
class InSet(Expr):
    operand: Expr
    name: str

    def sql(self) -> str:
        return f"{self.operand.within(5)} in {self.name}"

    def value(self, scope: Scope) -> Value:
        return member(self.operand.value(scope), scope.members(self.name))


@dataclass(frozen=True)
class Between(Expr):
    operand: Expr
    low: int
    high: int

    def sql(self) -> str:
        return f"{self.operand.within(5)} between {self.low} and {self.high}"

    def value(self, scope: Scope) -> Value:
        value = self.operand.value(scope)
        return None if value is None else self.low <= int(value) <= self.high


@dataclass(frozen=True)
class StartsWith(Expr):
    """LIKE with a constant beginning that holds no wildcard."""

    operand: Expr
    prefix: str

    def sql(self) -> str:
        return f"{self.operand.within(5)} like {literal(self.prefix + '%')}"

    def value(self, scope: Scope) -> Value:
        value = self.operand.value(scope)
        return None if value is None else str(value).startswith(self.prefix)


@dataclass(frozen=True)
class Is(Expr):
    """`x is [not] null | true | false`: never NULL itself."""

    operand: Expr
    what: str
    negated: bool = False

    def sql(self) -> str:
        return f"{self.operand.within(5)} is {'not ' if self.negated else ''}{self.what}"

    def value(self, scope: Scope) -> Value:
        value = self.operand.value(scope)
        return (value is {"null": None, "true": True, "false": False}[self.what]) is not self.negated


@dataclass(frozen=True)
class Not(Expr):
    operand: Expr
    level = 3

    def sql(self) -> str:
        return f"not {self.operand.within(3)}"

    def value(self, scope: Scope) -> Value:
        value = self.operand.value(scope)
        return None if value is None else not value


@dataclass(frozen=True)
class And(Expr):
    operands: tuple[Expr, ...]
    level = 2

    def sql(self) -> str:
        return " and ".join(o.within(3) for o in self.operands)

    def value(self, scope: Scope) -> Value:
        values = [o.value(scope) for o in self.operands]
        return False if False in values else None if None in values else True


@dataclass(frozen=True)
class Or(Expr):
    operands: tuple[Expr, ...]
    level = 1

    def sql(self) -> str:
        return " or ".join(o.within(2) for o in self.operands)

    def value(self, scope: Scope) -> Value:
        values = [o.value(scope) for o in self.operands]
        return True if True in values else None if None in values else False


@dataclass(frozen=True)
class Coalesce(Expr):
    operand: Expr
    default: Value
    level = 5

    def sql(self) -> str:
        return f"coalesce({self.operand.sql()}, {literal(self.default)})"

    def value(self, scope: Scope) -> Value:
        value = self.operand.value(scope)
        return self.default if value is None else value


@dataclass(frozen=True)
class Lower(Expr):
    operand: Expr
    level = 5

    def sql(self) -> str:
        return f"lower({self.operand.sql()})"

    def value(self, scope: Scope) -> Value:
        value = self.operand.value(scope)
        return None if value is None else str(value).lower()


@dataclass(frozen=True)
class Plus(Expr):
    operand: Expr
    amount: int
    level = 4  # in parentheses as an operand

    def sql(self) -> str:
        return f"{self.operand.within(5)} + {self.amount}"

    def value(self, scope: Scope) -> Value:
        value = self.operand.value(scope)
        return None if value is None else int(value) + self.amount


@dataclass(frozen=True)
class Select(Expr):
    """`form` of a sub-select: positive ('exists', 'in', 'any') or one that absence can make true."""

    form: str
    table: str
    where: Expr  # over alias 'm', and '' for the row outside
    operand: Expr | None = None
    column: str = "id"
    limit: int = 1

    def sql(self) -> str:
        source = f"from app.{quoted(self.table)} m where {self.where.sql()}"
        column = f"m.{quoted(self.column)}"
        operand = self.operand.within(5) if self.operand else ""
        return {
            "exists": f"exists (select 1 {source})",
            "in": f"{operand} in (select {column} {source})",
            "any": f"{operand} = any (array(select {column} {source}))",
            "not exists": f"(not exists (select 1 {source}))",
            "count": f"(select count(*) {source}) < {self.limit}",
            "except": f"exists (select {operand} except select {column} {source})",
            "scalar": f"(select {column} {source} order by 1 limit 1) is null",
            "all": f"{operand} <> all (select {column} {source})",
            "case": f"case when exists (select 1 {source}) then false else true end",
            "coalesce": f"coalesce((select false {source} limit 1), true)",
        }[self.form]

    def value(self, scope: Scope) -> Value:
        found = [row for row in scope.table(self.table) if self.where.holds(scope.inside("m", row))]
        operand = self.operand.value(scope) if self.operand else None
        column = [row[self.column] for row in found]
        if self.form in ("in", "any"):
            return member(operand, column)
        if self.form == "all":
            contained = member(operand, column)
            return None if contained is None else not contained
        if self.form == "scalar":
            return not found or min(column, key=lambda v: (v is None, v)) is None
        return {"exists": bool(found), "count": len(found) < self.limit, "except": operand not in column}.get(
            self.form, not found
        )


POSITIVE = ("exists", "in", "any")
BY_ABSENCE = ("not exists", "count", "except", "scalar", "all", "case", "coalesce")


def member(value: Value, items: Iterable[Value]) -> bool | None:
    """SQL's `value in (items)`: false for no items at all, NULL where a NULL leaves it open."""
    listed = list(items)
    if not listed:
        return False
    if value is None:
        return None
    return True if value in listed else None if None in listed else False
