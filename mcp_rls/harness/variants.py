"""Tokens that come near a valid one: each differs in one thing. What they may do is for a judge to say, not for these.

Most are of no use to anybody. Some are as good as the valid one, which shows that a gate doesn't refuse them all.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcp_rls.compiler.model import Claim, ClaimPath, PolicySet

Document = dict[str, Any]
_GONE = object()
_LONG = 10_000
_OLDER = "request.jwt.claim"  # where older gateways put the claims, each in a setting of its own
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*").fullmatch  # what can be a part of a setting's name


@dataclass(frozen=True)
class Variant:
    """A token, and what is odd about it. `settings`: what else an earlier gateway may have left in the session."""

    name: str
    claims: str
    role: str
    settings: Mapping[str, str] = field(default_factory=dict, hash=False)


def variants(policies: PolicySet, claims: str, role: str, others: Mapping[str, str]) -> Iterator[Variant]:
    """Each token that differs from the valid one in one thing. `others`: further clients and people, by what they are
    called.
    """
    document = json.loads(claims)
    assert isinstance(document, dict), "a valid token has an object of claims"
    made: dict[tuple[str, str], Variant] = {}
    families = (_clients, _scopes, _people, _claims, _shapes)
    for name, text in (pair for family in families for pair in family(policies, document, others)):
        if text != claims:
            made.setdefault((text, role), Variant(name, text, role))
    for name, spoil in _TEXTS.items():
        made.setdefault((spoil(claims), role), Variant(name, spoil(claims), role))
    for other in policies.acting:
        if other != role:
            made.setdefault((claims, other), Variant(f"it arrives as {other}", claims, other))
    yield from made.values()
    yield from _left_behind(policies, document, claims, role, others)


# --- one claim --------------------------------------------------------------------------------------------------------

Pairs = Iterator[tuple[str, str]]


def _clients(policies: PolicySet, document: Document, others: Mapping[str, str]) -> Pairs:
    for path in policies.identity.client:
        here = value_at(document, path)
        client = here if isinstance(here, str) else "x"
        named = ".".join(path)
        for shown, value in _NOT_TEXTS.items():
            yield f"{named} is {shown}", _with(document, path, value)
        yield f"{named} is a list of it", _with(document, path, [client])
        yield f"{named} is an object with it", _with(document, path, {"id": client})
        yield f"{named} is missing", _with(document, path, _GONE)
        for shown, text in {**_near(client), **_lookalikes(client), **others}.items():
            yield f"{named} is {shown}", _with(document, path, text)


def _near(text: str) -> dict[str, str]:
    """Texts that are nearly this one."""
    return {
        "in upper case": text.upper(),
        "with a blank behind": text + " ",
        "with a blank before": " " + text,
        "with a newline behind": text + "\n",
        "with a dot behind": text + ".",
        "one character short": text[:-1],
        "one character longer": text + "x",
        "with more behind a comma": text + ",x",
        "twice": f"{text} {text}",
        "a wildcard": "%",
        "the start and a wildcard": text[:3] + "%",
        "a star": "*",
        "the word null": "null",
        "10 kB long": "x" * _LONG,
        "followed by 10 kB": text + "x" * _LONG,
        "with a letter that only looks so": text.replace("a", "\u0430").replace("e", "\u0435"),
        "with a zero-width space": text[:1] + "\u200b" + text[1:],
    }


def _lookalikes(url: str) -> dict[str, str]:
    """URLs that a careless reader takes for one below the same place."""
    if not url.startswith("https://"):
        return {}
    host, _, rest = url.removeprefix("https://").partition("/")
    return {
        "on a longer host": f"https://{host}.evil.example/{rest}",
        "on a subdomain": f"https://x.{host}/{rest}",
        "on another host": f"https://evil.example/{rest}",
        "behind another host": f"https://evil.example/{url}",
        "with the host as a user": f"https://{host}@evil.example/{rest}",
        "with the place as a user": f"https://{host}/@evil.example/{rest}",
        "with a backslash": f"https://{host}\\@evil.example/{rest}",
        "with a backslash in its path": f"https://{host}/\\evil.example",
        "climbing out": f"https://{host}/../evil",
        "climbing out at its end": f"{url}/..",
        "climbing out in code": f"https://{host}/%2e%2e/evil",
        "climbing out in mixed code": f"https://{host}/.%2E/evil",
        "with a coded slash": f"https://{host}/a%2fb",
        "with a coded backslash": f"https://{host}/a%5Cb",
        "with a dot segment": f"https://{host}/./{rest}",
        "with a fragment": f"{url}#x",
        "with a port": f"https://{host}:8443/{rest}",
        "with a dot behind its host": f"https://{host}./{rest}",
        "in upper case, its host": f"https://{host.upper()}/{rest}",
        "in upper case, its scheme": f"HTTPS://{host}/{rest}",
        "without TLS": f"http://{host}/{rest}",
        "without a scheme": f"//{host}/{rest}",
        "with one slash": f"https:/{host}/{rest}",
        "its host alone": f"https://{host}",
        "with a tab in it": f"https://{host}/\t{rest}",
        "with a blank in it": f"https://{host}/ {rest}",
        "with a letter that only looks so, its host": f"https://{host.replace('a', chr(0x430))}/{rest}",
        "with full-width letters": f"https://{host}/{_wide(rest)}",
    }


def _wide(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c.isalpha() else c for c in text)


def _scopes(policies: PolicySet, document: Document, _: Mapping[str, str]) -> Pairs:
    path, declared = policies.identity.scope, list(policies.scopes)
    if path is None:
        yield "it brings a scope claim of its own", _with(document, ("scope",), " ".join(declared) or "admin")
        return
    here, named = value_at(document, path), ".".join(path)
    words = here.split() if isinstance(here, str) else []
    words = words or declared[:1] or ["admin"]
    for shown, value in {**_NOT_TEXTS, **_scope_texts(words), **_scope_lists(words)}.items():
        yield f"{named} is {shown}", _with(document, path, value)
    yield f"{named} is missing", _with(document, path, _GONE)


def _scope_texts(words: Sequence[str]) -> dict[str, str]:
    spaced = " ".join(words)
    return {
        "in upper case": spaced.upper(),
        "one character short": spaced[:-1],
        "words with more around them": " ".join(f"x{word}x" for word in words),
        "words with more behind them": " ".join(f"{word}x" for word in words),
        "the start of its words": " ".join(word[: max(1, len(word) // 2)] for word in words),
        "what stands before the colon": " ".join(word.partition(":")[0] for word in words),
        "joined by tabs": "\t".join(["", *words, ""]),
        "joined by newlines": "\n".join(["", *words, ""]),
        "joined by commas": ",".join(["", *words, ""]),
        "joined by hard spaces": "\u00a0".join(["", *words, ""]),
        "joined by nothing": "x".join(["", *words, ""]),
        "joined by two blanks": "  ".join(["", *words, ""]),
        "its words twice": f"{spaced} {spaced}",
        "its words after 3000 others": " ".join([*(f"scope{n}" for n in range(3000)), *words]),
        "a wildcard": "%",
        "a star": "*",
        "words with a wildcard": " ".join(word[:-1] + "_" for word in words),
        "a pattern": " ".join(word.replace(":", "_") for word in words),
        "a blank": " ",
        "the literal of an array": "{" + ",".join(words) + "}",
        "the text of a list": json.dumps(list(words)),
        "another word": "admin",
    }


def _scope_lists(words: Sequence[str]) -> dict[str, Any]:
    return {
        "a list of its words": list(words),
        "a list of all in one": [" ".join([*words, "x"])],
        "a list with a number": [*words, 7],
        "a list with null": [*words, None],
        "a list in a list": [list(words)],
        "a list with an empty word": [*words, ""],
        "an object": dict.fromkeys(words, True),
    }


def _people(policies: PolicySet, document: Document, others: Mapping[str, str]) -> Pairs:
    claim = policies.identity.person
    here, named = value_at(document, claim.path), ".".join(claim.path)
    text = str(here)
    odd: dict[str, Any] = {
        **_NOT_TEXTS,
        "a list of it": [here],
        "missing": _GONE,
        "in upper case": text.upper(),
        "without its dashes": text.replace("-", ""),
        "in braces": "{" + text + "}",
        "with a newline behind": text + "\n",
        "with a blank behind": text + " ",
        "one character short": text[:-1],
        "the word null": "null",
        "10 kB long": "x" * _LONG,
        "with dashes that only look so": text.replace("-", "\u2010"),
        "a fraction": 1.5,
        "a number too large": 2**63,
        "a number as text": "7",
    }
    for shown, value in odd.items():
        yield f"{named} is {shown}", _with(document, claim.path, value)
    for shown, other in others.items():
        if shown.startswith("the person"):
            yield f"{named} is {shown}", _with(document, claim.path, _as(claim, other))


def _as(claim: Claim, text: str) -> Any:
    """A value of the claim's type, as JSON has it."""
    if claim.type in ("integer", "bigint"):
        return int(text)
    return text == "true" if claim.type == "boolean" else text


def _claims(policies: PolicySet, document: Document, _: Mapping[str, str]) -> Pairs:
    for name, claim in policies.claims.items():
        for shown, value in {**_NOT_TEXTS, "a word": "open", "missing": _GONE, "1.5": 1.5}.items():
            yield f"the claim {name} is {shown}", _with(document, claim.path, value)
        if len(claim.path) > 1:
            yield f"the claim {name} stands in a list", _with(document, claim.path[:1], [document.get(claim.path[0])])


_NOT_TEXTS: Mapping[str, Any] = {
    "empty": "",
    "the number 7": 7,
    "null": None,
    "true": True,
    "an empty list": [],
    "an empty object": {},
}


# --- the shape of the document ----------------------------------------------------------------------------------------


def _shapes(policies: PolicySet, document: Document, _: Mapping[str, str]) -> Pairs:
    """A claim written twice, of which the last counts, and members that are odd in themselves."""
    text = json.dumps(document, ensure_ascii=False)
    identity = policies.identity
    for path in dict.fromkeys((identity.person.path, *identity.client, *([identity.scope] if identity.scope else []))):
        key = json.dumps(path[0])
        for odd in ("7", "null", '""'):
            yield f"{path[0]} stands twice, {odd} first", f"{{{key}: {odd}, {text[1:]}"
            yield f"{path[0]} stands twice, {odd} last", f"{text[:-1]}, {key}: {odd}}}"
        if len(path) > 1:
            yield f"{path[0]} is a list", _with(document, path[:1], [document.get(path[0])])
    for member in ('"x": "\\u0000"', '"x": "\\ud800"', '"x": 1e400', '"x": NaN', '"": 0', '"Client_ID": 7'):
        yield f"it has the member {member}", f"{text[:-1]}, {member}}}"


_TEXTS: Mapping[str, Callable[[str], str]] = {
    "no claims at all": lambda _: "",
    "claims that are null": lambda _: "null",
    "claims that are an empty list": lambda _: "[]",
    "claims in a list": lambda text: f"[{text}]",
    "claims in a string": json.dumps,
    "claims that are a number": lambda _: "7",
    "claims that are a blank": lambda _: " ",
    "an empty object": lambda _: "{}",
    "blanks around the claims": lambda text: f" \t\r\n{text}\n ",
    "claims with more behind them": lambda text: text + "x",
    "claims twice": lambda text: text + text,
    "claims cut at the end": lambda text: text[:-1],
    "claims cut at the start": lambda text: text[1:],
    "claims in single quotes": lambda text: text.replace('"', "'"),
    "claims with a byte order mark": lambda text: "\ufeff" + text,
    "claims with a comma too many": lambda text: text[:-1] + ",}",
    "claims with a comment": lambda text: text + "/* */",
    "claims with a control character": lambda text: text + "\x01",
    "claims with 100,000 lists in each other": lambda text: text[:-1] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "claims with a number of 140,000 digits": lambda text: text[:-1] + ', "x": 1' + "0" * 140_000 + "}",
}


def _left_behind(
    policies: PolicySet, document: Document, claims: str, role: str, others: Mapping[str, str]
) -> Iterator[Variant]:
    """Settings of each claim's own, as older gateways made them: with no claims, and beside those of another person."""
    subject = str(value_at(document, policies.identity.person.path))
    each = {name: value if isinstance(value, str) else json.dumps(value) for name, value in document.items()}
    mine = {f"{_OLDER}.{name}": value for name, value in {"sub": subject, **each, "role": role}.items() if _NAME(name)}
    mine |= {_OLDER: claims}
    yield Variant("no claims, and the settings of an older gateway left behind", "", role, mine)
    for shown, other in others.items():
        if shown.startswith("the person"):
            theirs = {f"{_OLDER}.sub": other}
            yield Variant(f"the settings of an older gateway name {shown}", claims, role, theirs)


# --- documents --------------------------------------------------------------------------------------------------------


def value_at(document: Any, path: ClaimPath) -> Any:
    """The value under a path, None where there is none."""
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _with(document: Document, path: ClaimPath, value: Any) -> str:
    """The claims with another value under the path, or without it."""
    changed = copy.deepcopy(document)
    place = changed
    for key in path[:-1]:
        inner = place.get(key)
        place[key] = inner if isinstance(inner, dict) else {}
        place = place[key]
    if value is _GONE:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = value
    return json.dumps(changed, ensure_ascii=False)
