"""A policy set against the facts: conditions parsed, names checked in the catalog, unlisted tables found.

Without a catalog (no database at hand) everything that needs one is left unchecked, and unlisted tables stay unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath

from mcp_rls.catalog import Catalog, Table, TableName
from mcp_rls.compiler import acting, reason
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.absence import authored_absence
from mcp_rls.compiler.columns import check_columns
from mcp_rls.compiler.model import Columns, Command, Condition, PolicySet, Rule, TableRules
from mcp_rls.compiler.predicate import parse
from mcp_rls.compiler.raw import Names, split_tokens
from mcp_rls.compiler.roles import check_roles
from mcp_rls.diagnostics import Diagnostics, Span, nearest

MAX_SCOPE_SETS = 8  # of one class on one table: the unions of them are written out
COVERED_KINDS = ("table", "partitioned", "partition")


@dataclass(frozen=True)
class ResolvedRule:
    """A rule with its conditions parsed; `rows` and `new_row` are `true` where the file sets no limit."""

    commands: frozenset[Command]
    who: tuple[str, ...]
    scopes: frozenset[str]
    rows: e.Expr
    new_row: e.Expr
    span: Span
    columns: Columns | None = None  # that an UPDATE may set; None: any

    def place(self) -> str:
        return place(self.span)


@dataclass(frozen=True)
class ResolvedTable:
    """One covered table. `people` None: the app's own policies. No `clients` rules: closed to every client."""

    table: TableName
    listed: bool
    people: tuple[ResolvedRule, ...] | None
    clients: tuple[ResolvedRule, ...]
    force: bool
    self_reading: bool  # its policies read the table itself: a sub-select in ours would recurse (42P17)
    span: Span


@dataclass(frozen=True)
class ResolvedPolicies:
    policies: PolicySet
    catalog: Catalog | None
    tables: tuple[ResolvedTable, ...]
    set_queries: dict[str, tuple[str | e.Expr, ...]] = field(default_factory=dict)
    where: dict[str, e.Expr] = field(default_factory=dict)  # class name -> its registry's `where`; 'consent'


def place(span: Span) -> str:
    """'policies.yaml:14', for comments in the database: no directory, which differs between machines."""
    return f"{PurePath(span.path).name}:{span.line}" if span.path else ""


def resolve(
    policies: PolicySet,
    catalog: Catalog | None,
    diagnostics: Diagnostics,
    accept: frozenset[str] = frozenset(),
    *,
    partial: bool = False,
) -> ResolvedPolicies | None:
    """The policies ready to lower, or None after saying what stands against it.

    `accept` names codes whose errors are let through: for tests that show what would happen. `partial`: what could be
    resolved is handed on in spite of errors, for further checks; it is never to be lowered.
    """
    found = Diagnostics()
    resolver = _Resolver(policies, catalog, found)
    resolver.claim_paths()
    tables = tuple(resolver.tables())
    result = ResolvedPolicies(policies, catalog, tables, dict(resolver.set_queries()), dict(resolver.wheres()))
    if catalog is None:  # a database is asked by a lint
        authored_absence(policies, found)
    kept = [d for d in found if d.code not in accept]
    diagnostics.extend(kept)
    return None if not partial and any(d.severity.label == "error" for d in kept) else result


@dataclass
class _Resolver:
    policies: PolicySet
    catalog: Catalog | None
    diagnostics: Diagnostics

    @cached_property
    def as_person(self) -> frozenset[Span]:
        """Where tables are read_as_person: the rules that stand for that have the same place."""
        return frozenset(t.span for t in self.policies.tables.values() if t.clients == "read_as_person")

    def names(self, table: Table | None) -> Names:
        return Names(frozenset(self.policies.claims), frozenset(self.policies.sets), table)

    def table(self, name: TableName, span: Span, what: str) -> Table | None:
        """Facts of a table that the file names; an error when the database hasn't got it."""
        if self.catalog is None:
            return None
        known = self.catalog.tables.get(name)
        if known is None:
            hint = nearest(str(name), map(str, self.catalog.tables))
            self.diagnostics.error("unknown-table", f'{what} "{name}" does not exist', span, hint)
        return known

    def column(self, table: Table | None, name: str, span: Span) -> None:
        if table is not None and table.column(name) is None:
            hint = nearest(name, [c.name for c in table.columns])
            self.diagnostics.error("unknown-column", f'table "{table.name}" has no column "{name}"', span, hint)

    def claim_paths(self) -> None:
        """A member of an array has no name: a path that counts would read what the file calls malformed."""
        identity = self.policies.identity
        paths = [identity.person.path, *identity.client, *((identity.scope,) if identity.scope else ())]
        for path in [*paths, *(c.path for c in self.policies.claims.values())]:
            if any(part.lstrip("-").isdigit() for part in path):
                self.diagnostics.error(
                    "bad-value", f"the claim path {'.'.join(path)} has a number in it", Span(self.policies.path),
                    "a path names members of objects; nothing reads inside an array",
                )  # fmt: skip

    # --- tables

    def tables(self) -> Iterator[ResolvedTable]:
        for name, rules in sorted(self.policies.tables.items()):
            facts = self.table(name, rules.span, "table")
            if self.catalog is not None and facts is None:
                continue
            if facts is not None and facts.kind not in COVERED_KINDS:
                self.diagnostics.error(
                    "bad-value", f'"{name}" is a {facts.kind}; row security covers tables only', rules.span,
                    "a view passes on the ceilings of its tables when it is made WITH (security_invoker)",
                )  # fmt: skip
                continue
            yield self.resolved(name, rules, facts)
        yield from self.unlisted()
        if self.catalog is not None:
            check_roles(self.policies, self.catalog, self.diagnostics)

    def unlisted(self) -> Iterator[ResolvedTable]:
        if self.catalog is None:
            return
        for schema in self.policies.schemas:
            if schema not in self.catalog.schemas:
                hint = nearest(schema, self.catalog.schemas)
                self.diagnostics.error(
                    "unknown-schema", f'schema "{schema}" does not exist', Span(self.policies.path), hint
                )
            for table in self.catalog.in_schema(schema):
                if table.kind in COVERED_KINDS and table.name not in self.policies.tables:
                    span = Span(self.policies.path)
                    self.as_before(table, span)
                    yield ResolvedTable(table.name, False, None, (), False, _reads_itself(self.catalog, table), span)

    def resolved(self, name: TableName, rules: TableRules, facts: Table | None) -> ResolvedTable:
        people = None if rules.people == "existing" else tuple(self.rule(r, facts) for r in rules.people)
        clients = tuple(self.rule(r, facts) for r in self.policies.client_rules(name))
        if people is not None and facts is not None:
            self.people_wider(facts, rules.span)
        elif facts is not None:
            self.as_before(facts, rules.span)
        if clients and facts is not None and self.catalog is not None:
            acting.check_table(self.policies, self.catalog, facts, rules, self.diagnostics)
        for class_name in self.policies.classes:
            mine = [r for r in clients if class_name in r.who]
            self.updates_within_select(mine, class_name)
            if len({r.scopes for r in mine}) > MAX_SCOPE_SETS:
                self.diagnostics.error(
                    "too-many-scopes",
                    f'"{class_name}" has rules of more than {MAX_SCOPE_SETS} different sets of scopes on "{name}"',
                    rules.span,
                    "declare scopes that imply others, and ask for one of them",
                )
        reads = facts is not None and self.catalog is not None and _reads_itself(self.catalog, facts)
        return ResolvedTable(name, True, people, clients, rules.force, reads, rules.span)

    def rule(self, rule: Rule, facts: Table | None) -> ResolvedRule:
        names = self.names(facts)
        rows = self.condition(rule.rows, names)
        check = self.condition(rule.check, names) if rule.check else rows
        for condition in (rule.rows, rule.check):
            if condition is not None and condition.raw and facts is not None:
                self.own_table(condition, facts)
                if not rule.who and self.policies.class_roles and self.catalog is not None:
                    acting.check_sql(self.catalog, condition, self.diagnostics)
        if not rule.who and any(self._names_client(expr) for expr in (rows, check)):
            message = "this rule for people admits by token.client, which a direct session hasn't got"
            self.diagnostics.note("client-in-people-rule", message, rule.span)
        if rule.who and not rule.scopes and rule.span not in self.as_person:
            self.diagnostics.note("rule-without-scope", "this rule needs no scope", rule.span)
        if facts is not None:
            check_columns(rule, facts, self.diagnostics)
        return ResolvedRule(rule.commands, rule.who, frozenset(rule.scopes), rows, check, rule.span, rule.columns)

    def _names_client(self, expr: e.Expr) -> bool:
        """Whether it reads token.client, by itself or through a set."""
        sets = {node.name for node in expr.walk() if isinstance(node, e.SetValues)}
        queries = [self.policies.sets[name].query.lower() for name in sets if name in self.policies.sets]
        parts = [part for node in expr.walk() if isinstance(node, e.Raw) for part in node.parts]
        return e.Token("client") in (*expr.walk(), *parts) or any("token.client" in query for query in queries)

    def condition(self, condition: Condition | None, names: Names) -> e.Expr:
        if condition is None:
            return e.TRUE
        expr = parse(condition, names, self.diagnostics)
        if expr is None:
            return e.FALSE  # an error was reported; closed, in case anybody looks at the value
        if condition.raw:
            self.diagnostics.note("raw-sql", "this condition is SQL that was not checked", condition.span)
        elif reason.unsatisfiable(expr):
            self.diagnostics.error("never-holds", "no row can ever meet this condition", condition.span)
        if names.table is not None:
            self.nullable_negation(expr, names.table, condition.span)
            self.extension_types(expr, names.table, condition.span)
        return expr

    def own_table(self, condition: Condition, table: Table) -> None:
        """SQL of a rule can't read its own table (42P17)."""
        own = rf"\b(from|join)\s+(only\s+)?\S*\b{re.escape(table.name.name)}\b"
        if re.search(own, condition.text, re.IGNORECASE):
            message, hint = "a condition can't read its own table", "declare a set that reads it: column in NAME"
            self.diagnostics.error("bad-condition", message, condition.span, hint)

    def extension_types(self, expr: e.Expr, table: Table, span: Span) -> None:
        """Conditions are read with pg_catalog alone: an operator of an extension would silently be another one."""
        for node in expr.walk():
            for child in node.children() if not isinstance(node, e.Cast | e.Test) else ():
                column = table.column(child.name) if isinstance(child, e.Col) else None
                if column is not None and column.own_operators:
                    self.diagnostics.error(
                        "extension-type",
                        f'"{column.name}" is {column.type}, whose operators belong to an extension',
                        span,
                        f"say how to compare it, {column.name}::text, or give the condition as sql:",
                    )

    def nullable_negation(self, expr: e.Expr, table: Table, span: Span) -> None:
        for node in expr.walk():
            negative = (
                (isinstance(node, e.Op) and node.op == "<>")
                or (isinstance(node, e.In) and node.negated)
                or (isinstance(node, e.Any) and node.quantifier == "all")
            )
            for name in e.columns(node) if negative else ():
                column = table.column(name)
                if column is not None and not column.not_null:
                    self.diagnostics.warning(
                        "nullable-negation", f'"{name}" may be NULL, and then this is never true', span,
                        "use: is distinct from, or add: or ... is null",
                    )  # fmt: skip

    def as_before(self, facts: Table, span: Span) -> None:
        # a table of ours that has it off is no newcomer: it only goes on again
        if not facts.row_security and not facts.ceilings:
            self.diagnostics.note(
                "as-before-open",
                f'row security of "{facts.name}" was off: everybody but clients keeps all its rows',
                span,
                "give the table people rules, or policies of your own",
                subject=f"table {facts.name}",
            )

    def people_wider(self, facts: Table, span: Span) -> None:
        """Permissive policies add up: rules of ours beside another's policy for the same roles limit nobody."""
        for policy in facts.policies:
            bound = "public" in policy.roles or any(self._covers(policy.roles, role) for role in self.policies.acting)
            if policy.permissive and bound:
                self.diagnostics.error(
                    "people-wider",
                    f'policy "{policy.name}" of table "{facts.name}" would add its rows to these rules',
                    span,
                    "drop that policy, or keep the app's own with `people: existing`",
                    subject=policy.object,
                )

    def _covers(self, roles: tuple[str, ...], role: str) -> bool:
        assert self.catalog is not None
        known = self.catalog.roles.get(role)
        return role in roles or (known is not None and bool(known.member_of & set(roles)))

    def updates_within_select(self, rules: list[ResolvedRule], class_name: str) -> None:
        """An UPDATE whose new row the class may never see is an error; one not proved visible a warning."""
        seen = e.disjunction(tuple(r.rows for r in rules if "select" in r.commands))
        updates = [r for r in rules if "update" in r.commands]
        if len({r.new_row for r in updates}) > 1:
            message = (
                f'the update rules of "{class_name}" have different checks: a row that one of them may touch could'
            )
            self.diagnostics.error("update-rules-mix", f"{message} get what another allows", updates[-1].span)
        for rule in updates:
            if reason.disjoint(rule.new_row, seen):
                self.diagnostics.error(
                    "check-disjoint",
                    f'"{class_name}" could never see the rows that this check admits',
                    rule.span,
                )
            elif not reason.implies(rule.new_row, seen):
                self.diagnostics.warning(
                    "check-outside-select",
                    f'this check may admit rows that "{class_name}" can\'t see; such an update is refused', rule.span,
                )  # fmt: skip

    # --- what the helper functions read

    def set_queries(self) -> Iterator[tuple[str, tuple[str | e.Expr, ...]]]:
        for name, definition in self.policies.sets.items():
            parts = split_tokens(definition.query, self.names(None), definition.span, self.diagnostics)
            if parts is not None and not isinstance(parts[0], str):
                parts = None
            if parts is None or not str(parts[0]).lstrip().lower().startswith(("select", "with")):
                self.diagnostics.error("bad-value", f'set "{name}" needs one SELECT of one column', definition.span)
            else:
                yield name, parts

    def wheres(self) -> Iterator[tuple[str, e.Expr]]:
        for c in self.policies.classes.values():
            if c.registry is not None:
                facts = self.table(c.registry.table, c.registry.span, "registry table")
                self.column(facts, c.registry.id, c.registry.span)
                if c.registry.where is not None:
                    yield c.name, self.condition(c.registry.where, self.names(facts))
        consent = self.policies.consent
        if consent is not None:
            facts = self.table(consent.table, consent.span, "consent table")
            for name in filter(None, (consent.person, consent.client, consent.scopes)):
                self.column(facts, name, consent.span)
            if consent.where is not None:
                yield "consent", self.condition(consent.where, self.names(facts))


def _reads_itself(catalog: Catalog, table: Table) -> bool:
    """Whether following what policies read leads from the table back to it."""
    reached: set[TableName] = set()
    todo = [r for p in table.policies for r in p.reads]
    while todo:
        name = todo.pop()
        if name == table.name:
            return True
        if name not in reached and name in catalog.tables:
            reached.add(name)
            todo += [r for p in catalog.tables[name].policies for r in p.reads]
    return False
