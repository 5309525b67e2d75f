"""One generated world: a schema with rows, a policy file as structure, and tokens. Nothing here knows the product."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .expressions import Expr, Row

Path = tuple[str, ...]
USER, ANON = "oracle_user", "oracle_anon"
COMMANDS = ("select", "insert", "update", "delete")


@dataclass(frozen=True)
class Column:
    name: str
    type: str  # uuid | text | int | bool | text[] | timestamptz
    not_null: bool = False


@dataclass(frozen=True)
class AppPolicy:
    """A policy that the app had before. For ALL where `command` is 'all'; a missing check is the using."""

    name: str
    command: str
    using: Expr | None
    check: Expr | None = None
    roles: tuple[str, ...] = ("public",)
    permissive: bool = True


@dataclass(frozen=True)
class Columns:
    """What an update may set: these, or all but these."""

    names: tuple[str, ...]
    excluded: bool = False

    def admit(self, names: Iterable[str]) -> bool:
        return all((name in self.names) != self.excluded for name in names)


@dataclass(frozen=True)
class Rule:
    commands: tuple[str, ...]
    who: tuple[str, ...] = ()  # empty in rules for people
    scopes: tuple[str, ...] = ()
    rows: Expr | None = None
    check: Expr | None = None
    raw: bool = False  # `sql:` in place of `rows:`
    columns: Columns | None = None


@dataclass(frozen=True)
class Change:
    """UPDATE ... SET of these constants."""

    values: Row


@dataclass(frozen=True)
class Table:
    name: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...] = ()
    row_security: bool = True
    policies: tuple[AppPolicy, ...] = ()
    listed: bool = True
    people: str | tuple[Rule, ...] = "existing"
    clients: str | tuple[Rule, ...] = "none"  # none | read_as_person | rules
    force: bool = False
    granted: tuple[str, ...] = COMMANDS  # to both roles
    candidates: tuple[Row, ...] = ()  # rows to try to insert
    changes: tuple[Change, ...] = ()

    def column(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)


@dataclass(frozen=True)
class Registry:
    table: str
    id: str
    where: Expr | None = None


@dataclass(frozen=True)
class ClientClass:
    name: str
    ids: tuple[str, ...] = ()
    prefix: str | None = None
    registry: Registry | None = None
    consent_required: bool = False


@dataclass(frozen=True)
class Consent:
    table: str
    person: str
    client: str
    scopes: str | None = None
    where: Expr | None = None


@dataclass(frozen=True)
class Claim:
    path: Path
    type: str  # text | uuid | integer | bigint | boolean


@dataclass(frozen=True)
class NamedSet:
    """`select <column> from <table> where <where>`, read past row security."""

    type: str
    table: str
    column: str
    where: Expr


@dataclass(frozen=True)
class Token:
    """A session: its database role and the text of request.jwt.claims (None: never set)."""

    claims: str | None
    role: str = USER
    twin: int | None = None  # index of the same person's direct session


@dataclass(frozen=True)
class World:
    tables: tuple[Table, ...]
    classes: tuple[ClientClass, ...] = ()
    tokens: tuple[Token, ...] = ()
    platform: str = "postgres"
    person: Claim = Claim(("sub",), "uuid")
    client: tuple[Path, ...] = (("client_id",),)
    scope: Path | None = ("scope",)  # None: scopes are those of the consent table
    direct: tuple[str, ...] | None = None  # None: no_client; else the ids of the app's own clients
    anonymous: bool = False
    resolved: bool = False  # sessions resolve their claims, and policies read that
    claims: Mapping[str, Claim] = field(default_factory=dict)
    consent: Consent | None = None
    scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # name -> implies
    sets: Mapping[str, NamedSet] = field(default_factory=dict)

    def table(self, name: str) -> Table:
        return next(t for t in self.tables if t.name == name)
