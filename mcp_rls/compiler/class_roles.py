"""Class roles: each class of clients as a database role of its own, granted exactly what the class's rules need.

The session takes the role by the token's `role` claim or by what opens it. Policies are TO that role, so that other
classes' policies are never looked at, and a class that needs no scope, no consent and no registry is known by its role
alone: its ceiling is the bare condition, without a gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mcp_rls.catalog import Table, TableName
from mcp_rls.compiler.model import Columns, Command, PolicySet
from mcp_rls.compiler.resolve import ResolvedPolicies, ResolvedTable
from mcp_rls.state import Grant, Privilege, grouped


@dataclass(frozen=True)
class Needs:
    """What the class roles are to hold, and nothing else."""

    privileges: frozenset[Privilege] = frozenset()
    grants: frozenset[Grant] = frozenset()


def touches(table: ResolvedTable, class_name: str) -> bool:
    """Whether some rule of the table is the class's."""
    return any(class_name in rule.who for rule in table.clients)


def says_it_all(policies: PolicySet, class_name: str) -> bool:
    """Whether the role of the class is all that decides whether a session of it lives."""
    return policies.classes[class_name].registry is None and not policies.consent_required(class_name)


def needs(resolved: ResolvedPolicies, shared: frozenset[Privilege]) -> Needs:
    """The privileges of the class roles' rules, of what the tables' policies read, and of the schemas around them.

    None is given that a person's own session hasn't got: a client would gain by it. `shared`: what the roles of people
    and PUBLIC are to hold on covered tables, which may be more or less than they do now.
    """
    policies, people = resolved.policies, _People(resolved, grouped(shared))
    privileges, sequences = set[Privilege](), set[Grant]()
    for table in resolved.tables:
        for name, role in policies.class_roles.items():
            commands = {c for rule in table.clients if name in rule.who for c in rule.commands}
            for command in commands:
                held = people.privilege(table.table, role, command.upper())
                privileges |= set(_limited(resolved, held, _limit(table, name, command)))
            if commands and table.people is None and resolved.catalog is not None:
                for other in _read_by_policies(resolved, table.table):
                    held = people.privilege(other.table, role, "SELECT")
                    # no more columns than by its own rules: a policy that reads others is refused, and shows nothing
                    privileges |= set(_limited(resolved, held, _limit(other, name, "select")))
            if "insert" in commands:
                counted = filter(people.count, _sequences(resolved, table.table))
                sequences |= {Grant(role, "sequence", s.name, s.schema) for s in counted}
    entered = {(p.role, p.table.schema) for p in privileges} | {(g.role, g.schema) for g in sequences}
    usage = {Grant(role, "schema", schema) for role, schema in entered if people.enter(schema)}
    taken = {Grant(who, "role", role) for role in policies.class_roles.values() for who in policies.taken_by}
    return Needs(frozenset(privileges), frozenset(sequences | usage | taken))


def _limit(table: ResolvedTable, class_name: str, command: Command) -> Columns | None:
    """The columns that the class's rules for a command leave: one for all of them, or columns-mix."""
    limits = (r.columns for r in table.clients if class_name in r.who and command in r.commands)
    return next(limits, None) if command != "delete" else None


def _limited(resolved: ResolvedPolicies, held: Iterator[Privilege], limit: Columns | None) -> Iterator[Privilege]:
    """What of these privileges is on columns of a list. Without a database all but some are none, until a plan."""
    if limit is None:
        yield from held
        return
    for privilege in held:
        known = resolved.catalog.tables.get(privilege.table) if resolved.catalog else None
        read = privilege.privilege == "SELECT"
        columns = [c.name for c in known.columns if read or not c.computed] if known else sorted(limit.names)
        for column in [privilege.column] if privilege.column else columns:
            if limit.admit(column):
                yield replace(privilege, column=column)


@dataclass(frozen=True)
class _People:
    """What people's own sessions may do, in whatever role they arrive."""

    resolved: ResolvedPolicies
    shared: dict[TableName, list[Privilege]]

    def privilege(self, name: TableName, role: str, privilege: str) -> Iterator[Privilege]:
        """The privilege for a class role: on the table, on the columns that all roles of people have, or not at all."""
        table = self.resolved.catalog.tables.get(name) if self.resolved.catalog else None
        if table is None:
            yield Privilege(name, role, privilege)
            return
        everything = frozenset(c.name for c in table.columns)
        held = [self._columns(table, person, privilege) for person in self.resolved.policies.people_roles]
        if all(columns is None for columns in held):
            yield Privilege(name, role, privilege)
        else:
            for column in sorted(everything.intersection(*(c for c in held if c is not None))):
                yield Privilege(name, role, privilege, column)

    def _columns(self, table: Table, role: str, privilege: str) -> frozenset[str] | None:
        """The columns on which a role has a privilege; None for the whole table."""
        holders, ours = self._acts_as(role), {*self.resolved.policies.roles, "public"}
        granted = {held for held in table.grants if held[0] not in ours}
        granted |= {(p.role, p.privilege, p.column) for p in self.shared.get(table.name, ()) if p.role in ours}
        found = {column for holder, what, column in granted if holder in holders and what == privilege}
        return None if "" in found or table.owner in holders else frozenset(found)

    def enter(self, schema: str) -> bool:
        catalog = self.resolved.catalog
        return catalog is None or self._all({role for role, name in catalog.entered if name == schema})

    def count(self, sequence: TableName) -> bool:
        """Whether they may take numbers from a sequence."""
        catalog = self.resolved.catalog
        return catalog is None or self._all({role for role, name in catalog.counted if name == sequence})

    def _all(self, holders: set[str]) -> bool:
        return all(self._acts_as(role) & holders for role in self.resolved.policies.people_roles)

    def _acts_as(self, role: str) -> set[str]:
        assert self.resolved.catalog is not None
        return self.resolved.catalog.acts_as(role)


def _sequences(resolved: ResolvedPolicies, table: TableName) -> tuple[TableName, ...]:
    known = resolved.catalog.tables.get(table) if resolved.catalog else None
    return known.sequences if known else ()


def _read_by_policies(resolved: ResolvedPolicies, table: TableName) -> Iterator[ResolvedTable]:
    """The covered tables that the app's policies of the table read, and what the policies of those read."""
    assert resolved.catalog is not None
    covered, seen, todo = {t.table: t for t in resolved.tables}, {table}, [table]
    while todo:
        for policy in resolved.catalog.tables[todo.pop()].policies:
            for other in sorted((policy.reads & covered.keys()) - seen):
                seen.add(other)
                todo.append(other)
                yield covered[other]
