"""Conditions in their author's words with a token's values written in, for PostgreSQL to evaluate as they stand.

Nothing here goes through the compiler: what it makes of a condition is what is to be judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mcp_rls import sql
from mcp_rls.compiler.model import PolicySet

_PIECES = re.compile(
    r"""[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$"""
    r""" | [^\W\d][\w$]* | \s+ | .""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Binding:
    """What conditions read of a token: values as text, None where there is none."""

    person: str | None = None
    client: str | None = None
    claims: tuple[tuple[str, str | None], ...] = ()

    def value(self, name: str) -> str | None:
        """The value of token.<name>."""
        return {"person": self.person, "client": self.client, **dict(self.claims)}.get(name)


Members = Callable[[str, Binding], str]  # a sub-select of the members of a set


def pieces(text: str) -> list[str]:
    """The text cut into strings, quoted names, words, blanks and single characters."""
    return [match[0] for match in _PIECES.finditer(text)]


def spelled(policies: PolicySet, text: str, binding: Binding, listed: Members | None = None) -> str:
    """The condition with token.<name> as constants and each set as its query, or as `listed` has it."""

    def from_query(name: str, for_: Binding) -> str:
        return members(policies, name, for_)

    return "".join(_spelled(policies, pieces(text), binding, listed or from_query))


def _spelled(policies: PolicySet, parts: list[str], binding: Binding, listed: Members | None) -> Iterator[str]:
    at = 0
    while at < len(parts):
        name = _named(parts, at)
        if name is not None:
            yield constant(policies, name, binding)
            at += 3
            continue
        word = parts[at].lower()
        if listed is not None and word in policies.sets and _follows_in(parts, at):
            yield listed(word, binding)
        else:
            yield parts[at]
        at += 1


def _named(parts: list[str], at: int) -> str | None:
    """The name in token.<name>, if that begins here."""
    if parts[at].lower() != "token" or parts[at + 1 : at + 2] != ["."] or len(parts) <= at + 2:
        return None
    return parts[at + 2].strip('"') if at == 0 or parts[at - 1] != "." else None


def _follows_in(parts: list[str], at: int) -> bool:
    """Whether the word at this place is what IN looks into: a set, no column and no function."""
    before = [part.lower() for part in parts[:at] if not part.isspace()]
    after = next((part for part in parts[at + 1 :] if not part.isspace()), "")
    return before[-1:] == ["in"] and after not in ("(", ".")


def members(policies: PolicySet, name: str, binding: Binding) -> str:
    """A sub-select of the set's members; NULLs are dropped."""
    definition = policies.sets[name]
    query = "".join(_spelled(policies, pieces(definition.query), binding, None))
    return f"(select listed.member::{definition.type} from ({query}) listed(member) where listed.member is not null)"


def constant(policies: PolicySet, name: str, binding: Binding) -> str:
    """token.<name> as a typed constant."""
    kinds = {"person": policies.identity.person.type, "client": "text"}
    kind = kinds.get(name) or policies.claims[name].type
    value = binding.value(name)
    return f"({'null' if value is None else sql.literal(value)}::{kind})"


def mentions_token(text: str, name: str = "") -> bool:
    """Whether the text reads token.<name>; without a name, anything of the token."""
    parts = pieces(text)
    found = (_named(parts, at) for at in range(len(parts)))
    return any(one is not None and name in ("", one) for one in found)


def sets_in(policies: PolicySet, text: str) -> frozenset[str]:
    """The named sets that the condition looks into."""
    parts = pieces(text)
    return frozenset(p.lower() for at, p in enumerate(parts) if p.lower() in policies.sets and _follows_in(parts, at))
