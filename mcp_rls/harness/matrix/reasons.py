"""Why a row was let through to a token, or kept from it: who has a say, and what each made of that row, part by part.

Policies of the database's own are evaluated as they stand, as the token. What the policy file says is evaluated in its
author's words, past row security: nothing that we emit explains itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import psycopg

from mcp_rls import sql
from mcp_rls.catalog import Table
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import Command, Condition, Rule
from mcp_rls.harness import rows
from mcp_rls.harness.coverage.pieces import said as in_words
from mcp_rls.harness.facts import BindingPolicy, RoleFacts
from mcp_rls.harness.matrix import conditions as said
from mcp_rls.harness.matrix.judge import Holder, judge
from mcp_rls.harness.matrix.life import RowsLife
from mcp_rls.harness.stage import Stage
from mcp_rls.inspection.tree import atoms, expression, printed

OURS = "mcp_rls: "
_AS_BEFORE = " as before"  # the one policy of ours that says nothing of the file's
_WIDTH = 100  # columns of a part
_REMEDIES = 3
_NEW = "of the new row, "

SqlRow = Mapping[str, str]  # column -> a constant in SQL
Part = tuple[str, str]  # 'true', 'not true' or 'null', and the condition


@dataclass(frozen=True)
class Voice:
    """A policy of the database's own, or a rule of the file. `holds`: None when that can't be told."""

    says: str
    holds: bool | None
    remedy: str  # what to change
    parts: tuple[Part, ...] = ()
    constant: bool = False  # it is true of every row

    def lines(self) -> Iterator[str]:
        """Who it is; and what its parts came to, where that says more."""
        yield self.says if self.holds is not None else f"{self.says}: can't be evaluated by itself"
        telling = self.parts if len(self.parts) > 1 or not self.holds else ()
        yield from (f"  {value}: {text}" for value, text in telling)


Fact = tuple[str, tuple[str, ...]]  # a title and its lines


@dataclass(frozen=True)
class Reasons:
    """Who has a say: of `person` and of `rules` one suffices, of `gates` all are needed, and `sight` must be had."""

    path: str  # of the policy file
    person: tuple[Voice, ...] = ()
    gates: tuple[Voice, ...] = ()
    bound: bool = False  # a ceiling of the file is meant to bind the token
    rules: tuple[Voice, ...] = ()
    shut: str = ""  # why no rule of the file could be true
    shut_remedy: str = ""
    sight: tuple[Reasons, ...] = ()  # of a row that is changed, before and after

    @property
    def unclear(self) -> tuple[Voice, ...]:
        """Those that ended in an error."""
        return tuple(voice for voice in (*self.rules, *self.person, *self.gates) if voice.holds is None)

    def letting_in(self) -> tuple[Fact, ...]:
        """Who lets the row through, and which of them may be too wide."""
        found = [voice for voice in (*self.rules, *self.person, *self.gates) if voice.holds is not False]
        found.sort(key=lambda voice: not voice.constant)
        told = ("let in by", _lines(found))
        if not self._beyond_the_file:
            # What a person may besides is no matter of a client's ceiling.
            return told, _fixes(v for v in found if v.constant or not self.rules or v in self.rules)
        without = ("not by", (self.shut,) if self.shut else _lines(self.rules))
        return told, without, ("fix", (drifted(self.path),))

    @property
    def _beyond_the_file(self) -> bool:
        """Whether the file lets no such row through to the token."""
        return self.bound and not any(voice.holds is not False for voice in self.rules)

    def keeping(self) -> tuple[Fact, ...]:
        """Those but for which the row would be let through, and what would change that; nothing when none is found."""
        if self.shut:
            return ("kept by", (self.shut,)), ("fix", (self.shut_remedy,) if self.shut_remedy else ())
        found = self._closed
        if not found and not self.person:
            told = "no permissive policy is for it: everything is denied"
            return ("kept by", (told,)), ("fix", (no_policy(self.path),))
        if found:
            return ("kept by", _lines(found)), _fixes(found)
        return next((facts for sight in self.sight if (facts := sight.keeping())), ())

    @property
    def _closed(self) -> tuple[Voice, ...]:
        groups = [self.person, self.rules] if self.bound else [self.person]
        closed = [voices for voices in groups if not any(voice.holds for voice in voices)]
        gates = [voice for voice in self.gates if not voice.holds]
        return tuple(voice for voices in (*closed, gates) for voice in voices)


def _lines(voices: Iterable[Voice]) -> tuple[str, ...]:
    return tuple(line for voice in voices for line in voice.lines())


def _fixes(voices: Iterable[Voice]) -> Fact:
    """One is enough."""
    remedies = list(dict.fromkeys(voice.remedy for voice in voices if voice.remedy))[:_REMEDIES]
    return "fix", tuple(remedy if i == 0 else f"or {remedy}" for i, remedy in enumerate(remedies))


def reasons(stage: Stage, table: Table, command: Command, old: SqlRow | None, new: SqlRow | None) -> Reasons:
    """What decides whether the acting token's command gets through to a row, from `old` to `new`."""
    assert stage.bearer is not None, "somebody acts"
    life = RowsLife(lambda query: stage.ask(query)[0][0], stage.policies)
    holder = judge(stage.policies, life, stage.bearer.claims, stage.bearer.role)
    return reasons_of(stage, holder, stage.bearer.claims, table, command, old, new)


def reasons_of(
    stage: Stage,
    holder: Holder,
    claims: str,
    table: Table,
    command: Command,
    old: SqlRow | None,
    new: SqlRow | None,
) -> Reasons:
    """The same of a token that was understood before."""
    return _Reader(stage, holder, claims, table, command, old, new).read()


@dataclass(frozen=True)
class _Reader:
    stage: Stage
    holder: Holder
    claims: str
    table: Table
    command: Command
    old: SqlRow | None
    new: SqlRow | None
    label: str = ""

    def read(self) -> Reasons:
        policies, table = self.stage.policies, self.table
        binding = self.stage.facts(self.holder.role).binding(table.name, self.command)
        own = [p for p in binding if not p.name.startswith(OURS) or p.name.endswith(_AS_BEFORE)]
        found = policies.tables.get(table.name)
        people = found.people if found is not None and found.people != "existing" else ()
        person = [self._policy(p) for p in own if p.permissive]
        person += [self._rule(rule) for rule in people if self.command in rule.commands]
        bound = not self.holder.unlimited
        shut, remedy = self._shut() if bound else ("", "")
        return Reasons(
            policies.path,
            tuple(person),
            tuple(self._policy(p) for p in own if not p.permissive),
            bound,
            () if not bound or shut else tuple(self._ceiling()),
            shut,
            remedy,
            tuple(self._sight()),
        )

    def _sight(self) -> Iterator[Reasons]:
        """What is changed must be seen, before and after."""
        if self.command in ("update", "delete"):
            for row, label in ((self.old, ""), (self.new, _NEW)):
                if row is not None:
                    yield replace(self, command="select", old=row, new=None, label=label).read()

    # --- the policy file ---

    def _shut(self) -> tuple[str, str]:
        """Why no rule of the file could be true whatever the row, and what would change that; or ''."""
        policies, name = self.stage.policies, self.table.name
        found = policies.tables.get(name)
        if self.holder.why:
            return f"{self.holder.why}, so nothing is open to it", self._life()
        if found is None:
            return f"{policies.path} doesn't list {name}: it is closed to every client", f"list it in {policies.path}"
        if not self._mine():
            why = f"{found.span}: no rule of {name} lets {self.holder.class_name} {self.command}"
            return why, f"give the table a rule for {self.holder.class_name} at {found.span}"
        return "", ""

    def _life(self) -> str:
        """What would make the token live, as far as that is a matter of the database or the file."""
        policies, found = self.stage.policies, self.stage.policies.classes.get(self.holder.class_name or "")
        if self.holder.kind != "client":
            return ""
        if found is None:
            return f"give its client a class under `classes:` in {policies.path}"
        role = policies.class_roles.get(found.name, self.holder.role)
        if role != self.holder.role:
            return f"let it arrive as the role {role}"
        tables = [found.registry.table] if found.registry is not None else []
        tables += [policies.consent.table] if policies.consent is not None and found.consent_required else []
        return f"give it a live row of {' and of '.join(map(str, tables))}" if tables else ""

    def _mine(self) -> tuple[Rule, ...]:
        return said.rules_for(self.stage.policies, self.table, self.holder.class_name, self.command)

    def _ceiling(self) -> Iterator[Voice]:
        for rule in self._mine():
            missing = [scope for scope in rule.scopes if scope not in self.holder.scopes]
            if missing:
                remedy = f"give the token {' '.join(missing)}, or the rule at {rule.span} another scope"
                yield Voice(f"rule {rule}", False, remedy, tuple(("scope not held", s) for s in missing))
            else:
                yield self._rule(rule)

    def _rule(self, rule: Rule) -> Voice:
        conditions = [(c, row) for c, row in self._conditions(rule) if c is not None]
        parts, holds = list[Part](), True
        for condition, row in conditions:
            values = self._condition(condition, row)
            if values is None:
                return Voice(f"rule {rule}", None, "")
            holds = holds and values[0][0] == "true"
            parts += values[1:] or values
        places = [f"{'narrow' if holds else 'widen'} the rule at {c.span}" for c, _ in conditions]
        remedy = (places or [f"give the rule `rows:` at {rule.span}"])[0]
        return Voice(f"rule {rule}", holds, remedy, tuple(parts))

    def _conditions(self, rule: Rule) -> list[tuple[Condition | None, SqlRow]]:
        old = [(rule.rows, self.old)] if self.command != "insert" else []
        new = [(rule.new_row(), self.new)] if self.command in ("insert", "update") else []
        return [(condition, row) for condition, row in (*old, *new) if row is not None]

    def _condition(self, condition: Condition, row: SqlRow) -> list[Part] | None:
        """The whole condition, then its atoms."""
        policies, binding = self.stage.policies, self.holder.binding
        tree = said.read(policies, self.table, condition)
        parts = list(_smallest(tree)) if tree is not None else []
        texts = [said.atom_text(policies, said.Atom(part, "", of_row=True), binding) for part in parts]
        try:
            whole = said.rule_text(policies, condition, binding)
            (found,) = self.stage.ask(f"select {_values([whole, *texts])}{self._source(row)}")[0]
        except psycopg.Error:
            return None
        return _parts(found, [condition.text, *map(in_words, parts)], self._label(row))

    # --- policies of the database's own ---

    def _policy(self, policy: BindingPolicy) -> Voice:
        says = f'policy "{policy.name}" ({"permissive" if policy.permissive else "restrictive"})'
        path = self.stage.policies.path
        remedy = f'policy "{policy.name}" on {self.table.name}, which is none of {path}'
        parts, holds, constant = list[Part](), True, True
        for text, row in self._expressions(policy):
            values = self._expression(text, row)
            if values is None:
                return Voice(says, None, f"look at the {remedy}")
            holds, constant = holds and values[0][0] == "true", constant and text == "true"
            parts += values[1:] or values
        if constant and holds:
            kept = policy.name.startswith(OURS)  # row security was off before, and people lose nothing by it
            remedy = f"give the table rules under `people:` in {path}" if kept else f"drop or narrow the {remedy}"
            return Voice(f"{says}: true of every row", True, remedy, constant=True)
        says = f"{says}: {parts[0][1]}" if len(parts) == 1 and holds else says
        return Voice(says, holds, f"{'narrow' if holds else 'widen'} the {remedy}", tuple(parts))

    def _expressions(self, policy: BindingPolicy) -> list[tuple[str, SqlRow]]:
        old = [(policy.using, self.old)] if self.command != "insert" else []
        new = [(policy.check or policy.using, self.new)] if self.command in ("insert", "update") else []
        return [(text, row) for text, row in (*old, *new) if text is not None and row is not None]

    def _expression(self, text: str, row: SqlRow) -> list[Part] | None:
        """The whole expression, then its atoms, as the token."""
        tree = expression(text)
        parts = [part for node in atoms(tree) if (part := printed(node, 10_000))] if tree is not None else []
        shown = [(printed(tree) if tree is not None else "") or text, *parts]
        found = self.stage.say(self.claims, self.holder.role, [text, *parts], self._source(row))
        return None if found is None else _parts(found, shown, self._label(row))

    # --- the row ---

    def _source(self, row: SqlRow) -> str:
        """The row as what a SELECT reads, under the table's own name."""
        columns = ", ".join(f"{row[c.name]}::{c.type} as {sql.ident(c.name)}" for c in self.table.columns)
        return f" from (select {columns}) {sql.ident(self.table.name.name)}"

    def _label(self, row: SqlRow) -> str:
        return _NEW if self.command == "update" and row is self.new else self.label


def _smallest(expr: e.Expr) -> Iterator[e.Expr]:
    """The conditions that no AND or OR is in, each with the NOT before it."""
    match expr:
        case e.Logic(_, operands) | e.Prefix("not", e.Logic(_, operands)):
            for operand in operands:
                yield from _smallest(operand)
        case _:
            yield expr


def constants(table: Table, data: rows.Data) -> SqlRow:
    """A row that PostgreSQL printed, for it to read again."""
    return rows.stored_literals(data, [column.name for column in table.columns])


def opening(facts: RoleFacts, table: Table, command: Command) -> str:
    """What a role lacks before any policy is asked, as SQL; or ''."""
    reach = facts.reach.get(table.name)
    if reach is None:
        return f"grant usage on schema {sql.ident(table.name.schema)} to {sql.ident(facts.role)}"
    return "" if reach.may(command) else f"grant {command} on {sql.table(table.name)} to {sql.ident(facts.role)}"


def no_policy(path: str) -> str:
    return f"make one, or give the table rules under `people:` in {path}"


def drifted(path: str) -> str:
    return f"the database isn't what {path} says: mcp-rls drift {path}"


def _values(texts: Sequence[str]) -> str:
    return f"array[{', '.join(f'({text})::text' for text in texts)}]"


def _parts(found: Sequence[str | None], shown: Sequence[str], label: str) -> list[Part]:
    words = {"true": "true", "false": "not true", None: "null"}
    return [(words[value], label + _cut(text)) for value, text in zip(found, shown, strict=True)]


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..."
