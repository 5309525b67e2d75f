"""What we manage in a database, as values: the compiler makes a desired State, introspection reads the actual one.

Both are the same type, so a plan needs no translation. An object's `source` is the digest of what the compiler wrote
for it. In an actual State it comes from the manifest, and is '' when PostgreSQL no longer prints for the object what
was recorded when it was made (someone changed it) or when nothing was recorded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Literal, TypeVar

from mcp_rls.catalog import TableName
from mcp_rls.effect import Implied, implied

SCHEMA = "mcp_rls"
PREFIX = "mcp_rls: "  # every policy of ours; PostgreSQL's error names the RESTRICTIVE policy that refused

LEFT = "left"  # in the manifest: the role of a class that went from the file; it may still be there

# They ignore row security, so no policy can narrow them (PostgreSQL manual, 5.9 Row Security Policies).
BLIND_PRIVILEGES = ("TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN")
ROW_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")


def comment(place: str) -> str:
    """What is written as a comment on each policy and trigger of ours that stands at `place` in the file."""
    return f"mcp_rls, {place}" if place else "mcp_rls"


def digest(*parts: object) -> str:
    """A short, stable name for what `parts` say: 32 hexadecimal digits."""
    return hashlib.sha256("\x1f".join(map(repr, parts)).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Altered:
    """What is known of an object that PostgreSQL doesn't hold as it was recorded: somebody changed it."""

    source: str  # of what was recorded
    kept: frozenset[str] = frozenset()  # of a policy's 'using' and 'check' what is held as it was


@dataclass(frozen=True)
class Function:
    """A function in the schema mcp_rls. `definition` is the whole CREATE OR REPLACE FUNCTION statement."""

    name: str
    arguments: str  # types, as pg_get_function_identity_arguments gives them without names: 'name, jsonb'
    returns: str
    definition: str
    execute: tuple[str, ...] = ()  # roles that may call it
    source: str = ""
    place: str = ""
    meaning: str = ""  # what it says, as JSON: see compiler/meaning.py; '' where that isn't known
    altered: Altered | None = field(default=None, compare=False)

    @property
    def signature(self) -> str:
        return f"{SCHEMA}.{self.name}({self.arguments})"

    @property
    def object(self) -> str:
        return f"function {self.signature}"


@dataclass(frozen=True)
class Policy:
    """A row security policy; `using` and `check` are expressions, or None where there is none."""

    table: TableName
    name: str
    permissive: bool
    command: str  # 'all' | 'select' | 'insert' | 'update' | 'delete'
    roles: tuple[str, ...]  # sorted; 'public' for PUBLIC
    using: str | None
    check: str | None
    source: str = ""
    place: str = ""
    meaning: str = ""  # what it says, as JSON: see compiler/meaning.py; '' where that isn't known
    altered: Altered | None = field(default=None, compare=False)

    @property
    def object(self) -> str:
        return f"policy {self.table} {self.name}"

    @property
    def is_as_before(self) -> bool:
        """Whether it keeps everybody but clients as they were where row security was off; whatever its table's name."""
        return self.permissive and self.command == "all" and self.roles == ("public",)

    @property
    def is_shut(self) -> bool:
        """Whether nobody passes it, whoever it is."""
        return {self.using, self.check} <= {None, "false"}

    def sealed(self) -> Policy:
        """The same with its `source` computed, as the compiler hands it on."""
        text = (self.permissive, self.command, self.roles, self.using, self.check)
        return replace(self, source=digest(*text))


@dataclass(frozen=True)
class Trigger:
    """A trigger that holds an UPDATE to some columns. `definition` is the whole statement that makes it."""

    table: TableName
    name: str
    definition: str
    enabled: bool = True  # on partitions too
    source: str = ""
    place: str = ""
    meaning: str = ""  # what it says, as JSON: see compiler/guard.py; '' where that isn't known
    altered: Altered | None = field(default=None, compare=False)

    @property
    def object(self) -> str:
        return f"trigger {self.table} {self.name}"


@dataclass(frozen=True)
class Switches:
    """Row security of one table: on, and for its owner too."""

    table: TableName
    row_security: bool
    force: bool


@dataclass(frozen=True, order=True)
class Privilege:
    """One privilege on a table that one role holds ('public' for PUBLIC), on one `column` of it or ('') on the whole.

    `grantable`: WITH GRANT OPTION.
    """

    table: TableName
    role: str
    privilege: str
    column: str = ""
    grantable: bool = False

    @property
    def object(self) -> str:
        """Its name in the manifest, from which `named` makes it again."""
        said = [self.table.schema, self.table.name, self.role, self.privilege]
        if self.column or self.grantable:
            said.append(self.column)
        return "privilege " + json.dumps([*said, True] if self.grantable else said)

    @classmethod
    def named(cls, object_name: str) -> Privilege:
        schema, table, role, privilege, *rest = json.loads(object_name.removeprefix("privilege "))
        return cls(TableName(schema, table), role, privilege, *rest)


@dataclass(frozen=True, order=True)
class Grant:
    """What `role` may do beside privileges on tables: use a 'schema' or a 'sequence', or become the 'role' `name`."""

    role: str
    kind: Literal["schema", "sequence", "role"]
    name: str
    schema: str = ""  # of a sequence

    @property
    def object(self) -> str:
        """Its name in the manifest, from which `named` makes it again."""
        return "grant " + json.dumps([self.role, self.kind, self.name, *([self.schema] if self.schema else [])])

    @classmethod
    def named(cls, object_name: str) -> Grant:
        return cls(*json.loads(object_name.removeprefix("grant ")))


Noted = Policy | Function | Trigger  # what the manifest keeps, by its name
Thing = TypeVar("Thing", Policy, Privilege, Trigger)


@dataclass(frozen=True)
class State:
    """Everything of ours in one database, and the switches and token roles' grants of every covered table."""

    installed: bool = False  # the schema mcp_rls with its manifest
    functions: Mapping[str, Function] = field(default_factory=dict)  # by signature
    policies: Mapping[tuple[TableName, str], Policy] = field(default_factory=dict)
    triggers: Mapping[tuple[TableName, str], Trigger] = field(default_factory=dict)
    switches: Mapping[TableName, Switches] = field(default_factory=dict)
    privileges: frozenset[Privilege] = frozenset()
    revoked: frozenset[Privilege] = frozenset()  # taken away by us, given back on the way down
    schemas: tuple[str, ...] = ()  # covered
    roles: tuple[str, ...] = ()  # that tokens arrive as
    class_roles: frozenset[str] = frozenset()  # those of `roles` that stand for one class each; made by us if need be
    people: tuple[str, ...] = field(default=(), compare=False)  # those of `roles` that people's own sessions arrive as
    grants: frozenset[Grant] = frozenset()  # what those hold beside `privileges`
    suspended: tuple[str, ...] = field(default=(), compare=False)  # tables whose policies are put away for a moment
    recorded: frozenset[str] = field(default=frozenset(), compare=False)  # objects in the manifest, there or not
    uncommented: frozenset[str] = frozenset()  # objects whose comment isn't what was written with them

    def __post_init__(self) -> None:
        for name in ("functions", "policies", "triggers", "switches"):
            object.__setattr__(self, name, MappingProxyType(dict(sorted(getattr(self, name).items()))))

    @cached_property
    def policies_by_table(self) -> dict[TableName, list[Policy]]:
        """The policies of each table that has any."""
        return grouped(self.policies.values())

    @cached_property
    def implied(self) -> Implied:
        """What each scope stands for, by the function that recognises sessions."""
        return implied(f.meaning for f in self.functions.values())

    def has(self, function: Function) -> bool:
        """Whether it is there as we write it."""
        there = self.functions.get(function.signature)
        return there is not None and same(there, function)

    @property
    def fingerprint(self) -> str:
        """A digest of the whole: two states with the same fingerprint need no plan between them."""
        return digest(
            self.installed,
            [(f.signature, f.definition, f.execute, f.source) for f in self.functions.values()],
            [(p.object, p.permissive, p.command, p.roles, p.using, p.check, p.source) for p in self.policies.values()],
            [(t.object, t.definition, t.enabled, t.source) for t in self.triggers.values()],
            list(self.switches.values()),
            sorted(self.privileges),
            sorted(self.revoked),
            *([sorted(self.class_roles), sorted(self.grants)] if self.class_roles or self.grants else []),
            *(["uncommented", sorted(self.uncommented)] if self.uncommented else []),
        )


def same(one: Noted, other: Noted) -> bool:
    """Whether two objects of one name are known to be the same."""
    if one.source and one.source == other.source:
        return True
    return replace(one, source="", place="", meaning="") == replace(other, source="", place="", meaning="")


def grouped(things: Iterable[Thing]) -> dict[TableName, list[Thing]]:
    """Policies, privileges or triggers by their table."""
    found: dict[TableName, list[Thing]] = {}
    for thing in things:
        found.setdefault(thing.table, []).append(thing)
    return found


def trigger_name(rest: str) -> str:
    """' mcp_rls: <rest>', shortened as a policy's: triggers fire by name, and with a blank it is the first."""
    return _within_63_bytes(f" {PREFIX}", rest)


def policy_name(rest: str) -> str:
    """'mcp_rls: <rest>' within PostgreSQL's 63 bytes; a longer one ends in a digest, so that two never meet."""
    return _within_63_bytes(PREFIX, rest)


def class_role_name(class_name: str) -> str:
    """'mcp_<class>' within PostgreSQL's 63 bytes. Roles belong to all databases of a server: one name, one role."""
    return _within_63_bytes("mcp_", class_name)


def _within_63_bytes(prefix: str, rest: str) -> str:
    name = prefix + rest
    if len(name.encode()) <= 63:
        return name
    cut = name.encode()[:54].decode(errors="ignore")
    return f"{cut}~{digest(rest)[:8]}"
