"""Facts about a database that we read and do not manage: tables, columns, keys, roles, other people's policies."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

FEW = 1_000  # rows of a table on which no way to read it is slow
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")


@dataclass(frozen=True, order=True)
class TableName:
    """A schema-qualified table name, as stored in the catalog (no quotes)."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @classmethod
    def parse(cls, text: str) -> TableName | None:
        """The name in 'schema.table' (either part may be double-quoted), or None when it isn't one."""
        match = re.fullmatch(r'(?:"((?:[^"]|"")+)"|([^".]+))\.(?:"((?:[^"]|"")+)"|([^".]+))', text)
        if match is None:
            return None
        schema = match[2] if match[2] is not None else match[1].replace('""', '"')
        name = match[4] if match[4] is not None else match[3].replace('""', '"')
        return cls(schema, name)


@dataclass(frozen=True)
class Column:
    name: str
    type: str  # as format_type prints it: 'uuid', 'character varying(20)', 'text[]'
    not_null: bool = False
    has_default: bool = False  # a default, an identity or a generation expression
    generated: bool = False  # GENERATED ALWAYS AS (...) or GENERATED ALWAYS AS IDENTITY: can't be set
    computed: bool = False  # GENERATED ALWAYS AS (...) alone: the other may be set to DEFAULT, its next number
    base_type: str = ""  # without type modifiers; for a domain the type below it
    own_operators: bool = False  # a type of an extension, whose operators stand outside pg_catalog (citext)


@dataclass(frozen=True)
class ForeignPolicy:
    """A policy that somebody else made. `using` and `check` as pg_get_expr prints them, search_path = pg_catalog."""

    table: TableName
    name: str
    permissive: bool
    command: str  # 'all' | 'select' | 'insert' | 'update' | 'delete'
    roles: tuple[str, ...]  # 'public' for PUBLIC
    using: str | None
    check: str | None
    reads: frozenset[TableName] = frozenset()  # tables in its expressions, through views too
    functions: tuple[str, ...] = ()  # functions outside pg_catalog that its expressions call: 'schema.name'

    def applies(self, command: str) -> bool:
        return self.command in ("all", command)

    @property
    def object(self) -> str:
        return f"policy {self.table} {self.name}"


@dataclass(frozen=True)
class ForeignKey:
    columns: tuple[str, ...]
    references: TableName
    referenced_columns: tuple[str, ...]
    on_delete: str = "no action"
    on_update: str = "no action"


@dataclass(frozen=True)
class Table:
    name: TableName
    kind: str  # 'table' | 'partitioned' | 'partition' | 'view' | 'materialized view' | 'foreign table'
    owner: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    row_security: bool = False
    force: bool = False
    ceilings: bool = False  # whether some of ours stand on it already
    policies: tuple[ForeignPolicy, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    triggers: tuple[tuple[str, str], ...] = ()  # name, and the function it calls: 'schema.name'
    indexed: frozenset[str] = frozenset()  # columns that lead some index
    parents: tuple[TableName, ...] = ()  # partition of, or inherits from
    sequences: tuple[TableName, ...] = ()  # that defaults of its columns take numbers from; none for an identity
    grants: frozenset[tuple[str, str, str]] = frozenset()  # role ('public'), privilege, column ('' for the whole)
    reached_by: frozenset[str] = frozenset()  # roles with SELECT/INSERT/UPDATE/DELETE, direct; 'public' for PUBLIC

    def column(self, name: str) -> Column | None:
        return next((c for c in self.columns if c.name == name), None)


@dataclass(frozen=True)
class Role:
    name: str
    superuser: bool = False
    bypass_rls: bool = False
    login: bool = False
    inherits: bool = True
    creates_roles: bool = False
    owns: str = ""  # something that it owns in this database, as PostgreSQL describes it
    member_of: frozenset[str] = frozenset()  # roles whose privileges it has without SET ROLE, transitively
    granted: frozenset[str] = frozenset()  # roles that it is a member of in any way, directly
    taken_by: frozenset[str] = frozenset()  # login roles, bound by row security, that may SET ROLE to it, transitively


@dataclass(frozen=True)
class Function:
    """A function outside pg_catalog and mcp_rls, as far as what it may read goes."""

    schema: str
    name: str
    language: str
    body: str = ""
    security_definer: bool = False


@dataclass(frozen=True)
class Catalog:
    """One database at one moment."""

    version: int  # server_version_num, e.g. 180006
    user: str  # the role that read it, and that would own what we make
    tables: dict[TableName, Table] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    functions: dict[str, tuple[Function, ...]] = field(default_factory=dict)  # 'schema.name' -> overloads
    schemas: frozenset[str] = frozenset()
    entered: frozenset[tuple[str, str]] = frozenset()  # role ('public') and schema that it has USAGE on; owners too
    counted: frozenset[tuple[str, TableName]] = frozenset()  # role ('public') and sequence that it has USAGE on
    class_roles: frozenset[str] = frozenset()  # roles of classes that the last plan made, as its manifest says
    left_roles: frozenset[str] = frozenset()  # those whose classes went, and that are there all the same

    def in_schema(self, schema: str) -> tuple[Table, ...]:
        return tuple(t for n, t in sorted(self.tables.items()) if n.schema == schema)

    def acts_as(self, role: str) -> set[str]:
        """The roles whose privileges `role` has: itself, those it inherits, PUBLIC."""
        known = self.roles.get(role)
        return {role, "public", *(known.member_of if known else ())}
