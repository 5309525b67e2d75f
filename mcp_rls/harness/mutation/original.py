"""What is installed, with what is known of it: the right database that every mutant is made of, and compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from mcp_rls import sql
from mcp_rls.catalog import Catalog, TableName
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.carried import Gate
from mcp_rls.compiler.lower import lower
from mcp_rls.compiler.model import COMMANDS, Command, PolicySet
from mcp_rls.compiler.resolve import ResolvedPolicies, ResolvedTable
from mcp_rls.compiler.shapes import GateRules
from mcp_rls.database.apply import prepare
from mcp_rls.diagnostics import Span
from mcp_rls.harness.check import covered_tables
from mcp_rls.harness.facts import RoleFacts
from mcp_rls.harness.mutation.conditions import Known
from mcp_rls.harness.mutation.domains import AllDomains, read_domains
from mcp_rls.harness.mutation.parents import needed_by
from mcp_rls.harness.mutation.proof import Domains
from mcp_rls.harness.session import CannotTest
from mcp_rls.harness.stage import Stage
from mcp_rls.harness.suite import Suite
from mcp_rls.state import Policy, State

Wanted = Callable[[Policy], bool]


@dataclass(frozen=True)
class Original:
    """`resolved` is the policy file, `state` what it compiles to here, `actual` what the compiler was told of it."""

    resolved: ResolvedPolicies
    actual: State
    state: State
    domains: AllDomains
    roles: Mapping[str, RoleFacts]  # each role that a token can arrive as
    values: Mapping[TableName, Mapping[str, tuple[e.Lit, ...]]] = field(default_factory=dict)

    @property
    def policies(self) -> PolicySet:
        return self.resolved.policies

    @property
    def catalog(self) -> Catalog:
        assert self.resolved.catalog is not None, "a server was asked"
        return self.resolved.catalog

    @cached_property
    def _asked(self) -> Mapping[str, GateRules]:
        """What its policies ask of a session that has resolved."""
        gate = Gate(self.policies)
        lower(self.resolved, self.actual, gate)
        return gate.asked

    # --- other states

    def lowered(self, resolved: ResolvedPolicies) -> tuple[str, ...]:
        """Statements that bring the functions to what `resolved` compiles to; policies stay as they are."""
        functions = lower(resolved, self.actual).functions
        known = self.state.functions
        made = [f for key, f in functions.items() if key not in known or known[key].source != f.source]
        return tuple(statement for f in made for statement in sql.create_function(f))

    def lowered_rules(self, table: ResolvedTable, wanted: Wanted) -> tuple[str, ...]:
        """Statements that bring those policies that are `wanted` to what the rules of `table` compile to.

        Other policies still call the same functions: the gate is written anew only where it must look at more entries.
        """
        tables = tuple(table if t.table == table.table else t for t in self.resolved.tables)
        state = lower(replace(self.resolved, tables=tables), self.actual, Gate(self.policies, dict(self._asked)))
        known = self.state.functions
        needed = [
            f for k, f in state.functions.items() if k not in known or len(f.definition) > len(known[k].definition)
        ]
        made = [statement for f in needed for statement in sql.create_function(f)]
        for key, policy in self.state.policies.items():
            other = state.policies.get(key)
            if wanted(policy) and other is None:  # a class whose rules it was alone has a role, and none any more
                made.append(sql.drop_policy(policy))
            elif wanted(policy) and other is not None and policy.source != other.source:
                made += changed(policy, other)
        new = (p for key, p in state.policies.items() if key not in self.state.policies and wanted(p))
        return (*made, *map(sql.create_policy, new))

    def with_policies(self, policies: PolicySet, where: Mapping[str, e.Expr] | None = None) -> ResolvedPolicies:
        """The same rules with other classes, scopes or consent, and other conditions on their tables."""
        return replace(
            self.resolved, policies=policies, where=dict(where) if where is not None else self.resolved.where
        )

    # --- what is known

    def domains_of(self, table: TableName) -> Domains:
        return self.domains.get(table, {})

    def known(self, table: TableName) -> Known:
        """What could stand in a condition on this table."""
        policies = self.policies
        tokens = {"person": policies.identity.person.type, "client": "text"}
        tokens |= {name: claim.type for name, claim in policies.claims.items()}
        return Known(self.values.get(table, {}), tokens, {name: s.type for name, s in policies.sets.items()})

    def may(self, table: TableName, command: str, role: str | None = None) -> bool:
        """Whether a token's role (or this one) has the privilege for `command`; 'all': for any."""
        facts = [self.roles[role]] if role is not None else list(self.roles.values())
        reach = [f.reach[table] for f in facts if table in f.reach]
        return any(r.may(c) for r in reach for c in commands_of(command))

    def admits(self, table: TableName, command: str, role: str | None = None) -> bool:
        """Whether, but for ceilings, anything can come of `command`: a privilege and a permissive policy."""
        return any(
            self.may(table, c, name) and any(p.permissive for p in facts.binding(table, c))
            for name, facts in self.roles.items()
            if role in (None, name)
            for c in commands_of(command)
        )

    def parents(self, table: TableName, command: Command) -> frozenset[TableName]:
        """Tables of which every permissive policy for `command` needs a visible row."""
        bound = {p for facts in self.roles.values() for p in facts.binding(table, command) if p.permissive}
        needs = [needed_by(gate) if (gate := p.gate(command)) is not None else frozenset() for p in bound]
        return frozenset.intersection(*needs) if needs else frozenset()

    def span_of(self, policy: Policy) -> Span:
        """The place in the policy file that the policy comes from: its first rule, else its table."""
        table = next((t for t in self.resolved.tables if t.table == policy.table), None)
        if table is None:
            return Span(self.policies.path)
        rules = table.people or () if policy.permissive else table.clients
        spans = [r.span for r in rules if policy.command in r.commands]
        return min(spans, default=table.span)


def read_original(stage: Stage, suite: Suite) -> Original:
    """The original on stage. Raises CannotTest when the database holds something else than the file compiles to."""
    prepared = prepare(stage.conn, stage.policies)
    if prepared.plan:
        words = prepared.plan.operations[0].words.splitlines()[0]
        raise CannotTest(f"the database doesn't hold what {stage.policies.path} compiles to: {words}")
    tables = covered_tables(stage.policies, prepared.catalog)
    domains = read_domains(stage.conn, prepared.catalog.tables.values())
    roles = {role: stage.facts(role) for role in stage.policies.acting}
    values = {t.name: _values(prepared.resolved, t.name, domains.get(t.name, {}), suite) for t in tables}
    return Original(prepared.resolved, prepared.actual, prepared.desired, domains, roles, values)


def _values(
    resolved: ResolvedPolicies, table: TableName, domains: Domains, suite: Suite
) -> dict[str, tuple[e.Lit, ...]]:
    """Constants that its text columns can hold, or are compared with, or hold in a fixture; booleans need none."""
    found: dict[str, dict[e.Lit, None]] = {}
    for name, domain in domains.items():
        if domain.kind == "text":
            listed = domain.values or (row[name] for row in suite.fixtures.get(table, ()) if name in row)
            found[name] = {e.Lit(text, "string"): None for text in listed if isinstance(text, str)}
    rules = [r for t in resolved.tables if t.table == table for r in (*t.clients, *(t.people or ()))]
    for expr in (x for r in rules for x in (r.rows, r.new_row)):
        for name, constants in _compared(expr):
            if domains.get(name) is None or domains[name].values is None:
                found.setdefault(name, {}).update(dict.fromkeys(constants))
    return {name: tuple(constants) for name, constants in found.items()}


def _compared(expr: e.Expr) -> list[tuple[str, list[e.Lit]]]:
    """Columns with the constants that they are compared with."""
    found = []
    for node in expr.walk():
        match node:
            case e.Op("=", e.Col(name), e.Lit() as value) if value.kind in ("string", "number"):
                found.append((name, [value]))
            case e.In(e.Col(name), items):
                found.append((name, [i for i in items if isinstance(i, e.Lit) and i.kind != "null"]))
    return found


def changed(known: Policy, wanted: Policy) -> tuple[str, ...]:
    """ALTER POLICY where that is enough; it can't change the kind or the command, nor take an expression away."""
    taken = (known.using is not None and wanted.using is None) or (known.check is not None and wanted.check is None)
    if taken or (known.permissive, known.command) != (wanted.permissive, wanted.command):
        return sql.drop_policy(known), sql.create_policy(wanted)
    return (sql.alter_policy(wanted),)


def commands_of(command: str) -> tuple[Command, ...]:
    """The commands that a policy FOR `command` is asked about."""
    return tuple(c for c in COMMANDS if command in ("all", c))
