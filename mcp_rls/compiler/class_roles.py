"""Class roles: each class of clients as a database role of its own, granted exactly what the class's rules need.

The session takes the role by the token's `role` claim or by what opens it. Policies are TO that role, so that other
classes' policies are never looked at, and a class that needs no scope, no consent and no registry is known by its role
alone: its ceiling is the bare condition, without a gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.resolve import ResolvedPolicies, ResolvedTable
from mcp_rls.state import Grant, Privilege


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


def needs(resolved: ResolvedPolicies) -> Needs:
    """The privileges of the class roles' rules, of what the tables' policies read, and of the schemas around them."""
    policies, privileges, sequences = resolved.policies, set[Privilege](), set[Grant]()
    for table in resolved.tables:
        for name, role in policies.class_roles.items():
            commands = {c for rule in table.clients if name in rule.who for c in rule.commands}
            privileges |= {Privilege(table.table, role, c.upper()) for c in commands}
            if commands and table.people is None and resolved.catalog is not None:
                read = _read_by_policies(resolved, table.table)
                privileges |= {Privilege(other, role, "SELECT") for other in read}
            if "insert" in commands:
                sequences |= {Grant(role, "sequence", s.name, s.schema) for s in _sequences(resolved, table.table)}
    entered = {(p.role, p.table.schema) for p in privileges} | {(g.role, g.schema) for g in sequences}
    usage = {Grant(role, "schema", schema) for role, schema in entered}
    taken = {Grant(who, "role", role) for role in policies.class_roles.values() for who in policies.taken_by}
    return Needs(frozenset(privileges), frozenset(sequences | usage | taken))


def _sequences(resolved: ResolvedPolicies, table: TableName) -> tuple[TableName, ...]:
    known = resolved.catalog.tables.get(table) if resolved.catalog else None
    return known.sequences if known else ()


def _read_by_policies(resolved: ResolvedPolicies, table: TableName) -> Iterator[TableName]:
    """The covered tables that the app's policies of the table read, and what the policies of those read."""
    assert resolved.catalog is not None
    covered, seen, todo = {t.table for t in resolved.tables}, {table}, [table]
    while todo:
        for policy in resolved.catalog.tables[todo.pop()].policies:
            for other in sorted((policy.reads & covered) - seen):
                seen.add(other)
                todo.append(other)
                yield other
