"""Cases that differ in constants alone, as one: the number of rules reaches neither the planner nor the row.

A ceiling is a CASE with an arm for each row condition. Many arms of one shape (`region = 'r1'`, `region = 'r2'`) become
one arm, whose constants are picked once a statement, by a gate of their own, from an array.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mcp_rls import sql
from mcp_rls.catalog import Table
from mcp_rls.compiler import expression as e

GateRules = dict[str, list[list[object]]]  # class -> [[case, scope, ...], ...], see gate.py
Ask = Callable[[GateRules], str]
Case = tuple[e.Expr, ...]  # what the old row must meet, and for UPDATE what the new one must

DIRECT = -1  # what a gate says of a session that passes every ceiling, in place of a case
CLOSED = 0  # and of one that passes none
MANY = 8  # a pick costs a sub-plan, as much as about so many arms
_COMPARISONS = frozenset({"=", "<>", "<", "<=", ">", ">="})
# Types whose constants mean the same in an array: no modifier to lose, nothing like 'now' or 1.5 to be made another.
_TEXTUAL = frozenset({"text", "character varying", "uuid"})
_DIGITS = {"smallint": 4, "integer": 9, "bigint": 18}


@dataclass(frozen=True)
class Hole(e.Expr):
    """A constant that was taken out; `many`: a list of them, as an array."""

    number: int
    type: str
    many: bool = False


@dataclass(frozen=True)
class _Member:
    case: int
    values: tuple[str, ...]  # what goes into each hole, as the text of a value or of an array


def merged(rules: GateRules, cases: list[Case], facts: Table | None, open_case: Ask) -> tuple[GateRules, list[Case]]:
    """The same rules and cases, with more than MANY of one shape made one. `open_case`: SQL for that of such rules."""
    groups: dict[Case, list[_Member]] = {}
    for number, case in enumerate(cases, start=1):
        values: list[str] = []
        shape = tuple(_shape(part, facts, values) for part in case)
        groups.setdefault(shape, []).append(_Member(number, tuple(values)))
    if all(len(members) <= MANY for members in groups.values()):
        return rules, cases
    made: list[Case] = []
    renumbered: dict[object, int] = {}
    for shape, members in groups.items():
        if len(members) <= MANY:
            for member in members:
                made.append(cases[member.case - 1])
                renumbered[member.case] = len(made)
        else:
            made.append(tuple(_filled(part, rules, members, open_case) for part in shape))
            renumbered |= {member.case: len(made) for member in members}
    return _with_numbers(rules, renumbered), made


def _with_numbers(rules: GateRules, numbers: dict[object, int]) -> GateRules:
    """The rules with other case numbers; an entry stays even without one (0), for the first that is held counts."""
    return {name: [[numbers.get(entry[0], 0), *entry[1:]] for entry in entries] for name, entries in rules.items()}


def _shape(expr: e.Expr, facts: Table | None, values: list[str]) -> e.Expr:
    """`expr` with each constant that a column is compared with replaced by a hole; its text is added to `values`."""
    match expr:
        case e.Op(op, e.Col(name) as column, e.Lit() as value) if op in _COMPARISONS and _fits(facts, name, (value,)):
            return e.Op(op, column, _hole(facts, name, value.text, values))
        case e.In(e.Col(name) as column, items, negated) if _fits(facts, name, items):
            texts = [item.text for item in items if isinstance(item, e.Lit)]
            hole = _hole(facts, name, _array_text(texts), values, many=True)
            return e.Any(column, "<>", hole, "all") if negated else e.Any(column, "=", hole)
        case e.Logic(op, operands):
            return e.Logic(op, tuple(_shape(part, facts, values) for part in operands))
        case e.Prefix(op, operand):
            return e.Prefix(op, _shape(operand, facts, values))
    return expr


def _type(facts: Table | None, name: str) -> str:
    column = facts.column(name) if facts else None
    return column.base_type if column else ""


def _fits(facts: Table | None, name: str, items: tuple[e.Expr, ...]) -> bool:
    kind = _type(facts, name)
    if kind in _TEXTUAL:
        return all(isinstance(item, e.Lit) and item.kind == "string" for item in items)
    digits = rf"[0-9]{{1,{_DIGITS.get(kind, 1)}}}"
    return kind in _DIGITS and all(isinstance(i, e.Lit) and re.fullmatch(digits, i.text) is not None for i in items)


def _hole(facts: Table | None, name: str, text: str, values: list[str], *, many: bool = False) -> Hole:
    values.append(text)
    return Hole(len(values) - 1, _type(facts, name), many)


def _array_text(texts: list[str]) -> str:
    """The text of an array, as PostgreSQL reads it (manual, 8.15 Arrays)."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


def _filled(expr: e.Expr, rules: GateRules, members: list[_Member], open_case: Ask) -> e.Expr:
    """The shape with its holes filled by picks: each takes the constant of the case that is open."""
    if isinstance(expr, Hole):
        distinct = list(dict.fromkeys(member.values[expr.number] for member in members))
        place: dict[object, int] = {member.case: distinct.index(member.values[expr.number]) + 1 for member in members}
        picked = f"({sql.array(tuple(distinct))})[{open_case(_with_numbers(rules, place))}]"
        return e.Keyword(f"(select {picked})::{expr.type}{'[]' if expr.many else ''}")
    return e.mapped(expr, lambda child: _filled(child, rules, members, open_case))
