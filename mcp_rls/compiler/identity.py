"""How a token is read, and as which roles it arrives: the parts of a policy file that come before any rule."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from mcp_rls.catalog import TableName
from mcp_rls.compiler.fields import CLAIM_TYPE_ALIASES
from mcp_rls.compiler.model import CLAIM_TYPES, Claim, ClaimPath, Condition, Consent, Direct, Identity
from mcp_rls.compiler.schema import CLAIM_NAME, ClaimEntry, ClientEntry, DirectEntry, IdentityEntry
from mcp_rls.compiler.shape import Draft, shown
from mcp_rls.diagnostics import Span
from mcp_rls.node import Key

IDENTIFIER_BYTES = 63  # PostgreSQL cuts longer names off, and the rest would name something else
_USER_WRITABLE = ("user_metadata", "email", "phone")
_USER_WRITABLE_SQL = re.compile(r"raw_user_meta_data|user_metadata|auth\.email\s*\(|->>?\s*'(?:email|phone)'")
_RESERVED_CLAIMS = ("person", "client")
_RESERVED_ROLES = ("public", "none", "current_user", "session_user", "current_role")


@dataclass(frozen=True)
class Platform:
    """What a platform gives to a file that doesn't say otherwise."""

    direct: Literal["no_client", "session"]
    scope: ClaimPath | None  # None: scopes are those of the consent table
    roles: tuple[str, ...] = ()  # (): must be named
    anonymous: tuple[str, ...] = ()


PLATFORMS = {
    "postgres": Platform("no_client", ("scope",)),
    "postgrest": Platform("no_client", ("scope",)),
    "supabase": Platform("session", None, ("authenticated", "anon"), ("anon",)),
}


def platform(draft: Draft) -> Platform:
    """The file's platform; one that has no defaults, where the file has no known platform."""
    return PLATFORMS[draft.file.platform or "postgres"]


def version(draft: Draft) -> None:
    """An error when the file is of a format that we don't read."""
    found = draft.file.mcp_rls
    if found is not None and found != 1:
        hint = "a newer mcp_rls may read it" if found > 1 else "write: mcp_rls: 1"
        draft.error("bad-value", f"the file is of format {found}, and this is format 1", ("mcp_rls",), hint)


def identity(draft: Draft) -> Identity:
    """Person, client, scopes and direct sessions, the platform's defaults filled in."""
    entry = draft.file.identity or IdentityEntry()
    person = _claim(draft, entry.person, ("identity", "person"), Claim(("sub",), "uuid"))
    if person.type == "boolean":
        draft.error("bad-value", "a boolean can't name a person", ("identity", "person", "type"))
    return Identity(person, _client(draft, entry.client), _scope(draft), _direct(draft))


def _claim(draft: Draft, entry: ClaimEntry | None, path: tuple[Key, ...], default: Claim) -> Claim:
    if entry is None:
        return default
    kind = CLAIM_TYPE_ALIASES.get(entry.type, entry.type)
    if kind not in CLAIM_TYPES:
        message = f'"{shown(entry.type)}" is no type of a claim'
        hint = draft.nearest(entry.type, (*CLAIM_TYPES, *CLAIM_TYPE_ALIASES))
        draft.error("bad-value", message, (*path, "type"), hint, f"types: {', '.join(CLAIM_TYPES)}")
        kind = "text"
    _writable_claim(draft, entry.claim, (*path, "claim"))
    return Claim(entry.claim or default.path, kind, draft.document.span(*path))


def _writable_claim(draft: Draft, claim: ClaimPath | None, path: tuple[Key, ...]) -> None:
    if draft.file.platform == "supabase" and claim and claim[0] in _USER_WRITABLE:
        message = f'"{claim[0]}" can be changed by every OAuth client through the Auth API'
        draft.error("user-writable-claim", message, path, "use app_metadata, which only the server writes")


def _client(draft: Draft, entry: ClientEntry | None) -> tuple[ClaimPath, ...]:
    path: tuple[Key, ...] = ("identity", "client")
    if entry is None or (entry.claim is None and entry.claims is None):
        if entry is not None and not draft.damaged(*path):
            draft.key_error("missing-key", "name the claim of the client", path, "client: {claim: client_id}")
        return (("client_id",),)
    if entry.claim is not None and entry.claims is not None:
        draft.key_error("bad-value", 'give "claim" or "claims", not both', (*path, "claims"))
    for index, claim in enumerate(entry.claims or ()):
        _writable_claim(draft, claim, (*path, "claims", index))
    _writable_claim(draft, entry.claim, (*path, "claim"))
    return tuple(entry.claims or ()) if entry.claim is None else (entry.claim,)


def _scope(draft: Draft) -> ClaimPath | None:
    entry = draft.file.identity.scopes if draft.file.identity else None
    path: tuple[Key, ...] = ("identity", "scopes")
    if entry is None:
        _consent_for_scopes(draft, platform(draft).scope, ("scopes",))
        return platform(draft).scope
    if entry.hook:
        message = "scopes issued by a token hook aren't supported yet"
        draft.key_error("not-yet", message, (*path, "hook"), "use a consent table: scopes: {consent: true}")
    if bool(entry.consent) == (entry.claim is not None) and not draft.damaged(*path):
        draft.error("bad-value", "scopes come from one place", path, "{consent: true} or {claim: scope}")
    if entry.claim is not None:
        _writable_claim(draft, entry.claim, (*path, "claim"))
        _supabase_words(draft, (*path, "claim"))
    _consent_for_scopes(draft, entry.claim, (*path, "consent"))
    return entry.claim


def _supabase_words(draft: Draft, path: tuple[Key, ...]) -> None:
    """Supabase refuses scopes but its own: a scope of ours in its tokens could never be held."""
    if draft.file.platform == "supabase" and draft.names("scopes"):
        message = "tokens of Supabase carry its own scopes only, so none that is declared here is ever held"
        draft.error("bad-value", message, path, "use a consent table: scopes: {consent: true}")


def _consent_for_scopes(draft: Draft, claim: ClaimPath | None, path: tuple[Key, ...]) -> None:
    """Without a column to read them from, every scope would count as held."""
    if claim is not None or not draft.names("scopes") or draft.damaged("consent"):
        return
    consent = draft.file.consent
    hint = "consent: {table: public.mcp_grants, columns: {person: user_id, client: client_id, scopes: scopes}}"
    if consent is None:
        message = 'scopes come from the consent table, and there is none: the key "consent" is missing'
        draft.key_error("missing-key", message, path, hint)
    elif consent.columns is not None and consent.columns.scopes is None:
        message = 'scopes come from the consent table, so "columns" must name the one that holds them'
        draft.key_error("missing-key", message, ("consent", "columns"), hint)


def _direct(draft: Draft) -> Direct:
    entry = draft.file.identity.direct if draft.file.identity else None
    if entry is None:
        if platform(draft).direct == "session" and not draft.damaged("identity"):
            message = "telling direct sessions by auth.sessions, the default on supabase, isn't supported yet"
            hint = "identity: {direct: no_client}, as long as no token hook drops client_id"
            draft.error("not-yet", message, ("platform",), hint)
        return Direct(platform(draft).direct)
    path: tuple[Key, ...] = ("identity", "direct")
    if isinstance(entry, DirectEntry):
        return Direct("ids", tuple(dict.fromkeys(entry.ids or ())))
    if entry == "session":
        if draft.file.platform == "supabase":
            hint = "direct: no_client, as long as no token hook drops client_id"
            draft.error("not-yet", "telling direct sessions by auth.sessions isn't supported yet", path, hint)
        elif draft.file.platform is not None:
            message = f"{draft.file.platform} has no table of sessions: session is for supabase"
            draft.error("bad-value", message, path, "direct: no_client")
    elif draft.file.platform == "supabase":
        message = "a client whose client_id is dropped by a token hook would count as direct"
        draft.diagnostics.note("direct-by-claim", message, draft.document.span(*path))
    return Direct(entry)


def claims(draft: Draft) -> dict[str, Claim]:
    """The claims that conditions may read as token.<name>."""
    found = {}
    for name, entry in draft.file.claims.items():
        path = ("claims", name)
        if name in _RESERVED_CLAIMS:
            message = f'"{name}" is taken: token.{name} is the {name} of the token'
            draft.key_error("bad-value", message, path, "give the claim another name")
        elif not re.match(CLAIM_NAME, name):
            message = f'"{shown(name)}" can\'t be read as token.<name>'
            draft.key_error("bad-value", message, path, "use lower-case letters, digits and _")
        found[name] = _claim(draft, entry, path, Claim((name,), "text"))
    return found


def schemas(draft: Draft) -> tuple[str, ...]:
    """The covered schemas."""
    names = draft.file.schemas or []
    for index, name in enumerate(names):
        if name in ("mcp_rls", "information_schema") or name.startswith("pg_"):
            draft.error("bad-value", f'schema "{shown(name)}" can\'t be covered', ("schemas", index))
        elif "." in name:
            message = f'"{shown(name)}" isn\'t the name of a schema'
            draft.error("bad-value", message, ("schemas", index), "tables stand under `tables:`")
        identifier(draft, name, draft.document.span("schemas", index))
    return _distinct(draft, names, "schemas")


def roles(draft: Draft) -> tuple[str, ...]:
    """The roles that a token can arrive as; an error where the platform has no default."""
    names = draft.file.roles
    if names is None:
        if draft.file.platform and not platform(draft).roles and not draft.damaged("roles"):
            message = f'the key "roles" is missing: on {draft.file.platform} the roles must be named'
            hint = "roles: [authenticated], every database role that a token can arrive as"
            draft.key_error("missing-key", message, (), hint)
        return platform(draft).roles
    for index, name in enumerate(names):
        if name.lower() in _RESERVED_ROLES:
            draft.error("bad-value", f'"{name}" isn\'t the name of a role', ("roles", index))
        identifier(draft, name, draft.document.span("roles", index))
    return _distinct(draft, names, "roles")


def anonymous(draft: Draft, known: Collection[str]) -> tuple[str, ...]:
    """The roles for tokens with neither person nor client; each must be one of `known`."""
    names = draft.file.anonymous
    if names is None:
        return tuple(name for name in platform(draft).anonymous if name in known)
    for index, name in enumerate(names):
        if name not in known and not draft.damaged("roles"):
            message = f'"{shown(name)}" isn\'t one of the roles'
            draft.error("bad-value", message, ("anonymous", index), draft.nearest(name, known))
    return _distinct(draft, names, "anonymous")


def trusted_roles(draft: Draft, known: Collection[str]) -> dict[str, str]:
    """Roles that nobody's token arrives as, with the reasons; none of them may be one of `known`."""
    for name in draft.file.trusted_roles:
        if name in known:
            message = f'"{shown(name)}" is trusted and one of the roles of tokens: it can\'t be both'
            draft.key_error("bad-value", message, ("trusted_roles", name))
        identifier(draft, name, draft.document.key_span("trusted_roles", name))
    return dict(draft.file.trusted_roles)


def consent(draft: Draft) -> Consent | None:
    """The table of consents, if the file has one."""
    entry = draft.file.consent
    if entry is None or entry.table is None or entry.columns is None:
        return None
    name = table_name(draft, entry.table, draft.document.span("consent", "table"))
    person, client = entry.columns.person, entry.columns.client
    if name is None or person is None or client is None:
        return None
    where = condition(draft, entry.where, ("consent", "where"))
    return Consent(name, person, client, entry.columns.scopes, where, draft.document.span("consent", "table"))


# --- what other parts need too


def table_name(draft: Draft, text: str, span: Span) -> TableName | None:
    """The table that `text` names, or None after an error."""
    name = TableName.parse(text)
    if name is None:
        schema = (draft.file.schemas or ["public"])[0]
        hint = f"write it with its schema: {schema}.{shown(text)}" if "." not in text else ""
        draft.diagnostics.error("bad-value", f'"{shown(text)}" isn\'t a table, as schema.table', span, hint)
        return None
    identifier(draft, name.schema, span)
    identifier(draft, name.name, span)
    return name


def identifier(draft: Draft, name: str, span: Span) -> None:
    """An error when PostgreSQL would cut `name` off."""
    if len(name.encode()) > IDENTIFIER_BYTES:
        message = f'the name "{shown(name)}" is longer than {IDENTIFIER_BYTES} bytes'
        draft.diagnostics.error("bad-value", message, span)
    elif name != name.strip() or not name:
        message = f'the name "{shown(name)}" has space around it' if name.strip() else "a name is empty"
        draft.diagnostics.error("bad-value", message, span)


def condition(draft: Draft, text: str | None, path: tuple[Key, ...], raw: bool = False) -> Condition | None:
    """The condition in `text`, unparsed."""
    if text is None:
        return None
    if raw:
        user_writable(draft, text, path)
    return Condition(text, draft.document.text_span(*path), raw)


def user_writable(draft: Draft, sql: str, path: tuple[Key, ...]) -> None:
    """An error when SQL of the file's author reads what a client of Supabase can change itself."""
    match = _USER_WRITABLE_SQL.search(sql) if draft.file.platform == "supabase" else None
    if match:
        message = f"this SQL reads {match[0]}, which every OAuth client can change through the Auth API"
        draft.error("user-writable-claim", message, path, "use app_metadata, which only the server writes")


def _distinct(draft: Draft, names: Iterable[str], section: str) -> tuple[str, ...]:
    """`names` without repetitions, each of which is an error."""
    seen: dict[str, None] = {}
    for index, name in enumerate(names):
        if name in seen:
            draft.error("bad-value", f'"{shown(name)}" is listed twice', (section, index))
        seen[name] = None
    return tuple(seen)
