"""The policy language as checked values: what a policy file says, with names resolved and a place for each part.

`policy.py` makes them from a document; nothing after it looks at YAML again. Design section 3 gives their meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mcp_rls.catalog import TableName
from mcp_rls.diagnostics import Span

Command = Literal["select", "insert", "update", "delete"]
COMMANDS: tuple[Command, ...] = ("select", "insert", "update", "delete")
CLAIM_TYPES = ("text", "uuid", "integer", "bigint", "boolean")

ClaimPath = tuple[str, ...]  # ('app_metadata', 'tenant_id'); the members of nested JSON objects


@dataclass(frozen=True)
class Claim:
    """A claim that conditions read as token.<name>; a value of another JSON type counts as absent."""

    path: ClaimPath
    type: str  # one of CLAIM_TYPES: text and uuid are JSON strings, integer and bigint integral numbers
    span: Span = Span()


@dataclass(frozen=True)
class Condition:
    """A boolean SQL expression as its author wrote it. `raw`: given as `sql:`, admitted unchecked and reported."""

    text: str
    span: Span = Span()  # of the first character of `text`
    raw: bool = False


@dataclass(frozen=True)
class Direct:
    """How a direct session is told from a client's: 'no_client', 'ids' or 'session' (supabase)."""

    kind: Literal["no_client", "ids", "session"]
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Identity:
    person: Claim
    client: tuple[ClaimPath, ...]  # the first that is present decides; present and malformed ends the search
    scope: ClaimPath | None  # claim that carries scopes, or None: those of the consent table
    direct: Direct


@dataclass(frozen=True)
class Registry:
    """Clients that a table lists: `id` decides membership, `where` decides life."""

    table: TableName
    id: str
    where: Condition | None
    span: Span = Span()


@dataclass(frozen=True)
class ClientClass:
    """A named group of clients. Keys of the match that are present are ANDed; declaration order is match order."""

    name: str
    ids: tuple[str, ...] = ()
    client_id_url_prefix: str | None = None
    registry: Registry | None = None
    consent_required: bool = False
    span: Span = Span()


@dataclass(frozen=True)
class Consent:
    table: TableName
    person: str  # column names
    client: str
    scopes: str | None  # None: gives life and doesn't narrow
    where: Condition | None
    span: Span = Span()


@dataclass(frozen=True)
class Scope:
    name: str
    text: str
    closure: frozenset[str]  # itself and all it implies, transitively
    span: Span = Span()


@dataclass(frozen=True)
class NamedSet:
    """A set computed once a statement: `column in <name>` in a condition."""

    name: str
    type: str  # SQL type of its elements
    query: str  # one SELECT of one column; may use token.<name>
    span: Span = Span()


@dataclass(frozen=True)
class Columns:
    """The columns that a rule is limited to: `names`, or with `excluded` all others."""

    names: frozenset[str]
    excluded: bool = False
    span: Span = field(default=Span(), compare=False)

    def admit(self, name: str) -> bool:
        return (name in self.names) is not self.excluded

    def __str__(self) -> str:
        return ("all columns but " if self.excluded else "only ") + ", ".join(sorted(self.names))


@dataclass(frozen=True)
class Rule:
    """`who` may `commands`. People rules have empty `who` and `scopes`.

    For SELECT and DELETE `rows` filters (None: every row). For INSERT the new row must meet `check`, else `rows`.
    For UPDATE the old row must meet `rows` and the new one `check`, which defaults to `rows`, and the statement may set
    no other `columns` than these (None: any).
    """

    commands: frozenset[Command]
    who: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    rows: Condition | None = None
    check: Condition | None = None
    span: Span = Span()
    columns: Columns | None = None

    def new_row(self) -> Condition | None:
        """What a row made by INSERT or UPDATE must meet."""
        return self.check or self.rows

    def __str__(self) -> str:
        """'policies.yaml:12:9: assistant, scope tickets:read, rows "status = 'open'"'."""
        parts = [", ".join(self.who) or "people"]
        if self.scopes:
            parts.append(f"scope {' '.join(self.scopes)}")
        if self.rows is not None:
            parts.append(f'rows "{self.rows.text}"')
        if self.check is not None:
            parts.append(f'check "{self.check.text}"')
        if self.columns is not None:
            parts.append(f"columns {self.columns}")
        return f"{self.span}: {', '.join(parts)}"


@dataclass(frozen=True)
class TableRules:
    table: TableName
    people: Literal["existing"] | tuple[Rule, ...] = "existing"
    clients: Literal["none", "read_as_person"] | tuple[Rule, ...] = "none"
    force: bool = False
    span: Span = Span()


@dataclass(frozen=True)
class PolicySet:
    """A whole policy file, checked as far as that goes without a database."""

    path: str
    platform: Literal["postgres", "postgrest", "supabase"]
    schemas: tuple[str, ...]
    identity: Identity
    roles: tuple[str, ...]
    anonymous: tuple[str, ...] = ()
    claims: dict[str, Claim] = field(default_factory=dict)
    classes: dict[str, ClientClass] = field(default_factory=dict)
    consent: Consent | None = None
    scopes: dict[str, Scope] = field(default_factory=dict)
    sets: dict[str, NamedSet] = field(default_factory=dict)
    tables: dict[TableName, TableRules] = field(default_factory=dict)
    doors: dict[str, str] = field(default_factory=dict)  # object -> reason
    accepted: dict[str, str] = field(default_factory=dict)  # key of a lint's finding -> reason
    trusted_roles: dict[str, str] = field(default_factory=dict)  # role -> reason
    class_roles: dict[str, str] = field(default_factory=dict)  # class -> its role; empty: none has one
    taken_by: tuple[str, ...] = ()  # who may become a class role
    resolved: bool = False  # policies read what mcp_rls.resolve has made of the claims in this transaction

    @property
    def acting(self) -> tuple[str, ...]:
        """Every role that a session can act in: those that all share, then one for each class that has its own."""
        return (*self.roles, *self.class_roles.values())

    @property
    def people_roles(self) -> tuple[str, ...]:
        """The roles that a person's own session arrives as."""
        return tuple(r for r in self.roles if r not in self.anonymous) or self.roles

    def app_role(self, role: str = "") -> str:
        """Where a person's own session arrives whose client arrives as `role`: a class role is for clients alone."""
        return role if role in self.roles else self.people_roles[0]

    def role_of(self, class_name: str | None) -> str:
        """The role that a token of that class arrives as."""
        return self.class_roles.get(class_name or "", self.roles[0])

    def class_of_role(self, role: str) -> str | None:
        """The class that a role stands for, where it stands for one alone."""
        return next((name for name, own in self.class_roles.items() if own == role), None)

    def has_rule(self, class_name: str | None, table: TableName, command: Command) -> bool:
        """Whether some rule lets clients of the class do this to some row."""
        return any(class_name in rule.who and command in rule.commands for rule in self.client_rules(table))

    def consent_required(self, class_name: str) -> bool:
        """Whether a live consent row is part of that class's life."""
        if self.consent is None:
            return False
        return self.identity.scope is None or self.classes[class_name].consent_required

    def client_rules(self, table: TableName) -> tuple[Rule, ...]:
        """The rules for clients, `read_as_person` written out; none for a closed or unlisted table."""
        rules = self.tables.get(table)
        if rules is None or rules.clients == "none":
            return ()
        if rules.clients == "read_as_person":
            return (Rule(frozenset({"select"}), who=tuple(self.classes), span=rules.span),)
        return rules.clients

    def held_to(self, table: TableName, class_name: str | None) -> tuple[Columns, ...]:
        """The lists of columns that an update by a client of the class (None: by people themselves) is held to."""
        listed = self.tables.get(table)
        people = listed.people if listed is not None and not isinstance(listed.people, str) else ()
        mine = (*people, *(rule for rule in self.client_rules(table) if class_name in rule.who))
        return tuple(dict.fromkeys(r.columns for r in mine if "update" in r.commands and r.columns is not None))
