"""Lines of a cases file, and the suite that a file with these lines would have."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mcp_rls.catalog import Column, Table, TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.suite import Case, Suite, read_suite

_INTEGERS = ("smallint", "integer", "bigint")
_PLAIN = re.compile(r"[a-z][a-z0-9_.-]*|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WORDS = frozenset("null true false yes no on off y n".split())  # what YAML takes for something else


@dataclass(frozen=True)
class Lines:
    """What is to be added to a cases file, a line each, by section."""

    people: tuple[str, ...] = ()
    fixtures: tuple[tuple[TableName, str], ...] = ()
    tokens: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.fixtures or self.tokens or self.cases)

    def with_cases(self, *lines: str) -> Lines:
        return replace(self, cases=(*self.cases, *lines))

    @property
    def text(self) -> str:
        """The lines under their sections, as a file would have them."""
        parts: list[str] = []
        if self.fixtures:
            parts.append("fixtures:")
            for table in dict.fromkeys(table for table, _ in self.fixtures):
                parts.append(f"  {table}:")
                parts += [f"    - {line}" for name, line in self.fixtures if name == table]
        for name in ("people", "tokens"):
            lines = getattr(self, name)
            parts += [f"{name}:", *(f"  {line}" for line in lines)] if lines else []
        parts += ["cases:", *(f"  {line}" for line in self.cases)] if self.cases else []
        return "\n".join(parts) + "\n"


NOTHING = Lines()


@dataclass(frozen=True)
class Notation:
    """Reads lines as a part of one suite's file."""

    policies: PolicySet
    suite: Suite
    known: dict[Lines, Suite | None] = field(default_factory=dict, compare=False, repr=False)

    def extended(self, lines: Lines) -> Suite | None:
        """The suite with the lines added at the end of its sections; None where they aren't right."""
        if lines not in self.known:
            self.known[lines] = self._read(lines)
        return self.known[lines]

    def _read(self, lines: Lines) -> Suite | None:
        suite = self.suite
        # what the lines may name stands before them
        people = [f"{scalar(name)}: {{sub: {scalar(sub)}}}" for name, sub in suite.people.items()]
        named = {line.partition(":")[0] for line in lines.tokens}
        tokens = [f"{scalar(name)}: {{}}" for name in suite.tokens if scalar(name) not in named]
        anyone = next(iter([*lines.tokens, *tokens]), "").partition(":")[0]
        some = lines.cases or (f"- {{as: {anyone}, select: {next(iter(self.policies.tables), '')}, sees: []}}",)
        whole = Lines((*people, *lines.people), lines.fixtures, (*tokens, *lines.tokens), some)
        read, _ = read_suite(suite.path, whole.text, self.policies)
        return _joined(suite, read, lines, len(people)) if read is not None else None


def _joined(suite: Suite, read: Suite, lines: Lines, known: int) -> Suite:
    fixtures = {name: (*suite.fixtures.get(name, ()), *found) for name, found in read.fixtures.items()}
    fresh = [name for name in read.tokens if name not in suite.tokens]
    first = len(suite.cases) + 1
    cases = [replace(case, number=first + index) for index, case in enumerate(read.cases if lines.cases else ())]
    return Suite(
        suite.path,
        {**suite.tokens, **{name: read.tokens[name] for name in fresh}},
        (*suite.cases, *cases),
        {**suite.fixtures, **fixtures},
        {**suite.people, **dict(list(read.people.items())[known:])},
        suite.document,
    )


# --- values -----------------------------------------------------------------------------------------------------------


def scalar(value: Any) -> str:
    """A plain value as YAML in a flow mapping."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return mapping(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(scalar, value))}]"
    text = str(value)
    return text if _PLAIN.fullmatch(text) and text not in _WORDS else json.dumps(text, ensure_ascii=False)


def mapping(values: Mapping[str, Any]) -> str:
    """'{id: 1, status: open}'."""
    return "{" + ", ".join(f"{scalar(name)}: {scalar(value)}" for name, value in values.items()) + "}"


def plain(column: Column, text: str | None) -> Any:
    """What PostgreSQL printed for a column, as a cases file writes it."""
    kind = column.base_type or column.type
    if text is None:
        return None
    if kind == "boolean":
        return text == "true"
    return int(text) if kind in _INTEGERS else text


def row_values(table: Table, data: rows.Data, needed: Sequence[str] = ()) -> dict[str, Any]:
    """A stored row as a fixture: what a default would give is left out, unless it is a key or `needed`."""
    return {
        c.name: plain(c, data[c.name])
        for c in table.columns
        if not c.generated
        and (c.name in needed or c.name in table.primary_key or (data[c.name] is not None and not c.has_default))
    }


def key_value(table: Table, key: Key) -> Any:
    """A key as a case names it."""
    values = [plain(rows.column(table, name), part) for name, part in zip(table.primary_key, key, strict=True)]
    return values[0] if len(values) == 1 else values


def by_key(table: Table, key: Key) -> dict[str, Any]:
    """The WHERE of a case that names one row."""
    return {name: plain(rows.column(table, name), p) for name, p in zip(table.primary_key, key, strict=True)}


def case_line(case: Case, expectation: Mapping[str, Any]) -> str:
    """The line of a case."""
    target: Any = {str(case.table): dict(case.values)}
    if case.command == "select":
        target = str(case.table)
    elif case.command in ("update", "delete"):
        entry: dict[str, Any] = {"where": dict(case.where)} if case.where else {}
        target = {str(case.table): entry | ({"set": dict(case.values)} if case.values else {})}
    return "- " + mapping({"as": case.token, case.command: target, **expectation})
