"""What is proved of conditions holds for every row: tried by brute force, and with PostgreSQL's own types."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_rls.compiler import expression as e
from mcp_rls.compiler import reason
from mcp_rls.compiler.model import Condition
from mcp_rls.compiler.predicate import parse
from mcp_rls.compiler.raw import Names
from mcp_rls.database.server import open_server
from mcp_rls.diagnostics import Diagnostics

WORDS = ("open", "shut", "lost", "OPEN", "ab12", "")
COLUMNS = ("s", "t", "f")
VALUES: dict[str, tuple[Any, ...]] = {"s": (*WORDS, None), "t": (*WORDS, None), "f": (True, False, None)}
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in itertools.product(*VALUES.values())]


def of(text: str) -> e.Expr:
    expr = parse(Condition(text), Names(frozenset({"tenant"}), frozenset({"mine"})), Diagnostics())
    assert expr is not None
    return expr


# --- brute force: three-valued logic in a few lines


def value(expr: e.Expr, row: dict[str, Any]) -> Any:
    """The expression's value on a row, None for NULL, as SQL has it."""
    match expr:
        case e.Col(name):
            return row[name]
        case e.Lit(text, kind):
            return {"string": text, "boolean": text == "true", "null": None}[kind]
        case e.Prefix("not", operand):
            inner = value(operand, row)
            return None if inner is None else not inner
        case e.Logic(op, operands):
            values, decisive = [value(o, row) for o in operands], op == "or"
            return decisive if decisive in values else None if None in values else not decisive
        case e.Op("=" | "<>" as op, left, right):
            a, b = value(left, row), value(right, row)
            return None if a is None or b is None else (a == b) is (op == "=")
        case e.In(operand, items, negated):
            found = value(e.disjunction(tuple(e.Op("=", operand, item) for item in items)), row)
            return found if not negated or found is None else not found
        case e.Test(operand, test):
            words = test.removeprefix("is ").removeprefix("not ")
            found = value(operand, row) is {"null": None, "true": True, "false": False}[words]
            return found is ("not" not in test)
    raise AssertionError(expr)


def holds(expr: e.Expr, row: dict[str, Any]) -> bool:
    return value(expr, row) is True


TEXT = st.sampled_from([e.Col("s"), e.Col("t")])
LITERAL = st.sampled_from([e.Lit(w, "string") for w in WORDS])
SIMPLE = st.one_of(
    st.builds(e.Op, st.sampled_from(["=", "<>"]), TEXT, LITERAL),
    st.builds(e.Op, st.sampled_from(["=", "<>"]), LITERAL, TEXT),
    st.builds(lambda c, i, n: e.In(c, tuple(i), n), TEXT, st.lists(LITERAL, min_size=1, max_size=3), st.booleans()),
    st.builds(e.Test, st.sampled_from([e.Col("s"), e.Col("f")]), st.sampled_from(["is null", "is not null"])),
    st.builds(e.Test, st.just(e.Col("f")), st.sampled_from(["is true", "is not true", "is false", "is not false"])),
    st.sampled_from([e.Col("f"), e.TRUE, e.FALSE, e.Lit("null", "null"), e.Op("=", e.Col("s"), e.Lit("null", "null"))]),
    st.builds(e.Op, st.just("="), st.just(e.Col("s")), st.just(e.Col("t"))),
)
EXPRESSIONS = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.builds(lambda parts: e.conjunction(tuple(parts)), st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: e.disjunction(tuple(parts)), st.lists(inner, min_size=1, max_size=3)),
        st.builds(e.Prefix, st.just("not"), inner),
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None, database=None, derandomize=True)
@given(EXPRESSIONS, EXPRESSIONS)
def test_what_is_proved_holds(a, b):
    """`implies`, `disjoint` and `unsatisfiable` are never true of conditions of which a row shows otherwise."""
    if reason.implies(a, b):
        assert not [row for row in ROWS if holds(a, row) and not holds(b, row)]
    if reason.disjoint(a, b):
        assert not [row for row in ROWS if holds(a, row) and holds(b, row)]
    if reason.unsatisfiable(a):
        assert not [row for row in ROWS if holds(a, row)]


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(EXPRESSIONS, EXPRESSIONS, EXPRESSIONS)
def test_what_is_obvious_is_proved(a, b, c):
    """A condition implies itself, what is weaker by an OR and what an AND holds; and false implies everything."""
    assert reason.implies(a, a)
    assert reason.implies(a, e.TRUE)
    assert reason.implies(e.FALSE, a)
    assert reason.implies(a, e.disjunction((b, a, c))) or isinstance(a, e.Logic)
    assert reason.implies(e.conjunction((b, a, c)), a) or isinstance(a, e.Logic)
    assert reason.unsatisfiable(e.conjunction((a, e.FALSE)))


# --- what authors write

IMPLIED = [
    ("status = 'open'", "status in ('open', 'closed')"),
    ("status in ('open', 'closed')", "status in ('closed', 'spam', 'open')"),
    ("status = 'open' and owner = token.person", "status in ('open', 'closed')"),
    ("owner = token.person and status = 'open'", "owner = token.person"),
    ("id in mine and status = 'open'", "id in mine"),
    ("status = 'open' or status = 'closed'", "status in ('open', 'closed')"),
    ("'open' = status", "status = 'open'"),
    ("status = 'open'", "status = 'open' or owner = token.person"),
    ("status = 'open' or id in mine", "id in mine or status in ('open', 'closed')"),
    ("status = 'open' and status = 'closed'", "id = 7"),
    ("status is null and status = 'open'", "id = 7"),
]
NOT_IMPLIED = [
    ("status in ('open', 'closed')", "status = 'open'"),
    ("status = 'open'", "status = 'closed'"),
    ("status = 'open'", "other = 'open'"),
    ("owner = token.person", "status = 'open'"),
    ("status <> 'open'", "status = 'closed'"),
    ("status = 'open' or owner = token.person", "status = 'open'"),
    ("status = '1'", "status = '01'"),
    ("id = 1", "id in (1, 2) and owner = token.person"),
    ("not (status = 'open')", "status <> 'open' and owner = token.person"),
]
APART = [
    ("status = 'open'", "status = 'closed'"),
    ("status in ('open', 'held')", "status in ('closed', 'spam')"),
    ("status = 'open' or status = 'held'", "status = 'closed' and owner = token.person"),
    ("status is null", "status = 'open'"),
    ("closed_at is null", "closed_at is not null"),
    ("not (id in mine)", "id in mine"),
    ("status = null", "status = 'open'"),
]
NOT_APART = [
    ("status = 'open'", "status in ('open', 'closed')"),
    ("status = 'open'", "owner = token.person"),
    ("status = 'open'", "other = 'closed'"),
    ("status = '1'", "status = '01'"),
    ("owner = 'abc'", "owner = 'ABC'"),
    ("active = 'true'", "active = 'yes'"),
    ("active = 'on'", "active = 'true'"),
    ("active = 'no'", "active = 'off'"),
    ("amount = 'inf'", "amount = 'infinity'"),
    ("amount = 'nan'", "amount = 'NaN'"),
    ("day = 'today'", "day = 'now'"),
    ("id = 'abcd'", "id = 'dcba'"),
    ("id = 1", "id = 1.0"),
    ("status <> 'open'", "status <> 'closed'"),
    ("status = 'open' or true", "status = 'closed'"),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), IMPLIED)
def test_implied(a, b):
    """Proved, though the texts differ."""
    assert reason.implies(of(a), of(b))


@pytest.mark.parametrize(("a", "b"), NOT_IMPLIED)
def test_not_implied(a, b):
    """A row of the one may not be one of the other, or it isn't known."""
    assert not reason.implies(of(a), of(b))


@pytest.mark.parametrize(("a", "b"), APART)
def test_disjoint(a, b):
    """Proved, in both directions."""
    assert reason.disjoint(of(a), of(b))
    assert reason.disjoint(of(b), of(a))


@pytest.mark.parametrize(("a", "b"), NOT_APART)
def test_not_disjoint(a, b):
    """A row may meet both: under a type that reads two spellings as one value, too."""
    assert not reason.disjoint(of(a), of(b))
    assert not reason.unsatisfiable(of(f"{a} and {b}"))


@pytest.mark.parametrize(
    "text",
    [
        "a = null",
        "null <> a",
        "a < null",
        "false",
        "null",
        "a = 'open' and a = 'shut'",
        "f and not f",
        "a is null and a = 'open'",
        "(f and false) or (g and null)",
    ],
)
def test_never(text):
    """No row at all meets it."""
    assert reason.unsatisfiable(of(text))


@pytest.mark.parametrize(
    "text",
    [
        "a is null",
        "a is distinct from null",
        "a is not distinct from null",
        "a = 'open' or a = null",
        "f is null and not f is true",
        "(a = null) is null",
    ],
)
def test_perhaps(text):
    """Some row may."""
    assert not reason.unsatisfiable(of(text))


# --- what PostgreSQL's types read in two words

TYPES = """boolean date time timestamp timestamptz interval numeric float4 float8 integer bigint uuid inet cidr
macaddr money bytea text varchar bpchar name oid tsquery tsvector bit varbit json
jsonb xml pg_lsn point citext""".split()
WORD_LIST = """open closed shut draft pending sent paid true t tr yes y on off no n false f fa null none inf infinity
nan epoch now today tomorrow yesterday allballs january jan mon monday tue day days hour year public private
hidden active inactive admin owner user guest deleted zulu utc noon midnight abc dead beef face cafe one two
ten zero spam ham new old low high true_ yes_ infinit infin in_progress not_started wont_fix""".split()


@pytest.fixture(scope="module")
def connection() -> Iterator[psycopg.Connection[Any]]:
    with (
        open_server() as server,
        server.scratch_database() as url,
        psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection,
    ):
        connection.execute("create extension citext")
        yield connection


@pytest.mark.postgres
@pytest.mark.parametrize("kind", TYPES)
def test_words_that_a_type_takes_for_one_are_not_told_apart(kind, connection):
    """Whatever the column's type: of two words that PostgreSQL reads as equal values no proof makes two."""
    printed: dict[str, str] = {}
    for word in WORD_LIST:
        try:
            (printed[word],) = connection.execute(f"select '{word}'::{kind}::text".encode()).fetchone() or ("",)
        except psycopg.Error:
            continue
    for one, other in itertools.combinations(printed, 2):
        if printed[one] == printed[other]:
            a, b = (e.Op("=", e.Col("x"), e.Lit(w, "string")) for w in (one, other))
            assert not reason.disjoint(a, b), (one, other)
