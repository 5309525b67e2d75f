"""The evaluator against cases decided by hand, from the wording of the design. No server."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from . import claims
from .evaluator import Session
from .expressions import (
    And,
    Col,
    Compare,
    Distinct,
    Expr,
    InList,
    InSet,
    Is,
    Lit,
    Not,
    Or,
    OwnRow,
    Scope,
    TokenValue,
    member,
)
from .tokens import lookalikes
from .world import ANON, AppPolicy, Claim, ClientClass, Column, Consent, NamedSet, Registry, Rule, Table, Token, World

ANN = "00000000-0000-4000-8000-00000000000a"
BOB = "00000000-0000-4000-8000-00000000000b"
MINE = (AppPolicy("own", "all", OwnRow(Col("owner"))),)
COLUMNS = (Column("id", "int", True), Column("owner", "uuid"), Column("status", "text"))
ROWS = (
    {"id": 1, "owner": ANN, "status": "open"},
    {"id": 2, "owner": ANN, "status": "closed"},
    {"id": 3, "owner": BOB, "status": "open"},
    {"id": 4, "owner": ANN, "status": None},
)
OPEN = Compare("=", Col("status"), Lit("open"))
RULES = (
    Rule(("select",), ("assistant",), ("read",)),
    Rule(("insert", "update"), ("assistant",), ("write",), OPEN),
    Rule(("delete",), ("assistant",), ("write",), Not(OPEN)),
)
NO_CLIENTS: list[Any] = ["", None, [], {}, ["a"], "c" * 2049]
NO_SCOPES: list[Any] = [None, {}, True, ["a", None], [["a"]]]
DOCS = Table("docs", COLUMNS, ROWS, policies=MINE, clients=RULES)
ASSISTANT = ClientClass("assistant", ("agent",))
WORLD = World((DOCS,), (ASSISTANT,), scopes={"read": (), "write": ("read",)})


def token(**parts: object) -> Token:
    return Token(json.dumps({"sub": ANN, "client_id": "agent", "scope": "write"} | parts))


def session(world: World = WORLD, text: Token | None = None, **parts: object) -> Session:
    return Session(world, text or token(**parts))


def seen(found: Session, table: Table = DOCS) -> list[object]:
    return [row["id"] for row in table.rows if found.visible(found.world.table(table.name), row)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, claims.Document.NONE),
        ("", claims.Document.NONE),
        *((text, claims.Document.BROKEN) for text in ("null", "[]", "7", '"x"', "true", " ", "{", "{} {}", "{'a': 1}")),
        *(
            (f'{{"x": {value}}}', claims.Document.BROKEN)
            for value in ("NaN", "01", "1e200000", '"\\u0000"', '"\\ud800"')
        ),
        (' {"a": "\\ud83d\\ude00", "b": 1e400}\n', {"a": "\U0001f600", "b": claims.Number("1e400")}),
        ('{"a": 1, "a": "x"}', {"a": "x"}),
        ('{"a": "\\u0000", "a": "x"}', claims.Document.BROKEN),
        ('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}", claims.Document.BROKEN),
    ],
    ids=str,
)
def test_claims_text_is_none_an_object_or_broken(text, expected):
    """Only an object holds claims; whatever jsonb refuses is broken, and nothing raises."""
    assert claims.document(text) == expected


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("uuid", f'"{ANN.upper()}"', ANN),
        *(("uuid", text, None) for text in (f'"{{{ANN}}}"', f'"{ANN}\\n"', f'" {ANN}"', '"x"', "7", "null", "[]")),
        ("text", '"x"', "x"),
        *(("text", text, None) for text in ('""', "7", "null", "{}")),
        *(("integer", text, 100) for text in ("100", "1e2", "1.0e2")),
        *(("integer", text, None) for text in ("7.0", "1e400", '"7"', "2147483648", "true", "1e-2")),
        ("integer", "-2147483648", -(2**31)),
        ("integer", "-0", 0),
        ("bigint", "9223372036854775807", 2**63 - 1),
        *(("bigint", text, None) for text in ("9223372036854775808", "12345678901234567890")),
        ("boolean", "false", False),
        *(("boolean", text, None) for text in ('"false"', "0", "null")),
    ],
)
def test_a_claim_of_another_form_counts_as_absent(kind, text, expected):
    """The type decides by the JSON value; nothing is converted."""
    document = claims.document(f'{{"c": {text}}}')
    assert isinstance(document, dict)
    found = claims.typed(document, Claim(("c",), kind))
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, claims.ABSENT),
        ({"act": {}}, claims.ABSENT),
        ({"act": {"client": "a"}}, "a"),
        ({"azp": "b"}, "b"),
        ({"act": {"client": "a"}, "azp": "b"}, "a"),
        *(({"act": {"client": client}, "azp": "b"}, claims.MALFORMED) for client in NO_CLIENTS),
        *(({"act": act, "azp": "b"}, claims.MALFORMED) for act in NO_CLIENTS if act != {}),
        ({"act": {"client": "c" * 2048}}, "c" * 2048),
    ],
)
def test_the_first_client_path_that_is_present_decides(document, expected):
    """Present and malformed ends the search; a parent that is no object is present."""
    assert claims.client(document, (("act", "client"), ("azp",))) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a b", {"a", "b"}),
        (" a  b b ", {"a", "b"}),
        ("a\tb\nc", {"a\tb\nc"}),
        ("A a,b", {"A", "a,b"}),
        ("", set()),
        ([], set()),
        (["a b", "a"], {"a b", "a"}),
        *((value, claims.MALFORMED) for value in NO_SCOPES),
    ],
)
def test_scopes_are_exact_words(value, expected):
    """Only single blanks part words; an array must hold nothing but texts."""
    assert claims.words({"scope": value}, ("scope",)) == expected


def test_lookalike_urls_are_not_below_a_prefix():
    """Nine forms are below it, all the others only look so."""
    below = [url for url in lookalikes("https://claude.ai/") if claims.below_prefix(url, "https://claude.ai/")]
    ends = ["x", "", "a/b", "x..y", "...", "a%20b", "?q=1", "a/.b", "a?x=/.b"]
    assert below == ["https://claude.ai/" + end for end in ends]


@pytest.mark.parametrize(
    ("changes", "text", "kind"),
    [
        ({}, token(), "client"),
        ({}, token(sub="x"), "closed"),
        ({}, token(client_id=None), "closed"),
        ({}, token(client_id=""), "closed"),
        ({}, Token(f'{{"sub": "{ANN}"}}'), "direct"),
        ({}, Token('{"sub": 7}'), "nobody"),
        ({}, Token("{}"), "nobody"),
        ({}, Token(""), "nobody"),
        ({}, Token("null"), "closed"),
        ({"direct": ("crm",)}, Token(f'{{"sub": "{ANN}"}}'), "closed"),
        ({"direct": ("crm",)}, token(client_id="crm"), "direct"),
        ({"direct": ("crm",)}, token(client_id="crm", sub=""), "closed"),
        ({"direct": ("crm",)}, token(client_id="Crm"), "client"),
    ],
)
def test_kinds_of_session(changes, text, kind):
    """Direct needs a valid person and, as declared, no client key or one of the app's own ids."""
    assert session(replace(WORLD, **changes), text).kind == kind


@pytest.mark.parametrize("anonymous", [True, False])
@pytest.mark.parametrize("text", ["", "{}", '{"sub": ""}', "null", '{"client_id": null}', '{"client_id": "agent"}'])
def test_nobody_passes_only_in_an_anonymous_role(anonymous, text):
    """A malformed document, or any client key, is not nobody."""
    world = replace(WORLD, anonymous=anonymous)
    assert session(world, Token(text, ANON)).unlimited is (anonymous and text in ("", "{}", '{"sub": ""}'))
    assert not session(world, Token(text)).unlimited


def test_rows_of_a_client_are_those_of_its_person_under_the_ceiling():
    """Scope, class and person all narrow; `implies` widens the scopes."""
    assert seen(session()) == [1, 2, 4]
    assert seen(session(scope="read")) == [1, 2, 4]
    assert seen(session(sub=BOB)) == [3]
    for closed in ({"scope": "rea"}, {"scope": ["read", 7]}, {"client_id": "agent2"}, {"sub": ""}, {"scope": None}):
        assert seen(session(**closed)) == []


def test_writes_carry_the_ceiling_for_select():
    """A class that may delete but holds no scope to read deletes nothing, blind or not."""
    world = replace(WORLD, scopes={"read": (), "write": ()})
    found = session(world)
    assert [found.delete(DOCS, row, reads=False) for row in ROWS] == ["hidden"] * 4
    assert found.update(DOCS, ROWS[0], ROWS[0], reads=False) == "hidden"
    assert found.insert(DOCS, ROWS[0]) == "allowed"
    assert found.insert(DOCS, ROWS[0], returning=True) == "policy"


def test_a_null_condition_denies():
    """status is NULL in row 4: neither `= 'open'` nor its negation holds."""
    found = session()
    assert [found.delete(DOCS, row, reads=False) for row in ROWS] == ["hidden", "allowed", "hidden", "hidden"]
    assert [found.update(DOCS, row, row, reads=False) for row in ROWS] == ["allowed", "hidden", "hidden", "hidden"]


def test_update_asks_the_old_row_and_the_new_one():
    """An update out of the rule, or out of the person's rows, is refused."""
    found, row = session(), ROWS[0]
    assert found.update(DOCS, row, {**row, "status": "closed"}, reads=False) == "policy"
    assert found.update(DOCS, row, {**row, "owner": BOB}, reads=False) == "policy"


def test_a_persons_blind_write_skips_the_policies_for_select():
    """PostgreSQL's own rule; a WHERE brings them back."""
    policies = (AppPolicy("see", "select", OPEN), AppPolicy("write", "update", Lit(True)))
    table = replace(DOCS, policies=policies)
    found = session(replace(WORLD, tables=(table,)), Token(f'{{"sub": "{ANN}"}}'))
    closed = ROWS[1]
    assert found.update(table, closed, closed, reads=False) == "allowed"
    assert found.update(table, closed, closed, reads=True) == "hidden"
    assert found.update(table, ROWS[0], closed, reads=True) == "policy"


@pytest.mark.parametrize("change", [{"listed": False}, {"clients": "none"}, {"clients": ()}])
def test_a_table_without_rules_is_closed_to_clients(change):
    """Unlisted, `none` and no rules: people alone."""
    world = replace(WORLD, tables=(replace(DOCS, **change),))
    assert seen(session(world)) == []
    assert seen(session(world, Token(f'{{"sub": "{ANN}"}}'))) == [1, 2, 4]


def test_read_as_person_needs_no_scope_but_a_class():
    """Every live client of a known class; no writes."""
    world = replace(WORLD, tables=(replace(DOCS, clients="read_as_person"),))
    assert seen(session(world, scope="")) == [1, 2, 4]
    assert seen(session(world, client_id="stranger")) == []
    assert session(world).delete(DOCS, ROWS[0], reads=False) == "hidden"


def test_a_disabled_registration_is_a_member_that_does_not_live():
    """It never falls through to a later class, which a client that isn't registered does."""
    columns = (Column("id", "int", True), Column("client", "text"), Column("approved", "bool"))
    rows = tuple(
        {"id": i, "client": c, "approved": a} for i, c, a in ((1, "old", False), (2, "new", True), (3, "odd", None))
    )
    registered = ClientClass("partners", (), None, Registry("registry", "client", Col("approved")))
    world = World(
        (replace(DOCS, clients="read_as_person"), Table("registry", columns, rows)),
        (registered, ClientClass("assistant", ("old", "other"))),
    )
    lives = {name: session(world, client_id=name).live for name in ("old", "new", "odd", "other", "stranger")}
    assert lives == {"old": False, "new": True, "odd": False, "other": True, "stranger": False}


def consented(*rows: tuple[str, str, bool | None, str | None], scope: tuple[str, ...] | None = ("scope",)) -> World:
    columns = (Column("id", "int", True), Column("owner", "uuid"), Column("client", "text"), Column("active", "bool"))
    listed = tuple(
        {"id": i, "owner": o, "client": k, "active": a, "granted": g} for i, (o, k, a, g) in enumerate(rows, start=1)
    )
    table = Table("consents", (*columns, Column("granted", "text")), listed)
    consent = Consent("consents", "owner", "client", "granted", Col("active"))
    kind = replace(ASSISTANT, consent_required=True)
    return replace(WORLD, tables=(DOCS, table), classes=(kind,), consent=consent, scope=scope)


@pytest.mark.parametrize(
    "lost", [(BOB, "agent", True, "write"), (ANN, "Agent", True, "write"), (ANN, "agent", False, "write")]
)
def test_life_ends_with_the_consent(lost):
    """Another's, another client's, a revoked one: none gives life."""
    assert seen(session(consented((ANN, "agent", True, "write")))) == [1, 2, 4]
    assert seen(session(consented(lost))) == []


def test_scopes_of_token_and_consent_are_intersected_after_their_closure():
    """Several live rows are united; `write` implies `read` on either side."""
    both = session(consented((ANN, "agent", True, "read"), (ANN, "agent", True, None)))
    assert both.scopes == {"read"}
    assert session(consented((ANN, "agent", True, "write")), scope="read").scopes == {"read"}
    unread = session(consented((ANN, "agent", True, "write"), scope=None), scope={"not": "read"})
    assert unread.scopes == {"read", "write"}


def test_a_sub_select_of_a_person_policy_sees_what_the_session_sees():
    """A set, on the other hand, is read past all policies."""
    mine = NamedSet("text", "docs", "status", Compare("=", Col("owner"), TokenValue("person")))
    rule = Rule(("select",), ("assistant",), (), InSet(Col("status"), "mine"))
    notes = replace(DOCS, name="notes", policies=(AppPolicy("all", "all", Lit(True)),), clients=(rule,))
    world = replace(WORLD, tables=(replace(DOCS, clients="none"), notes), sets={"mine": mine})
    assert seen(session(world), notes) == [1, 2, 3]


NULL, TRUE, FALSE = Lit(None), Lit(True), Lit(False)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (Not(NULL), None),
        (And((NULL, FALSE)), False),
        (And((NULL, TRUE)), None),
        (Or((NULL, TRUE)), True),
        (Or((NULL, FALSE)), None),
        (Compare("=", NULL, Lit("a")), None),
        (Compare("<>", Lit("a"), Lit("b")), True),
        (Distinct(NULL, Lit("a")), True),
        (Distinct(NULL, NULL, True), True),
        (Is(NULL, "true"), False),
        (Is(NULL, "true", True), True),
        (Is(FALSE, "null", True), True),
        (InList(Lit("a"), ("b", None)), None),
        (InList(Lit("a"), ("b", None), True), None),
        (InList(Lit("b"), ("b", None), True), False),
    ],
)
def test_three_valued_logic(expression: Expr, expected):
    """As PostgreSQL has it."""
    nothing = Scope({}, lambda name: None, lambda name: frozenset(), lambda name: (), None)
    assert expression.value(nothing) is expected


def test_nothing_is_in_an_empty_set_not_even_null():
    """`NULL = any ('{}')` is false, so its negation holds."""
    assert member(None, ()) is False
    assert member(None, ("a",)) is None
