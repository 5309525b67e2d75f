"""Proof that two conditions hold on the same rows: a table of all the values that their parts can take.

Sound, not complete. Columns with few values (boolean, enum, a CHECK that lists them) take each; a part that isn't
understood is true, false or NULL whatever the other parts are. Conditions filter, so NULL counts as false.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

from mcp_rls.compiler import expression as e

Value = str | bool | None  # of a column as text, of a part as a truth value
_OTHER = "\x00"  # whatever value isn't named
_MOST = 20_000  # rows of the table
_TESTS: Mapping[str, tuple[Value, bool]] = {
    "is null": (None, True),
    "is not null": (None, False),
    "is true": (True, True),
    "is not true": (True, False),
    "is false": (False, True),
    "is not false": (False, False),
}
_COMPARISONS = frozenset({"=", "<>", "<", "<=", ">", ">="})
_OPPOSITE = {"<>": "=", ">=": "<", "<=": ">", "is distinct from": "is not distinct from"}


@dataclass(frozen=True)
class Domain:
    """What a column can hold: `values` as text, None where that is open; NULL too if it is `nullable`."""

    kind: Literal["text", "number", "boolean"]
    values: tuple[str, ...] | None = None
    nullable: bool = True


Domains = Mapping[str, Domain]


def same(one: e.Expr, other: e.Expr, domains: Domains) -> bool:
    """Whether it is proved that each row which meets one of them meets the other."""
    if one == other:
        return True
    columns, parts = _variables((one, other), domains)
    choices: list[tuple[Value, ...]] = [_choices(columns[name], domains[name]) for name in columns]
    choices += [(True, False, None)] * len(parts)
    size = 1
    for values in choices:
        size *= len(values)
    if size > _MOST:
        return False
    keys = [*(e.Col(name) for name in columns), *parts]
    rows = (dict(zip(keys, row, strict=True)) for row in product(*choices))
    return all((_truth(one, row) is True) == (_truth(other, row) is True) for row in rows)


def never(expr: e.Expr, domains: Domains) -> bool:
    """Whether it is proved that no row meets it."""
    return same(expr, e.FALSE, domains)


def _choices(named: set[str], domain: Domain) -> tuple[Value, ...]:
    values = domain.values if domain.values is not None else (*sorted(named), _OTHER)
    return (*values, None) if domain.nullable else values


def _variables(exprs: tuple[e.Expr, ...], domains: Domains) -> tuple[dict[str, set[str]], list[e.Expr]]:
    """Columns that are compared with constants alone, with these; and the parts that nothing is known of."""
    columns: dict[str, set[str]] = {}
    parts: dict[e.Expr, None] = {}
    for atom in (a for expr in exprs for a in _atoms(expr)):
        listed = _listed(atom, domains)
        if listed is None:
            parts[_plain(atom)[0]] = None
        else:
            columns.setdefault(listed[0], set()).update(listed[1])
    return columns, list(parts)


def _atoms(expr: e.Expr) -> Iterator[e.Expr]:
    match expr:
        case e.Logic(_, operands):
            for operand in operands:
                yield from _atoms(operand)
        case e.Prefix("not", operand) | e.Surely(operand):
            yield from _atoms(operand)
        case e.Test(operand, test) if test in _TESTS and _is_truth(operand):
            yield from _atoms(operand)
        case e.Lit(_, "boolean" | "null"):
            return
        case _:
            yield expr


def _is_truth(expr: e.Expr) -> bool:
    return isinstance(expr, e.Logic | e.In | e.Any | e.Test) or (isinstance(expr, e.Op) and expr.op in _COMPARISONS)


def _plain(atom: e.Expr) -> tuple[e.Expr, bool]:
    """The atom without a negation of its own, and whether it had one."""
    match atom:
        case e.Op(op, left, right) if op in _OPPOSITE:
            return e.Op(_OPPOSITE[op], left, right), True
        case e.In(operand, items, True):
            return e.In(operand, items), True
        case e.Any(left, "<>", array, "all"):
            return e.Any(left, "=", array), True
        case e.Test(operand, test) if test.startswith("is not "):
            return e.Test(operand, "is " + test.removeprefix("is not ")), True
    return atom, False


def _listed(atom: e.Expr, domains: Domains) -> tuple[str, tuple[str, ...]] | None:
    """The column and the constants, where an atom compares one with the other and each value is one text."""
    plain, _ = _plain(atom)
    match plain:
        case e.Col(name) if name in domains and domains[name].kind == "boolean":
            return name, ()
        case e.Test(e.Col(name), test) if name in domains and (test == "is null" or domains[name].kind == "boolean"):
            return name, ()
        case e.Op("=" | "is not distinct from", e.Col(name), e.Lit() as item) if name in domains:
            items: tuple[e.Expr, ...] = (item,)
        case e.In(e.Col(name), items) if name in domains:
            pass
        case _:
            return None
    texts = tuple(t for item in items if (t := _text(item, domains[name])) is not None)
    return (name, texts) if len(texts) == len(items) else None


def _text(item: e.Expr, domain: Domain) -> str | None:
    """The one spelling of a constant, or None."""
    if not isinstance(item, e.Lit) or item.kind == "null":
        return None
    if domain.kind == "number" and not re.fullmatch(r"0|[1-9][0-9]{0,17}", item.text):
        return None
    return item.text if item.kind == {"text": "string"}.get(domain.kind, domain.kind) else None


def _truth(expr: e.Expr, row: Mapping[e.Expr, Value]) -> Value:
    match expr:
        case e.Lit(text, "boolean"):
            return text == "true"
        case e.Lit(_, "null"):
            return None
        case e.Logic(op, operands):
            return _joined(op, [_truth(operand, row) for operand in operands])
        case e.Prefix("not", operand):
            return _not(_truth(operand, row))
        case e.Surely(operand):
            return _truth(operand, row) is True
        case e.Test(operand, test) if test in _TESTS and _is_truth(operand):
            wanted, positive = _TESTS[test]
            return (_truth(operand, row) is wanted) == positive
    plain, negated = _plain(expr)
    value = row[plain] if plain in row and not isinstance(plain, e.Col) else _compared(plain, row)
    return _not(value) if negated else value


def _compared(atom: e.Expr, row: Mapping[e.Expr, Value]) -> Value:
    """An atom on a column whose value is known."""
    match atom:
        case e.Col():
            return row[atom] == "true" if isinstance(row[atom], str) else row[atom]
        case e.Test(column, "is null"):
            return row[column] is None
        case e.Test(column, test):
            return row[column] == test.removeprefix("is ")
        case e.Op("is not distinct from", column, e.Lit(text, _)):
            return row[column] == text
        case e.Op(_, column, e.Lit(text, _)):
            return None if row[column] is None else row[column] == text
        case e.In(column, items):
            texts = {item.text for item in items if isinstance(item, e.Lit)}
            return None if row[column] is None else row[column] in texts
    raise AssertionError(f"nothing is known of {atom!r}")


def _joined(op: str, values: list[Value]) -> Value:
    decisive = op == "or"
    if decisive in values:
        return decisive
    return None if None in values else not decisive


def _not(value: Value) -> Value:
    return None if value is None else not value
