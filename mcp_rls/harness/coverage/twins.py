"""Stand-ins for the policies of a file: the same decisions, which note the values that they come to.

The file's rules are compiled once more with each condition cut into pieces. A rule that allows several commands is
taken apart, and what a class sees is left as it is where the ceilings of UPDATE and DELETE repeat it: what is noted
there belongs to the UPDATE or DELETE rule alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from mcp_rls import sql
from mcp_rls.catalog import Catalog, Table, TableName
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.carried import ENTRIES, RESOLVE, Gate
from mcp_rls.compiler.lower import lower
from mcp_rls.compiler.model import COMMANDS, Command, Condition, Rule, TableRules
from mcp_rls.compiler.resolve import ResolvedPolicies, ResolvedRule, ResolvedTable
from mcp_rls.harness.coverage.pieces import Cutter, Piece, noted
from mcp_rls.harness.coverage.record import wrapped
from mcp_rls.state import Policy, State


@dataclass(frozen=True)
class CutRule:
    """What one rule says for one command, in pieces. `who` is empty for people."""

    table: TableName
    command: Command
    rule: Rule
    old: tuple[Piece, ...]
    new: tuple[Piece, ...]


@dataclass(frozen=True)
class CutWhere:
    """The `where` of a registry or of the consent table, in pieces, and the number of the whole."""

    whole: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Twins:
    """The statements that put the stand-ins in place, and where each number stands."""

    resolved: ResolvedPolicies
    statements: tuple[str, ...]
    rules: tuple[CutRule, ...]
    wheres: Mapping[str, CutWhere]  # by class, and 'consent'
    ceilings: Mapping[tuple[TableName, Command], frozenset[int]]  # the numbers that say that it was asked
    people: Mapping[tuple[TableName, Command], frozenset[int]]
    numbers: int


def make_twins(resolved: ResolvedPolicies, actual: State) -> Twins:
    """The stand-ins for what `resolved` is compiled to."""
    made = _Maker(resolved)
    tables = tuple(made.table(t) for t in resolved.tables)
    where = dict(made.where())
    asked = Gate(resolved.policies)
    readers = lower(replace(resolved, tables=tuple(t for t, _ in tables), where=where), actual, asked)
    writers = lower(replace(resolved, tables=tuple(t for _, t in tables), where=where), actual, asked)
    policies = [p for p in readers.policies.values() if p.permissive or p.command not in ("update", "delete")]
    policies += [p for p in writers.policies.values() if not p.permissive and p.command in ("update", "delete")]
    altered = [sql.alter_policy(made.policy(p)) for p in policies if not p.is_as_before]
    # both decide alike; the one that looks at more entries of a ceiling's rules serves both
    gate = max((s.functions[_GATE].definition for s in (readers, writers)), key=len)
    resolving = [writers.functions[f].definition for f in (ENTRIES, RESOLVE) if f in writers.functions]
    numbers = made.next() - 1
    return Twins(
        resolved,
        (gate, *resolving, *altered),
        tuple(made.rules),
        made.wheres,
        made.asked(False),
        made.asked(True),
        numbers,
    )


_GATE = "mcp_rls.gate(name, jsonb)"


@dataclass
class _Maker:
    resolved: ResolvedPolicies
    rules: list[CutRule] = field(default_factory=list)
    wheres: dict[str, CutWhere] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _policies: dict[tuple[TableName, str, bool], list[int]] = field(default_factory=dict)

    def next(self) -> int:
        return next(self._numbers)

    # --- rules

    def table(self, table: ResolvedTable) -> tuple[ResolvedTable, ResolvedTable]:
        """The table with all its rules noting; and so that what a class sees doesn't, for UPDATE and DELETE."""
        policies, facts = self.resolved.policies, _facts(self.resolved.catalog, table.table)
        cutter = _RuleCutter(table, Cutter(self.next, facts), self.rules)
        clients = _parted(cutter, table.clients, policies.client_rules(table.table))
        people = None
        if table.people is not None:
            people = tuple(_parted(cutter, table.people, _people(policies.tables[table.table])))
        plain = [replace(r, commands=frozenset[Command]({"select"})) for r in table.clients if "select" in r.commands]
        writing = tuple(r for r in clients if r.commands & {"update", "delete"})
        made = replace(table, clients=tuple(clients), people=people)
        return made, replace(made, clients=(*plain, *writing))

    # --- what the gate reads

    def where(self) -> Iterator[tuple[str, e.Expr]]:
        """Conditions for the gate that note what they and their pieces come to; the consent's also if it has none."""
        policies = self.resolved.policies
        for c in policies.classes.values():
            if c.registry is not None and c.registry.where is not None:
                yield c.name, self._where(c.name, c.registry.where, c.registry.table)
        if policies.consent is not None:
            yield "consent", self._where("consent", policies.consent.where, policies.consent.table)

    def _where(self, name: str, source: Condition | None, table: TableName) -> e.Expr:
        cutter = Cutter(self.next, _facts(self.resolved.catalog, table))
        condition, pieces = cutter.cut(self.resolved.where.get(name, e.TRUE), source)
        self.wheres[name] = CutWhere(self.next(), pieces)
        return noted(condition, self.wheres[name].whole)

    # --- policies

    def policy(self, policy: Policy) -> Policy:
        """The policy, noting that it was asked."""
        made: dict[str, str] = {}
        for part, text in (("using", policy.using), ("check", policy.check)):
            if text is not None:
                number = self.next()
                self._policies.setdefault((policy.table, policy.command, policy.permissive), []).append(number)
                made[part] = wrapped(f"({text})", number)
        return replace(policy, **made)  # type: ignore[arg-type]  # the names are those of two texts

    def asked(self, permissive: bool) -> dict[tuple[TableName, Command], frozenset[int]]:
        """The numbers of the policies for each table and command; one for all commands counts for each."""
        found: dict[tuple[TableName, Command], frozenset[int]] = {}
        for (table, said, kind), numbers in self._policies.items():
            for command in COMMANDS if kind is permissive else ():
                if said in ("all", command):
                    # UPDATE asks of the old row first
                    found[table, command] = frozenset(numbers if said == "all" else numbers[:1])
        return found


def _facts(catalog: Catalog | None, table: TableName) -> Table | None:
    return catalog.tables.get(table) if catalog is not None else None


def _people(rules: TableRules) -> tuple[Rule, ...]:
    assert rules.people != "existing", "people rules were resolved"
    return rules.people


def _parted(cutter: _RuleCutter, rules: tuple[ResolvedRule, ...], sources: tuple[Rule, ...]) -> list[ResolvedRule]:
    """The rules as rules for one command each, noting."""
    return [
        cutter.cut(rule, source, command)
        for rule, source in zip(rules, sources, strict=True)
        for command in COMMANDS
        if command in rule.commands
    ]


@dataclass
class _RuleCutter:
    """Cuts the rules of one table."""

    table: ResolvedTable
    cutter: Cutter
    made: list[CutRule]
    _shared: dict[tuple[object, ...], e.Expr] = field(default_factory=dict)

    def cut(self, rule: ResolvedRule, source: Rule, command: Command) -> ResolvedRule:
        """The rule for `command` alone, noting."""
        rows, new_row, old, new = rule.rows, rule.new_row, tuple[Piece, ...](), tuple[Piece, ...]()
        sees = self._sees(rule) if command in ("update", "delete") else e.TRUE
        if command != "insert":
            rows, old = self.cutter.cut(rule.rows, source.rows, sees)
        if command in ("insert", "update"):
            passed = self._passed(rule, command)
            new_row, new = self._new_row(rule, source, command, e.conjunction((passed, sees)))
        self.made.append(CutRule(self.table.table, command, source, old, new))
        return replace(rule, commands=frozenset({command}), rows=rows, new_row=new_row)

    def _sees(self, rule: ResolvedRule) -> e.Expr:
        """What is asked first of a row that one of these classes is to change: that it sees it. `true` for people."""
        reads = [r for r in self.table.clients if "select" in r.commands and set(r.who) & set(rule.who)]
        return e.disjunction(tuple(r.rows for r in reads)) if reads else e.TRUE

    def _passed(self, rule: ResolvedRule, command: Command) -> e.Expr:
        """What PostgreSQL found true of a new row before it asks a ceiling; of an old row it asks the ceiling first."""
        rules = [r.new_row for r in self.table.people or () if command in r.commands]
        return e.disjunction(tuple(rules)) if rules and rule.who else e.TRUE

    def _new_row(
        self, rule: ResolvedRule, source: Rule, command: Command, before: e.Expr
    ) -> tuple[e.Expr, tuple[Piece, ...]]:
        """Rules that ask the same of a new row are one condition, here as in the policy."""
        key = (command, rule.who, rule.new_row)
        if key in self._shared:
            return self._shared[key], ()
        condition, pieces = self.cutter.cut(rule.new_row, source.new_row(), before)
        self._shared[key] = condition
        return condition, pieces
