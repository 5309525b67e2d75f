"""The policy file as it is written: one pydantic model for each mapping in it.

The models hold shapes only; what the names in them mean is checked by the modules that build a PolicySet. To
pydantic every field is optional, and `needs` lists the keys that must be there: so a part with a mistake in it can
still be read for the rest. The JSON Schema for editors comes from the same models.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, Tag

from mcp_rls.compiler.fields import (
    LIST,
    MAPPING,
    SWITCH,
    WORD,
    ClaimType,
    Commands,
    OneOrMore,
    Path,
    Raw,
    Text,
    Texts,
    either,
)

CLASS_NAME = r"^[a-z][a-z0-9_-]{0,62}$"
SET_NAME = r"^[a-z][a-z0-9_]{0,39}$"  # a function of the schema mcp_rls carries it
CLAIM_NAME = r"^[a-z_][a-z0-9_]{0,51}$"  # so do two for each claim, after held_claim_
SCOPE_NAME = r"^[!#-\[\]-~]+$"  # RFC 6749, section 3.3: printable ASCII without space, " and \
TABLE_NAME = r'^("([^"]|"")+"|[^".]+)\.("([^"]|"")+"|[^".]+)$'


class ClaimEntry(Raw):
    """A claim and its type; a value of another JSON type counts as absent."""

    needs = ("claim",)
    claim: Path | None = Field(
        None, description="Name of the claim; dots reach inside. A list of keys where a key itself has a dot."
    )
    type: ClaimType = Field("text", description="What the value must be. text and uuid are JSON strings.")


class PersonEntry(ClaimEntry):
    """The claim that names the person."""

    type: ClaimType = Field("uuid", description="What the value must be. text and uuid are JSON strings.")


class ClientEntry(Raw):
    """The claim that names the client: `claim`, or `claims` of which the first that is present decides."""

    claim: Path | None = Field(None, description="Name of the claim that holds the client's id.")
    claims: Annotated[list[Path], Field(min_length=1)] | None = Field(
        None,
        description="Names of claims; the first that is present decides, even when its value is malformed.",
    )


class ScopesEntry(Raw):
    """Where the scopes of a token come from: `consent: true`, or a claim."""

    consent: bool | None = Field(None, description="true: the scopes of the consent table, for every class.")
    claim: Path | None = Field(None, description='Claim that holds them: "a b" or ["a", "b"], exact words.')
    hook: bool | None = Field(None, description="supabase: true when a token hook issues the scopes declared here.")


class DirectEntry(Raw):
    """Direct sessions are those of the clients listed."""

    needs = ("ids",)
    ids: Texts | None = Field(None, description="Client ids of the app itself.")


Direct = Annotated[
    Annotated[Literal["session", "no_client"], Tag(WORD)] | Annotated[DirectEntry, Tag(MAPPING)],
    either("session, no_client or {ids: [...]}"),
]


class IdentityEntry(Raw):
    """How a token is read. Each platform has defaults."""

    person: PersonEntry | None = Field(None, description="The claim that names the person. Default: sub, a uuid.")
    client: ClientEntry | None = Field(None, description="The claim that names the client. Default: client_id.")
    scopes: ScopesEntry | None = Field(
        None, description="Where scopes come from. Default: the claim scope; on supabase the consent table."
    )
    direct: Direct | None = Field(
        None,
        description="How a session of the app itself is told from a client's. no_client: the token has none "
        "of the client claims. {ids: [...]}: its client is in the list. session: supabase, by auth.sessions.",
    )


class RegistryEntry(Raw):
    """Clients that a table lists."""

    needs = ("table", "id")
    table: Text | None = Field(None, description="The table, as schema.table.")
    id: Text | None = Field(None, description="Column that holds the client's id; it decides membership.")
    where: Text | None = Field(None, description="Condition on the row; decides whether the client is live.")


class MatchEntry(Raw):
    """Which clients belong to the class; keys are ANDed."""

    ids: Texts | None = Field(None, description="Client ids, compared exactly.")
    client_id_url_prefix: Text | None = Field(
        None, description="For client ids that are URLs: https://, a host, and the beginning of a path."
    )
    registry: RegistryEntry | None = Field(None, description="Clients that a table lists.")
    registration: Literal["dynamic", "manual"] | None = Field(
        None, description="supabase: how the client came into auth.oauth_clients. Not yet available."
    )
    redirect_origins: Texts | None = Field(
        None,
        description="supabase: every redirect URI of the client has one of these origins. Not yet available.",
    )


class ClassEntry(Raw):
    """A named group of clients."""

    needs = ("match",)
    match: MatchEntry | None = Field(None, description="Which clients belong to it; keys are ANDed.")
    consent: Literal["required"] | None = Field(
        None,
        description="required: live only with a live row of the consent table, though scopes are a claim's.",
    )


class ConsentColumns(Raw):
    """Columns of the consent table."""

    needs = ("person", "client")
    person: Text | None = Field(None, description="Column that holds the person.")
    client: Text | None = Field(None, description="Column that holds the client's id.")
    scopes: Text | None = Field(
        None, description="Column that holds the scopes, text or text[]. Without it consent doesn't narrow."
    )


class ConsentEntry(Raw):
    """The table of standing permissions; one that is revoked or expired hides every row at once."""

    needs = ("table", "columns")
    table: Text | None = Field(None, description="The table, as schema.table.")
    columns: ConsentColumns | None = Field(None, description="Which of its columns mean what.")
    where: Text | None = Field(None, description="Condition under which a row is live.")


class ScopeEntry(Raw):
    """A word that a person grants."""

    needs = ("text",)
    text: Text | None = Field(None, description="What the person reads when asked for it.")
    implies: OneOrMore | None = Field(None, description="Scopes that it includes.")


class SetEntry(Raw):
    """Values that a condition may test membership in, as `column in name`; computed once a statement."""

    needs = ("type", "query")
    type: Text | None = Field(None, description="SQL type of one value, such as uuid.")
    query: Text | None = Field(None, description="One SELECT of one column; may use token.person.")


class ExceptColumns(Raw):
    """All columns but these."""

    needs = ("except",)
    excluded: Texts | None = Field(None, alias="except", description="Columns that are left out.")


Columns = Annotated[
    Annotated[Texts, Tag(LIST)] | Annotated[ExceptColumns, Tag(MAPPING)],
    either("a list of columns or {except: [...]}"),
]


class RuleEntry(Raw):
    """What both kinds of rule say."""

    needs: ClassVar[tuple[str, ...]] = ("allow",)
    allow: Commands | None = Field(None, description="The commands: select, insert, update, delete.")
    rows: Text | None = Field(None, description="Condition on the rows. Absent: every row that the person has.")
    sql: Text | None = Field(None, description="In place of rows: SQL that isn't checked, and is reported.")
    check: Text | None = Field(None, description="Condition on the new row of an insert or update.")
    columns: Columns | None = Field(
        None,
        description="Columns that an update may set, in a class role also select and insert: these, or all but these.",
    )


class PeopleRule(RuleEntry):
    """A rule for persons, however their session came about."""


class ClientRule(RuleEntry):
    """A rule for clients: the most that a class may do."""

    needs = ("who", "allow")
    who: OneOrMore | None = Field(None, description="The class or classes.")
    scope: OneOrMore | None = Field(None, description="The scopes, all of them needed. Absent: none needed.")


People = Annotated[
    Annotated[Literal["existing"], Tag(WORD)] | Annotated[list[PeopleRule], Field(min_length=1), Tag(LIST)],
    either("existing or a list of rules"),
]
Clients = Annotated[
    Annotated[Literal["none", "read_as_person"], Tag(WORD)]
    | Annotated[list[ClientRule], Field(min_length=1), Tag(LIST)],
    either("none, read_as_person or a list of rules"),
]


class TableEntry(Raw):
    """What people and clients may do with one table."""

    people: People = Field("existing", description="existing: the app's own policies. Or rules of ours.")
    clients: Clients = Field("none", description="none, read_as_person, or rules. Nothing else is allowed.")
    force: bool = Field(False, description="true: row security binds the table's owner too.")


class DoorEntry(Raw):
    """A way round the ceilings that somebody has reviewed."""

    needs = ("reason",)
    reason: Text | None = Field(None, description="Why it may stay open to every client.")


class ClassRolesEntry(Raw):
    """A database role for each class of clients."""

    taken_by: Texts | None = Field(None, description="Login roles that may become a class role, such as authenticator.")


ClassRoles = Annotated[
    Annotated[bool, Tag(SWITCH)] | Annotated[ClassRolesEntry, Tag(MAPPING)],
    either("true, false or {taken_by: [...]}"),
]


def _named(pattern: str) -> dict[str, Any]:
    return {"propertyNames": {"pattern": pattern}}


class PolicyFile(Raw):
    """What each client may do with each table, on behalf of a person."""

    needs = ("mcp_rls", "platform", "schemas")
    mcp_rls: int | None = Field(None, description="Version of this file's format.", json_schema_extra={"const": 1})
    platform: Literal["postgres", "postgrest", "supabase"] | None = Field(
        None, description="Where the database runs; decides the defaults of identity and roles."
    )
    schemas: Texts | None = Field(
        None, description="Covered schemas: every table in them that isn't listed is closed to clients."
    )
    identity: IdentityEntry | None = Field(None, description="How a token is read.")
    roles: Texts | None = Field(None, description="Every database role that a token can arrive as.")
    anonymous: Annotated[list[Text], Field()] | None = Field(
        None,
        description="Roles in which a token with neither person nor client is left to the person policies.",
    )
    class_roles: ClassRoles = Field(
        False,
        description="true, or who may take them: a database role for each class, mcp_<class>, to act in.",
    )
    resolved: bool = Field(
        False, description="true: sessions call mcp_rls.resolve once a transaction, and policies read what that made."
    )
    claims: dict[str, ClaimEntry] = Field(
        {},
        description="Further claims, used in conditions as token.<name>.",
        json_schema_extra=_named(CLAIM_NAME),
    )
    classes: dict[str, ClassEntry] = Field(
        {},
        description="Groups of clients; the first that matches wins.",
        json_schema_extra=_named(CLASS_NAME),
    )
    consent: ConsentEntry | None = Field(None, description="The table of standing permissions.")
    scopes: dict[str, ScopeEntry] = Field(
        {}, description="The words that persons grant.", json_schema_extra=_named(SCOPE_NAME)
    )
    sets: dict[str, SetEntry] = Field(
        {}, description="Named sets of values for conditions.", json_schema_extra=_named(SET_NAME)
    )
    tables: dict[str, TableEntry] = Field(
        {},
        description="The tables, as schema.table, and who may do what.",
        json_schema_extra=_named(TABLE_NAME),
    )
    doors: dict[str, DoorEntry] = Field({}, description="Reviewed ways round the ceilings.")
    accepted: dict[str, Text] = Field(
        {},
        description="Findings about the database that are no fault, by the key that they show, each with the reason.",
    )
    trusted_roles: dict[str, Text] = Field(
        {}, description="Roles that reach covered tables without arriving as a token, each with the reason."
    )
