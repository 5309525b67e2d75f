"""Mutants of the rules of a policy file: each rule's conditions, scopes and classes, in one policy at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import COMMANDS, Command, Rule
from mcp_rls.compiler.resolve import ResolvedRule, ResolvedTable
from mcp_rls.diagnostics import Span
from mcp_rls.harness.mutation.ceiling import agree, asked_of_client, asked_of_people, sessions
from mcp_rls.harness.mutation.conditions import variants
from mcp_rls.harness.mutation.mutant import Concern, Kind, Mutant, everybody
from mcp_rls.harness.mutation.original import Original
from mcp_rls.harness.mutation.proof import never
from mcp_rls.harness.mutation.standing import Standing
from mcp_rls.state import Policy

_SWAPS = 2  # other scopes that are asked for in place of one


def mutants_of_rules(original: Original) -> Iterator[Mutant]:
    """Every mutant of a rule, table by table and command by command."""
    for table in original.resolved.tables:
        for command in COMMANDS:
            yield from _Rules(original, table, command, people=False).mutants()
            if table.people is not None:
                yield from _Rules(original, table, command, people=True).mutants()


@dataclass(frozen=True)
class _Rules:
    """The rules behind one policy: of clients, a ceiling's; of people, a permissive policy's."""

    original: Original
    table: ResolvedTable
    command: Command
    people: bool

    def mutants(self) -> Iterator[Mutant]:
        for index, rule in enumerate(self.rules):
            if self.command in rule.commands:
                yield from self.of_conditions(index, rule)
                if not self.people:
                    yield from self.of_scopes(index, rule)
                    yield from self.of_classes(index, rule)
        if not self.people:
            yield from self.exchanged()
            yield from self.without_select()

    @property
    def rules(self) -> tuple[ResolvedRule, ...]:
        return (self.table.people or ()) if self.people else self.table.clients

    def written(self, index: int) -> Rule | None:
        """The rule as the file has it: there stand the places of its conditions."""
        listed = self.original.policies.client_rules(self.table.table)
        entry = self.original.policies.tables.get(self.table.table)
        if self.people:
            listed = entry.people if entry is not None and isinstance(entry.people, tuple) else ()
        return listed[index] if index < len(listed) else None

    def name(self, who: tuple[str, ...] = ()) -> str:
        return f"{_whose(who or ('people',))} rule for {self.command} on {self.table.table}"

    # --- conditions

    def of_conditions(self, index: int, rule: ResolvedRule) -> Iterator[Mutant]:
        known = self.original.known(self.table.table)
        for part in _PARTS[self.command]:
            expr: e.Expr = getattr(rule, part)
            name = self.name(rule.who) + (", new row," if part == "new_row" and self.command == "update" else "")
            for variant in variants(expr, known):
                change: Any = {part: variant.expr}
                other = self.with_rules(index, (replace(rule, **change),))
                span = self.place(index, rule, part)
                yield self.made(variant.kind, f"{name} {variant.words}", span, other, (expr, variant.expr))

    def place(self, index: int, rule: ResolvedRule, part: str) -> Span:
        written = self.written(index)
        condition = written and (written.new_row() if part == "new_row" else written.rows)
        return condition.span if condition and condition.span.line else rule.span

    # --- scopes and classes, each class by itself

    def of_scopes(self, index: int, rule: ResolvedRule) -> Iterator[Mutant]:
        for who in rule.who:
            for scope in sorted(rule.scopes):
                less = rule.scopes - {scope}
                words = f"{self.name((who,))} no longer asks for the scope {scope}"
                yield self.made(Kind.SCOPE_DROPPED, words, rule.span, self.for_one(index, who, scopes=less))
                for other in self.other_scopes(scope, rule):
                    words = f"{self.name((who,))} asks for the scope {other} instead of {scope}"
                    after = self.for_one(index, who, scopes=less | {other})
                    yield self.made(Kind.SCOPE_SWAPPED, words, rule.span, after)

    def other_scopes(self, scope: str, rule: ResolvedRule) -> list[str]:
        """Those that imply it or are implied first, for these are the likely mistakes."""
        scopes = self.original.policies.scopes
        others = [name for name in scopes if name not in rule.scopes]
        related = {n for n in others if n in scopes[scope].closure or scope in scopes[n].closure}
        near, far = [n for n in others if n in related], [n for n in others if n not in related]
        return [*near[:1], *far, *near[1:]][:_SWAPS]

    def of_classes(self, index: int, rule: ResolvedRule) -> Iterator[Mutant]:
        for who in rule.who:
            words = f"{self.name((who,))} is gone"
            # a rule that no row meets: without any rule, the table would have one policy for all commands
            gone = self.for_one(index, who, rows=e.FALSE, new_row=e.FALSE)
            yield self.made(Kind.RULE_DROPPED, words, rule.span, gone)
        for other in self.original.policies.classes:
            if other not in rule.who:
                words = f"{self.name(rule.who)} holds for {other} too"
                after = self.with_rules(index, (replace(rule, who=(*rule.who, other)),))
                mutant = self.made(Kind.CLASS_ADDED, words, rule.span, after)
                if mutant.statements:  # a write rule gives nothing to a class that has no SELECT rule
                    yield mutant

    def for_one(self, index: int, who: str, **change: Any) -> ResolvedTable:
        """The table with the rule changed for one class, and as it was for the others."""
        rule = self.rules[index]
        others = replace(rule, who=tuple(name for name in rule.who if name != who))
        return self.with_rules(index, (others, replace(rule, who=(who,), **change)))

    def exchanged(self) -> Iterator[Mutant]:
        """Two classes with each other's rules, in this ceiling."""
        named = {who for rule in self.rules for who in rule.who if self.command in rule.commands}
        for one, other in combinations(self.original.policies.classes, 2):
            if {one, other} & named:
                swap = {one: other, other: one}
                rules = tuple(replace(r, who=tuple(swap.get(who, who) for who in r.who)) for r in self.rules)
                words = f"{one} and {other} have each other's rules for {self.command} on {self.table.table}"
                mutant = self.made(Kind.CLASSES_SWAPPED, words, self.span(), replace(self.table, clients=rules))
                if mutant.statements:
                    yield mutant

    def without_select(self) -> Iterator[Mutant]:
        """UPDATE and DELETE that rely on the SELECT policies, which a blind statement never meets.

        What a rule asks for may stand in what may be selected too: so each is left out together with that as well.
        """
        if self.command not in ("update", "delete"):
            return
        for who in dict.fromkeys(who for r in self.rules if self.command in r.commands for who in r.who):
            after = self.seeing_all(who)
            words = f"{self.command} on {self.table.table} by {who} isn't held to the rows that it may select"
            conditions = tuple(r.rows for r in self.rules if who in r.who)
            yield self.made(Kind.SELECT_LEFT_OUT, words, self.span(), after, conditions)
            for part in _PARTS[self.command]:
                told = "the new row is" if part == "new_row" else "rows are"
                more = f"{words}, and {told} not asked for anything else"
                yield self.made(
                    Kind.SELECT_LEFT_OUT, more, self.span(), self.asking_nothing(after, who, part), conditions
                )

    def seeing_all(self, who: str) -> ResolvedTable:
        """The table where one class may select every row, as far as other commands ask for that."""
        after = self
        for index, rule in reversed(list(enumerate(self.rules))):
            if who in rule.who and "select" in rule.commands and self.command not in rule.commands:
                after = replace(self, table=after.for_one(index, who, rows=e.TRUE))
        return after.table

    def asking_nothing(self, table: ResolvedTable, who: str, part: str) -> ResolvedTable:
        """The table where the class's rules for the command ask nothing in one part."""
        after = replace(self, table=table)
        for index, rule in reversed(list(enumerate(table.clients))):
            if who in rule.who and self.command in rule.commands:
                change: Any = {part: e.TRUE}
                after = replace(self, table=after.for_one(index, who, **change))
        return after.table

    # --- shared

    def span(self) -> Span:
        return min((r.span for r in self.rules if self.command in r.commands), default=self.table.span)

    def with_rules(self, index: int, rules: tuple[ResolvedRule, ...]) -> ResolvedTable:
        """The table with other rules in place of one; a rule for nobody falls away."""
        kept = tuple(r for r in rules if r.who or self.people)
        changed = (*self.rules[:index], *kept, *self.rules[index + 1 :])
        return replace(self.table, people=changed) if self.people else replace(self.table, clients=changed)

    def made(
        self, kind: Kind, words: str, span: Span, after: ResolvedTable, conditions: tuple[e.Expr, ...] = ()
    ) -> Mutant:
        name, permissive, command = self.table.table, self.people, self.command

        def wanted(policy: Policy) -> bool:
            # a ceiling may repeat what people must meet
            return (policy.table, policy.command) == (name, command) and policy.permissive in (permissive, False)

        statements = self.original.lowered_rules(after, wanted)
        tokens = everybody if self.people else _Differing(self, after)
        concern = Concern(frozenset({name}), command, tokens, conditions=conditions)
        return Mutant(kind, words, span, statements, concern, self.equivalent(after, statements))

    # --- what comes of it

    def equivalent(self, after: ResolvedTable, statements: tuple[str, ...]) -> str:
        if not statements:
            return "it compiles to the same SQL"
        name, command = self.table.table, self.command
        if not (self.original.may(name, command) if self.people else self.original.admits(name, command)):
            return f"whatever a ceiling says, no token's role can {command} in {name}"
        if self.people:
            known, other = asked_of_people(self.table, command), asked_of_people(after, command)
            alike = agree(known, other, self.original.domains_of(name))
        else:
            tables = (self.table, after)
            alike = not any(self.differ(after, *s) for s in sessions(self.original.policies, tables))
        return "whoever could meet the difference gets the same rows" if alike else ""

    def differ(self, after: ResolvedTable, class_name: str, held: frozenset[str]) -> bool:
        """Whether a client's session could meet another answer."""
        known, other = (asked_of_client(t, self.command, class_name, held) for t in (self.table, after))
        if agree(known, other, self.original.domains_of(self.table.table)):
            return False
        parents = self.original.parents(self.table.table, self.command)
        return not any(self.hidden(t, class_name, held) for t in self.original.resolved.tables if t.table in parents)

    def hidden(self, parent: ResolvedTable, class_name: str, held: frozenset[str]) -> bool:
        """Whether such a session sees no row of a table that people's own policies need one of."""
        asked = asked_of_client(parent, "select", class_name, held)
        return never(asked[0], self.original.domains_of(parent.table))


_PARTS: dict[Command, tuple[str, ...]] = {
    "select": ("rows",),
    "insert": ("new_row",),
    "update": ("rows", "new_row"),
    "delete": ("rows",),
}


@dataclass(frozen=True)
class _Differing:
    """Whether a token that stands so can meet a difference between these rules and others."""

    rules: _Rules
    after: ResolvedTable

    def __call__(self, standing: Standing) -> bool:
        if standing.kind == "client":
            return self.rules.differ(self.after, standing.class_name, standing.scopes)
        return standing.kind == "unknown"


def _whose(names: tuple[str, ...]) -> str:
    """'the assistant's', 'claude's and assistant's'."""
    if names == ("people",):
        return "people's"
    return " and ".join(f"{name}'" if name.endswith("s") else f"{name}'s" for name in names)
