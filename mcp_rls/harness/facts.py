"""What a database says about one acting role: its privileges on the covered tables, and the policies that bind it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mcp_rls import sql
from mcp_rls.catalog import Table, TableName
from mcp_rls.compiler.model import Command
from mcp_rls.harness.session import Connection, run


@dataclass(frozen=True)
class BindingPolicy:
    """A policy that applies to the role, ours or anybody's."""

    table: TableName
    name: str
    permissive: bool
    command: str  # 'all' or one of the four
    using: str | None
    check: str | None

    def applies(self, command: Command) -> bool:
        return self.command in ("all", command)

    def gate(self, command: Command) -> str | None:
        """The expression that PostgreSQL asks first for `command`: of the new row for INSERT, else of the old one."""
        return (self.check or self.using) if command == "insert" else self.using

    def whatever_the_row(self, command: Command) -> str | None:
        """The same for a restrictive policy, where the row has a part in it that nothing else can make up for."""
        gate = None if self.permissive else self.gate(command)
        held = _HELD.fullmatch(gate) if gate else None
        return f"({held['value'] or held['other']} IS NOT NULL)" if held else gate


# What a ceiling says that repeats people's equality, as PostgreSQL prints it: of a value that only who is let in has.
_CONSTANT = r"(?:'(?:[^']|'')*'|NULL)"
_ACTING = r'(?:\(CURRENT_USER COLLATE "default"\), )?'
_VALUE = rf"\( SELECT mcp_rls\.held_\w+\({_ACTING}{_CONSTANT}::\w+\) AS held_\w+\)"
_COLUMN = r'(?:\w+|"(?:[^"]|"")+")'
_HELD = re.compile(
    rf"\(NULLIF\(\((?:{_COLUMN} = (?P<value>{_VALUE})|(?P<other>{_VALUE}) = {_COLUMN})\), false\) IS NOT NULL\)"
)


@dataclass(frozen=True)
class Reach:
    """Which columns of one table a role may select, insert and update, and whether it may delete."""

    select: frozenset[str] = frozenset()
    insert: frozenset[str] = frozenset()
    update: frozenset[str] = frozenset()
    delete: bool = False
    row_security: bool = False

    def may(self, command: Command) -> bool:
        """Whether the role has any privilege for `command`."""
        return bool(getattr(self, command))


@dataclass(frozen=True)
class RoleFacts:
    role: str
    reach: Mapping[TableName, Reach] = field(default_factory=dict)
    policies: Mapping[TableName, tuple[BindingPolicy, ...]] = field(default_factory=dict)

    def may(self, table: TableName, command: Command) -> bool:
        """Whether the role has any privilege for `command` on the table."""
        return table in self.reach and self.reach[table].may(command)

    def binding(self, table: TableName, command: Command) -> tuple[BindingPolicy, ...]:
        """The policies that decide about `command`, the restrictive ones last."""
        found = [p for p in self.policies.get(table, ()) if p.applies(command)]
        return tuple(sorted(found, key=lambda p: (not p.permissive, p.name)))


_COMMANDS = {"*": "all", "r": "select", "a": "insert", "w": "update", "d": "delete"}
_REACH = """
select n.nspname, c.relname, c.relrowsecurity,
       array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0
             and not a.attisdropped and has_column_privilege({role}, c.oid, a.attnum, 'select')),
       array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0
             and not a.attisdropped and has_column_privilege({role}, c.oid, a.attnum, 'insert')),
       array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0
             and not a.attisdropped and has_column_privilege({role}, c.oid, a.attnum, 'update')),
       has_table_privilege({role}, c.oid, 'delete')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where (n.nspname, c.relname) in ({tables}) and has_schema_privilege({role}, n.oid, 'usage')
"""
_POLICIES = """
select n.nspname, c.relname, p.polname, p.polpermissive, p.polcmd::text,
       pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
where exists (select from unnest(p.polroles) r(oid) where r.oid = 0 or pg_has_role({role}, r.oid, 'usage'))
order by p.polname
"""


def role_facts(conn: Connection, role: str, tables: Sequence[Table]) -> RoleFacts:
    """The facts about `role`; a table that it can't reach for want of USAGE on the schema has no `reach`."""
    if not tables:
        return RoleFacts(role)
    name = sql.literal(role)
    listed = ", ".join(f"({sql.literal(t.name.schema)}, {sql.literal(t.name.name)})" for t in tables)
    # Expressions print names outside the search_path with their schema.
    results = run(
        conn,
        "savepoint mcp_rls_facts",
        "set local search_path = pg_catalog",
        _REACH.format(role=name, tables=listed),
        _POLICIES.format(role=name),
        "rollback to mcp_rls_facts",
    )
    reach = {
        TableName(schema, table): Reach(frozenset(s), frozenset(i), frozenset(u), d, on)
        for schema, table, on, s, i, u, d in results[2]
    }
    policies: dict[TableName, list[BindingPolicy]] = {}
    for schema, table, policy, permissive, command, using, check in results[3]:
        on = TableName(schema, table)
        binding = BindingPolicy(on, policy, permissive, _COMMANDS[command], using, check)
        policies.setdefault(on, []).append(binding)
    return RoleFacts(role, reach, {t: tuple(p) for t, p in policies.items()})
