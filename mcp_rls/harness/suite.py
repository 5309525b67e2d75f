"""What a cases file says, as checked values: fixtures, people, tokens and what each token is expected to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mcp_rls.catalog import Catalog, TableName
from mcp_rls.compiler.model import Command, PolicySet
from mcp_rls.diagnostics import Diagnostics, Span
from mcp_rls.document import Document, parse_document, read_document

Values = Mapping[str, Any]  # column -> plain YAML value
KeyValue = Any  # a scalar, a tuple of them for a composite key, or a mapping of columns that names the row
Sub = str | int | bool
ExpectationKind = Literal["sees", "changes", "allowed", "refused"]
Reason = Literal["policy", "grant", "constraint"]
REASONS: tuple[Reason, ...] = ("policy", "grant", "constraint")


@dataclass(frozen=True)
class TokenSpec:
    """A token to be made for the run. A token without `class_name` and `client` is one of the app itself."""

    name: str
    role: str = ""  # '': that of its class, where classes have roles; else the first of the file
    person: str = ""  # how the file calls the person
    sub: Sub | None = None
    class_name: str | None = None  # a client of that class is made up
    client: str | None = None
    scope: str | tuple[str, ...] | None = None  # a tuple becomes a JSON array
    claims: Values = field(default_factory=dict)  # declared claims by name
    raw: Values | str | None = None  # merged over the claims last; a text replaces them
    consent: bool = True  # whether the token brings the consent row that it needs
    span: Span = Span()


@dataclass(frozen=True)
class Expectation:
    """`sees` and `changes` have the exact keys, `refused` the reason."""

    kind: ExpectationKind
    keys: tuple[KeyValue, ...] = ()
    reason: Reason | None = None

    def __str__(self) -> str:
        if self.kind == "refused":
            return f"refused: {self.reason}"
        return "allowed" if self.kind == "allowed" else f"{self.kind} {show_keys(self.keys)}"


@dataclass(frozen=True)
class Case:
    """One line of the file: a token, one statement, and what must come of it."""

    number: int  # 1-based
    token: str
    command: Command
    table: TableName
    expect: Expectation
    values: Values = field(default_factory=dict)  # the new row, or what UPDATE sets
    where: Values = field(default_factory=dict)  # column = value, ANDed; empty: a statement without WHERE
    span: Span = Span()

    @property
    def title(self) -> str:
        """'ann-assistant update public.tickets where id=1 set status=closed'."""
        parts = [self.token, self.command, str(self.table)]
        if self.where:
            parts.append("where " + show_values(self.where))
        if self.values:
            parts.append(("set " if self.command == "update" else "") + show_values(self.values))
        return " ".join(parts)


@dataclass(frozen=True)
class Suite:
    """A whole cases file."""

    path: str
    tokens: Mapping[str, TokenSpec]
    cases: tuple[Case, ...]
    fixtures: Mapping[TableName, tuple[Values, ...]] = field(default_factory=dict)  # inserted in this order
    people: Mapping[str, Sub] = field(default_factory=dict)
    document: Document | None = field(default=None, repr=False, compare=False)

    def span(self, *keys: str | int) -> Span:
        """The place of the value under `keys` in the file; of a suite made in Python, nowhere."""
        return self.document.span(*keys) if self.document is not None else Span(self.path)

    def key_span(self, *keys: str | int) -> Span:
        return self.document.key_span(*keys) if self.document is not None else Span(self.path)


def load_suite(path: Path, policies: PolicySet, catalog: Catalog | None = None) -> tuple[Suite | None, Diagnostics]:
    """The suite in the file at `path`, or None; and everything there is to say about it."""
    diagnostics = Diagnostics()
    document = read_document(path, diagnostics)
    return _suite(document, policies, catalog, diagnostics), diagnostics


def read_suite(
    path: str, text: str, policies: PolicySet, catalog: Catalog | None = None
) -> tuple[Suite | None, Diagnostics]:
    """The same from a text; `path` is only what diagnostics call it."""
    diagnostics = Diagnostics()
    document = parse_document(path, text, diagnostics)
    return _suite(document, policies, catalog, diagnostics), diagnostics


def _suite(
    document: Document | None, policies: PolicySet, catalog: Catalog | None, diagnostics: Diagnostics
) -> Suite | None:
    from mcp_rls.harness.cases_file import build_suite
    from mcp_rls.harness.check import check_suite

    if document is None:
        return None
    suite = build_suite(document, policies, diagnostics)
    if suite is not None and catalog is not None:
        diagnostics.extend(check_suite(suite, catalog))
    return None if diagnostics.has_errors else suite


def places(suite: Suite) -> Iterator[tuple[TableName, tuple[str | int, ...], Values]]:
    """Each mapping of columns in the file: its table, the keys that lead to it, and the mapping."""
    for table, rows in suite.fixtures.items():
        for index, row in enumerate(rows):
            yield table, ("fixtures", str(table), index), row
    for case in suite.cases:
        base = ("cases", case.number - 1, case.command, str(case.table))
        if case.command == "insert":
            yield case.table, base, case.values
            continue
        if case.values:
            yield case.table, (*base, "set"), case.values
        if case.where:
            yield case.table, (*base, "where"), case.where


def show_keys(keys: tuple[KeyValue, ...]) -> str:
    """'[1, 2]'; composite keys in parentheses."""
    return f"[{', '.join(map(show_key, keys))}]"


def show_key(key: KeyValue) -> str:
    if isinstance(key, Mapping):
        return f"{{{show_values(key)}}}"
    if isinstance(key, tuple | list):
        return show_value(key[0]) if len(key) == 1 else f"({', '.join(map(show_value, key))})"
    return show_value(key)


def show_values(values: Values) -> str:
    return " ".join(f"{column}={show_value(value)}" for column, value in values.items())


def show_value(value: Any) -> str:
    """The value as the file would say it, cut where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    plain = not isinstance(value, str) or (value and value.isprintable() and " " not in value)
    text = str(value) if plain else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
