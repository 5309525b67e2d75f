"""What a token's claims open, as data: worlds (a schema and a policy file), and cases (claims, what they see).

In each world a client of a class sees rows that no other class sees, so that what is seen names the class; a direct
session sees all. Every denial differs in one thing from a case of its world that sees something.
"""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.postgres.scratch import ANN, BOB, Claims, ann, helper

ALL = (1, 2, 3, 4, 5, 6, 7, 8, 9)
NOTHING: tuple[int, ...] = ()

_NOTES = f"""
create table public.notes (id integer primary key, owner uuid, status text);
insert into public.notes select n, '{ANN}', 'open' from generate_series(1, 9) n;
grant select, insert, update, delete on public.notes to authenticated, anon, visitor;
"""


@dataclass(frozen=True)
class World:
    schema: str
    policies: str


@dataclass(frozen=True)
class Case:
    world: str
    name: str
    claims: Claims
    sees: tuple[int, ...]
    role: str = "authenticated"

    def __str__(self) -> str:
        return f"{self.world}: {self.name}"


HEAD = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated, anon, visitor]
anonymous: [anon]
"""

# --- worlds

WORLDS = {
    "claims": World(
        _NOTES
        + f"""
        create table public.apps (id text, ok boolean);
        insert into public.apps values ('partner', true), ('disabled', false), ('undecided', null), ('Case', true),
          ('https://claude.ai/mcp/registered', false), ('twice', false), ('twice', true);
        create table public.robots (id uuid, ok boolean);
        insert into public.robots values ('{BOB}', true), ('00000000-0000-4000-8000-0000000000dd', false);
        create table public.numbers (id bigint);
        insert into public.numbers values (12345);
        """,
        HEAD
        + """
identity: {person: {claim: sub, type: uuid}, client: {claims: [client_id, azp]}, scopes: {claim: scope}, direct: no_client}
classes:
  helper: {match: {ids: [helper, "0x", "ünï✓"]}}
  noscope: {match: {ids: [noscope]}}
  partners: {match: {registry: {table: public.apps, id: id, where: ok}}}
  robots: {match: {registry: {table: public.robots, id: id, where: ok}}}
  numbers: {match: {registry: {table: public.numbers, id: id}}}
  exact: {match: {ids: ["https://claude.ai/mcp/exact"], client_id_url_prefix: "https://claude.ai/mcp/"}}
  claude: {match: {client_id_url_prefix: "https://claude.ai/mcp/"}}
  ruleless: {match: {ids: [ruleless]}}
scopes:
  "notes:read": {text: t}
  "notes:write": {text: t, implies: ["notes:read"]}
  "notes:admin": {text: t, implies: ["notes:write"]}
  "tags:read": {text: t}
tables:
  public.notes:
    clients:
      - {who: helper, allow: select, scope: "notes:read", rows: "id = 1"}
      - {who: helper, allow: select, scope: ["notes:read", "tags:read"], rows: "id = 9"}
      - {who: noscope, allow: select, rows: "id = 8"}
      - {who: partners, allow: select, rows: "id = 2"}
      - {who: robots, allow: select, rows: "id = 3"}
      - {who: numbers, allow: select, rows: "id = 4"}
      - {who: exact, allow: select, rows: "id = 5"}
      - {who: claude, allow: select, rows: "id = 6"}
""",
    ),
    "nested": World(
        _NOTES,
        HEAD
        + """
identity:
  person: {claim: user.id, type: uuid}
  client: {claims: [app.client.id, azp]}
  scopes: {claim: app.scopes}
  direct: no_client
claims: {tenant: {claim: app.tenant, type: integer}, beta: {claim: flags.beta, type: boolean}}
classes: {helper: {match: {ids: [helper]}}}
scopes: {"notes:read": {text: t}}
tables:
  public.notes:
    clients:
      - {who: helper, allow: select, scope: "notes:read", rows: "id = 1"}
      - {who: helper, allow: select, scope: "notes:read", rows: "id = token.tenant or (id = 3 and token.beta)"}
""",
    ),
    "direct ids": World(
        _NOTES,
        HEAD
        + """
identity: {direct: {ids: [crm-web, "https://crm.example/app"]}}
classes: {helper: {match: {ids: [helper]}}, urls: {match: {client_id_url_prefix: "https://crm.example/"}}}
tables:
  public.notes:
    clients: [{who: helper, allow: select, rows: "id = 1"}, {who: urls, allow: select, rows: "id = 2"}]
""",
    ),
    "consent narrows": World(
        _NOTES
        + f"""
        create table public.grants (person uuid, app text, words text, revoked_at timestamptz, expires_at timestamptz);
        insert into public.grants values
          ('{ANN}', 'helper', 'notes:read', null, null),
          ('{ANN}', 'writer', 'notes:write', null, null),
          ('{ANN}', 'revoked', 'notes:read', now(), null),
          ('{ANN}', 'expired', 'notes:read', null, now() - interval '1 second'),
          ('{ANN}', 'lasting', 'notes:read', null, now() + interval '1 hour'),
          ('{ANN}', 'united', 'notes:read', null, null), ('{ANN}', 'united', 'tags:read', null, null),
          ('{ANN}', 'united', 'other', now(), null),
          ('{ANN}', 'half', 'notes:read', null, null), ('{ANN}', 'half', 'tags:read', now(), null),
          ('{BOB}', 'bobs', 'notes:read', null, null),
          ('{ANN}', 'tabs', E'notes:read\\tx', null, null), ('{ANN}', 'upper', 'NOTES:READ', null, null),
          ('{ANN}', 'part', 'notes:reader', null, null), ('{ANN}', 'none', null, null, null),
          ('{ANN}', 'empty', '', null, null), ('{ANN}', 'many', '  x notes:read  y ', null, null),
          (null, 'nobodys', 'notes:read', null, null);
        """,
        HEAD
        + """
identity: {client: {claim: client_id}, scopes: {consent: true}, direct: no_client}
classes:
  any: {match: {ids: [helper, writer, revoked, expired, lasting, united, half, bobs, tabs, upper, part, none, empty,
                      many, nobodys, ungranted]}}
consent:
  table: public.grants
  columns: {person: person, client: app, scopes: words}
  where: "revoked_at is null and (expires_at is null or expires_at > now())"
scopes:
  "notes:read": {text: t}
  "notes:write": {text: t, implies: ["notes:read"]}
  "tags:read": {text: t}
tables:
  public.notes:
    clients:
      - {who: any, allow: select, rows: "id = 5"}
      - {who: any, allow: select, scope: "notes:read", rows: "id = 1"}
      - {who: any, allow: select, scope: "notes:write", rows: "id = 2"}
      - {who: any, allow: select, scope: ["notes:read", "tags:read"], rows: "id = 3"}
""",
    ),
    "consent and claim": World(
        _NOTES
        + f"""
        create table public.grants (person text, app uuid, words text[], live boolean);
        insert into public.grants values
          ('{ANN}', '{ANN}', array['notes:write'], true),
          ('{ANN}', '{BOB}', array['notes:read', null], true),
          ('{ANN}', '00000000-0000-4000-8000-0000000000aa', array['notes:read tags:read'], true),
          ('{ANN}', '00000000-0000-4000-8000-0000000000bb', null, true),
          ('{ANN}', '00000000-0000-4000-8000-0000000000cc', array['notes:read'], null),
          ('{ANN}', '00000000-0000-4000-8000-0000000000dd', '{{}}', true);
        """,
        HEAD
        + f"""
identity: {{client: {{claim: client_id}}, scopes: {{claim: scope}}, direct: no_client}}
classes:
  asked:
    match: {{ids: ["{ANN}", "{ANN.upper()}", "{BOB}", "00000000-0000-4000-8000-0000000000aa",
      "00000000-0000-4000-8000-0000000000bb", "00000000-0000-4000-8000-0000000000cc",
      "00000000-0000-4000-8000-0000000000dd", "00000000-0000-4000-8000-0000000000ee"]}}
    consent: required
  unasked: {{match: {{ids: [helper]}}}}
consent: {{table: public.grants, columns: {{person: person, client: app, scopes: words}}, where: live}}
"""
        + """
scopes: {"notes:read": {text: t}, "notes:write": {text: t, implies: ["notes:read"]}}
tables:
  public.notes:
    clients:
      - {who: [asked, unasked], allow: select, rows: "id = 5"}
      - {who: [asked, unasked], allow: select, scope: "notes:read", rows: "id = 1"}
      - {who: [asked, unasked], allow: select, scope: "notes:write", rows: "id = 2"}
""",
    ),
    "consent without scopes": World(
        _NOTES
        + f"""
        create table public.grants (person uuid, app text);
        insert into public.grants values ('{ANN}', 'helper');
        """,
        HEAD
        + """
identity: {scopes: {claim: scope}}
classes: {helper: {match: {ids: [helper, other]}, consent: required}}
consent: {table: public.grants, columns: {person: person, client: app}}
scopes: {"notes:read": {text: t}}
tables: {public.notes: {clients: [{who: helper, allow: select, scope: "notes:read", rows: "id = 1"}]}}
""",
    ),
} | {
    f"person {kind}": World(
        f"""
        create table public.notes (id integer primary key, owner {kind}, status text);
        insert into public.notes (id, owner) values {values};
        grant select on public.notes to authenticated, anon, visitor;
        """,
        HEAD
        + f"""
identity: {{person: {{claim: sub, type: {kind}}}, direct: no_client}}
classes: {{helper: {{match: {{ids: [helper]}}}}}}
"""
        + """
tables: {public.notes: {people: [{allow: select, rows: "owner = token.person"}], clients: [{who: helper, allow: select}]}}
""",
    )
    for kind, values in {
        "integer": "(1, 7), (2, 100), (3, -1), (4, 0), (5, 2147483647)",
        "bigint": "(1, 7), (2, 100), (3, -1), (4, 0), (5, 9223372036854775807), (6, -9223372036854775808)",
        "text": "(1, '7'), (2, 'Ann'), (3, ' '), (4, ''), (5, null), (6, 'null'), (7, '''; drop table notes; --')",
    }.items()
}

# --- cases

_WRONG_CLIENTS: dict[str, Any] = {
    "empty": "", "a number": 7, "a fraction": 7.5, "null": None, "true": True, "false": False, "a list": ["helper"],
    "an empty list": [], "an object": {"client_id": "helper"}, "an empty object": {}, "a space before": " helper",
    "a space after": "helper ", "another case": "HELPER", "a longer one": "helper2", "a shorter one": "helpe",
    "a tab": "helper\t", "a newline": "helper\n", "like the JSON of it": '"helper"',
    "a zero-width space": "helper\u200b",
    "a look-alike letter": "h\u0435lper", "unknown": "nobody-knows", "too long": "x" * 2049, "the class": "ruleless",
    "the JSON null as text": "null", "percent": "%", "underscore": "helpe_", "a quote": "helper'",
    "a backslash": "helper\\",
}  # fmt: skip
_WRONG_PERSONS: dict[str, Any] = {
    "empty": "", "a number": 7, "null": None, "true": True, "a list": [ANN], "an object": {"sub": ANN}, "a word": "ann",
    "in braces": "{" + ANN + "}", "without dashes": ANN.replace("-", ""), "a space before": " " + ANN,
    "a newline after": ANN + "\n", "a digit short": ANN[:-1], "a digit long": ANN + "0", "a letter off": ANN[:-1] + "g",
    "dashes elsewhere": ANN.replace("-", "", 1) + "-",
}  # fmt: skip
# no JSON, or no object: closed, and never an error
DOCUMENTS = {
    "null": "null", "an array": "[]", "an array of it": json.dumps([helper()]), "a string": '"x"', "a number": "7",
    "true": "true", "a word": "helper", "a brace": "{", "a bracket": "[", "blank": "   ", "half": '{"sub":',
    "a comma too many": json.dumps(helper())[:-1] + ",}", "single quotes": json.dumps(helper()).replace('"', "'"),
    "something after": json.dumps(helper()) + " x", "two objects": json.dumps(helper()) * 2,
    "a comment": json.dumps(helper()) + "/* */", "NaN": json.dumps(helper())[:-1] + ', "x": NaN}',
    "a NUL escape": json.dumps(helper())[:-1] + r', "x": "\u0000"}', "a lone surrogate": '{"sub": "\\ud800"}',
    "a bad escape": json.dumps(helper())[:-1] + r', "x": "\q"}', "a bare key": '{sub: "' + ANN + '"}',
    "a raw newline in a string": json.dumps(helper())[:-1] + ', "x": "\n"}', "a leading zero": '{"x": 07}',
    "a byte order mark": "\ufeff" + json.dumps(helper()), "no colon": '{"sub" "x"}', "a plus": '{"x": +1}',
    "a point": '{"x": 1.}', "deep brackets": "[" * 100_000, "deep braces": '{"a":' * 100_000,
    "deep and closed": "[" * 100_000 + "]" * 100_000,
    "deep inside": json.dumps(helper())[:-1] + ',"x":' + "[" * 100_000,
    "a word cut": '{"x": tru}', "words joined": '{"x": truefalse}', "two values": '{"x": 1 2}',
    "two strings": '{"x": "a" "b"}',
    "a minus alone": '{"x": -}', "an unquoted value": '{"x": y}', "a string cut": '{"x": "',
    "null and object": "null{}",
}  # fmt: skip
_URLS = {
    "": 6, "tools": 6, "tools/": 6, "tools?x=1": 6, "...": 6, "a..b": 6, "a/.hidden": 6, "~!$&'()*+,;=:@-_.": 6,
    "a%20b": 6, "exact": 5, "EXACT": 6, "exact/": 6, "x" * (2048 - len("https://claude.ai/mcp/")): 6,
    "x" * (2049 - len("https://claude.ai/mcp/")): 0, "..": 0, ".": 0, "../evil": 0, "./x": 0, "a/../b": 0, "a/./b": 0,
    "a/..": 0, "a/.": 0, "..?x": 0, ".?x": 0, "a/..?x": 0, "%2e%2e/evil": 0, "%2E%2E/evil": 0, "a%2fb": 0, "a%2Fb": 0,
    "a%5cb": 0, "a%5Cb": 0, "a\\b": 0, "..\\evil": 0, "a#b": 0, "#": 0, "a b": 0, " ": 0, "a\tb": 0, "a\nb": 0,
    "a\x7fb": 0,
    "ünï": 0, "a\u200bb": 0, "a\u3002b": 0, "registered": 0,
}  # fmt: skip
_LOOKALIKES = (
    "http://claude.ai/mcp/x", "https://claude.ai.evil.example/mcp/x", "https://evil.example/https://claude.ai/mcp/x",
    "https://claude.ai@evil.example/mcp/x", "https://evil.example#https://claude.ai/mcp/", "https://claude.ai/mcp",
    "https://claude.ai/mcpx/", "https://claude.ai/", "https://claude.ai:443/mcp/x", "HTTPS://claude.ai/mcp/x",
    "https://Claude.ai/mcp/x", "https://claude.ai//mcp/x", " https://claude.ai/mcp/x", "https:\\\\claude.ai\\mcp\\x",
    "https://user@claude.ai/mcp/x", "https://cl\u0430ude.ai/mcp/x", "//claude.ai/mcp/x", "claude.ai/mcp/x",
)  # fmt: skip
# the scope claim, and whether notes:read is held (1), notes:read and tags:read are (9), or the token isn't live (None)
_SCOPES: dict[str, tuple[Any, tuple[int, ...] | None]] = {
    "one word": ("notes:read", (1,)), "among others": ("a notes:read b", (1,)),
    "twice": ("notes:read notes:read", (1,)),
    "spaces round": ("  notes:read  ", (1,)), "first and last": ("notes:read tags:read", (1, 9)),
    "implied": ("notes:write", (1,)), "implied twice": ("notes:admin", (1,)),
    "implied and one": ("notes:admin tags:read", (1, 9)),
    "undeclared": ("openid profile", ()), "empty": ("", ()), "a space": (" ", ()),
    "a longer word": ("notes:reader", ()),
    "a shorter word": ("notes:rea", ()), "a prefix of it": ("notes", ()), "one before": ("xnotes:read", ()),
    "another case": ("NOTES:READ", ()), "a tab between": ("notes:read\ttags:read", ()),
    "a newline between": ("a\nnotes:read", ()),
    "a no-break space": ("a\u00a0notes:read", ()), "commas": ("notes:read,tags:read", ()), "a wildcard": ("*", ()),
    "notes:*": ("notes:*", ()), "percent": ("notes:%", ()), "quoted": ('"notes:read"', ()),
    "cut in two": ("notes: read", ()),
    "a list": (["notes:read"], (1,)), "a list of two": (["tags:read", "notes:read"], (1, 9)), "an empty list": ([], ()),
    "implied in a list": (["notes:admin"], (1,)), "words in one element": (["notes:read tags:read"], ()),
    "a number in a list": (["notes:read", 7], None), "null in a list": (["notes:read", None], None),
    "a list in a list": (["notes:read", ["x"]], None), "a list within": ([["notes:read"]], None),
    "an object in a list": (["notes:read", {}], None), "a number": (7, None), "null": (None, None),
    "true": (True, None),
    "an object": ({"notes:read": True}, None), "an empty object": ({}, None),
}  # fmt: skip


def _claims_cases() -> Iterator[Case]:
    def case(name: str, claims: Claims, *sees: int, role: str = "authenticated") -> Case:
        return Case("claims", name, claims, sees, role)

    yield case("direct", ann(), *ALL)
    yield case("direct, whatever its scope", ann(scope=7), *ALL)
    yield case("direct, an upper-case person", {"sub": ANN.upper()}, *ALL)
    yield case("client", helper(scope="notes:read"), 1)
    yield case("client, an upper-case person", helper(sub=ANN.upper(), scope="notes:read"), 1)
    yield case("another id of the class", ann(client_id="ünï✓", scope="notes:read"), 1)
    yield case("an id like a number", ann(client_id="0x", scope="notes:read"), 1)
    yield case("client by the second claim", ann(azp="helper", scope="notes:read"), 1)
    yield case("the first claim decides", helper(azp="nobody-knows", scope="notes:read"), 1)
    yield case("the first claim decides, unknown", ann(client_id="x", azp="helper", scope="notes:read"))
    yield case("no scope claim", helper())
    yield case("a class without rules", ann(client_id="ruleless", scope="notes:read"))
    yield case("a key that only looks like it", ann(Client_id="helper", scope="notes:read"), *ALL)
    yield case("keys given twice, the last wins", json.dumps(ann())[:-1] + ',"client_id":"x","client_id":"helper","scope":"notes:read"}', 1)  # fmt: skip
    yield case("keys given twice, a malformed one last", json.dumps(ann())[:-1] + ',"client_id":"helper","client_id":7,"scope":"notes:read"}')  # fmt: skip
    yield case("escaped letters are those letters", '{"sub":"' + ANN + r'","client_\u0069d":"h\u0065lper","scope":"notes:read"}', 1)  # fmt: skip
    yield case("a large document", helper(scope="notes:read", padding=["x" * 100] * 500), 1)
    yield case("blanks round it", "\n\t " + json.dumps(helper(scope="notes:read")) + " \n", 1)
    for name, value in _WRONG_CLIENTS.items():
        yield case(f"client is {name}", ann(client_id=value, scope="notes:read"))
        yield case(f"second claim is {name}", ann(azp=value, scope="notes:read"))
        yield case(f"client is {name}, second claim is right", ann(client_id=value, azp="helper", scope="notes:read"))
        yield case(f"client is {name}, in an anonymous role", ann(client_id=value, scope="notes:read"), role="anon")
        yield case(f"client is {name}, no person, anonymous", {"client_id": value}, role="anon")
    for name, value in _WRONG_PERSONS.items():
        yield case(f"person is {name}", {"sub": value})
        yield case(f"person is {name}, with a client", helper(sub=value, scope="notes:read"))
        yield case(f"person is {name}, with a client, anonymous", helper(sub=value, scope="notes:read"), role="anon")
        yield case(f"person is {name}, anonymous", {"sub": value}, *ALL, role="anon")
    yield case("no person", {})
    yield case("no person, with a client", {"client_id": "helper", "scope": "notes:read"})
    for name, text in DOCUMENTS.items():
        yield case(f"document is {name}", text)
        yield case(f"document is {name}, anonymous", text, role="anon")
    yield from _anonymous_cases()
    for name, (value, held) in _SCOPES.items():
        yield case(f"scope is {name}", helper(scope=value), *(held or ()))
        live = (8,) if held is not None else ()
        yield case(f"scope is {name}, none asked for", ann(client_id="noscope", scope=value), *live)
    yield case("no scope claim, none asked for", ann(client_id="noscope"), 8)
    yield from _registry_cases()
    for rest, row in _URLS.items():
        yield case(
            f"url ends in {rest[:30]!r}", ann(client_id="https://claude.ai/mcp/" + rest), *([row] if row else [])
        )
    for url in _LOOKALIKES:
        yield case(f"look-alike {url}", ann(client_id=url))


def _anonymous_cases() -> Iterator[Case]:
    for role, sees in {"anon": ALL, "authenticated": NOTHING, "visitor": NOTHING}.items():
        yield Case("claims", f"no claims as {role}", None, sees, role)
        yield Case("claims", f"an empty object as {role}", "{}", sees, role)
        yield Case("claims", f"only a scope as {role}", {"scope": "notes:read"}, sees, role)
    for role in ("anon", "authenticated", "visitor"):
        yield Case("claims", f"a direct session as {role}", ann(), ALL, role)
        yield Case("claims", f"a client session as {role}", helper(scope="notes:read"), (1,), role)


def _registry_cases() -> Iterator[Case]:
    def case(name: str, client: str, *sees: int) -> Case:
        return Case("claims", f"registry: {name}", ann(client_id=client), sees)

    yield case("a member", "partner", 2)
    yield case("a disabled member", "disabled")
    yield case("a member whose life is NULL", "undecided")
    yield case("a disabled member stays one, whatever class comes later", "https://claude.ai/mcp/registered")
    yield case("one of two rows lives", "twice", 2)
    yield case("no member", "partner2")
    yield case("another case", "PARTNER")
    yield case("the right case", "Case", 2)
    yield case("a uuid", BOB, 3)
    yield case("a uuid in capitals", BOB.upper())
    yield case("a uuid in braces", "{" + BOB + "}")
    yield case("a disabled uuid", "00000000-0000-4000-8000-0000000000dd")
    yield case("a number", "12345", 4)
    yield case("a number with a zero", "012345")
    yield case("a number with a space", " 12345")


def _nested_cases() -> Iterator[Case]:
    def case(name: str, claims: Claims, *sees: int) -> Case:
        return Case("nested", name, claims, sees)

    person = {"user": {"id": ANN}}
    app = {"client": {"id": "helper"}, "scopes": "notes:read"}
    yield case("direct", person, *ALL)
    yield case("direct beside an object without the key", {**person, "app": {"x": 1}}, *ALL)
    yield case("direct beside an empty client object", {**person, "app": {"client": {}}}, *ALL)
    yield case("client", {**person, "app": app}, 1)
    yield case("client and tenant", {**person, "app": {**app, "tenant": 2}}, 1, 2)
    yield case("client and flag", {**person, "app": app, "flags": {"beta": True}}, 1, 3)
    yield case("client and no flag", {**person, "app": app, "flags": {"beta": False}}, 1)
    yield case("client by the second claim", {**person, "azp": "helper", "app": {"scopes": ["notes:read"]}}, 1)
    yield case("a flat key with a dot", {**person, "app.client.id": "helper", "app": {"scopes": "notes:read"}}, *ALL)
    for name, value in {"a number": 7, "null": None, "a text": "helper", "a list": ["helper"], "true": True}.items():
        yield case(f"app is {name}", {**person, "app": value})
        yield case(f"app.client is {name}", {**person, "app": {**app, "client": value}})
        yield case(f"app.client is {name}, second claim is right", {**person, "azp": "helper", "app": {**app, "client": value}})  # fmt: skip
        yield case(f"user is {name}", {"user": value, "app": app})
        yield case(f"flags is {name}", {**person, "app": app, "flags": value}, 1)
        yield case(f"beta is {name}", {**person, "app": app, "flags": {"beta": value}}, *((1, 3) if value is True else (1,)))  # fmt: skip
    tenants: dict[str, Any] = {"a text": "2", "a fraction": 2.5, "null": None, "large": 3_000_000_000, "a list": [2]}
    for name, value in tenants.items():
        yield case(f"tenant is {name}", {**person, "app": {**app, "tenant": value}}, 1)
    yield case("tenant is 2.0", json.dumps({**person, "app": {**app, "tenant": 2.0}}), 1)
    yield case("tenant is 20e-1", json.dumps({**person, "app": {**app, "tenant": 0}}).replace('"tenant": 0', '"tenant": 0.2e1'), 1, 2)  # fmt: skip


def _consent_cases() -> Iterator[Case]:
    for client, sees in {
        "helper": (1, 5), "writer": (1, 2, 5), "revoked": (), "expired": (), "lasting": (1, 5), "united": (1, 3, 5),
        "half": (1, 5), "bobs": (), "tabs": (5,), "upper": (5,), "part": (5,), "none": (5,), "empty": (5,),
        "many": (1, 5),
        "nobodys": (), "ungranted": (), "HELPER": (),
    }.items():  # fmt: skip
        yield Case("consent narrows", client, ann(client_id=client), sees)
    yield Case("consent narrows", "direct", ann(), ALL)
    yield Case("consent narrows", "the token's scopes are not read", helper(scope=7), (1, 5))
    yield Case("consent narrows", "they give nothing", helper(scope="notes:write tags:read"), (1, 5))
    yield Case("consent narrows", "another person", {"sub": BOB, "client_id": "helper"}, ())
    yield Case("consent narrows", "another person's own", {"sub": BOB, "client_id": "bobs"}, (1, 5))

    def both(name: str, client: str, scope: Any, *sees: int) -> Case:
        return Case("consent and claim", name, ann(client_id=client, scope=scope), sees)

    end = "00000000-0000-4000-8000-0000000000"
    yield both("both hold write", ANN, "notes:write", 1, 2, 5)
    yield both("the token holds less", ANN, "notes:read", 1, 5)
    yield both("the token holds none", ANN, "", 5)
    yield both("the consent holds less", BOB, "notes:write", 1, 5)
    yield both("a client id in capitals isn't the row's", ANN.upper(), "notes:read")
    yield both("words in one element of an array", end + "aa", "notes:read", 5)
    yield both("a NULL array gives life alone", end + "bb", "notes:read", 5)
    yield both("an empty array gives life alone", end + "dd", "notes:read", 5)
    yield both("a life of NULL", end + "cc", "notes:read")
    yield both("no row", end + "ee", "notes:read")
    yield both("no consent is asked of this class", "helper", "notes:write", 1, 2, 5)
    yield both("a malformed scope claim ends life", ANN, 7)
    yield Case("consent without scopes", "the token's scopes count", helper(scope="notes:read"), (1,))
    yield Case("consent without scopes", "and are needed", helper(), ())
    yield Case("consent without scopes", "no row", ann(client_id="other", scope="notes:read"), ())


def _direct_cases() -> Iterator[Case]:
    def case(name: str, claims: Claims, *sees: int, role: str = "authenticated") -> Case:
        return Case("direct ids", name, claims, sees, role)

    yield case("in the list", ann(client_id="crm-web"), *ALL)
    yield case("in the list, though a class's prefix takes it", ann(client_id="https://crm.example/app"), *ALL)
    yield case("not in the list, of that class", ann(client_id="https://crm.example/app2"), 2)
    yield case("a client", helper(), 1)
    yield case("in the list, without a person", {"client_id": "crm-web"})
    yield case("in the list, without a person, anonymous", {"client_id": "crm-web"}, role="anon")
    yield case("no client", ann())
    yield case("another case", ann(client_id="CRM-WEB"))
    yield case("a list", ann(client_id=["crm-web"]))
    yield case("named direct", ann(client_id="direct"))
    yield case("nobody, anonymous", None, *ALL, role="anon")
    yield case("nobody", None)
    yield case("a person without a client, anonymous", ann(), role="anon")


def _person_cases() -> Iterator[Case]:
    def cases(kind: str, values: dict[str, tuple[int, ...]]) -> Iterator[Case]:
        for value, sees in values.items():
            yield Case(f"person {kind}", f"{value}, direct", '{"sub":' + value + "}", sees)
            yield Case(f"person {kind}", f"{value}, client", '{"client_id":"helper","sub":' + value + "}", sees)

    numbers: dict[str, tuple[int, ...]] = {
        "7": (1,), "1e2": (2,), "100": (2,), "-1": (3,), "0": (4,), "-0": (4,), "7.0": (), "7.5": (), '"7"': (),
        "true": (),
        "null": (), "[7]": (), "{}": (), "1e30": (), "9223372036854775808": (), "-9223372036854775809": (),
    }  # fmt: skip
    yield from cases("integer", numbers | {"2147483647": (5,), "2147483648": (), "-2147483649": ()})
    yield from cases("bigint", numbers | {"9223372036854775807": (5,), "-9223372036854775808": (6,)})
    texts = {'"7"': (1,), '"Ann"': (2,), '"ann"': (), '" "': (3,), '""': (), "7": (), "null": (), '"null"': (6,)}
    yield from cases("text", texts | {'"\'; drop table notes; --"': (7,), '["Ann"]': (), "true": ()})


CASES = (
    *_claims_cases(),
    *_nested_cases(),
    *_consent_cases(),
    *_direct_cases(),
    *_person_cases(),
)
