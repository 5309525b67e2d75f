"""Tokens as claims documents, and what kind of session a document makes, as the design defines both."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import Claim, ClaimPath, ClientClass, PolicySet
from mcp_rls.harness.suite import TokenSpec, Values

CLIENT_LIMIT = 2048  # characters; a longer client id is malformed
MADE_UP = "mcp-rls-test-client"

Kind = Literal["direct", "nobody", "client"]  # whatever isn't clearly one of the first two is a client's
_ABSENT = object()
_MOST_CLAIMS = 1000  # characters of them that are shown
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_URL = re.compile(r"[!-~]*")  # printable ASCII without a space
_DOTS = re.compile(r"/\.\.?(?:[/?]|\Z)|\\|#|%2e|%2f|%5c", re.IGNORECASE)


@dataclass(frozen=True)
class Identity:
    """What a claims document says about who acts."""

    kind: Kind
    person: str | None = None  # as text, as the database would print it
    client: str | None = None  # None: there is none, or it is malformed


@dataclass(frozen=True)
class Bearer:
    """A token that is ready to act: its claims, and the rows that were brought for it."""

    spec: TokenSpec
    claims: str  # '': no claims at all
    identity: Identity
    role: str
    class_name: str | None = None  # None: a client of no class
    brought: frozenset[tuple[TableName, tuple[str, ...]]] = frozenset()  # table and key
    notes: tuple[str, ...] = ()  # what was made up or brought, for messages

    def tried(self, policies: PolicySet) -> bool:
        """Whether the ceilings bind it, so that all it isn't given by a case must be denied."""
        return is_bound(policies, self.identity.kind, self.role)


def is_bound(policies: PolicySet, kind: Kind, role: str) -> bool:
    return kind == "client" or (kind == "nobody" and role not in policies.anonymous)


def claims_text(policies: PolicySet, spec: TokenSpec, client: str | None, role: str = "") -> str:
    """The claims of `spec` as the text of request.jwt.claims; `client` is the client id that it has, if any."""
    if isinstance(spec.raw, str):
        return spec.raw
    identity, document = policies.identity, dict[str, Any]()
    if spec.sub is not None:
        _put(document, identity.person.path, spec.sub)
    if client is not None:
        _put(document, identity.client[0], client)
    if spec.scope is not None and identity.scope is not None:
        scope = spec.scope
        _put(document, identity.scope, scope if isinstance(scope, str) else list(scope))
    if policies.platform != "postgres":  # PostgREST and Supabase take the role from this claim
        document["role"] = role or spec.role or policies.role_of(spec.class_name)
    for name, value in spec.claims.items():
        _put(document, policies.claims[name].path, value)
    if spec.raw:
        document = _merged(document, spec.raw)
    return json.dumps(document, ensure_ascii=False)


def scope_words(spec: TokenSpec) -> tuple[str, ...]:
    """The words of the token's scope."""
    words = spec.scope.split(" ") if isinstance(spec.scope, str) else spec.scope or ()
    return tuple(word for word in words if word)


def expected_client(policies: PolicySet, spec: TokenSpec) -> str | None:
    """The client id as far as it is known without a database; a class gets a placeholder."""
    if spec.client is not None:
        return spec.client
    if spec.class_name is not None:
        return MADE_UP
    direct = policies.identity.direct
    return direct.ids[0] if direct.kind == "ids" and direct.ids and spec.sub is not None else None


def is_client_token(policies: PolicySet, spec: TokenSpec) -> bool:
    """Whether the ceilings will bind this token; needs no database."""
    text = claims_text(policies, spec, expected_client(policies, spec))
    if spec.class_name is not None and not spec.raw:
        return True
    return is_bound(policies, identify(policies, text).kind, spec.role or policies.roles[0])


def identify(policies: PolicySet, text: str) -> Identity:
    """Who acts with these claims."""
    if not text:
        return Identity("nobody")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return Identity("client")
    if not isinstance(document, dict):
        return Identity("client")
    identity = policies.identity
    person = as_person(_get(document, identity.person.path), identity.person)
    present = [value for path in identity.client if (value := _get(document, path)) is not _ABSENT]
    if not present:
        if person is None:
            return Identity("nobody")
        return Identity("client" if identity.direct.kind == "ids" else "direct", person)
    value = present[0]
    client = value if isinstance(value, str) and 0 < len(value) <= CLIENT_LIMIT else None
    if client is not None and person is not None and client in identity.direct.ids:
        return Identity("direct", person, client)
    return Identity("client", person, client)


def matches_text(client_class: ClientClass, client: str) -> bool:
    """Whether the class's conditions on the text of a client id hold; a registry is asked elsewhere."""
    if client_class.ids and client not in client_class.ids:
        return False
    prefix = client_class.client_id_url_prefix
    if prefix is None:
        return True
    return client.startswith(prefix) and bool(_URL.fullmatch(client)) and not _DOTS.search(client)


def as_person(value: Any, claim: Claim) -> str | None:
    """A valid person as text, or None."""
    if claim.type == "boolean":
        return str(value).lower() if isinstance(value, bool) else None
    if claim.type in ("integer", "bigint"):
        bound = 2 ** (31 if claim.type == "integer" else 63)
        fits = isinstance(value, int) and not isinstance(value, bool) and -bound <= value < bound
        return str(value) if fits else None
    if not isinstance(value, str) or not value:
        return None
    if claim.type == "uuid":
        return value.lower() if _UUID.fullmatch(value) else None
    return value


def _get(document: Any, path: ClaimPath) -> Any:
    """The value under `path`; _ABSENT where the last object on the way lacks the key; None if one is no object."""
    value = document
    for key in path:
        if not isinstance(value, dict):
            return None  # present, and malformed
        if key not in value:
            return _ABSENT
        value = value[key]
    return value


def _put(document: dict[str, Any], path: ClaimPath, value: Any) -> None:
    for key in path[:-1]:
        inner = document.get(key)
        document[key] = inner if isinstance(inner, dict) else {}
        document = document[key]
    document[path[-1]] = value


def _merged(below: Mapping[str, Any], above: Values) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        both = isinstance(inner, dict) and isinstance(value, Mapping)
        merged[key] = _merged(inner, value) if both and inner is not None else value
    return merged


def shown_claims(text: str | None) -> str:
    """The text of a token's claims, of a long one its beginning."""
    if text is not None and len(text) > _MOST_CLAIMS:
        return f"{text[:_MOST_CLAIMS]} ... ({len(text):,} characters)"
    return text or "(none)"
