"""Mutants of who is recognised as what: classes, consent, scopes and identity, in the gate."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.compiler import expression as e
from mcp_rls.compiler import helpers
from mcp_rls.compiler.gate import decides, same_text
from mcp_rls.compiler.model import ClientClass, Condition, Consent, PolicySet, Scope
from mcp_rls.diagnostics import Span
from mcp_rls.harness.mutation.conditions import variants
from mcp_rls.harness.mutation.mutant import Concern, Kind, Mutant
from mcp_rls.harness.mutation.original import Original
from mcp_rls.harness.mutation.proof import same
from mcp_rls.state import SCHEMA

GATE = f"{SCHEMA}.gate(name, jsonb)"
_SCOPES = re.compile(
    r"\b(?P<held>v_asked|v_consented) @> (?P<needed>\(\((?:rules -> v_class|v_entries) -> \d+\) - 0\))"
)
_STANDING = "      if not v_standing then v_class := null; end if;\n"
_SAME_SQL = "it compiles to the same SQL"


def mutants_of_recognition(original: Original) -> Iterator[Mutant]:
    """Every mutant of the gate."""
    gate = _Gate(original)
    for c in original.policies.classes.values():
        yield from _Class(gate, c).mutants()
    if any(map(original.policies.consent_required, original.policies.classes)):
        assert original.policies.consent is not None, "consent is required"
        yield from _ConsentTable(gate, original.policies.consent).mutants()
    yield from _Scopes(gate).mutants()
    yield from _malformed(gate)


@dataclass(frozen=True)
class _Gate:
    """The gate as it is, and how to make another of it; other functions that decide say the same."""

    original: Original

    @property
    def policies(self) -> PolicySet:
        return self.original.policies

    @property
    def text(self) -> str:
        return self.original.state.functions[GATE].definition

    def made(self, kind: Kind, words: str, span: Span, statements: tuple[str, ...], why: str = "") -> Mutant:
        why = why or ("" if statements else _SAME_SQL)
        return Mutant(kind, words, span, statements, Concern(recognition=True), why)

    def compiled(
        self, kind: Kind, words: str, span: Span, policies: PolicySet, where: Mapping[str, e.Expr] | None = None
    ) -> Mutant:
        """From a changed policy file; rules stay as they are."""
        return self.made(kind, words, span, self.original.lowered(self.original.with_policies(policies, where)))

    def written(self, kind: Kind, words: str, span: Span, old: str, new: str, why: str = "") -> Mutant:
        """From its text."""
        assert old in self.text, f"the gate says: {old}"
        return self.rewritten(kind, words, span, lambda text: text.replace(old, new), why)

    def rewritten(self, kind: Kind, words: str, span: Span, change: Callable[[str], str], why: str = "") -> Mutant:
        """From its text, with this change."""
        made = tuple(change(f.definition) for f in self.original.state.functions.values() if decides(f))
        return self.made(kind, words, span, made, why)

    def of_where(self, key: str, name: str, written: Condition | None, table: TableName) -> Iterator[Mutant]:
        """Each variant of the condition of a registry or of the consent table."""
        expr = self.original.resolved.where.get(key)
        if expr is None or written is None:
            return
        for variant in variants(expr, self.original.known(table)):
            kind = Kind.WHERE_DROPPED if variant.kind is Kind.CONDITION_DROPPED else variant.kind
            where = {**self.original.resolved.where, key: variant.expr}
            mutant = self.compiled(kind, f"{name} {variant.words}", written.span, self.policies, where)
            alike = same(expr, variant.expr, self.original.domains_of(table))
            why = mutant.equivalent or ("the same rows count" if alike else "")
            concern = replace(mutant.concern, conditions=(expr, variant.expr))
            yield replace(mutant, equivalent=why, concern=concern)


@dataclass(frozen=True)
class _Class:
    gate: _Gate
    c: ClientClass

    def mutants(self) -> Iterator[Mutant]:
        c, policies = self.c, self.gate.policies
        everyone = replace(c, ids=(), client_id_url_prefix="", registry=None)
        words = f"every client is of {c.name}, unless an earlier class takes it"
        yield self.with_class(Kind.EVERY_CLIENT, words, everyone)
        if policies.identity.scope is not None and policies.consent_required(c.name):
            yield self.with_class(Kind.CONSENT, f"{c.name} needs no consent", replace(c, consent_required=False))
        if c.client_id_url_prefix is not None:
            yield from self.of_prefix(c.client_id_url_prefix)
        if c.registry is not None:
            name = f"the registry of {c.name}"
            yield from self.gate.of_where(c.name, name, c.registry.where, c.registry.table)

    def of_prefix(self, prefix: str) -> Iterator[Mutant]:
        name = self.c.name
        if prefix.endswith("/"):
            words = f'{name} has clients whose id starts with "{prefix[:-1]}", without the slash'
            yield self.with_class(Kind.PREFIX, words, replace(self.c, client_id_url_prefix=prefix[:-1]))
        starts = f"starts_with(v_client, {sql.literal(prefix)})"
        anywhere = f"strpos(v_client, {sql.literal(prefix)}) > 0"
        words = f'{name} has clients with "{prefix}" anywhere in their id'
        yield self.gate.written(Kind.PREFIX, words, self.c.span, starts, anywhere)
        whole = re.escape(starts) + r" and length\(v_client\) <= \d+(?P<odd> and v_client !~ E?'(?:[^']|'')*')"
        test = re.search(whole, self.gate.text)
        assert test is not None, "odd URLs are told by the test that a prefix has"
        words = f"{name} has clients whose URL leads out of its folder again (/../)"
        plain = test[0].removesuffix(test["odd"])
        yield self.gate.written(Kind.PREFIX, words, self.c.span, test[0], plain)

    def with_class(self, kind: Kind, words: str, c: ClientClass) -> Mutant:
        policies = replace(self.gate.policies, classes={**self.gate.policies.classes, c.name: c})
        return self.gate.compiled(kind, words, c.span, policies)


@dataclass(frozen=True)
class _ConsentTable:
    gate: _Gate
    consent: Consent

    def mutants(self) -> Iterator[Mutant]:
        consent = self.consent
        words = "a session without a live consent goes on"
        yield self.gate.written(Kind.CONSENT, words, consent.span, _STANDING, "", self.standing_is_idle())
        words = "the consent of any person counts"
        column = f"g.{sql.ident(consent.person)}"
        same_person = f"{column} = ours.v_person"
        if same_person not in self.gate.text:
            same_person = f"{column}::text = ours.v_person::text"
        yield self.gate.written(Kind.CONSENT_OF_OTHERS, words, consent.span, same_person, "true")
        words = "a consent given to any client counts"
        facts = self.gate.original.catalog.tables[consent.table].column(consent.client)
        column = f"g.{sql.ident(consent.client)}"
        same_client = same_text(column, (facts.base_type or facts.type) if facts else None, "ours.v_client")
        yield self.gate.written(Kind.CONSENT_OF_OTHERS, words, consent.span, same_client, "true")
        yield from self.gate.of_where("consent", "the consent", consent.where, consent.table)

    def standing_is_idle(self) -> str:
        """Why the test for a live row decides nothing: without one no scope is in force, and each rule asks for one."""
        policies = self.gate.policies
        rules = [r for t in self.gate.original.resolved.tables for r in t.clients]
        needing = [r for r in rules if any(map(policies.consent_required, r.who))]
        if self.consent.scopes is None or not all(r.scopes for r in needing):
            return ""
        return "without a live consent no scope is in force, and every rule asks for one"


@dataclass(frozen=True)
class _Scopes:
    gate: _Gate

    def mutants(self) -> Iterator[Mutant]:
        for scope in self.gate.policies.scopes.values():
            for implied in sorted(scope.closure - {scope.name}):
                words = f"{scope.name} doesn't imply {implied}"
                yield self.with_scope(words, scope, replace(scope, closure=scope.closure - {implied}))
                other = self.gate.policies.scopes[implied]
                if scope.name not in other.closure:
                    words = f"{implied} implies {scope.name} too"
                    yield self.with_scope(words, scope, replace(other, closure=other.closure | scope.closure))
        if not any(rule.scopes for t in self.gate.original.resolved.tables for rule in t.clients):
            return
        span = min(scope.span for scope in self.gate.policies.scopes.values())
        yield self.of_text(span)
        for held, words in (("v_asked", "the token's scopes aren't"), ("v_consented", "the consent's scopes aren't")):
            if f"{held} @> " in self.gate.text:
                change = partial(_SCOPES.sub, partial(_unasked, held))
                yield self.gate.rewritten(Kind.SCOPE_SOURCE, f"{words} asked for", span, change)

    def with_scope(self, words: str, at: Scope, scope: Scope) -> Mutant:
        policies = self.gate.policies
        changed = replace(policies, scopes={**policies.scopes, scope.name: scope})
        return self.gate.compiled(Kind.IMPLICATION, words, at.span, changed)

    def of_text(self, span: Span) -> Mutant:
        some = next(iter(self.gate.policies.scopes))
        words = f'a scope counts as part of a longer one ("{some}only")'
        return self.gate.rewritten(Kind.SCOPE_TEXT, words, span, partial(_SCOPES.sub, _as_text))


def _unasked(held: str, match: re.Match[str]) -> str:
    return f"{match['needed']} is not null" if match["held"] == held else match[0]


def _as_text(match: re.Match[str]) -> str:
    """As LIKE over the text of all scopes would find them."""
    words = f"from jsonb_array_elements_text({match['needed']}) needed(word)"
    found = f"select bool_and(strpos({match['held']}::text, needed.word) > 0) {words}"
    return f"coalesce(({found}), {match['needed']} is not null)"


def _malformed(gate: _Gate) -> Iterator[Mutant]:
    """A client claim that is no text, or empty, as if there were none."""
    policies = gate.policies
    if policies.identity.direct.kind != "no_client" and not policies.anonymous:
        return  # without a client nobody has anything
    absent = " and ".join(f"not {helpers.present(path)}" for path in policies.identity.client)
    words = "a malformed client (an empty text, a number, null) counts as no client"
    span = Span(policies.path)
    yield gate.written(Kind.MALFORMED, words, span, f"when {absent} then case", "when true then case")
