"""Random tokens for a world: right ones, right ones with one claim off, and texts that are no claims at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .choices import Choices
from .conditions import UUIDS
from .expressions import Value
from .world import ANON, USER, Claim, ClientClass, Path, Token, World

STRANGER = "https://stranger.example/client"
_NUMBERS = (
    "7", "7.0", "1e2", "1.5e1", "-0", "0e5", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808",
    "1e400", "1E-2", "3.0e0", "700e-2",
)  # fmt: skip


_ODD_MEMBERS = (
    '"1e400": 1e400', '"n": 1e200000', '"n": 1e-20000', '"n": [1E+5]', f'"deep": {"[" * 200}{"]" * 200}', '"": 0',
    '"Client_ID": 7', '"x": "\\u0000"', '"x": "\\ud800"', '"\\udc00": 1', '"x": "\\ud83d\\ude00"',
)  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """Claims as raw JSON texts by path, so that they may hold what no JSON library writes."""

    raw: Mapping[Path, str]
    before: str = ""  # raw members at the start of the object, and at its end
    after: str = ""
    role: str = USER

    def put(self, path: Path, text: str) -> Draft:
        return replace(self, raw={**self.raw, path: text})

    def drop(self, path: Path) -> Draft:
        return replace(self, raw={p: t for p, t in self.raw.items() if p != path})

    def text(self) -> str:
        return "{" + ", ".join(filter(None, (self.before, _members(self.raw), self.after))) + "}"


def _members(raw: Mapping[Path, str]) -> str:
    """Members of an object, in which a path that ends early stands instead of longer ones."""
    parts = []
    for key in dict.fromkeys(path[0] for path in raw):
        below = {path[1:]: text for path, text in raw.items() if path[0] == key}
        parts.append(f"{json.dumps(key)}: " + (below[()] if () in below else "{" + _members(below) + "}"))
    return ", ".join(parts)


def tokens(
    c: Choices, world: World, people: tuple[Value, ...], clients: Mapping[str, tuple[str, ...]]
) -> tuple[Token, ...]:
    """Tokens of each kind, the half of them with something off; each that names a person is followed by its twin.

    `clients`: for each class, ids of its members.
    """
    found: list[Token] = []
    twins: dict[Token, int] = {}  # where each of them will stand: behind all the others
    drafts = _drafts(c, world, people, clients)
    for right in drafts:
        draft = right
        for _ in range(c.pick((0, 0, 0, 1, 1, 2))):
            draft = one_off(c, world, draft)
        text = draft.text()
        if c.chance(6):
            text = c.pick(DOCUMENTS)(text)
        direct = Token(twin(world, draft).text(), draft.role)
        found.append(Token(text, draft.role, twins.setdefault(direct, len(drafts) + len(twins))))
    return (*found, *twins)


def _drafts(c: Choices, world: World, people: tuple[Value, ...], clients: Mapping[str, tuple[str, ...]]) -> list[Draft]:
    drafts = [twin(world, _draft(c, world, people, STRANGER))]
    for kind in world.classes:
        for _ in range(c.number(1, 2)):
            client = c.pick(clients[kind.name])
            if kind.prefix and c.chance(35):
                client = c.pick(lookalikes(kind.prefix))
            drafts.append(_draft(c, world, people, client))
    if c.chance(50):
        drafts.append(_draft(c, world, people, STRANGER) if c.chance(50) else Draft({}, role=_role(c)))
    return drafts


def _role(c: Choices) -> str:
    return ANON if c.chance(15) else USER


def _draft(c: Choices, world: World, people: tuple[Value, ...], client: str) -> Draft:
    draft = Draft({world.person.path: json.dumps(c.pick((people[0], people[0], people[0], *people)))}, role=_role(c))
    draft = draft.put(c.pick(world.client), json.dumps(client))
    if world.scope is not None:
        draft = draft.put(world.scope, _scopes(c, tuple(world.scopes)))
    for claim in world.claims.values():
        draft = draft.put(claim.path, json.dumps(c.pick(_valid(claim))))
    return draft


def _valid(claim: Claim) -> tuple[Any, ...]:
    return {
        "uuid": UUIDS,
        "text": ("open", "closed"),
        "boolean": (True, False),
    }.get(claim.type, (1, 2, 3))


def _scopes(c: Choices, names: tuple[str, ...]) -> str:
    words = c.some(names) if c.chance(40) else names
    return json.dumps(list(words) if c.chance(25) else " ".join((*words, "openid")))


def twin(world: World, draft: Draft) -> Draft:
    """The same person's direct session: no client, or the app's own."""
    for path in world.client:
        draft = draft.drop(path)
    return draft if world.direct is None else draft.put(world.client[0], json.dumps(world.direct[0]))


def one_off(c: Choices, world: World, draft: Draft) -> Draft:
    """The draft with one thing wrong, or nearly so."""
    family = c.pick((clients_off, clients_off, scopes_off, scopes_off, people_off, claims_off, shapes_off))
    return c.pick(tuple(family(world, draft)) or (draft,))


def everything_off(world: World, draft: Draft) -> Iterator[Draft]:
    """Each draft that `one_off` may give."""
    for family in (clients_off, scopes_off, people_off, claims_off, shapes_off):
        yield from family(world, draft)


def _text_at(draft: Draft, path: Path) -> str:
    value = json.loads(draft.raw.get(path, '""'))
    return value if isinstance(value, str) else str(value)


def clients_off(world: World, draft: Draft) -> Iterator[Draft]:
    now = next((_text_at(draft, p) for p in world.client if p in draft.raw and draft.raw[p][0] == '"'), "x")
    texts = [
        now.upper(), now + " ", " " + now, now + "\n", now[:-1], now + "x", now + ",x", "x" * 10_000, "*", "%", "null",
        "c" * 2048, "c" * 2049, now + "c" * (2048 - len(now)), now + "c" * (2049 - len(now)), STRANGER,
    ]  # fmt: skip
    raws = ['""', "7", "null", json.dumps([now]), json.dumps({"id": now}), "true", "[]", "{}"]
    for path in world.client:
        for raw in (*raws, *map(json.dumps, texts)):
            yield draft.put(path, raw)


def lookalikes(prefix: str) -> tuple[str, ...]:
    """Ids that are below a URL prefix, and ids that only look so."""
    host = prefix.removeprefix("https://").split("/")[0]
    good = ("x", "", "a/b", "x..y", "...", "a%20b", "?q=1", "a/.b", "a?x=/.b")
    bad = (
        "../x", "x/../y", "./x", "x/./y", ".", "..", "x/..", "x/.", ".?q", "..?q", "x/..?q", "%2e%2e/x", "%2E./x",
        "a%2Fb", "a%2fb", "a%5Cb", "a%5cb", "x#y", "#", "x\\y", "x y", "x\ty", "x\n", "\u0430", "x\u007f", "x\u00a0",
        "a?x=/../b",
    )  # fmt: skip
    others = (
        f"https://{host}.evil/", f"https://{host}@evil/", f"https://{host}", f"https://{host}:8443/x",
        f"http://{host}/x", f"HTTPS://{host}/x", f"https://{host.upper()}/x", f" https://{host}/x", f"https://x.{host}/",
        f"https://{host}\\@evil/", f"https://evil/https://{host}/", f"//{host}/x", f"https:/{host}/x",
    )  # fmt: skip
    return (*(prefix + end for end in good), *(prefix + end for end in bad), *others)


def scopes_off(world: World, draft: Draft) -> Iterator[Draft]:
    if world.scope is None:
        yield draft.put(("scope",), '"admin"')
        return
    words = list(world.scopes) or ["a"]
    spaced = " ".join(words)
    texts = [
        "", " ", spaced.upper(), spaced[:-1], "x" + spaced + "x", "\t".join(words), "\n".join(words), "  ".join(words),
        f" {spaced} ", f"{spaced} {spaced}", " ".join([*(f"s{i}" for i in range(3000)), *words]), ",".join(words), "*",
        "\u00a0".join(words), words[0].split(":")[0], "".join(words), f"\t{words[0]}", f"{words[0]}\n",
    ]  # fmt: skip
    arrays = [words, [spaced], [*words, 7], [*words, None], [words], [*words, []], [], [*words, *words], [*words, ""]]
    raws = ["null", "7", "true", "{}", json.dumps(dict.fromkeys(words, True)), f'["{words[0]}", 1e400]']
    for raw in (*raws, *map(json.dumps, texts), *map(json.dumps, arrays)):
        yield draft.put(world.scope, raw)


def people_off(world: World, draft: Draft) -> Iterator[Draft]:
    now = _text_at(draft, world.person.path)
    texts = [
        "", now.upper(), now.replace("-", ""), "{" + now + "}", now + "\n", now + " ", now[:-1], now + "0", "null",
        now.replace("-", "\u2010"), "\uff11" + now[1:], "x" * 10_000,
    ]  # fmt: skip
    raws = ["null", "[]", "{}", "true", f"[{draft.raw.get(world.person.path, 1)}]", *_NUMBERS, '"\\u0041"']
    for raw in (*map(json.dumps, texts), *raws):
        yield draft.put(world.person.path, raw)


def claims_off(world: World, draft: Draft) -> Iterator[Draft]:
    for claim in world.claims.values():
        right = draft.raw.get(claim.path, "1")
        for raw in ("null", '""', '"open"', "[]", "{}", "true", "false", '"true"', f"[{right}]", *_NUMBERS):
            yield draft.put(claim.path, raw)
        if len(claim.path) > 1:
            yield draft.drop(claim.path).put(claim.path[:1], f"[{right}]")


def shapes_off(world: World, draft: Draft) -> Iterator[Draft]:
    """A claim missing, written twice, under a parent that is no object, or beside an odd one."""
    scope = [world.scope] if world.scope else []
    for path in (world.person.path, *world.client, *scope):
        root, kept = json.dumps(path[0]), draft.raw.get(path, "null")
        doubled = kept if len(path) == 1 else "{" + _members({path[1:]: kept}) + "}"
        yield draft.drop(path)
        for raw in ("7", "null", "{}", "[[]]", doubled):
            yield replace(draft, before=f"{root}: {raw}")  # the last wins
            yield replace(draft, after=f"{root}: {raw}")
        for raw in ("7", '"x"', "null", "[]", "{}", f"[{kept}]") if len(path) > 1 else ():
            yield draft.drop(path).put(path[:1], raw)
    for member in _ODD_MEMBERS:
        yield replace(draft, after=member)


DOCUMENTS: tuple[Callable[[str], str], ...] = (
    lambda text: "",
    lambda text: "null",
    lambda text: "[]",
    lambda text: f"[{text}]",
    json.dumps,
    lambda text: "7",
    lambda text: "true",
    lambda text: " ",
    lambda text: f" \t\r\n{text}\n ",  # this one is well
    lambda text: text + "x",
    lambda text: text + text,
    lambda text: text + "\x01",
    lambda text: text[:-1],
    lambda text: text[1:],
    lambda text: text.replace('"', "'"),
    lambda text: "\ufeff" + text,
    lambda text: "\u00a0" + text,
    lambda text: text[:-1] + ', "x": NaN}',
    lambda text: text[:-1] + ', "x": 01}',
    lambda text: text[:-1] + ', "x": .5}',
    lambda text: text[:-1] + ', "x": +1}',
    lambda text: text[:-1] + ",}",
    lambda text: text[:-1] + ', "x": "a\tb"}',
    lambda text: text[:-1] + ', "x": "\\x41"}',
    lambda text: text[:-1] + ', "x": "\\u12"}',
    lambda text: text[:-1] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}",
    lambda text: text[:-1] + ', "x": ' + '{"x":' * 100_000 + "1" + "}" * 100_000 + "}",
    lambda text: text + "/* */",
    lambda text: text[:-1] + ', "x": 1' + "0" * 140_000 + "}",
    lambda text: "{}",
)


def members(kind: ClientClass, registered: tuple[str, ...]) -> tuple[str, ...]:
    """Ids of a class; of several demands each is met by some of them."""
    found = (*kind.ids, *((kind.prefix + "x",) if kind.prefix else ()), *(registered if kind.registry else ()))
    return found or (STRANGER,)
