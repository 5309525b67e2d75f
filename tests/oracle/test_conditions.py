"""Every form of condition, plain and negated, on rows with every value and NULL: one table for each form."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from .conditions import UUIDS
from .evaluator import Session
from .expressions import (
    And,
    Between,
    Coalesce,
    Col,
    Compare,
    Distinct,
    Expr,
    InList,
    InSet,
    Is,
    Lit,
    Lower,
    Not,
    Or,
    Plus,
    StartsWith,
    TokenValue,
)
from .run import judge
from .world import Change, Claim, ClientClass, Column, NamedSet, Rule, Table, Token, World

pytestmark = pytest.mark.postgres

OWNER, TEXT, N, FLAG, OTHER = (Col(name) for name in ("owner", "status", "n", "flag", "Kind"))
COLUMNS = (
    Column("id", "int", True),
    Column("owner", "uuid"),
    Column("status", "text"),
    Column("n", "int"),
    Column("flag", "bool"),
    Column("Kind", "text"),
)
ROWS = tuple(
    {"id": number, "owner": owner, "status": status, "n": n, "flag": flag, "Kind": kind}
    for number, (owner, status, n, flag, kind) in enumerate(
        [
            (UUIDS[0], "open", 1, True, "open"),
            (UUIDS[1], "Open", 2, False, "closed"),
            (UUIDS[2], "o'clock", 3, None, None),
            (None, None, None, None, None),
            (UUIDS[0], None, 0, True, "open"),
            (None, "closed", 2, False, "o'clock"),
        ],
        start=1,
    )
)
FORMS: tuple[Expr, ...] = (
    Compare("=", TEXT, Lit("open")),
    Compare("=", Lit("o'clock"), TEXT),
    Compare("<>", TEXT, Lit("open")),
    *(Compare(operator, N, Lit(2)) for operator in ("<", "<=", ">", ">=", "=")),
    Compare("=", TEXT, OTHER),
    Compare("=", OWNER, TokenValue("person")),
    Compare("<>", OWNER, TokenValue("person")),
    Compare("=", N, TokenValue("level")),
    Compare("=", TEXT, TokenValue("status")),
    Compare("<>", TEXT, TokenValue("status")),
    Compare("=", FLAG, TokenValue("admin")),
    Compare("=", TokenValue("client"), Lit("agent")),
    TokenValue("admin"),
    Is(TokenValue("status"), "null"),
    *(Distinct(TEXT, Lit("open"), negated) for negated in (True, False)),
    *(Distinct(TEXT, TokenValue("status"), negated) for negated in (True, False)),
    *(InList(TEXT, ("open", "o'clock"), negated) for negated in (True, False)),
    *(InList(N, (1, None), negated) for negated in (True, False)),
    *(InSet(OWNER, name) for name in ("owners", "nobody", "holed")),
    InSet(TEXT, "words"),
    *(Is(operand, "null", negated) for operand in (TEXT, FLAG) for negated in (True, False)),
    *(Is(FLAG, word, negated) for word in ("true", "false") for negated in (True, False)),
    Is(Compare("=", TEXT, Lit("open")), "true"),
    Is(Compare("=", TEXT, TokenValue("status")), "true", True),
    FLAG,
    Between(N, 1, 2),
    StartsWith(TEXT, "o"),
    Compare("=", Lower(TEXT), Lit("open")),
    Compare("=", Coalesce(TEXT, "open"), Lit("open")),
    Coalesce(FLAG, True),
    Compare("=", Plus(N, 1), Lit(3)),
    And((Compare("=", TEXT, Lit("open")), FLAG)),
    Or((Compare("=", TEXT, Lit("open")), FLAG, Compare("=", N, Lit(3)))),
    And((Or((FLAG, Is(FLAG, "null"))), Compare(">", N, Lit(0)))),
    Or((And((FLAG, Compare("=", N, Lit(1)))), Compare("=", OWNER, TokenValue("person")))),
)


CONSTANT = (InSet(OWNER, "nobody"), Compare("=", TokenValue("client"), Lit("agent")), InList(N, (1, None), True))


def rules(form: Expr, who: tuple[str, ...]) -> tuple[Rule, ...]:
    """Every row is seen; the form lets rows be locked and changed, its negation lets them be deleted."""
    return (
        Rule(("select",), who),
        Rule(("update",), who, (), form),
        Rule(("delete",), who, (), Not(form)),
    )


def conditions() -> World:
    """Two tables for each form: one that limits a client, one that limits people."""
    changes = (Change({"status": "open"}), Change({"owner": None}))
    tables = []
    for number, form in enumerate(FORMS):
        limited = rules(form, ("assistant",))
        tables.append(Table(f"form_{number}", COLUMNS, ROWS, False, clients=limited, changes=changes))
        tables.append(Table(f"people_{number}", COLUMNS, ROWS, False, people=rules(form, ()), changes=changes))
    mine = Compare("=", Col("owner"), TokenValue("person"))
    sets = {
        "owners": NamedSet("uuid", "form_0", "owner", mine),
        "nobody": NamedSet("uuid", "form_0", "owner", And((mine, Lit(False)))),
        "holed": NamedSet("uuid", "form_0", "owner", Or((mine, Is(Col("owner"), "null")))),
        "words": NamedSet("text", "form_0", "Kind", Is(TokenValue("person"), "null", True)),
    }
    declared = {
        "level": Claim(("level",), "integer"),
        "status": Claim(("status",), "text"),
        "admin": Claim(("admin",), "boolean"),
    }
    texts = [
        {"level": 2, "status": "open", "admin": True},
        {"level": 0, "status": "o'clock", "admin": False},
        {},
        {"level": "2", "status": 7, "admin": None},
    ]
    tokens = [Token(json.dumps({"sub": UUIDS[0], "client_id": "agent"} | text), twin=4) for text in texts]
    direct = Token(json.dumps({"sub": UUIDS[0]} | texts[0]))
    classes = (ClientClass("assistant", ("agent",)),)
    return World(tuple(tables), classes, (*tokens, direct), claims=declared, sets=sets)


def test_every_form_means_what_the_evaluator_says(connection):
    """Old rows, new rows and negations; NULL on either side denies both."""
    tally, found = judge(connection, conditions())
    assert found == [], "\n\n".join(str(each.check) for each in found[:5])
    assert min(tally.share(command) for command in ("select", "update", "delete")) > 0.15


def test_the_rows_tell_the_forms_apart():
    """Each form holds for some row and token, and not for another: else it would prove nothing."""
    world = conditions()
    sessions = [Session(world, token) for token in world.tokens[:4]]
    for number in range(len(FORMS)):
        table = world.table(f"form_{number}")
        answers = {session.locked(table, row) for session in sessions for row in table.rows}
        assert FORMS[number] in CONSTANT or answers == {True, False}, FORMS[number].sql()


# Many rules of one shape

WORDS = ("open", "Open", "o'clock", "a,b", "{x}", '"q"', "back\\slash", "NULL", " null ", "", "\u00e9", "v11")
HEX = tuple(f"00000000-0000-4000-8000-0000000000{number:02x}" for number in range(12))
SHAPES: dict[str, Callable[[int], Expr]] = {
    "text": lambda i: Compare("=", TEXT, Lit(WORDS[i])),
    "other text": lambda i: Compare("<>", TEXT, Lit(WORDS[i])),
    "not text": lambda i: Not(Compare("=", TEXT, Lit(WORDS[i]))),
    "texts": lambda i: InList(TEXT, (WORDS[i], WORDS[i - 1])),
    "more texts": lambda i: InList(TEXT, WORDS[: i + 1]),
    "no texts": lambda i: InList(TEXT, (WORDS[i], WORDS[i - 1]), True),
    "not no texts": lambda i: Not(InList(TEXT, (WORDS[i], WORDS[i - 1]), True)),
    "uuid": lambda i: Compare("=", OWNER, Lit(HEX[i])),
    "uuids": lambda i: InList(OWNER, (HEX[i], HEX[i - 1], HEX[i - 2])),
    "number": lambda i: Compare("=", N, Lit(i)),
    "less": lambda i: Compare("<", N, Lit(i)),
    "numbers": lambda i: InList(N, (i, i - 1 if i else 7)),
    "both": lambda i: And((Compare("=", TEXT, Lit(WORDS[i])), Compare(">=", N, Lit(i % 3)))),
    "either": lambda i: Or((Compare("=", TEXT, Lit(WORDS[i])), Compare("=", TEXT, Lit(WORDS[i - 3])))),
    "and its owner's": lambda i: And((Compare("=", OWNER, TokenValue("person")), Compare("=", N, Lit(i)))),
}


def many() -> World:
    """Twelve classes, each with constants of its own, some of them by scope."""
    kinds = tuple(ClientClass(f"class_{i}", (f"agent {i}",)) for i in range(12))
    rows = tuple(
        {"id": i + 1, "owner": HEX[i % 12], "status": WORDS[i % 12], "n": i % 12, "flag": True, "Kind": None}
        for i in range(12)
    )
    rows += ({"id": 13, "owner": None, "status": None, "n": None, "flag": None, "Kind": None},)
    tables = []
    for name, shape in SHAPES.items():
        limits: list[Rule] = []
        for i, kind in enumerate(kinds):
            limits += [
                Rule(("select",), (kind.name,), ("wide",) if i % 4 == 3 else (), None if i % 4 == 3 else shape(i)),
                Rule(("select",), (kind.name,), ("more",), shape((i + 5) % 12)),
                Rule(("delete",), (kind.name,), ("more",) if i % 2 else (), shape((i + 1) % 12)),
                Rule(("update",), (kind.name,), ("wide",), shape(i), shape((i + 5) % 12)),
            ]
        changes = (Change({"status": WORDS[6]}), Change({"n": 5}))
        tables.append(Table(name, COLUMNS, rows, False, clients=tuple(limits), changes=changes))
    tokens = [
        Token(json.dumps({"sub": HEX[i], "client_id": f"agent {i}", "scope": scope}))
        for i in range(12)
        for scope in (("", "more wide") if i % 2 else ("wide", "more"))
    ]
    direct = Token(json.dumps({"sub": HEX[0]}))
    stranger = Token(json.dumps({"sub": HEX[0], "client_id": "agent", "scope": "more wide"}))
    return World(tuple(tables), kinds, (*tokens, direct, stranger), scopes={"more": (), "wide": ()})


def test_many_rules_of_one_shape_keep_their_constants(connection):
    """Each class and scope meets its own constants, whatever one form they are folded into."""
    tally, found = judge(connection, many())
    assert found == [], "\n\n".join(str(each.check) for each in found[:5])
    assert min(tally.share(command) for command in ("select", "update", "delete")) > 0.02
