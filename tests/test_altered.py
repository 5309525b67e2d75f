"""Putting back what was altered by hand is told as closing only where the texts prove it, whatever they stand for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mcp_rls import altered
from mcp_rls.catalog import TableName
from mcp_rls.effect import Effect, together
from mcp_rls.state import Altered, Function, Policy

OPENS, CLOSES, NEITHER = Effect.OPENS, Effect.CLOSES, Effect.NEITHER
T = TableName("public", "t")
NOTHING: frozenset[str] = frozenset()
CANNOT = "can't be told"


def policy(
    using: str | None, check: str | None = None, command: str = "select", *, permissive: bool = False, to: str = "app"
) -> Policy:
    return Policy(T, "mcp_rls: t", permissive, command, tuple(to.split()), using, check)


def ours(*texts: str | None, **more: str | bool) -> Policy:
    return policy(*texts, **more).sealed()  # type: ignore[arg-type]


def theirs(of: Policy, *texts: str | None, kept: frozenset[str] = NOTHING, **more: str | bool) -> Policy:
    """By hand, of one that was recorded as `of`."""
    return replace(policy(*texts, **more), altered=Altered(of.source, kept))  # type: ignore[arg-type]


@pytest.mark.parametrize("permissive", [False, True])
@pytest.mark.parametrize(
    ("text", "effect", "told"),
    [("true", CLOSES, True), ("false", OPENS, True), ("(id < 7)", OPENS, False), ("NULL::boolean", OPENS, False)],
)
def test_a_text_by_hand_is_shown_and_its_direction_told(permissive: bool, text: str, effect: Effect, told: bool):
    """For both kinds of policy alike; where it isn't proved it counts as opening, and that is said."""
    wanted = ours("a = 1", permissive=permissive)
    said = altered.of_policy(theirs(wanted, text, permissive=permissive), wanted)
    assert said is not None
    assert said[0] == (effect, f"put back as the file says; it was altered by hand: using ({text})")
    assert (CANNOT not in str(said), together(said)) == (told, effect)


def test_a_long_text_is_cut_and_its_breaks_are_blanks():
    """The words stay words for a line."""
    wanted = ours("a = 1")
    said = altered.of_policy(theirs(wanted, "a\n  = 2 or " + "b" * 1000), wanted)
    assert said is not None
    assert "using (a = 2 or bbb" in said[0][1]
    assert len(said[0][1]) < 250
    assert said[0][1].endswith("…")


@pytest.mark.parametrize(
    ("texts", "kept", "effect"),
    [
        (("true", "b"), {"check"}, CLOSES),
        (("true", "b"), NOTHING, OPENS),
        (("a", "true"), {"using"}, CLOSES),
        (("true", "true"), NOTHING, CLOSES),
        (("true", "false"), NOTHING, OPENS),
        (("true", None), NOTHING, CLOSES),
        (("c", "b"), {"check"}, OPENS),
    ],
)
def test_both_texts_of_an_update_count(texts: tuple[str | None, ...], kept: set[str], effect: Effect):
    """One that nobody touched says what the file says."""
    wanted = ours("a", "b", "update")
    known = theirs(wanted, *texts, command="update", kept=frozenset(kept))
    said = altered.of_policy(known, wanted)
    assert said is not None
    assert together(said) is effect
    moved = altered.of_policy(known, ours("a2", "b2", "update"))
    assert moved is not None
    assert moved[0][1].startswith("written as the file says; it was altered by hand")
    assert together(moved) is (CLOSES if set(texts) <= {"true", None} else OPENS)


def test_without_a_check_using_is_one():
    """A check that nobody touched, for there is none, changed with USING."""
    wanted = ours("a", None, "update")
    said = altered.of_policy(theirs(wanted, "c", command="update", kept=frozenset({"check"})), wanted)
    assert said is not None
    assert together(said) is OPENS


@pytest.mark.parametrize(
    ("permissive", "by_hand", "effect"),
    [
        (False, "public", OPENS), (False, "app more", OPENS), (False, "other", OPENS), (False, "", CLOSES),
        (True, "public", CLOSES), (True, "app more", CLOSES), (True, "other", OPENS), (True, "", OPENS),
    ],
)  # fmt: skip
def test_roles_count(permissive: bool, by_hand: str, effect: Effect):
    """A ceiling binds its roles, a permissive policy admits them; PUBLIC is all of them."""
    wanted = ours("a", permissive=permissive)
    known = theirs(wanted, "a", permissive=permissive, to=by_hand, kept=frozenset({"using", "check"}))
    said = altered.of_policy(known, wanted)
    assert said is not None
    assert said[0] == (NEITHER, "put back as the file says; it was altered by hand")
    assert (together(said), len(said)) == (effect, 2)


def test_another_kind_of_policy_opens():
    """Whatever it says."""
    wanted = ours("a")
    assert altered.of_policy(theirs(wanted, "true", permissive=True), wanted) == [
        (OPENS, "put back as the file says; it was altered by hand: permissive for select using (true)")
    ]


def test_the_way_back_is_told_too():
    """From what the file says to what was found."""
    wanted = ours("a")
    assert altered.of_policy(wanted, theirs(wanted, "true")) == [
        (OPENS, "as it was found, altered by hand: using (true)")
    ]
    assert altered.of_policy(wanted, theirs(wanted, "false")) == [
        (CLOSES, "as it was found, altered by hand: using (false)")
    ]


def test_what_nobody_altered_is_not_told_here():
    """Nor what a plan shuts for a moment."""
    wanted = ours("a")
    assert altered.of_policy(policy("a"), wanted) is None
    assert altered.of_policy(theirs(wanted, "true"), policy("false")) is None


def test_a_function_is_never_compared():
    """But it is said that somebody replaced it."""
    wanted = Function("gate", "", "integer", "as 1", source="x")
    said = altered.of_other(replace(wanted, definition="as 2", source="", altered=Altered("x")), wanted)
    assert said is not None
    assert said[0] == (OPENS, "put back as the file says; it was altered by hand")
    assert altered.of_other(wanted, replace(wanted, source="y")) is None


TEXTS = (None, "true", "false", "p", "q")


def pairs() -> Iterator[tuple[Policy, Policy]]:
    """By hand, and of the file; what was kept is what has the same text on both sides."""
    for permissive, command in itertools.product((False, True), ("select", "insert", "update", "all")):
        for u1, c1, u2, c2 in itertools.product(TEXTS, repeat=4):
            if command == "insert" and (u1 or u2):
                continue  # there is no such policy
            wanted = ours(u2, c2, command, permissive=permissive)
            kept = frozenset(part for part, same in (("using", u1 == u2), ("check", c1 == c2)) if same)
            yield theirs(wanted, u1, c1, command=command, permissive=permissive, kept=kept), wanted


def admits(one: Policy, truth: dict[str, bool]) -> set[str]:
    """Which rows pass it, old and new ones, as PostgreSQL asks: what isn't there neither admits nor limits."""
    asked = {"old": one.using, "new": one.using if one.check is None else one.check}
    if one.command in ("select", "insert"):
        del asked["new" if one.command == "select" else "old"]
    return {rows for rows, text in asked.items() if (truth[text] if text else not one.permissive)}


def test_what_is_told_as_closing_admits_no_more():
    """On every pair of texts, whatever two conditions come to; and both answers are met."""
    met = set()
    for known, wanted in pairs():
        worlds = [{"true": True, "false": False, "p": p, "q": q} for p in (True, False) for q in (True, False)]
        wider = any(admits(wanted, w) - admits(known, w) for w in worlds)
        effect = together(altered.of_policy(known, wanted) or [])
        assert effect is OPENS or not wider, (known, wanted)
        if effect is NEITHER:
            assert all(admits(wanted, w) == admits(known, w) for w in worlds), (known, wanted)
        met.add((effect, wider))
    assert met == {(OPENS, True), (OPENS, False), (CLOSES, False), (NEITHER, False)}
