"""The suite that a cases file describes. Every error of the file comes out in one run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import COMMANDS, Command, PolicySet
from mcp_rls.diagnostics import Diagnostics, nearest
from mcp_rls.document import Document
from mcp_rls.harness.cases_shape import CaseShape, Path, PersonShape, Reader, Row, Rows, TokenShape
from mcp_rls.harness.suite import REASONS, Case, Expectation, ExpectationKind, Reason, Sub, Suite, TokenSpec
from mcp_rls.harness.token import is_client_token

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


_EXPECTATIONS: dict[Command, tuple[ExpectationKind, ...]] = {
    "select": ("sees", "refused"),
    "insert": ("allowed", "refused"),
    "update": ("changes", "refused"),
    "delete": ("changes", "refused"),
}
_REASONS: dict[Command, tuple[Reason, ...]] = {
    "select": ("grant",),
    "insert": REASONS,
    "update": REASONS,
    "delete": ("grant", "constraint"),
}


def build_suite(document: Document, policies: PolicySet, diagnostics: Diagnostics) -> Suite | None:
    """The suite that `document` describes, or None with the reasons in `diagnostics`."""
    return _Builder(document, policies, diagnostics).build()


class _Builder(Reader):
    def __init__(self, document: Document, policies: PolicySet, diagnostics: Diagnostics) -> None:
        super().__init__(document, diagnostics)
        self.policies = policies

    def build(self) -> Suite | None:
        sections = self.sections()
        if sections is None:
            return None
        fixtures = self.fixtures(sections.fixtures)
        people = self.people(sections.people)
        names = {name: self.token(name, data, people) for name, data in sections.tokens.items()}
        cases = [self.case(number, data, names) for number, data in enumerate(sections.cases, 1)]
        if not cases and "cases" not in self.unread:
            hint = "a denial means something only beside an access that works: write at least one case"
            message = "there is no case in this file, so it can show nothing"
            self.diagnostics.error("no-cases", message, self.document.span("cases"), hint)
        if self.diagnostics.has_errors:
            return None
        tokens = {name: token for name, token in names.items() if token is not None}
        self.warn_without_client(tokens)
        return Suite(
            self.document.path,
            MappingProxyType(tokens),
            tuple(case for case in cases if case is not None),
            MappingProxyType(fixtures),
            MappingProxyType(people),
            self.document,
        )

    # --- sections ---

    def warn_without_client(self, tokens: Mapping[str, TokenSpec]) -> None:
        if not any(is_client_token(self.policies, token) for token in tokens.values()):
            message = "no token here is a client's, so nothing is tried that the ceilings must deny"
            hint = "give a token a `class` or a `client`, and a case of what it may do"
            self.diagnostics.warning("no-client-token", message, self.document.key_span("tokens"), hint)

    def fixtures(self, data: dict[str, Any]) -> dict[TableName, tuple[Row, ...]]:
        fixtures = {}
        for text, rows in data.items():
            table = self.table(text, ("fixtures", text), covered=False)
            shaped = self.shaped(Rows, {"rows": rows}, ("fixtures", text), skip=1)
            if table is not None and shaped is not None:
                fixtures[table] = tuple(shaped.rows)
        return fixtures

    def people(self, data: dict[str, Any]) -> dict[str, Sub]:
        people = {}
        for name, entry in data.items():
            person = self.shaped(PersonShape, entry, ("people", name))
            if person is None:
                continue
            people[name] = person.sub
            expected = self.wrong_sub(person.sub)
            if expected:
                message = f"a person of this policy file is {expected}, found {person.sub!r}"
                hint = "a malformed subject can stand in a token under `raw`"
                self.error("bad-value", message, ("people", name, "sub"), hint)
        return people

    def wrong_sub(self, sub: Sub) -> str:
        """What `sub` should have been under `identity.person.type`, or ''."""
        kind = self.policies.identity.person.type
        if kind in ("integer", "bigint"):
            fits = isinstance(sub, int) and not isinstance(sub, bool)
            return "" if fits else "a whole number"
        if kind == "boolean":
            return "" if isinstance(sub, bool) else "true or false"
        if not isinstance(sub, str) or not sub:
            return "a text; put it in quotes"
        return "a uuid" if kind == "uuid" and not _UUID.fullmatch(sub) else ""

    def token(self, name: str, data: Any, people: Mapping[str, Sub]) -> TokenSpec | None:
        path: Path = ("tokens", name)
        shape = self.shaped(TokenShape, data, path)
        if shape is None:
            return None
        if shape.person is not None and shape.person not in people and "people" not in self.unread:
            self.unknown("person", "person", shape.person, (*path, "person"), people)
        if shape.class_ is not None and shape.class_ not in self.policies.classes:
            self.unknown("class", "class", shape.class_, (*path, "class"), self.policies.classes)
        if shape.class_ is not None and shape.client is not None:
            hint = "`class` makes up a client of that class, `client` is one by its id"
            message = "a token has a class or a client, not both"
            self.error("bad-value", message, (*path, "client"), hint, key=True)
        if shape.role is not None and shape.role not in self.policies.acting:
            self.unknown("role", "role", shape.role, (*path, "role"), self.policies.acting)
        if shape.session is not None:
            self.no_session((*path, "session"))
        for claim in shape.claims:
            if claim not in self.policies.claims:
                hint = "declare it under `claims:` in the policy file, or use `raw`"
                self.unknown("claim", "claim", claim, (*path, "claims", claim), self.policies.claims, hint, key=True)
        return TokenSpec(
            name=name,
            role=shape.role or "",
            person=shape.person or "",
            sub=people.get(shape.person) if shape.person is not None else None,
            class_name=shape.class_,
            client=shape.client,
            scope=tuple(shape.scope) if isinstance(shape.scope, list) else shape.scope,
            claims=shape.claims,
            raw=shape.raw,
            consent=shape.consent is None,
            span=self.document.key_span(*path),
        )

    def no_session(self, path: Path) -> None:
        """An error: no token brings a session that could be left out."""
        hint = "leave it out; `consent: none` is a token without its consent"
        if self.policies.platform == "supabase":
            message = "sessions in auth.sessions aren't supported yet: no token brings one, so `none` changes nothing"
            self.error("not-yet", message, path, hint, key=True)
        else:
            message = f"{self.policies.platform} has no table of sessions, so `session: none` means nothing"
            self.error("bad-value", message, path, hint, key=True)

    # --- cases ---

    def case(self, number: int, data: Any, tokens: Mapping[str, TokenSpec | None]) -> Case | None:
        path: Path = ("cases", number - 1)
        shape = self.shaped(CaseShape, data, path)
        if shape is None:
            return None
        if shape.as_ not in tokens and "tokens" not in self.unread:
            self.unknown("token", "token", shape.as_, (*path, "as"), tokens)
        command = self.command(shape, path)
        if command is None:
            return None
        expect = self.expectation(shape, command, path)
        target = self.target(shape, command, path)
        if expect is None or target is None:
            return None
        table, values, where = target
        span = self.document.span(*path)
        return Case(number, shape.as_, command, table, expect, values, where, span)

    def command(self, shape: CaseShape, path: Path) -> Command | None:
        """The one command of a case."""
        given = [c for c in COMMANDS if getattr(shape, c) is not None]
        if len(given) == 1:
            return given[0]
        found = " and ".join(given) or "none"
        message = f"a case has exactly one of {', '.join(COMMANDS)}; found {found}"
        self.error("bad-value" if given else "missing-key", message, path)
        return None

    def expectation(self, shape: CaseShape, command: Command, path: Path) -> Expectation | None:
        every: tuple[ExpectationKind, ...] = ("sees", "changes", "allowed", "refused")
        given = [k for k in every if getattr(shape, k) is not None]
        fitting = _EXPECTATIONS[command]
        wanted = " or ".join(f"`{k}`" for k in fitting)
        if len(given) != 1:
            found = " and ".join(given) or "nothing"
            message = f"{command} is expected to have {wanted}; found {found}"
            self.error("bad-value" if given else "missing-key", message, path)
            return None
        kind = given[0]
        if kind not in fitting:
            self.error("bad-value", f"`{kind}` doesn't fit {command}: it takes {wanted}", (*path, kind), key=True)
            return None
        if kind == "refused":
            return self.refusal(shape, command, path)
        if kind == "allowed":
            if shape.allowed is not True:
                hint = f"a denial is `refused: {'` or `refused: '.join(_REASONS[command])}`"
                self.error("bad-value", "`allowed` can only be true", (*path, "allowed"), hint)
                return None
            return Expectation("allowed")
        keys = shape.sees if kind == "sees" else shape.changes
        assert keys is not None, "the expectation that was given has a value"
        return Expectation(kind, tuple(self.key(k, (*path, kind, i)) for i, k in enumerate(keys)))

    def refusal(self, shape: CaseShape, command: Command, path: Path) -> Expectation | None:
        fitting = _REASONS[command]
        for reason in fitting:
            if shape.refused == reason:
                return Expectation("refused", reason=reason)
        hint = nearest(str(shape.refused), fitting)
        if shape.refused == "policy":
            hidden = "sees: []" if command == "select" else "changes: []"
            hint = f"row security hides rows from {command}, it doesn't refuse: write `{hidden}`"
        message = f"{command} is refused by {' or '.join(fitting)}; found {shape.refused!r}"
        self.error("bad-value", message, (*path, "refused"), hint)
        return None

    def key(self, value: Any, path: Path) -> Any:
        """The key of a row as a value that doesn't change."""
        if isinstance(value, dict):
            if not value:
                self.error("bad-value", "an empty mapping names no row", path)
            return MappingProxyType(value)
        if isinstance(value, list):
            if not value or any(isinstance(v, dict | list) for v in value):
                self.error("bad-value", "a composite key is a list of plain values", path)
            return tuple(value)
        if value is None:
            self.error("bad-value", "null can't be a key", path)
        return value

    def target(self, shape: CaseShape, command: Command, path: Path) -> tuple[TableName, Row, Row] | None:
        if command == "select":
            table = self.table(str(shape.select), (*path, "select"), key=False)
            return (table, {}, {}) if table is not None else None
        entries: dict[str, Any] = getattr(shape, command)
        if len(entries) != 1:
            message = f"a case {command}s in exactly one table; found {len(entries)}"
            self.error("bad-value", message, (*path, command))
            return None
        text, entry = next(iter(entries.items()))
        table = self.table(text, (*path, command, text))
        if command == "update" and not entry.set:
            self.error("bad-value", "`set` names no column", (*path, command, text, "set"))
        if table is None:
            return None
        if command == "insert":
            return table, entry, {}
        return table, getattr(entry, "set", {}), entry.where

    # --- shared ---

    def table(self, text: str, path: Path, *, covered: bool = True, key: bool = True) -> TableName | None:
        known = [str(table) for table in self.policies.tables]
        name = TableName.parse(text)
        if name is None:
            hint = nearest(f"public.{text}", known) or "for example public.tickets"
            message = f'expected schema.table, found "{text}"'
            self.error("unknown-table", message, path, hint, key=key)
        elif covered and name.schema not in self.policies.schemas:
            listed = ", ".join(self.policies.schemas)
            message = f'the policy file doesn\'t cover the schema of "{text}" (schemas: {listed})'
            self.error("unknown-table", message, path, nearest(text, known), key=key)
            return None
        return name
