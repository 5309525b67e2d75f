"""Every hostile token, one by one, against worlds in which the right token sees everything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from .conditions import UUIDS
from .expressions import Col, Compare, Expr, TokenValue, Value
from .run import judge
from .tokens import DOCUMENTS, Draft, clients_off, everything_off, lookalikes, twin
from .world import ANON, Claim, ClientClass, Column, Registry, Rule, Table, Token, World

pytestmark = pytest.mark.postgres

PREFIX = "https://claude.ai/"
AGENT = ClientClass("assistant", ("agent",))
BELOW = ClientClass("by_url", (), PREFIX)
LISTED = ClientClass("partners", (), None, Registry("registry", "client", Col("approved")))
CLAIMS = {
    "tenant": Claim(("app", "tenant"), "uuid"),
    "admin": Claim(("app", "admin"), "boolean"),
    "level": Claim(("level",), "integer"),
    "big": Claim(("big",), "bigint"),
    "status": Claim(("status",), "text"),
}
RIGHT: dict[str, str] = {"tenant": f'"{UUIDS[0]}"', "admin": "true", "level": "7", "big": "7", "status": '"open"'}
NUMBERS = (0, 7, 15, 100, 2**31 - 1, 2**31, 2**63 - 1)
ROWS: dict[str, tuple[Value, ...]] = {
    "uuid": UUIDS,
    "boolean": (True, False),
    "integer": NUMBERS[:5],
    "bigint": NUMBERS,
    "text": ("open", "null", "", "7", "true", "A", "agent"),
}
COLUMN = {"integer": "int", "boolean": "bool"}


def table(name: str, kind: str, scopes: tuple[str, ...], condition: Expr | None) -> Table:
    """A table of one interesting column, without row security of its own, that every class may read and empty."""
    columns = (Column("id", "int", True), Column("value", COLUMN.get(kind, kind)))
    rows = tuple({"id": number, "value": value} for number, value in enumerate(ROWS[kind], start=1))
    who = ("assistant", "by_url", "partners")
    return Table(name, columns, rows, False, clients=(Rule(("select", "delete"), who, scopes, condition),))


def world(person: Claim, **identity: object) -> World:
    columns = (Column("id", "int", True), Column("client", "text"), Column("approved", "bool"))
    registered = ("partner", "c" * 2048, "c" * 2049, "null", "7", "", "true")
    rows = tuple({"id": i, "client": client, "approved": True} for i, client in enumerate(registered, start=1))
    tables = (
        Table("registry", columns, rows, clients="none"),
        table("mine", person.type, ("read",), Compare("=", Col("value"), TokenValue("person"))),
        table("scoped", "text", ("read", "write"), None),
        *(table(name, claim.type, (), Compare("=", Col("value"), TokenValue(name))) for name, claim in CLAIMS.items()),
    )
    made = World(
        tables, (AGENT, BELOW, LISTED), (), person=person, claims=CLAIMS, scopes={"read": (), "write": (), "all": ()}
    )
    scoped = replace(tables[2], clients=(*tables[2].clients, Rule(("select",), ("assistant",), ("all",))))
    return replace(made, tables=(*tables[:2], scoped, *tables[3:]), **identity)  # type: ignore[arg-type]


def right(made: World, client: str) -> Draft:
    """The token that sees all it asks for."""
    person = {"uuid": f'"{UUIDS[0]}"', "text": '"open"'}.get(made.person.type, "7")
    draft = Draft({made.person.path: person, made.client[-1]: json.dumps(client)})
    if made.scope:
        draft = draft.put(made.scope, '"read write"')
    for name, claim in CLAIMS.items():
        draft = draft.put(claim.path, RIGHT[name])
    return draft


def drafts(made: World) -> Iterator[Draft]:
    yield right(made, "agent")
    yield from everything_off(made, right(made, "agent"))
    for client in (PREFIX + "x", "partner"):
        yield right(made, client)
        yield from clients_off(made, right(made, client))
    yield from (right(made, client) for client in lookalikes(PREFIX))


def hostile(made: World) -> tuple[Token, ...]:
    """The person's direct session, then every other token; in the anonymous role too, where that could matter."""
    direct = twin(made, right(made, "agent"))
    texts = dict.fromkeys([*(draft.text() for draft in drafts(made)), *(spoil(direct.text()) for spoil in DOCUMENTS)])
    texts |= dict.fromkeys(spoil(right(made, "agent").text()) for spoil in DOCUMENTS)
    short = [text for text in texts if "agent" in text or "client" not in text]
    tokens = [Token(text, twin=0) for text in texts]
    return (Token(direct.text()), *tokens, *(Token(text, ANON) for text in short if made.anonymous))


WORLDS = {
    "uuid, no_client": world(Claim(("sub",), "uuid")),
    "text, ids, two paths": world(
        Claim(("user", "id"), "text"),
        client=(("act", "client"), ("azp",)),
        scope=("act", "scope"),
        direct=("crm",),
        anonymous=True,
    ),
    "bigint, anonymous": world(Claim(("sub",), "bigint"), anonymous=True, client=(("client_id",), ("azp",))),
    "integer, nested": world(Claim(("user", "id"), "integer"), client=(("act", "client"),), scope=("scp", "words")),
}


@pytest.mark.parametrize("name", WORLDS)
def test_hostile_tokens_get_what_the_evaluator_says(connection, name):
    """Never an SQL error, and no more than the words of the design give."""
    made = replace(WORLDS[name], tokens=hostile(WORLDS[name]))
    tally, found = judge(connection, made)
    assert found == [], "\n\n".join(str(each) for each in found[:3])
    assert len(made.tokens) > 250
    assert tally.share("select") > 0.1
