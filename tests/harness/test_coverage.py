"""Conditions cut into what is counted, values that they can't come to, and the arithmetic of what was shown."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count

import pytest

from mcp_rls.catalog import Column, Table, TableName
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import Condition
from mcp_rls.compiler.predicate import parse
from mcp_rls.compiler.raw import Names
from mcp_rls.diagnostics import Diagnostics, Span
from mcp_rls.harness.coverage.pieces import Cutter, Piece
from mcp_rls.harness.coverage.points import Point
from mcp_rls.harness.coverage.result import Coverage, from_document, merged

TABLE = Table(
    TableName("public", "tickets"),
    "table",
    "owner",
    (
        Column("status", "text", not_null=True, base_type="text"),
        Column("private", "boolean", base_type="boolean"),
        Column("amount", "integer", base_type="integer"),
        Column("org_id", "bigint", not_null=True, base_type="bigint"),
    ),
)


def parsed(condition: Condition) -> e.Expr:
    diagnostics = Diagnostics()
    expr = parse(condition, Names(frozenset({"tenant"}), frozenset({"my_orgs"}), TABLE), diagnostics)
    assert expr is not None, [str(d) for d in diagnostics]
    return expr


def cut(text: str, before: str = "true", *, raw: bool = False) -> tuple[str, list[Piece]]:
    """The condition as it will note, in SQL, and its pieces."""
    source = Condition(text, Span("policies.yaml", 7, 10), raw)
    numbers = count(1)
    noting, pieces = Cutter(lambda: next(numbers), TABLE).cut(parsed(source), source, parsed(Condition(before)))
    return e.render(noting, lambda node: f":{node.name}"), list(pieces)


# --- pieces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "atoms"),
    [
        ("status = 'open'", ["status = 'open' at 10"]),
        ("status in ('open', 'pending')", ["status in ('open', 'pending') at 10"]),
        ("not private", ["private at 14"]),
        ("private is not true", ["private is not true at 10"]),
        ("org_id in my_orgs and not private", ["org_id in my_orgs at 10", "private at 36"]),
        ("org_id not in my_orgs", ["org_id not in my_orgs at 10"]),
        ("amount between 1 and 9", ["amount >= 1 at 10", "amount <= 9 at 10"]),
        ("(amount + 1) * 2 > 4 OR  Private", ["((amount + 1) * 2) > 4 at 11", "private at 35"]),
        ("(private or status = 'a') is true", ["private at 11", "status = 'a' at 22"]),
        ("org_id = token.tenant", ["org_id = token.tenant at 10"]),
    ],
)
def test_atoms_are_named_and_placed(text: str, atoms: list[str]) -> None:
    """The smallest conditions, as an author would write them, each with its column."""
    _, pieces = cut(text)
    assert [f"{p.text} at {p.span.column}" for p in pieces if p.kind == "atom"] == atoms
    assert {p.span.line for p in pieces} == {7}


def test_an_atom_that_stands_twice_has_two_places() -> None:
    """They are counted apart: each may be reached without the other."""
    _, pieces = cut("private and amount = 1 or not private and amount = 2")
    places = [(p.text, p.span.column) for p in pieces if p.kind == "atom"]
    assert places == [("private", 10), ("amount = 1", 22), ("private", 40), ("amount = 2", 52)]


def test_a_text_of_several_lines_is_placed_by_line() -> None:
    """As diagnostics are."""
    _, pieces = cut("private\n  or amount = 1")
    assert [(p.span.line, p.text) for p in pieces if p.kind == "atom"] == [(7, "private"), (8, "amount = 1")]


def test_sql_of_an_author_is_one_atom() -> None:
    """Nothing is known of what stands in it."""
    noting, (piece,) = cut("exists (select from t\n where t.who = token.person and t.x or false)", raw=True)
    assert piece.text == "exists (select from t where t.who = token.person and t.x or false)"
    assert noting == "mcp_rls.taken((exists (select from t\n where t.who = :person and t.x or false)), 1)"


def test_order_and_shape_stay() -> None:
    """Each piece becomes an argument of its call; AND, OR and NOT stand as they stood."""
    noting, pieces = cut("private and (status = 'a' or not amount > 1)")
    inner = "(mcp_rls.taken((status = 'a'), 2) or (not mcp_rls.taken((amount > 1), 3)))"
    assert noting == f"mcp_rls.taken((mcp_rls.taken(private, 1) and mcp_rls.taken({inner}, 4)), 5)"
    assert [(p.number, p.kind, p.parts) for p in pieces if p.kind == "branch"] == [
        (4, "branch", (2, 3)),
        (5, "branch", (1, 2, 3, 4)),
    ]


def test_equalities_keep_their_three_values_when_they_are_hardened() -> None:
    """Below a call nothing may take NULL for false: under NOT that would admit a row."""
    source = Condition("not (org_id = token.tenant)")
    noting, _ = Cutter(lambda: 1, TABLE).cut(parsed(source), source)
    text = e.render(e.harden(noting, None), lambda node: f":{node.name}")
    assert text == (
        "(not mcp_rls.taken(case when org_id = :tenant then true when org_id <> :tenant then false end, 1))"
    )


# --- what can't be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "before", "never"),
    [
        ("org_id is null", "true", {"true": "the column org_id is NOT NULL"}),
        ("org_id is not null", "true", {"false": "the column org_id is NOT NULL"}),
        ("private is null", "true", {}),
        ("status = 'open'", "status in ('open', 'pending')", {}),
        ("status in ('open', 'pending')", "status = 'open'", {"false": "what is asked before it implies it"}),
        ("status = 'pending'", "status = 'open'", {"true": "what is asked before it excludes it"}),
        ("private", "not private", {"true": "what is asked before it excludes it"}),
        ("org_id = token.tenant", "org_id = token.tenant", {"false": "what is asked before it implies it"}),
        # of a row without an amount it is NULL
        ("amount = 1", "amount is null or amount = 1", {"false": "what is asked before it implies it"}),
        ("amount = 1", "amount is null or amount = 2", {}),
        ("amount = 1", "private is null", {}),
    ],
)
def test_values_that_an_atom_cannot_come_to(text: str, before: str, never: dict[str, str]) -> None:
    """Proved, each with its reason; what isn't proved is asked of the suite."""
    _, (piece,) = cut(text, before)
    assert piece.never == never


def test_what_an_and_asked_before_counts() -> None:
    """`status = 'open'` is known where its AND goes on; an OR that goes on knows nothing."""
    for op, never in (("and", {"false": "what is asked before it implies it"}), ("or", {})):
        _, pieces = cut(f"status = 'open' {op} status in ('open', 'pending')")
        assert [p.never for p in pieces if p.kind == "atom"] == [{}, never]


def test_a_branch_cannot_be_what_its_parts_cannot_make_it() -> None:
    """An AND of what is never false is never false; one with a part that is never true is never true."""
    _, pieces = cut("org_id is not null and status = 'open'")
    assert pieces[-1].never == {}
    _, pieces = cut("org_id is null and status = 'open'")
    assert pieces[-1].never == {"true": "the column org_id is NOT NULL"}
    _, pieces = cut("org_id is not null or status = 'open'")
    assert pieces[-1].never == {"false": "the column org_id is NOT NULL"}


# --- what was shown ---------------------------------------------------------------------------------------------------

CLASS = Point("class helper", "class", Span("p.yaml", 3, 1), "class helper", "was never met", "no live token acted")
RULE = Point("r open", "rule", Span("p.yaml", 9, 3), "helper, select t", "was never open", under=("class helper",))
ATOM, TURNED = (
    Point(f"r 1 {side}", "atom", Span("p.yaml", 9, 30), "helper, select t: a", f"was never {side}", under=("r open",))
    for side in ("true", "false")
)
NULL = Point("r 1 null", "null", Span("p.yaml", 9, 30), "helper, select t: a", "")
BRANCH = Point("r 2 false", "branch", ATOM.span, "helper, select t: a and b", "was never false", parts=("r 1 false",))
DEAD = Point("d", "atom", Span("p.yaml", 2, 1), "x", "was never true", never="it says so")
POINTS = (CLASS, RULE, ATOM, TURNED, NULL, BRANCH, DEAD)


def told(*seen: str) -> list[str]:
    return [f"{m.span.line}: {m.text} ({m.outcomes})" for m in Coverage("p.yaml", POINTS, frozenset(seen)).misses]


@pytest.mark.parametrize(
    ("seen", "misses"),
    [
        (["class helper", "r open", "r 1 true", "r 1 false", "r 2 false"], []),
        (["class helper", "r open", "r 1 true", "r 2 false"], ["9: helper, select t: a was never false (1)"]),
        (
            ["class helper", "r open", "r 1 true", "r 2 false", "r 1 null"],
            ["9: helper, select t: a was never false (it was NULL instead) (1)"],
        ),
        # the branch is no news beside its part
        (
            ["class helper", "r open", "r 1 true"],
            ["9: helper, select t: a was never false (1 more outcome with it) (2)"],
        ),
        (["class helper", "r open", "r 2 false"], ["9: helper, select t: a was never asked (2)"]),
        (
            ["class helper", "r open", "r 2 false", "r 1 null"],
            ["9: helper, select t: a was NULL whenever it was asked (2)"],
        ),
        # nor are a rule's conditions where it was never open, and rules of a class that was never met
        (["class helper", "r 2 false"], ["9: helper, select t was never open (2 more outcomes with it) (3)"]),
        (["r 2 false"], ["3: class helper was never met (3 more outcomes with it): no live token acted (4)"]),
    ],
)
def test_a_miss_is_told_once(seen: list[str], misses: list[str]) -> None:
    """Where it begins, with how much comes of it; all outcomes are accounted for."""
    assert told(*seen) == misses
    coverage = Coverage("p.yaml", POINTS, frozenset(seen))
    assert sum(miss.outcomes for miss in coverage.misses) == coverage.possible - coverage.shown


def test_percent_leaves_out_what_cannot_be() -> None:
    """NULL is told, not counted; what is proved impossible is listed; the percent is rounded down."""
    coverage = Coverage("p.yaml", POINTS, frozenset({"class helper", "r open", "d", "r 1 null"}))
    assert (coverage.shown, coverage.possible, coverage.percent) == (2, 5, 40.0)
    assert [m.text for m in coverage.excluded] == ["x was never true; it can't: it says so"]
    assert coverage.is_under(40.1)
    assert not coverage.is_under(40)
    assert Coverage("p.yaml", ()).percent == 100


def test_parts_of_a_run_are_brought_together() -> None:
    """What one worker showed was shown; a way through JSON changes nothing."""
    one, two = (Coverage("p.yaml", POINTS, frozenset(seen)) for seen in (["r open"], ["class helper", "r 1 null"]))
    other = Coverage("q.yaml", (replace(DEAD, span=Span("q.yaml", 2, 1)),))
    through = [from_document(json.loads(json.dumps(c.document()))) for c in (two, other, one)]
    assert merged([one, other, two]) == merged(through)
    assert [(c.path, sorted(c.seen)) for c in merged(through)] == [
        ("p.yaml", ["class helper", "r 1 null", "r open"]),
        ("q.yaml", []),
    ]
