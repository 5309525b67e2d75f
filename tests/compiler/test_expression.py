"""Conditions as trees: joining, what they name, their SQL, and the hard forms of an equality."""

from __future__ import annotations

import pytest

from mcp_rls.compiler import expression as e

A, B, C = e.Col("a"), e.Col("b"), e.Col("c")
ONE, WORD = e.Lit("1", "number"), e.Lit("it's", "string")
PERSON, SET = e.Token("person"), e.SetValues("mine")


def show(expr: e.Expr, qualifier: str = "") -> str:
    return e.render(expr, lambda node: f"<{node.name}>", qualifier)


# --- joining


def test_joining_is_flat_and_keeps_order():
    """AND of ANDs is one AND, each part once; likewise OR."""
    assert e.conjunction((A, e.conjunction((B, A)), C)) == e.Logic("and", (A, B, C))
    assert e.disjunction((e.disjunction((C, B)), A, B)) == e.Logic("or", (C, B, A))
    assert e.conjunction((e.disjunction((A, B)), C)) == e.Logic("and", (e.Logic("or", (A, B)), C))


@pytest.mark.parametrize(
    ("joined", "expected"),
    [
        (e.conjunction(()), e.TRUE), (e.disjunction(()), e.FALSE), (e.conjunction((A,)), A), (e.disjunction((A, A)), A),
        (e.conjunction((A, e.TRUE)), A), (e.disjunction((A, e.FALSE)), A), (e.conjunction((A, e.FALSE)), e.FALSE),
        (e.disjunction((A, e.TRUE)), e.TRUE), (e.conjunction((e.TRUE, e.TRUE)), e.TRUE),
    ],
)  # fmt: skip
def test_true_and_false_are_worked_out(joined, expected):
    """The neutral is dropped, the absorbing swallows; nothing joined is the neutral."""
    assert joined == expected


def test_parts():
    """AND and OR hold their parts in order, and neither takes the other apart."""
    both, either = e.conjunction((A, B)), e.disjunction((A, B))
    assert both == e.Logic("and", (A, B))
    assert either == e.Logic("or", (A, B))


def test_what_it_names():
    """Columns wherever they stand; without one a value is the same for all rows; of raw text nothing is known."""
    deep = e.Prefix("not", e.In(e.Call("lower", (A,)), (WORD, e.Cast(B, "text"))))
    assert e.columns(deep) == {"a", "b"}
    assert e.columns(e.Any(C, "=", SET)) == {"c"}
    assert e.constant_over_rows(e.Call("coalesce", (PERSON, ONE)))
    assert not e.constant_over_rows(e.Array((ONE, A)))
    assert not e.constant_over_rows(e.Raw(("1",)))


# --- SQL

RENDERED = {
    "a": A,
    '"Odd ""one"""': e.Col('Odd "one"'),
    '"user"': e.Col("user"),
    '"order"': e.Col("order"),
    "'it''s'": WORD,
    r"E'back\\slash'": e.Lit("back\\slash", "string"),
    "null": e.Lit("null", "null"),
    "(a = 1)": e.Op("=", A, ONE),
    "((a + 1) < b)": e.Op("<", e.Op("+", A, ONE), B),
    "(not (a = b))": e.Prefix("not", e.Op("=", A, B)),
    "(- 1)": e.Prefix("-", ONE),
    "((a = b) is not true)": e.Test(e.Op("=", A, B), "is not true"),
    "(a and (b or c))": e.conjunction((A, e.disjunction((B, C)))),
    "(a not in (1, b))": e.In(A, (ONE, B), negated=True),
    "(a = any (<mine>))": e.Any(A, "=", SET),
    "(a <> all (array[1, <person>]))": e.Any(A, "<>", e.Array((ONE, PERSON)), "all"),
    "lower(a, 'it''s')": e.Call("lower", (A, WORD)),
    "(<person>)::text": e.Cast(PERSON, "text"),
    "current_date": e.Keyword("current_date"),
    "(x = <person> or y)": e.Raw(("x = ", PERSON, " or y")),
}


@pytest.mark.parametrize(("text", "expr"), RENDERED.items(), ids=RENDERED)
def test_every_node_has_its_sql(text, expr):
    """With parentheses round every operation, names and constants quoted where needed."""
    assert show(expr) == text


def test_columns_may_be_qualified():
    """Each column, and nothing else; raw text stays as it is."""
    assert show(e.Op("=", A, e.Call("f", (B, PERSON))), "r.") == "(r.a = f(r.b, <person>))"
    assert show(e.Raw(("a = ", PERSON)), "r.") == "(a = <person>)"


def test_a_node_without_sql_is_a_broken_promise():
    """An Expr of no known kind can't be rendered."""
    with pytest.raises(AssertionError):
        show(e.Expr())


# --- hard forms

INDEXED = frozenset({"a"})
EQUAL = e.Op("=", A, PERSON)
UNSAFE = ("=", "<>")


def plain_equalities(expr: e.Expr, *, guarded: bool = False) -> list[e.Expr]:
    """Equalities with a value of the session that PostgreSQL could merge and that nothing beside them tests again."""
    if isinstance(expr, e.Logic) and expr.op == "and":
        tested = {n.operand for n in expr.operands if isinstance(n, e.Test)}
        tested |= {c for n in expr.operands if not isinstance(n, e.Op) for c in n.children() if isinstance(c, e.Op)}
        return [p for o in expr.operands if o not in tested for p in plain_equalities(o)]
    if isinstance(expr, e.Test) or type(expr).__name__ == "Surely":
        return [p for c in expr.children() for g in c.children() for p in plain_equalities(g)]
    own = (
        isinstance(expr, e.Op)
        and expr.op in UNSAFE
        and not isinstance(expr.right, e.Lit)
        and not isinstance(expr.left, e.Lit)
    )
    return [*([expr] if own else []), *(p for c in expr.children() for p in plain_equalities(c))]


@pytest.mark.parametrize(
    "expr",
    [
        EQUAL,
        e.Op("=", PERSON, A),
        e.Op("=", A, B),
        e.conjunction((EQUAL, B)),
        e.disjunction((e.conjunction((EQUAL, B)), e.conjunction((EQUAL, C)))),
        e.Prefix("not", e.Op("<>", A, PERSON)),
        e.Prefix("not", e.disjunction((B, e.Op("<>", A, PERSON)))),
        e.Op("=", EQUAL, e.TRUE),
        e.Cast(EQUAL, "boolean"),
        e.In(EQUAL, (e.TRUE,)),
        e.In(EQUAL, (e.TRUE,), negated=True),
        e.Any(EQUAL, "=", e.Array((e.TRUE,))),
        e.Any(e.TRUE, "=", e.Array((EQUAL,))),
        e.Call("coalesce", (EQUAL, e.FALSE)),
        e.Test(e.Prefix("not", e.Op("<>", A, PERSON)), "is true"),
    ],
    ids=show,
)
@pytest.mark.parametrize("indexed", [INDEXED, frozenset(), None])
def test_no_equality_stays_plain(expr, indexed):
    """Wherever it stands, an equality with a value of the session has a form that the planner can't merge, or stands
    beside one.
    """
    assert plain_equalities(expr)
    assert plain_equalities(e.harden(expr, indexed)) == []


@pytest.mark.parametrize(
    "expr", [e.Op("=", A, WORD), e.In(A, (WORD, ONE)), e.Op("<", A, PERSON), e.Test(A, "is null"), A, e.TRUE]
)
def test_what_is_safe_stays_as_it_is(expr):
    """A constant wins in the planner's classes, and only equalities are in any."""
    assert e.harden(expr, INDEXED) == expr


def test_hardening_again_keeps_it_hard():
    """The hard form has no plain equality either, however often it is asked for."""
    once = e.harden(EQUAL, INDEXED)
    assert plain_equalities(e.harden(once, INDEXED)) == []
