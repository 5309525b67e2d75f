"""Everything in a database that decides who reaches a row, as values, and the questions that lints ask of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mcp_rls.catalog import TableName

PUBLIC = "public"
EVERYTHING = {"SELECT": "pg_read_all_data", "INSERT": "pg_write_all_data", "UPDATE": "pg_write_all_data",
              "DELETE": "pg_write_all_data"}  # fmt: skip


@dataclass(frozen=True, order=True)
class Grant:
    """One privilege that one role ('public' for PUBLIC) holds on one object, or on one column of it."""

    role: str
    privilege: str  # 'SELECT', 'EXECUTE', 'USAGE', ...
    column: str = ""
    grantable: bool = False


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    not_null: bool
    leakproof_equality: bool  # the `=` of its type can't tell anything about values it wasn't shown


@dataclass(frozen=True)
class Index:
    name: str
    columns: tuple[str, ...]  # '' where an expression stands
    unique: bool
    primary: bool
    valid: bool
    partial: bool
    method: str
    expressions: str = ""
    # the operators that it serves whose functions aren't leakproof, with the functions
    leaking: tuple[tuple[str, str], ...] = ()
    key: bool = False  # at no moment have two rows values that `=` of their types takes for the same in all of them


@dataclass(frozen=True)
class ForeignKey:
    name: str
    columns: tuple[str, ...]
    references: TableName
    referenced: tuple[str, ...]
    on_delete: str  # 'no action' | 'restrict' | 'cascade' | 'set null' | 'set default'
    on_update: str


@dataclass(frozen=True)
class Trigger:
    name: str
    function: int  # oid
    enabled: bool
    events: frozenset[str] = frozenset()  # 'insert' | 'update' | 'delete' | 'truncate'
    definition: str = ""  # of one with WHEN
    calls: frozenset[int] = frozenset()  # oids of functions in its WHEN, operators' and casts' too


@dataclass(frozen=True)
class Check:
    """A check constraint that calls functions outside pg_catalog, of a table or of a domain of its columns."""

    name: str
    text: str  # with VALUE for a domain's value
    calls: frozenset[int]  # oids, operators' and casts' too


@dataclass(frozen=True)
class Rule:
    """What `create rule` made, but for what a view is: done with the rights of the relation's owner."""

    name: str
    event: str  # 'insert' | 'update' | 'delete'
    definition: str  # as PostgreSQL prints it with search_path = pg_catalog
    calls: frozenset[int]  # oids of functions in it, aggregates, operators' and casts' too


@dataclass(frozen=True)
class Policy:
    """A policy; expressions as PostgreSQL prints them with search_path = pg_catalog."""

    table: TableName
    name: str
    permissive: bool
    command: str  # 'all' | 'select' | 'insert' | 'update' | 'delete'
    roles: tuple[str, ...]  # 'public' for PUBLIC
    using: str | None
    check: str | None
    relations: frozenset[int] = frozenset()  # oids of other relations in its expressions
    functions: frozenset[int] = frozenset()  # oids of functions outside pg_catalog in them, operators' and casts' too

    @property
    def ours(self) -> bool:
        return self.name.startswith("mcp_rls: ")

    def is_for(self, command: str) -> bool:
        return self.command in ("all", command)


@dataclass(frozen=True)
class Relation:
    oid: int
    name: TableName
    kind: str  # 'table' | 'partitioned' | 'view' | 'materialized view' | 'foreign table' | 'sequence'
    owner: str
    row_security: bool
    force: bool
    options: Mapping[str, str]  # 'security_invoker', 'security_barrier', ... as stored
    grants: frozenset[Grant]
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...]
    foreign_keys: tuple[ForeignKey, ...]
    triggers: tuple[Trigger, ...]
    policies: tuple[Policy, ...]
    parents: tuple[TableName, ...]
    is_partition: bool
    definition: str  # of a view
    reads: frozenset[int]  # oids of relations that a view reads
    calls: frozenset[int]  # oids of functions that a view calls, aggregates, operators' and casts' too
    rows: float  # an estimate; -1 where nobody looked yet
    rules: tuple[Rule, ...] = ()  # those in force
    checks: tuple[Check, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def is_table(self) -> bool:
        return self.kind in ("table", "partitioned")

    def option(self, name: str) -> bool:
        return self.options.get(name, "").lower() in ("true", "on", "yes", "1")


@dataclass(frozen=True)
class Function:
    oid: int
    schema: str
    name: str
    arguments: str  # as pg_get_function_identity_arguments prints them
    returns: str
    owner: str
    language: str
    definer: bool
    volatility: str  # 'immutable' | 'stable' | 'volatile'
    parallel: str  # 'safe' | 'restricted' | 'unsafe'
    leakproof: bool
    settings: tuple[str, ...]  # 'search_path=pg_catalog, pg_temp'
    body: str
    sql_body: str  # of a BEGIN ATOMIC function, as PostgreSQL prints it
    execute: frozenset[Grant]
    is_trigger: bool
    types: str = ""  # of its arguments: 'uuid, text'
    calls: frozenset[int] = frozenset()  # oids of what a stored body and defaults call, as a view's are

    def __str__(self) -> str:
        return f"function {self.schema}.{self.name}({self.arguments})"

    @property
    def called(self) -> frozenset[str]:
        """What a policy file may call it: with its arguments, with their types, or by name alone."""
        name = f"{self.schema}.{self.name}"
        return frozenset({name, f"{name}({self.arguments})", f"{name}({self.types})"})


@dataclass(frozen=True)
class Shorthand:
    """An aggregate, an operator or a cast: it calls functions that the query doesn't name."""

    oid: int
    kind: str  # 'aggregate' | 'operator' | 'cast'
    schema: str  # '' of a cast
    name: str
    types: str  # that it takes: 'integer', 'text, text'; of a cast, both: 'text to tag'
    functions: frozenset[int]  # oids
    execute: frozenset[Grant] = frozenset()  # of an aggregate: asked for in place of that on its functions

    def __str__(self) -> str:
        return f"{self.kind} {self.schema}.{self.name}({self.types})" if self.schema else f"{self.kind} of {self.types}"


@dataclass(frozen=True)
class Role:
    name: str
    superuser: bool
    bypass_rls: bool
    login: bool
    inherits: frozenset[str]  # roles whose privileges it has without SET ROLE, transitively; not itself
    can_become: frozenset[str]  # roles that it may SET ROLE to, transitively


@dataclass(frozen=True)
class Facts:
    """One database at one moment."""

    version: int  # server_version_num
    relations: Mapping[int, Relation]  # by oid
    functions: Mapping[int, Function]  # by oid; none of pg_catalog, mcp_rls's own included
    roles: Mapping[str, Role]
    schemas: Mapping[str, frozenset[Grant]]
    schema_owners: Mapping[str, str]
    extensions: frozenset[str] = field(default_factory=frozenset)
    user: str = ""  # that read them
    temporary: frozenset[str] = frozenset()  # roles that may make temporary objects, 'public' among them
    aggregates: frozenset[str] = frozenset()  # names of aggregate and window functions, PostgreSQL's own too
    shorthands: tuple[Shorthand, ...] = ()  # none of pg_catalog

    @cached_property
    def tables(self) -> Mapping[TableName, Relation]:
        """Every relation that isn't a sequence, by name."""
        return {r.name: r for r in self.relations.values() if r.kind != "sequence"}

    @cached_property
    def own_aggregates(self) -> Mapping[int, Shorthand]:
        """By oid."""
        return {s.oid: s for s in self.shorthands if s.kind == "aggregate"}

    def run(self, called: frozenset[int]) -> frozenset[int]:
        """The functions that are called, and those that aggregates among them run."""
        aggregates = (self.own_aggregates[oid].functions for oid in called & self.own_aggregates.keys())
        return called.union(*aggregates)

    @cached_property
    def derived(self) -> dict[str, Any]:
        """What others have worked out of these facts, once each."""
        return {}

    def below(self, relation: Relation) -> tuple[Relation, ...]:
        """The relations that a view reads, also through views; a table reads none."""
        found: dict[int, Relation] = {}
        queue = [relation]
        while queue:
            for oid in sorted(queue.pop().reads - found.keys()):
                if oid in self.relations:
                    found[oid] = self.relations[oid]
                    queue.append(found[oid])
        return tuple(sorted(found.values(), key=lambda r: r.name))

    def ancestors(self, relation: Relation) -> tuple[Relation, ...]:
        """The tables that it is a partition of or inherits from, nearest first."""
        found: dict[TableName, Relation] = {}
        queue = list(relation.parents)
        while queue:
            name = queue.pop(0)
            if name in self.tables and name not in found:
                found[name] = self.tables[name]
                queue += found[name].parents
        return tuple(found.values())

    def acts_as(self, role: str) -> frozenset[str]:
        """The roles whose privileges `role` has: itself, those it inherits, PUBLIC."""
        known = self.roles.get(role)
        return frozenset({role, PUBLIC}) | (known.inherits if known else frozenset())

    def holds(self, role: str, grants: Iterable[Grant], privilege: str) -> bool:
        """Whether the role has the privilege, on the whole or on a column."""
        acting = self.acts_as(role)
        return any(g.privilege == privilege and g.role in acting for g in grants)

    def able(self, role: str, relation: Relation, *privileges: str) -> bool:
        """Whether the role has one of the privileges on the relation, whatever gives it; on a column will do."""
        known = self.roles.get(role)
        if known is not None and known.superuser:
            return True
        acting = self.acts_as(role)
        return any(EVERYTHING.get(p) in acting or self.holds(role, relation.grants, p) for p in privileges)

    def holders(self, roles: Iterable[str], grants: Iterable[Grant], *privileges: str) -> tuple[str, ...]:
        """To whom one of the privileges is granted through which these roles have it: what a REVOKE must name."""
        acting = frozenset[str]().union(*map(self.acts_as, roles))
        return tuple(sorted({g.role for g in grants if g.role in acting and g.privilege in privileges}))

    def enters(self, role: str, schema: str) -> bool:
        """Whether the role has USAGE on the schema."""
        return self.holds(role, self.schemas.get(schema, frozenset()), "USAGE") or (
            self.schema_owners.get(schema) in self.acts_as(role)
        )

    def uses(self, role: str, relation: Relation, *privileges: str) -> bool:
        """Whether the role holds one of the privileges on the relation and may enter its schema."""
        return self.enters(role, relation.name.schema) and any(
            self.holds(role, relation.grants, p) or relation.owner in self.acts_as(role) for p in privileges
        )

    def sets_off(self, role: str, relation: Relation, *commands: str) -> bool:
        """Whether the role may do such a thing to the relation: itself, or by a view that does it as its owner."""
        privileges = [command.upper() for command in commands]
        return any(self.uses(role, way, *privileges) for way in (relation, *self._views_of(relation)))

    def _views_of(self, relation: Relation) -> Iterator[Relation]:
        """The views that read it as their owner."""
        for view in self.relations.values():
            if view.kind == "view" and not view.option("security_invoker") and relation in self.below(view):
                yield view

    def binds(self, role: str, relation: Relation) -> bool:
        """Whether row security, where it is on, applies to the role on that table."""
        known = self.roles.get(role)
        if known is not None and (known.superuser or known.bypass_rls):
            return False
        return relation.force or relation.owner not in self.acts_as(role)
