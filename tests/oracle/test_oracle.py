"""PostgreSQL and the evaluator agree, on generated worlds and on some made by hand; and the comparison can fail."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from mcp_rls.database.server import open_server

from . import claims
from .campaign import Campaign
from .conditions import UUIDS
from .evaluator import Session
from .expressions import BY_ABSENCE, And, Col, Compare, Lit, OwnRow, Select
from .run import Connection, Refused, installed, judge, prepare, product
from .tokens import DOCUMENTS
from .world import AppPolicy, Change, ClientClass, Column, Columns, Rule, Table, Token, World

pytestmark = pytest.mark.postgres

ANN, BOB, ORG = UUIDS
ACCEPTED = frozenset({"gain-by-absence"})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with open_server() as server, server.scratch_database() as found:
        yield found


@pytest.fixture(scope="module")
def connection(url: str) -> Iterator[Connection]:
    with psycopg.connect(url, prepare_threshold=None) as found:
        prepare(found)
        yield found


@pytest.mark.fuzz
def test_postgres_agrees_with_the_evaluator(connection):
    """No disagreement in a few thousand judgements, of which enough are ALLOWED to mean something."""
    campaign = Campaign(connection)
    finding = campaign.run(20_000, seed=1)
    if finding:
        pytest.fail(str(finding), pytrace=False)
    assert campaign.unhealthy() == []


# A world by hand: every gate once


def claim_text(**parts: object) -> str:
    return json.dumps({"sub": ANN, **parts})


def by_hand() -> World:
    mine = (AppPolicy("own", "all", OwnRow(Col("owner", qualifier="docs"))),)
    columns = (Column("id", "int", True), Column("owner", "uuid"), Column("status", "text"))
    rows = tuple(
        {"id": i, "owner": o, "status": s} for i, o, s in ((1, ANN, "open"), (2, ANN, "shut"), (3, BOB, "open"))
    )
    rules = (
        Rule(("select", "update", "delete"), ("assistant",), ("read",), Compare("=", Col("status"), Lit("open"))),
        Rule(("insert",), ("assistant",)),
    )
    candidates = ({"id": 9, "owner": ANN, "status": "open"}, {"id": 9, "owner": BOB, "status": "open"})
    changes = (Change({"status": "shut"}), Change({"owner": BOB}), Change({"status": "open"}))
    docs = Table("docs", columns, rows, policies=mine, clients=rules, candidates=candidates, changes=changes)
    people = (Rule(("select", "insert", "update", "delete"), rows=Compare("=", Col("owner"), Lit(ANN))),)
    tables = (
        docs,
        replace(docs, name="loose", row_security=False, policies=()),
        replace(docs, name="unlisted", row_security=False, policies=(), listed=False),
        replace(docs, name="closed", row_security=False, policies=(), clients="none"),
        replace(docs, name="ruled", policies=(), people=people),
    )
    tokens = (
        Token(claim_text(client_id="agent", scope="read"), twin=3),
        Token(claim_text(client_id="agent"), twin=3),
        Token(claim_text(client_id="stranger", scope="read"), twin=3),
        Token(claim_text(scope="read")),
    )
    return World(tables, (ClientClass("assistant", ("agent",)),), tokens, scopes={"read": ()})


def our_policies(connection: Connection) -> list[tuple[str, str]]:
    """(table, policy) of all that the product makes for the world by hand."""
    with installed(connection, by_hand()):
        found = connection.execute(
            "select tablename, policyname from pg_policies where policyname like 'mcp_rls:%' order by 1, 2"
        ).fetchall()
    return [(str(table), str(policy)) for table, policy in found]


def held() -> World:
    """The world by hand, with updates of clients, and of people where rules are theirs, held to columns."""

    def limited(rules: str | tuple[Rule, ...], columns: Columns) -> str | tuple[Rule, ...]:
        if isinstance(rules, str):
            return rules
        others = tuple(replace(r, commands=tuple(c for c in r.commands if c != "update")) for r in rules)
        updates = (replace(r, commands=("update",), columns=columns) for r in rules if "update" in r.commands)
        return (*others, *updates)

    world, mine = by_hand(), Columns(("status",))
    tables = (
        replace(t, clients=limited(t.clients, mine), people=limited(t.people, Columns(("status",), excluded=True)))
        for t in world.tables
    )
    return replace(world, tables=tuple(tables))


def disagreements(connection: Connection, *statements: str, world: World | None = None) -> int:
    """How many there are once the installed database was tampered with."""

    def tampered(conn: Connection, text: str) -> None:
        product(conn, text)
        for statement in statements:
            conn.execute(statement)

    return len(judge(connection, world or by_hand(), tampered)[1])


def test_the_world_by_hand_agrees(connection):
    """The twin of the tampered ones below."""
    tally, found = judge(connection, by_hand())
    assert not found, str(found[0])
    assert all(tally.share(command) > 0 for command in ("select", "insert", "update", "delete"))


def test_a_dropped_policy_is_noticed(connection):
    """Whichever of ours is missing, ceilings, people's and `as before`: some answer differs."""
    policies = our_policies(connection)
    assert len(policies) > 10
    unnoticed = [(t, p) for t, p in policies if not disagreements(connection, f'drop policy "{p}" on app.{t}')]
    assert unnoticed == []


@pytest.mark.parametrize("table", [table.name for table in by_hand().tables])
def test_row_security_switched_off_is_noticed(connection, table):
    """On any one table."""
    assert disagreements(connection, f"alter table app.{table} disable row level security")


def test_an_extra_permissive_policy_is_noticed(connection):
    """It widens the person's side alone, ceilings hold; direct sessions show it."""
    assert disagreements(connection, "create policy wide on app.docs using (true)")


def test_a_dropped_guard_of_columns_is_noticed(connection):
    """The world agrees, and some of it is refused for its columns; without any one of the triggers it differs."""
    with installed(connection, held()):
        triggers = connection.execute(
            "select tgrelid::regclass::text, tgname from pg_trigger where tgname like ' mcp_rls: %' order by 1, 2"
        ).fetchall()
    assert any("people" in str(name) for _, name in triggers)
    assert judge(connection, held())[1] == []
    for table, name in triggers:
        new = str(name).replace("columns", "columns new")  # the one for columns that come later
        if "columns new" not in str(name):
            gone = [f'drop trigger if exists "{n}" on {table}' for n in (name, new)]
            assert disagreements(connection, *gone, world=held()), gone


def test_rules_of_several_scopes_add_up(connection):
    """A wide rule of one scope and a narrow one of another: with both scopes a client has the wide one's rows."""
    narrow, wide = Compare("=", Col("status"), Lit("open")), Compare("<>", Col("status"), Lit("gone"))
    world, agree = by_hand(), []
    for first, second in (("a", "b"), ("b", "a")):  # whichever name sorts first
        rules = (
            Rule(("select", "delete"), ("assistant",), (first,), narrow),
            Rule(("select", "delete"), ("assistant",), (second,), Lit(True)),
            Rule(("select", "delete"), ("assistant",), ("a", "b", "c"), wide),
        )
        docs = replace(world.tables[0], clients=rules)
        words = ("a", "b", "a b", "b a c", "c", "")
        tokens = tuple(Token(claim_text(client_id="agent", scope=scope)) for scope in words)
        scopes: dict[str, tuple[str, ...]] = {"a": (), "b": (), "c": ()}
        agree.append(judge(connection, replace(world, tables=(docs,), tokens=tokens, scopes=scopes))[1])
    assert agree == [[], []], str([*agree[0], *agree[1]][0])


# Gain by absence


def absent(form: str, blocks: str) -> World:
    """Ann's one doc is blocked; clients read `blocks` as given."""
    columns = (Column("id", "int", True), Column("owner", "uuid"), Column("org", "uuid"))
    row = {"id": 1, "owner": ANN, "org": ORG}
    same = Compare("=", Col("org", "m"), Col("org", qualifier="docs"))
    operand = Col("org", qualifier="docs") if form in ("except", "all", "in", "any") else None
    look = Select(form, "blocks", same, operand, "org")
    policy = AppPolicy("not blocked", "all", And((OwnRow(Col("owner", qualifier="docs")), look)))
    rules = (Rule(("select", "update", "delete"), ("assistant",)),)
    docs = Table("docs", columns, (row,), policies=(policy,), clients=rules, changes=(Change({"org": ORG}),))
    other = Table("blocks", columns, (row,), policies=(AppPolicy("open", "all", Lit(True)),), clients=blocks)
    tokens = (Token(claim_text(client_id="agent"), twin=1), Token(claim_text()))
    return World((other, docs), (ClientClass("assistant", ("agent",)),), tokens)


@pytest.mark.parametrize("form", BY_ABSENCE)
def test_gain_by_absence_is_refused(connection, form):
    """Each form in which a missing row counts; the error is this and no other."""
    with pytest.raises(Refused) as refused, installed(connection, absent(form, "none")):
        pass
    assert refused.value.codes == ACCEPTED


@pytest.mark.parametrize("form", BY_ABSENCE)
def test_gain_by_absence_leaks_when_forced(connection, form):
    """Forced through, the client sees and changes a row that its person doesn't: the check is not for show."""
    world = absent(form, "none")
    found = judge(connection, world, lambda conn, text: product(conn, text, ACCEPTED))[1]
    assert {d.check.command for d in found} >= {"select", "delete", "update"}
    assert all(re.fullmatch(r"no more than its person's .*", d.expected) for d in found)  # the evaluator agrees
    client, person = (Session(world, token) for token in world.tokens)
    docs = world.table("docs")
    assert (client.visible(docs, docs.rows[0]), person.visible(docs, docs.rows[0])) == (True, False)


@pytest.mark.parametrize("form", BY_ABSENCE)
def test_absence_in_a_table_read_as_the_person_is_fine(connection, form):
    """Clients then miss no row of it."""
    assert judge(connection, absent(form, "read_as_person"))[1] == []


@pytest.mark.parametrize("form", ["exists", "in", "any"])
def test_positive_reads_only_narrow(connection, form):
    """The person sees the doc, the client for which `blocks` is closed does not."""
    world = absent(form, "none")
    assert judge(connection, world)[1] == []
    client, person = (Session(world, token) for token in world.tokens)
    docs = world.table("docs")
    assert (client.visible(docs, docs.rows[0]), person.visible(docs, docs.rows[0])) == (False, True)


# What the evaluator knows of PostgreSQL


@pytest.mark.parametrize("spoil", DOCUMENTS)
def test_the_evaluator_reads_json_as_jsonb_does(connection, spoil):
    """A text holds an object for both or for neither."""
    text = spoil('{"sub": "a", "n": 1}')
    if not text:
        return  # no claims, which isn't asked of jsonb
    assert isinstance(claims.document(text), dict) is (jsonb(connection, text, "jsonb_typeof({})") == "object")


NUMBERS = [
    sign + digits + fraction + exponent
    for sign in ("", "-")
    for digits in ("0", "7", "100", "2147483648", "9223372036854775808", "12345678901234567890")
    for fraction in ("", ".0", ".50", ".123")
    for exponent in ("", "e0", "E2", "e+17", "e-2", "e400", "e131071", "e131072", "e-16384", "e99999999999")
]


def test_the_evaluator_reads_numbers_as_jsonb_does(connection):
    """Which ones fit, and which print as at most 19 digits."""
    for text in NUMBERS:
        number, printed = claims.Number(text), jsonb(connection, text, "{}::text")
        assert number.fits() is (printed is not None), text
        if printed is not None:
            plain = re.fullmatch("-?[0-9]{1,19}", printed)
            assert number.integer() == (int(printed) if plain else None), text


def jsonb(connection: Connection, text: str, expression: str) -> str | None:
    """An expression over the text as jsonb, or None when jsonb refuses it."""
    try:
        with connection.transaction():
            row = connection.execute(f"select {expression.format('%s::text::jsonb')}", (text,)).fetchone()
    except psycopg.Error:
        return None
    return str(row[0]) if row else None


def test_a_session_whose_claims_were_never_set_is_nobody(url, connection):
    """NULL, not '': only a new connection has it."""
    world = replace(by_hand(), tokens=(Token(None),))
    with psycopg.connect(url, prepare_threshold=None) as fresh:
        prepare(fresh)
        assert judge(fresh, world)[1] == []
