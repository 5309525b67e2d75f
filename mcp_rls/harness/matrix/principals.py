"""The tokens of a matrix, from the policy file alone: every class with every set of scopes that makes a difference, and
those that come near: one scope short, without consent, of a client that isn't live, of a client of no class.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

from mcp_rls.compiler.class_roles import says_it_all
from mcp_rls.compiler.model import ClientClass, PolicySet
from mcp_rls.harness.matrix.people import ANN, BOB, PLACES, STRANGER, Cast

Alteration = Literal["", "no consent", "dead consent", "consent of less", "dead registration"]
_MOST_SETS = 16  # scope sets of one class


@dataclass(frozen=True)
class Change:
    """How the rows about a client differ from what they are for its other tokens."""

    kind: Alteration = ""
    class_name: str = ""
    words: tuple[str, ...] = ()  # that the consent holds
    column: str = ""  # by which it dies


@dataclass(frozen=True)
class Principal:
    """One token. `group` is the class, or what else it belongs under; `label` says what is particular about it."""

    group: str
    label: str
    role: str
    claims: str
    person: str = ""
    class_name: str = ""
    change: Change = Change()

    @property
    def live(self) -> bool:
        """Whether it is meant to be a live client of its class."""
        return bool(self.class_name and self.person) and self.change.kind in ("", "consent of less")

    @property
    def name(self) -> str:
        """'ann, assistant, tickets:read'."""
        return ", ".join(part for part in (self.person, self.group, self.label) if part)


APP, NOBODY = "the app itself", "no class"
Deciding = Mapping[str, Sequence[str]]  # columns by which a registration lives, by class; the consent's under ''


class Principals:
    """Makes the tokens of one policy file."""

    def __init__(self, policies: PolicySet, people: Cast, deciding: Deciding) -> None:
        self.policies = policies
        self.people = people
        self.deciding = deciding
        self.everything = tuple(policies.scopes)
        self.role = policies.app_role()

    def all(self) -> tuple[Principal, ...]:
        """Every token, those of the app first."""
        made = [*self._app(), *self._classes(), *self._nobodies(), *self._other_roles()]
        return tuple(dict.fromkeys(made))

    # --- who ---

    def _app(self) -> Iterator[Principal]:
        for person in (ANN, BOB):
            yield self.direct(person, self.role)
        for role in self.policies.anonymous:
            label = "no token" if len(self.policies.anonymous) == 1 else f"no token, {role}"
            yield Principal(APP, label, role, "")

    def direct(self, person: str, role: str) -> Principal:
        """The person's own session in the app."""
        ids = self.policies.identity.direct.ids
        label = "" if role == self.role else role
        return Principal(APP, label, role, self._claims(person, ids[0] if ids else None, (), role), person)

    def _classes(self) -> Iterator[Principal]:
        for c in self.policies.classes.values():
            if c.name in self.people.clients:
                yield from self._of_class(c)
            else:
                # of a class that nobody can be made up for
                yield Principal(c.name, "", self._role_of(c.name), "", ANN, c.name)

    def _of_class(self, c: ClientClass) -> Iterator[Principal]:
        sets = self.scope_sets(c.name)
        for scopes in sets:
            yield self.client(ANN, c.name, scopes)
        fullest = sets[-1]
        yield self.client(BOB, c.name, fullest)
        if self.policies.consent_required(c.name):
            yield self._altered(c.name, fullest, "no consent", "without consent")
            for column in self.deciding.get("", ()):
                yield self._altered(c.name, fullest, "dead consent", f"consent dead by {column}", column=column)
            if fullest and self._words_in_consent() and self.policies.identity.scope is not None:
                less = next((s for s in reversed(sets[:-1]) if set(s) < self._closed(fullest)), ())
                label = f"consent to {' '.join(less) or 'nothing'} alone"
                yield self._altered(c.name, fullest, "consent of less", label, less)
        for column in self.deciding.get(c.name, ()):
            label = f"registration dead by {column}"
            yield self._altered(c.name, fullest, "dead registration", label, column=column)
        if c.name in self.policies.class_roles and says_it_all(self.policies, c.name):
            return
        claims = self._claims(None, self.people.clients[c.name], fullest, self._role_of(c.name))
        yield Principal(c.name, "no person", self._role_of(c.name), claims, "", c.name)

    def _role_of(self, class_name: str) -> str:
        return self.policies.class_roles.get(class_name, self.role)

    def client(self, person: str, class_name: str, scopes: tuple[str, ...], role: str = "") -> Principal:
        """A live client of the class, acting for the person."""
        client = self.people.clients[class_name]
        label = " ".join(scopes) or ("no scope" if self.everything else "")
        change = Change("", class_name, scopes) if self.policies.identity.scope is None else Change()
        acting = role or self._role_of(class_name)
        label = ", ".join(filter(None, (label, role)))
        return Principal(
            class_name, label, acting, self._claims(person, client, scopes, acting), person, class_name, change
        )

    def _altered(
        self,
        class_name: str,
        scopes: tuple[str, ...],
        kind: Alteration,
        label: str,
        words: tuple[str, ...] = (),
        column: str = "",
    ) -> Principal:
        """A token with all scopes that are of use to its class, and one thing missing."""
        role = self._role_of(class_name)
        claims = self._claims(ANN, self.people.clients[class_name], scopes, role)
        change = Change(kind, class_name, words, column)
        return Principal(class_name, label, role, claims, ANN, class_name, change)

    def stranger(self, role: str) -> Principal:
        """A client of no class, with every scope that there is."""
        label = "unknown client, every scope" if self.everything else "unknown client"
        label = ", ".join(filter(None, (label, "" if role == self.role else role)))
        return Principal(NOBODY, label, role, self._claims(ANN, STRANGER, self.everything, role), ANN)

    def _nobodies(self) -> Iterator[Principal]:
        yield self.stranger(self.role)
        if self.role not in self.policies.anonymous:
            yield Principal(NOBODY, "no token", self.role, "")

    def _other_roles(self) -> Iterator[Principal]:
        """Every role once more: a ceiling binds those it is for."""
        for role in self.policies.roles:
            if role != self.role:
                yield self.direct(ANN, role)
                yield self.stranger(role)
            if role != self.role or self.policies.class_roles:
                for c in self.policies.classes.values():
                    if c.name in self.people.clients:
                        yield self._in_role(c.name, role)

    def _in_role(self, class_name: str, role: str) -> Principal:
        """A client of the class, with all scopes, in a role that others share; nobody where classes have their own."""
        client = self.client(ANN, class_name, self.scope_sets(class_name)[-1], role)
        if not self.policies.class_roles:
            return client
        return replace(client, group=NOBODY, label=f"client of {class_name}, {role}", class_name="")

    # --- scopes ---

    def scope_sets(self, class_name: str) -> tuple[tuple[str, ...], ...]:
        """Sets of scopes for a class, the one that opens most at the end: none, each that a rule needs, unions of
        them, each one short, and all that are of no use to it.
        """
        needed = self._needed(class_name)
        unions = {frozenset[str]().union(*some) for n in (1, 2) for some in combinations(needed, n)}
        most = frozenset[str]().union(*needed)
        short = {scopes - {one} for scopes in needed for one in scopes if len(scopes) > 1}
        closed = self._closed(self._shortest(most))
        useless = frozenset(s for s in self.everything if not self._closed((s,)) & most) - closed
        listed = [frozenset[str](), useless, *sorted(short | unions, key=lambda s: (len(s), sorted(s)))]
        kept = [self._shortest(s) for s in listed[:_MOST_SETS]]
        top = self._shortest(most)
        return (*dict.fromkeys(s for s in kept if s != top), top)

    def _needed(self, class_name: str) -> list[frozenset[str]]:
        """The scope sets of the rules of a class, on any table."""
        rules = (rule for table in self.policies.tables for rule in self.policies.client_rules(table))
        found = {frozenset(rule.scopes) for rule in rules if class_name in rule.who}
        return sorted(found - {frozenset()}, key=lambda s: (len(s), sorted(s)))

    def _shortest(self, scopes: Iterable[str]) -> tuple[str, ...]:
        """The scopes without those that others of them imply, in the order of the file."""
        some = set(scopes)
        implied = {s for one in some for s in self.policies.scopes[one].closure - {one}}
        return tuple(s for s in self.everything if s in some - implied)

    def _closed(self, scopes: Iterable[str]) -> frozenset[str]:
        return frozenset(s for one in scopes for s in self.policies.scopes[one].closure)

    def _words_in_consent(self) -> bool:
        return self.policies.consent is not None and self.policies.consent.scopes is not None

    # --- claims ---

    def _claims(self, person: str | None, client: str | None, scopes: tuple[str, ...], role: str = "") -> str:
        """The text of a token's claims."""
        policies, document = self.policies, dict[str, Any]()
        if person is not None:
            _put(
                document,
                policies.identity.person.path,
                _json(policies.identity.person.type, self.people.subjects[person]),
            )
        if client is not None:
            _put(document, policies.identity.client[0], client)
        if policies.identity.scope is not None and client is not None:
            _put(document, policies.identity.scope, " ".join(scopes))
        if policies.platform != "postgres":  # PostgREST and Supabase take the role from this claim
            document["role"] = role or self.role
        place = next(p for p in PLACES if p.person == (person or ANN))
        for name, value in self.people.claims[place.number]:
            if value is not None:
                _put(document, policies.claims[name].path, _json(policies.claims[name].type, value))
        return json.dumps(document, ensure_ascii=False)


def _json(kind: str, text: str) -> Any:
    """The value of a claim, whose text is given, as JSON has it."""
    if kind in ("integer", "bigint"):
        return int(text)
    return text == "true" if kind == "boolean" else text


def _put(document: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        document = document.setdefault(key, {})
    document[path[-1]] = value
