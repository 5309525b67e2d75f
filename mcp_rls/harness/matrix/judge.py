"""What a claims text says by the words of the design alone: who acts, whether that lives, and which scopes it holds.

Written apart from the SQL of the gate, which is judged by it. What only rows can tell (registries, consents) is asked
of a `Life`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, Protocol

from mcp_rls.compiler.class_roles import says_it_all
from mcp_rls.compiler.model import Claim, ClaimPath, ClientClass, PolicySet
from mcp_rls.harness.matrix.language import Binding

LONGEST_CLIENT = 2048  # characters; a longer client id is malformed

Kind = Literal["direct", "visitor", "nobody", "client"]


class Life(Protocol):
    """What rows say about clients."""

    def registered(self, client_class: ClientClass, binding: Binding) -> bool | None:
        """Whether the client is live by the registry of the class; None: it isn't listed there."""

    def consented(self, binding: Binding) -> frozenset[str] | None:
        """The scope words of the person's live consents to the client; None: there is no live one."""


@dataclass(frozen=True)
class Holder:
    """A token understood. `why`: what keeps a client from having anything, or ''."""

    kind: Kind
    role: str
    binding: Binding = field(default_factory=Binding)
    class_name: str | None = None
    scopes: frozenset[str] = frozenset()  # effective, closed under `implies`
    why: str = ""
    by_role: bool = False  # its class role alone makes it one of the class; its claims say something else

    @property
    def unlimited(self) -> bool:
        """Whether no ceiling concerns it."""
        return self.kind in ("direct", "visitor")

    @property
    def live(self) -> bool:
        return self.kind == "client" and not self.why


class Malformed(Exception):
    """Claims that are no JSON object that PostgreSQL could hold."""


_ABSENT, _ODD = object(), object()  # neither of them is a JSON value
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")


def judge(policies: PolicySet, life: Life, claims: str, role: str) -> Holder:
    """What the token is and may hold."""
    of = policies.class_of_role(role)
    if of is not None:
        return _in_class_role(policies, life, claims, role, of)
    holder = _in_shared_role(policies, life, claims, role)
    apart = bool(policies.class_roles) and holder.live
    return replace(holder, scopes=frozenset(), why="its clients act in roles of their own") if apart else holder


def _in_class_role(policies: PolicySet, life: Life, claims: str, role: str, of: str) -> Holder:
    """The role says the class; where more than that decides, the token must agree."""
    holder = _in_shared_role(policies, life, claims, role)
    if holder.class_name == of and holder.live:
        return holder
    alone = says_it_all(policies, of)
    why = "" if alone else holder.why or f"its client isn't of the class {of}"
    return Holder("client", role, holder.binding, of, frozenset(), why, alone)


def _in_shared_role(policies: PolicySet, life: Life, claims: str, role: str) -> Holder:
    try:
        document = parsed(claims) if claims else {}
    except Malformed as reason:
        return Holder("nobody", role, why=str(reason))
    person, client = typed(document, policies.identity.person), _client(policies, document)
    binding = Binding(person, client if isinstance(client, str) else None, _claims(policies, document))
    if client is _ODD:
        return Holder("nobody", role, binding, why="its client id is malformed")
    if client is _ABSENT:
        return _without_client(policies, binding, role)
    if person is None:
        return Holder("nobody", role, binding, why="it has a client and no valid person")
    if client in policies.identity.direct.ids:
        return Holder("direct", role, binding)
    return _client_holder(policies, life, document, binding, role)


def _without_client(policies: PolicySet, binding: Binding, role: str) -> Holder:
    if binding.person is not None and policies.identity.direct.kind != "ids":
        return Holder("direct", role, binding)
    if binding.person is None and role in policies.anonymous:
        return Holder("visitor", role, binding)
    return Holder("nobody", role, binding, why="it has neither a client nor a session of the app's own")


def _client_holder(policies: PolicySet, life: Life, document: dict[str, Any], binding: Binding, role: str) -> Holder:
    found = class_of(policies, life, binding)
    if found is None:
        return Holder("client", role, binding, why="its client is of no class")
    required = policies.consent_required(found.name)
    words, consented = _words(document, policies.identity.scope), life.consented(binding) if required else frozenset()
    why = ""
    if found.registry is not None and not life.registered(found, binding):
        why = "its client's registration isn't live"
    elif words is None:
        why = "its scope claim is malformed"
    elif consented is None:
        why = "there is no live consent"
    held = frozenset() if why else _effective(policies, words or frozenset(), consented or frozenset(), required)
    return Holder("client", role, binding, found.name, held, why)


def _effective(policies: PolicySet, words: frozenset[str], consented: frozenset[str], required: bool) -> frozenset[str]:
    """What every source of scopes that applies has granted."""
    sources = [words] if policies.identity.scope is not None else []
    if required and policies.consent is not None and policies.consent.scopes is not None:
        sources.append(consented)
    closed = [closure(policies, source) for source in sources]
    return frozenset.intersection(*closed) if closed else frozenset()


def class_of(policies: PolicySet, life: Life, binding: Binding) -> ClientClass | None:
    """The first class that the client is a member of, live or not."""
    return next((c for c in policies.classes.values() if _is_member(c, life, binding)), None)


def _is_member(c: ClientClass, life: Life, binding: Binding) -> bool:
    assert binding.client is not None, "only a client is of a class"
    by_text = (not c.ids or binding.client in c.ids) and below(binding.client, c.client_id_url_prefix)
    return by_text and (c.registry is None or life.registered(c, binding) is not None)


def below(client: str, prefix: str | None) -> bool:
    """Whether a client id is a URL below the prefix that no reader could take for another place."""
    if prefix is None:
        return True
    plain = all("!" <= character <= "~" and character not in "\\#" for character in client)
    climbing = re.search(r"/\.{1,2}([/?]|\Z)|%2e|%2f|%5c", client, re.IGNORECASE)
    return client.startswith(prefix) and plain and not climbing


def closure(policies: PolicySet, words: Iterable[str]) -> frozenset[str]:
    """The declared scopes among the words, with all that they imply."""
    return frozenset().union(*(policies.scopes[word].closure for word in words if word in policies.scopes))


# --- what stands in a document ----------------------------------------------------------------------------------------


def parsed(text: str) -> dict[str, Any]:
    """The object in the text, numbers as Decimal. Raises: Malformed."""
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_number,
            parse_float=_number,
            parse_constant=_refused,
        )
        _checked(value)
    except (ValueError, RecursionError):
        raise Malformed("its claims aren't JSON") from None
    if not isinstance(value, dict):
        raise Malformed("its claims are no JSON object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The last of equal keys wins; what the earlier ones hold must be JSON that PostgreSQL can store all the same."""
    for key, value in pairs:
        _checked(key)
        _checked(value)
    return dict(pairs)


def _checked(value: Any) -> None:
    if isinstance(value, str) and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
        raise ValueError("a string that jsonb can't hold")
    for element in value if isinstance(value, list) else ():
        _checked(element)


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int), "JSON has no NaN"
    if exponent < -16383 or (number and number.adjusted() >= 131072):
        raise ValueError("a number that jsonb can't hold")
    return number


def _refused(text: str) -> Any:
    raise ValueError(text)


def at(document: dict[str, Any], path: ClaimPath) -> Any:
    """The value under a path; odd where what leads there is no object."""
    value: Any = document
    for key in path:
        if not isinstance(value, dict):
            return _ODD
        if key not in value:
            return _ABSENT
        value = value[key]
    return value


def typed(document: dict[str, Any], claim: Claim) -> str | None:
    """A claim as the text of its type, None when it is absent or of another type."""
    value = at(document, claim.path)
    if claim.type == "boolean":
        return str(value).lower() if isinstance(value, bool) else None
    if claim.type in ("integer", "bigint"):
        return _integer(value, 31 if claim.type == "integer" else 63)
    if not isinstance(value, str) or not value:
        return None
    if claim.type == "uuid":
        return value.lower() if _UUID.fullmatch(value) else None
    return value


def _integer(value: Any, bits: int) -> str | None:
    """A number that is printed as digits alone, and fits."""
    if not isinstance(value, Decimal) or int(value.as_tuple().exponent) < 0 or value.adjusted() >= 19:
        return None
    return str(int(value)) if -(2**bits) <= value < 2**bits else None


def _client(policies: PolicySet, document: dict[str, Any]) -> Any:
    """The client id; absent when no claim of it is there, odd when the first that is there is no good."""
    for path in policies.identity.client:
        value = at(document, path)
        if value is not _ABSENT:
            return value if isinstance(value, str) and 0 < len(value) <= LONGEST_CLIENT else _ODD
    return _ABSENT


def _claims(policies: PolicySet, document: dict[str, Any]) -> tuple[tuple[str, str | None], ...]:
    return tuple((name, typed(document, claim)) for name, claim in policies.claims.items())


def _words(document: dict[str, Any], path: ClaimPath | None) -> frozenset[str] | None:
    """The scope words of the token; None for a claim that is no list of words."""
    value = at(document, path) if path is not None else _ABSENT
    if value is _ABSENT:
        return frozenset()
    if isinstance(value, str):
        return frozenset(word for word in value.split(" ") if word)
    if isinstance(value, list) and all(isinstance(element, str) for element in value):
        return frozenset(value)
    return None
