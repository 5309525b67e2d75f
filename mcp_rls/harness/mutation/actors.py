"""Tokens that could tell a mutant from the original: those of the suite, then others that differ in one thing each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, product
from typing import Any

import psycopg

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import Condition, Registry
from mcp_rls.harness import rows
from mcp_rls.harness.clients import enter
from mcp_rls.harness.mutation.notation import NOTHING, Lines, Notation, mapping, row_values, scalar
from mcp_rls.harness.mutation.original import Original
from mcp_rls.harness.mutation.values import telling_columns, values_of
from mcp_rls.harness.session import CannotTest
from mcp_rls.harness.stage import Stage
from mcp_rls.harness.suite import Suite, TokenSpec
from mcp_rls.harness.witness import NoWitness, insert_witness

_PEOPLE = 2  # of the suite that others act for
_CLAIMS = 4  # different claims of the suite's tokens
_NAME = 40  # characters of a token's name
_ROWS = 12  # variants of one row of consent or of a registry
STRANGER, NEWCOMER = "mcp-rls-stranger", "mcp-rls-newcomer"

Row = dict[str, Any]
Rows = tuple[tuple[TableName, Row], ...]
Wanted = tuple[Row, Rows]  # a token as a cases file has it, and the rows that it needs


@dataclass(frozen=True)
class Actor:
    """A token, and rows that it needs; `lines` are what a cases file lacks of both."""

    spec: TokenSpec
    lines: Lines = NOTHING
    rows: Rows = ()

    def with_row(self, table: TableName, row: Row) -> Actor:
        fixtures = (*self.lines.fixtures, (table, mapping(row)))
        return replace(self, lines=replace(self.lines, fixtures=fixtures), rows=(*self.rows, (table, row)))


class Cast:
    """The actors of one suite, made when they are first asked for."""

    def __init__(self, stage: Stage, original: Original, notation: Notation) -> None:
        self.original = original
        self.notation = notation
        self.suite = notation.suite
        self.policies = original.policies
        self.people = list(self.suite.people)[:_PEOPLE]
        self.everything = " ".join(self.policies.scopes)
        self.rows = _Rows(stage, original, self.suite)
        self._made: list[Actor] | None = None

    def all(self) -> Iterator[Actor]:
        yield from (Actor(spec) for spec in self.suite.tokens.values())
        if self._made is None:
            self._made = list(self._others())
        yield from self._made

    def _others(self) -> Iterator[Actor]:
        """Those without rows of their own first: they take fewer lines. All are read at once."""
        wanted = list(chain(self._members(), self._odd(), self._strangers(), self._consents(), self._listed()))
        names = set(self.suite.tokens)
        found: dict[str, tuple[str, Rows]] = {}
        for values, needed in wanted:
            name = _unique(_name(values, self.everything), names)
            names.add(name)
            found[name] = (f"{scalar(name)}: {mapping(values)}", needed)
        read = self.notation.extended(Lines(tokens=tuple(line for line, _ in found.values())))
        assert read is not None, "tokens are made of what the policy file and the suite have"
        for name, (line, needed) in found.items():
            fixtures = tuple((table, mapping(row)) for table, row in needed)
            yield Actor(read.tokens[name], Lines((), fixtures, (line,)), needed)

    # --- tokens

    def _members(self) -> Iterator[Wanted]:
        """People in the app; clients of each class with every scope, each one alone, none, and one a word longer."""
        roles, scopes = self.policies.roles, list(self.policies.scopes)
        people: list[Row] = [{"person": person} for person in self.people]
        yield from (({**person, "role": role}, ()) for person in (*people, {}) for role in roles)
        words = [*scopes, self.everything, "", *(f"{scope}only" for scope in scopes)] if scopes else [""]
        for person, name, claims in product(people, self.policies.classes, self._claims()):
            for word in dict.fromkeys(words):
                yield {**person, "class": name, **_scope(word), **claims}, ()
        for person, name, role in product((*people, {}), self.policies.classes, roles):
            yield {**person, "class": name, **_scope(self.everything), "role": role}, ()

    def _claims(self) -> list[Row]:
        """Claims as tokens of the suite have them, and none."""
        found: list[Row] = [{"claims": dict(t.claims)} for t in self.suite.tokens.values() if t.claims]
        distinct = [claims for index, claims in enumerate(found) if claims not in found[:index]]
        return [*distinct[:_CLAIMS], {}]

    def _odd(self) -> Iterator[Wanted]:
        """A client claim that is malformed."""
        for person, value in product(self.people, ("", 7, None)):
            raw: Any = value
            for part in reversed(self.policies.identity.client[0]):
                raw = {part: raw}
            yield {"person": person, **_scope(self.everything), "raw": raw}, ()

    def _strangers(self) -> Iterator[Wanted]:
        """Clients of no class: unknown, or with an id that is almost right; consented to, where there is such."""
        prefixes = [c.client_id_url_prefix for c in self.policies.classes.values() if c.client_id_url_prefix]
        ids = [STRANGER, *(lookalike for prefix in prefixes for lookalike in _lookalikes(prefix))]
        for person, client in product(self.people, ids):
            yield {"person": person, "client": client, **_scope(self.everything)}, self._consent(person, client)

    # --- consent and registries

    def _consents(self) -> Iterator[Wanted]:
        """Known clients whose consent is missing, another's, narrower than the token, wider, or hardly alive."""
        consent = self.policies.consent
        if consent is None:
            return
        for client, person in product(self._clients(), self.people):
            token: Row = {"person": person, "client": client, "consent": "none"}
            full = token | (_scope(self.everything) if self.policies.identity.scope is not None else {})
            others = [other for other in self.suite.people if other != person]
            yield full, ()
            yield from ((full, self._consent(other, client)) for other in others[:1])
            yield full, self._consent(person, STRANGER)
            yield full, self._consent(person, client, "")
            yield token, self._consent(person, client)
            for row in self.rows.varied(consent.table, "consent", self._consent(person, client)):
                yield full, row

    def _clients(self) -> list[str]:
        """A client of each class that needs a consent."""
        needing = [name for name in self.policies.classes if self.policies.consent_required(name)]
        return [client for name in needing if (client := self.rows.client_of(name)) is not None]

    def _consent(self, person: str, client: str, scope: str | None = None) -> Rows:
        """A live row that lets the client act for the person."""
        consent = self.policies.consent
        if consent is None:
            return ()
        fixed: Row = {consent.person: self.suite.people[person], consent.client: client}
        if consent.scopes is not None:
            words = self.everything if scope is None else scope
            fixed[consent.scopes] = words.split() if self.rows.is_array(consent.table, consent.scopes) else words
        return self.rows.made(consent.table, fixed, consent.where)

    def _listed(self) -> Iterator[Wanted]:
        """Clients of a registry that are hardly alive."""
        for c in self.policies.classes.values():
            if c.registry is not None and c.client_id_url_prefix is None and not c.ids:
                live = self.rows.made(c.registry.table, {c.registry.id: NEWCOMER}, c.registry.where)
                for person, row in product(self.people, self.rows.varied(c.registry.table, c.name, live)):
                    yield {"person": person, "client": _id(c.registry, row), **_scope(self.everything)}, row


@dataclass(frozen=True)
class _Rows:
    """Rows of consent and registries, as fixtures. The server has the last word on what a row is."""

    stage: Stage
    original: Original
    suite: Suite

    def is_array(self, table: TableName, name: str) -> bool:
        return rows.column(self.stage.table(table), name).type.endswith("[]")

    def made(self, name: TableName, fixed: Row, where: Condition | None) -> Rows:
        """A row with these values of which `where` is true; none where the server takes no such row."""
        table = self.stage.table(name)
        try:
            with self.stage.altered():
                key = insert_witness(self.stage, table, rows.literals(table, fixed), where.text if where else None)
                stored = self.stage.snapshot(table)[key].data
        except (NoWitness, psycopg.Error):
            return ()
        needed = [*fixed, *(name for name in stored if where is not None and name in where.text)]
        return ((name, row_values(table, stored, needed) | fixed),)

    def varied(self, name: TableName, key: str, live: Rows) -> Iterator[Rows]:
        """The row with other values in what its `where` asks for."""
        expr = self.original.resolved.where.get(key)
        if not live or expr is None:
            return
        table, row = self.stage.table(name), live[0][1]
        columns = telling_columns(table, (expr,))
        options = [values_of(self.stage, self.original, self.suite, table, c) for c in columns]
        for number, values in enumerate(product(*options)):
            if number < _ROWS:
                yield ((name, {**row, **dict(zip((c.name for c in columns), values, strict=True))}),)

    def client_of(self, class_name: str) -> str | None:
        """A client of the class that needs no row of its own."""
        try:
            bearer = enter(self.stage, TokenSpec("", class_name=class_name))
        except CannotTest:
            return None
        return bearer.identity.client if not bearer.brought else None


def _id(registry: Registry, row: Rows) -> Any:
    return row[0][1][registry.id]


def _scope(words: str) -> Row:
    return {"scope": words} if words else {}


def _lookalikes(prefix: str) -> list[str]:
    """Ids that a careless test takes for one that starts with the prefix."""
    host = prefix.rstrip("/")
    inside = f"https://mcp-rls.example/{prefix}client"
    return [f"{host}.mcp-rls.example/client", f"{host}-mcp-rls/client", inside, f"{prefix}../client"]


def _name(values: Row, everything: str) -> str:
    """'ann-assistant-tickets-read'; every scope goes without saying."""
    scope = values.get("scope", "no scope" if everything and "class" in values else "")
    client = str(values.get("class") or values.get("client", "")).rpartition("://")[2]
    parts = [values.get("person", "nobody"), client, "" if scope == everything else scope]
    text = "-".join(str(part) for part in parts if part)
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower()).split()
    return "-".join(words)[:_NAME].rstrip("-")


def _unique(name: str, taken: set[str]) -> str:
    number = 2
    unique = name
    while unique in taken:
        unique, number = f"{name}-{number}", number + 1
    return unique
