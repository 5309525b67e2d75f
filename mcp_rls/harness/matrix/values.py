"""Values for columns: those that make a condition true and those that don't, by what conditions compare them with."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mcp_rls import sql
from mcp_rls.catalog import Column, Table
from mcp_rls.compiler import expression as e
from mcp_rls.harness.witness import VALUES

NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double precision", "money")
TEXTS = ("text", "character varying", "character", "citext", "name")
TIMES = ("date", "timestamp with time zone", "timestamp without time zone")
_PLAIN = {**VALUES, "macaddr": "'08:00:2b:01:02:03'", "bit varying": "'1'", "tsquery": "'a'"}
_OTHER = "mcp-rls-other"
_FEW = 6  # values of one column, of each source


@dataclass
class Wanted:
    """What is said about the columns of one table. Lists are in the order in which they were met."""

    tokens: dict[str, list[str]] = field(default_factory=dict)  # column -> names of token values compared with it
    sets: dict[str, list[str]] = field(default_factory=dict)  # column -> sets that it is looked for in
    constants: dict[str, list[str]] = field(default_factory=dict)  # column -> texts
    spans: dict[str, list[str]] = field(default_factory=dict)  # column -> intervals
    varied: list[str] = field(default_factory=list)  # columns that take several values

    def read(self, expr: e.Expr, table: Table) -> None:
        """Takes note of a condition."""
        for leaf in leaves(expr):
            columns = sorted(e.columns(leaf))
            if isinstance(leaf, e.Raw):
                self.read_text("".join(part for part in leaf.parts if isinstance(part, str)), table, vary=True)
            for column in columns:
                _add(self.varied, column)
                self._compare(column, leaf)

    def _compare(self, column: str, leaf: e.Expr) -> None:
        for node in leaf.walk():
            match node:
                case e.Token(name):
                    _add(self.tokens.setdefault(column, []), name)
                case e.SetValues(name):
                    _add(self.sets.setdefault(column, []), name)
                case e.Cast(e.Lit(text, "string"), "interval"):
                    _add(self.spans.setdefault(column, []), text)
                case e.Lit(text, "string" | "number"):
                    _add(self.constants.setdefault(column, []), text)

    def read_text(self, text: str, table: Table, *, vary: bool) -> None:
        """Takes note of SQL that isn't understood: constants behind the name of a column, up to the next one."""
        names = {column.name for column in table.columns}
        column = ""
        for match in re.finditer(
            r"'((?:[^']|'')*)'|(?<![\w.])(-?\d+(?:\.\d+)?)(?![\w.])|\"([^\"]+)\"|([^\W\d]\w*)", text
        ):
            constant = match[1] if match[1] is not None else match[2]
            name = match[3] or match[4]
            if name in names:
                column = name
                if vary:
                    _add(self.varied, column)
            elif constant is not None and column:
                _add(self.constants.setdefault(column, []), constant.replace("''", "'"))


def leaves(expr: e.Expr) -> Iterator[e.Expr]:
    """The conditions that AND, OR and NOT join; constants aside."""
    if isinstance(expr, e.Logic):
        for operand in expr.operands:
            yield from leaves(operand)
    elif isinstance(expr, e.Prefix) and expr.op == "not":
        yield from leaves(expr.operand)
    elif not (isinstance(expr, e.Lit) and expr.kind in ("boolean", "null")):
        yield expr


def candidates(column: Column, wanted: Wanted, known: Sequence[str]) -> tuple[str, ...]:
    """SQL for values that the column should take: what it is compared with, what is near that, and something else.

    `known`: values that only a token or an enumeration knows.
    """
    kind = column.base_type or column.type
    constants = wanted.constants.get(column.name, [])[: 2 * _FEW]
    found: list[str] = [sql.literal(value) for value in known]
    if kind == "boolean":
        found += ["true", "false"]
    elif kind in NUMBERS:
        found += _near(constants)
    elif kind in TEXTS:
        found += [sql.literal(_matching(text)) for text in constants[:_FEW]] + [sql.literal(_OTHER)]
    elif kind in TIMES:
        found += list(_moments(kind, constants, wanted.spans.get(column.name, [])))
    elif column.type.endswith("[]"):
        found += [sql.literal("{" + _quoted(text) + "}") for text in constants[:_FEW]] + ["'{}'"]
    elif kind == "uuid":
        found += [sql.literal(text) for text in constants if _is_uuid(text)]
        found.append(sql.literal(str(uuid.uuid5(uuid.NAMESPACE_OID, "mcp-rls other"))))
    else:
        found += [sql.literal(text) for text in constants[:_FEW]] or ["'{}'"] * (kind in ("json", "jsonb"))
    return tuple(dict.fromkeys([*found, *(["null"] if not column.not_null else [])]))


def plain(column: Column, number: int, labels: Sequence[str] = ()) -> str:
    """SQL for a value that nothing depends on; `number` makes it another one in each row."""
    kind = column.base_type or column.type
    if kind in NUMBERS:
        return str(number)
    if kind == "uuid":
        return sql.literal(str(uuid.uuid5(uuid.NAMESPACE_OID, f"mcp-rls {column.name} {number}")))
    if kind in TEXTS:
        return sql.literal(_fitting(column, f"mcp-rls-test-{number}", number))
    if column.type.endswith("[]"):
        return "'{}'"
    if kind.endswith("range"):
        return "'empty'"
    return _PLAIN.get(kind) or (sql.literal(labels[0]) if labels else "null")


def _fitting(column: Column, text: str, number: int) -> str:
    """The text, or as many characters as there is room for, the telling ones last."""
    room = re.search(r"\((\d+)\)", column.type)
    if room is None or len(text) <= int(room[1]):
        return text
    return f"{number:x}".rjust(int(room[1]), "x")[-int(room[1]) :]


def _near(constants: Iterable[str]) -> list[str]:
    """Each number, and the ones before and after it."""
    found: list[str] = []
    for text in constants:
        if re.fullmatch(r"-?\d+(\.\d+)?", text):
            found += [text, f"{text} - 1", f"{text} + 1"]
    return found[: 2 * _FEW]


def _matching(text: str) -> str:
    """A text that a LIKE pattern or a plain regular expression would take; other texts stay as they are."""
    return text.strip("^$").replace("%", "x").replace(".*", "x") if any(c in text for c in "%^$*") else text


def _moments(kind: str, constants: Sequence[str], spans: Sequence[str]) -> Iterator[str]:
    for text in constants[:_FEW]:
        if re.match(r"\d{4}-\d\d", text):
            for shift in ("- interval '1 day'", "+ interval '1 day'"):
                yield f"({sql.literal(text)}::{kind} {shift})"
    for span in spans[:_FEW]:
        for form in ("now() - 2 * {0}", "now() - {0} / 2", "now() + {0} / 2", "now() + 2 * {0}"):
            yield form.format(f"interval {sql.literal(span)}")
    yield from ("now() - interval '1 day'", "now() + interval '1 day'")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_uuid(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text))


def _add(listed: list[str], value: str) -> None:
    if value not in listed:
        listed.append(value)
