"""Design section 3 in plain Python: what one token may do in one world.

`Session` decides what a token is, once. Its `visible`, `insert`, `update` and `delete` then answer for one row, and
say what PostgreSQL would: the person's permissive policies ORed, every restrictive one and the ceiling ANDed to them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Literal

from . import claims
from .expressions import Expr, Row, Scope, Value
from .world import ANON, AppPolicy, ClientClass, Consent, Rule, Table, Token, World

Outcome = Literal["allowed", "hidden", "policy", "columns"]
Kind = Literal["direct", "nobody", "client", "closed"]


def closure(world: World, words: Iterable[str]) -> frozenset[str]:
    """The declared scopes among `words`, and all that they imply."""
    found: set[str] = set()
    pending = [word for word in words if word in world.scopes]
    while pending:
        word = pending.pop()
        if word not in found:
            found.add(word)
            pending.extend(world.scopes[word])
    return frozenset(found)


class Session:
    """One token in one world."""

    def __init__(self, world: World, token: Token) -> None:
        self.world, self.role = world, token.role
        self._visible: dict[tuple[str, int], bool] = {}
        self._members: dict[str, frozenset[Value]] = {}
        text = claims.document(token.claims)
        self.document: dict[str, Any] | None = None if isinstance(text, claims.Document) else text
        self.unreadable = text is claims.Document.BROKEN
        self.person = claims.typed(self.document, world.person) if self.document is not None else None
        self.client = claims.client(self.document, world.client) if self.document is not None else claims.ABSENT

    # What the token is

    @cached_property
    def kind(self) -> Kind:
        has_person, has_client = self.person is not None, isinstance(self.client, str)
        if self.unreadable or self.client is claims.MALFORMED:
            return "closed"
        direct = self.world.direct
        if has_person and (not has_client if direct is None else has_client and self.client in direct):
            return "direct"
        if not has_person and not has_client:
            return "nobody"
        return "client" if has_person and has_client else "closed"

    @property
    def unlimited(self) -> bool:
        """Whether ceilings don't concern this session."""
        return self.kind == "direct" or (self.kind == "nobody" and self.world.anonymous and self.role == ANON)

    @cached_property
    def client_class(self) -> ClientClass | None:
        if self.kind != "client":
            return None
        return next((k for k in self.world.classes if self._is_member(k)), None)

    def _is_member(self, kind: ClientClass) -> bool:
        assert isinstance(self.client, str)
        registered: frozenset[str] = frozenset()
        if kind.registry:
            registered = frozenset(str(row[kind.registry.id]) for row in self._registrations(kind))
        return claims.matches(kind, self.client, registered)

    def _registrations(self, kind: ClientClass) -> list[Row]:
        assert kind.registry
        rows = self.world.table(kind.registry.table).rows
        return [row for row in rows if row[kind.registry.id] is not None]

    @cached_property
    def live(self) -> bool:
        kind = self.client_class
        if kind is None or self._claimed_words is claims.MALFORMED:
            return False
        if kind.registry and not any(
            str(row[kind.registry.id]) == self.client and self._true(kind.registry.where, row)
            for row in self._registrations(kind)
        ):
            return False
        return not self._consent or bool(self._consents)

    @property
    def _consent(self) -> Consent | None:
        """The consent table, where this session's class needs a consent."""
        kind, consent = self.client_class, self.world.consent
        needed = kind is not None and (self.world.scope is None or kind.consent_required)
        return consent if needed else None

    @cached_property
    def _consents(self) -> list[Row]:
        """The live consents of this person to this client."""
        consent = self._consent
        assert consent
        return [
            row
            for row in self.world.table(consent.table).rows
            if row[consent.person] == self.person
            and row[consent.client] is not None
            and str(row[consent.client]) == self.client
            and self._true(consent.where, row)
        ]

    @cached_property
    def _claimed_words(self) -> Any:
        if self.world.scope is None or self.document is None:
            return frozenset()
        return claims.words(self.document, self.world.scope)

    @cached_property
    def scopes(self) -> frozenset[str]:
        """effective(k): what every source of scopes that applies has granted."""
        held = frozenset(self.world.scopes)
        if self.world.scope is not None:
            held &= closure(self.world, self._claimed_words)
        consent = self._consent
        if consent and consent.scopes:
            held &= closure(self.world, _consented_words(self._consents, consent.scopes))
        return held

    # Conditions

    def _scope(self, row: Row) -> Scope:
        app_person = None if self.person is None else str(self.person)
        return Scope({"": row}, self._token_value, self._set_members, self._readable, app_person or None)

    def _true(self, condition: Expr | None, row: Row) -> bool:
        return condition is None or condition.holds(self._scope(row))

    def _token_value(self, name: str) -> Value:
        if name == "person":
            return self.person
        if name == "client":
            return self.client if isinstance(self.client, str) else None
        return claims.typed(self.document, self.world.claims[name]) if self.document is not None else None

    def _set_members(self, name: str) -> frozenset[Value]:
        """The values of a named set: read past every policy, NULLs dropped."""
        if name not in self._members:
            named = self.world.sets[name]
            rows = self.world.table(named.table).rows
            values = (row[named.column] for row in rows if self._true(named.where, row))
            self._members[name] = frozenset(value for value in values if value is not None)
        return self._members[name]

    def _readable(self, table: str) -> list[Row]:
        """The rows that a sub-select of a policy sees: it runs under the policies of that table."""
        return [row for row in self.world.table(table).rows if self.visible(self.world.table(table), row)]

    # The person's side

    def privileged(self, table: Table, command: str) -> bool:
        """Whether the role has the privilege, and still has it: rules for people leave only what they need."""
        needed = isinstance(table.people, str) or any(command in rule.commands for rule in table.people)
        return needed and command in table.granted

    def _person(self, table: Table, command: str, row: Row, new: bool) -> bool:
        if not isinstance(table.people, str):
            rules = (rule for rule in table.people if command in rule.commands)
            held = any(self._true(_condition(rule, command, new), row) for rule in rules)
            return held and self._policies_hold(table, command, row, new, permissive=False)
        as_before = not table.row_security
        held = as_before or self._policies_hold(table, command, row, new, permissive=True)
        return held and self._policies_hold(table, command, row, new, permissive=False)

    def _policies_hold(self, table: Table, command: str, row: Row, new: bool, permissive: bool) -> bool:
        """Any of the app's permissive policies, or all of its restrictive ones."""
        holds = (
            self._true(_expression(policy, new), row)
            for policy in table.policies
            if policy.permissive is permissive
            and policy.command in ("all", command)
            and ("public" in policy.roles or self.role in policy.roles)
        )
        return any(holds) if permissive else all(holds)

    # The client's side

    def _open_rules(self, table: Table, command: str) -> list[Rule]:
        """The rules of this session's class for a command whose scopes are held."""
        if not self.live or not table.listed or table.clients == "none":
            return []
        if isinstance(table.clients, str):
            return [Rule(("select",))] if command == "select" else []
        assert self.client_class
        name = self.client_class.name
        return [
            rule
            for rule in table.clients
            if command in rule.commands and name in rule.who and self.scopes.issuperset(rule.scopes)
        ]

    def _rule_holds(self, table: Table, command: str, row: Row, new: bool = False) -> bool:
        return any(self._true(_condition(rule, command, new), row) for rule in self._open_rules(table, command))

    def _ceiling(self, table: Table, command: str, row: Row, new: bool = False) -> bool:
        if self.unlimited:
            return True
        if command in ("update", "delete") and not self._rule_holds(table, "select", row):
            return False
        return self._rule_holds(table, command, row, new)

    def _passes(self, table: Table, command: str, row: Row, new: bool = False) -> bool:
        return self._person(table, command, row, new) and self._ceiling(table, command, row, new)

    # Answers

    def visible(self, table: Table, row: Row) -> bool:
        """SELECT: is the row seen? Rows of the world are remembered by their key."""
        key = (table.name, id(row))
        if key not in self._visible:
            self._visible[key] = self._passes(table, "select", row)
        return self._visible[key]

    def meets(self, row: Row, condition: Expr) -> bool:
        """Whether a condition IS TRUE of a row, for this token."""
        return self._true(condition, row)

    def locked(self, table: Table, row: Row) -> bool:
        """SELECT ... FOR UPDATE: the row must be one to see and one to update."""
        return self.visible(table, row) and self._passes(table, "update", row)

    def insert(self, table: Table, row: Row, returning: bool = False) -> Outcome:
        seen = not returning or self._passes(table, "select", row)
        return "allowed" if seen and self._passes(table, "insert", row, new=True) else "policy"

    def _may_set(self, table: Table, names: Iterable[str]) -> bool:
        """Whether the rules of people, and those of the class, let an update name these columns."""
        rules = [] if isinstance(table.people, str) else list(table.people)
        rules += [] if self.unlimited else self._open_rules(table, "update")
        limits = {rule.columns for rule in rules if "update" in rule.commands}
        return all(limit is None or limit.admit(names) for limit in limits)

    def update(self, table: Table, old: Row, new: Row, reads: bool, sets: Iterable[str] = ()) -> Outcome:
        """`reads`: the statement reads a column (WHERE, RETURNING), so that the policies for SELECT hold too.

        `sets`: the columns that it names, changed or not. They are asked about after the old row, before the new one.
        """
        if not self._passes(table, "update", old) or (reads and not self.visible(table, old)):
            return "hidden"
        if not self._may_set(table, sets):
            return "columns"
        seen = not reads or self._passes(table, "select", new)
        return "allowed" if seen and self._passes(table, "update", new, new=True) else "policy"

    def delete(self, table: Table, row: Row, reads: bool) -> Outcome:
        passes = self._passes(table, "delete", row) and (not reads or self.visible(table, row))
        return "allowed" if passes else "hidden"

    def upsert(self, table: Table, row: Row, old: Row, new: Row, sets: Iterable[str] = ()) -> Outcome:
        """INSERT ... ON CONFLICT (key) DO UPDATE that meets `old`: every check of both commands, none is silent."""
        inserted = self.insert(table, row, returning=True)
        updated = self.update(table, old, new, reads=True, sets=sets)
        if inserted == "allowed" and updated in ("allowed", "columns"):
            return updated
        return "policy"


def _consented_words(rows: Iterable[Row], column: str) -> set[str]:
    """The words of a scopes column: text holds them between blanks, text[] as a tuple."""
    found: set[Any] = set()
    for row in rows:
        value: Any = row[column]
        found.update(value.split(" ") if isinstance(value, str) else value or ())
    return found - {"", None}


def _condition(rule: Rule, command: str, new: bool) -> Expr | None:
    """The condition of a rule for the old row, or for the new one that INSERT or UPDATE makes."""
    if command == "insert" or (command == "update" and new):
        return rule.check or rule.rows
    return rule.rows


def _expression(policy: AppPolicy, new: bool) -> Expr | None:
    return policy.check or policy.using if new else policy.using
