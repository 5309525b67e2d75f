"""What a change opens and closes is told from meanings alone: in words for people, and never wrongly as closing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_rls.effect import THE_SAME, UNKNOWN, Effect, implied, of_function, of_policy, of_presence, together

OPENS, CLOSES, NEITHER = Effect.OPENS, Effect.CLOSES, Effect.NEITHER
STATUS, AMOUNT = ["status", "'open'", "'closed'"], "amount > 0"
ONLY_OPEN = ["status", "'open'"]


def test_a_function_that_sessions_must_call_closes_and_opens():
    """Its coming closes those that don't call it yet, its going opens those that don't; of others nothing is said."""
    called = '{"value": "x", "called": true}'
    assert [effect for effect, _ in of_presence(called, there=True)] == [Effect.CLOSES]
    assert [effect for effect, _ in of_presence(called, there=False)] == [Effect.OPENS]
    assert of_presence('{"value": "x"}', there=True) == of_presence("", there=False) == []


def rule(*rows: Any, new: tuple[Any, ...] = (), scopes: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"scopes": list(scopes), "rows": list(rows), "new": list(new)}


def meaning(values: dict[str, Any] | None = None, sees: tuple[Any, ...] = (), **rules: Sequence[Any]) -> str:
    """`rules`: class to its list of rules."""
    may = {who: {"rules": list(mine), "sees": list(sees)} for who, mine in rules.items()}
    return json.dumps({"may": may, "values": values or {}})


def bot(*rules: dict[str, Any]) -> str:
    return meaning(bot=rules)


@pytest.mark.parametrize(
    ("before", "after", "effect", "words"),
    [
        (bot(rule(STATUS)), bot(rule(STATUS)), NEITHER, "it says the same"),
        (bot(rule(STATUS)), bot(rule(ONLY_OPEN)), CLOSES, "class bot loses select where status = 'closed'"),
        (bot(rule(ONLY_OPEN)), bot(rule(STATUS)), OPENS, "class bot gains select where status = 'closed'"),
        (bot(rule(STATUS)), bot(rule(STATUS, AMOUNT)), CLOSES, "class bot keeps select only where amount > 0"),
        (bot(rule(AMOUNT)), bot(rule()), OPENS, "class bot gains select also where amount > 0 isn't true"),
        (meaning(people=[rule()]), meaning(people=[rule(AMOUNT)]), CLOSES, "people keep select only where amount > 0"),
        (bot(rule(AMOUNT)), bot(rule("amount > 1")), OPENS, "where amount > 1; before: where amount"),
        (meaning(), bot(rule(AMOUNT)), OPENS, "bot may select where amount > 0"),
        (bot(rule()), meaning(), CLOSES, "bot may no longer select"),
        (bot(rule()), bot(rule(scopes=("read",))), CLOSES, "needs the scope read to select; before: no scope"),
        (bot(rule(scopes=("read",))), bot(rule()), OPENS, "class bot needs no scope to select; before: the scope read"),
        (bot(rule(AMOUNT)), bot(rule(AMOUNT), rule(ONLY_OPEN)), OPENS, "or where status = 'open'"),
        (meaning({"t": ["a", "text"]}, bot=[rule()]), meaning({"t": ["b", "text"]}, bot=[rule()]), OPENS, "claims"),
        (bot(rule(AMOUNT)), bot(rule("a or b", AMOUNT, "f('x or y') or c")), CLOSES, "only where f('x or y') or c"),
        (meaning(), bot(rule(AMOUNT, "a or b", "(a or b) and 'c or d' = e")), OPENS,
         "where amount > 0 and (a or b) and (a or b) and 'c or d' = e"),
        (bot(rule("a or b")), bot(rule()), OPENS, "also where (a or b) isn't true"),
        ("", bot(rule()), OPENS, "isn't known"),
    ],
)  # fmt: skip
def test_a_policy(before, after, effect, words):
    said = of_policy("select", before, after)
    assert together(said) is effect
    assert words in "; ".join(line for _, line in said)


def test_what_is_empty_may_be_left_out():
    """As in the manifest: a rule for every row, and one with a condition, say the same without their empty parts."""
    short = json.dumps({"may": {"bot": {"rules": [{}, {"rows": [STATUS]}]}}})
    long = bot(rule(), rule(STATUS))
    assert of_policy("select", short, long) == of_policy("select", long, short) == of_policy("select", long, long)
    assert together(of_policy("select", short, bot(rule(STATUS)))) is CLOSES


def test_what_is_written_follows_what_is_seen():
    """The SELECT rules stand in an UPDATE ceiling: their change is told there too, and its effect is the ceiling's."""
    one = meaning(sees=(rule(STATUS),), bot=[rule(AMOUNT)])
    two = meaning(sees=(rule(ONLY_OPEN),), bot=[rule(AMOUNT)])
    assert of_policy("update", one, two) == [(CLOSES, "for class bot update follows select")]
    assert together(of_policy("update", two, one)) is OPENS


def test_what_it_may_newly_write_is_of_what_it_sees():
    """A rule for every row that stands beside SELECT rules isn't told as one for every row of the table."""
    assert of_policy("delete", meaning(), meaning(sees=(rule(ONLY_OPEN),), bot=[rule()])) == [
        (OPENS, "bot may delete of what it may select, all that people may")
    ]


def test_people_write_by_where_what_they_see():
    """Their SELECT policy narrows their UPDATE and DELETE, whose own policies stay as they are."""
    one, two = (meaning(people=[r]) for r in (rule(STATUS), rule(ONLY_OPEN)))
    words = "people lose select where status = 'closed'; what they may update and delete by a WHERE follows"
    assert of_policy("select", one, two, follow=["update", "delete"]) == [(CLOSES, words)]
    assert together(of_policy("select", two, one, follow=["update"])) is OPENS
    assert of_policy("select", one, one, follow=["update"]) == THE_SAME


READ, WRITE = bot(rule(scopes=("r",))), bot(rule(scopes=("w",)))
W_IMPLIES_R = {"w": ["r", "w"]}


@pytest.mark.parametrize(
    ("before", "after", "scopes", "effect"),
    [
        (READ, WRITE, W_IMPLIES_R, CLOSES),
        (WRITE, READ, W_IMPLIES_R, OPENS),
        (READ, WRITE, {}, OPENS),
        (WRITE, READ, {}, OPENS),
        (bot(rule(scopes=("r", "w"))), WRITE, W_IMPLIES_R, NEITHER),
    ],
)
def test_who_holds_a_scope_holds_what_it_implies(before, after, scopes, effect):
    said = of_policy("select", before, after, implied(["", gate(scopes=scopes)]))
    assert together(said) is effect


def gate(*classes: dict[str, Any], **more: Any) -> str:
    return json.dumps({"classes": list(classes), "scopes": {}, "identity": "i", "consent": None} | more)


def class_(name: str, *ids: str, alone: bool = True, match: str = "", consent: bool = False) -> dict[str, Any]:
    return {"name": name, "ids": list(ids), "alone": alone, "match": [match or None, "", None], "consent": consent}


@pytest.mark.parametrize(
    ("before", "after", "effect", "words"),
    [
        (gate(class_("a", "1")), gate(class_("a", "1", "2")), OPENS, "class a: 1 client more"),
        (gate(class_("a", "1", "2")), gate(class_("a", "1")), CLOSES, "class a: 1 client fewer"),
        # whoever leaves a class may be caught by another
        (gate(class_("a", "1"), class_("b", "1")), gate(class_("a"), class_("b", "1")), OPENS, "1 client fewer"),
        (gate(class_("a", "1"), class_("b", alone=False)), gate(class_("b", alone=False)), OPENS, "class a is no more"),
        (gate(class_("a", "1")), gate(), CLOSES, "class a is no more"),
        (gate(class_("a"), class_("b")), gate(class_("b"), class_("a")), OPENS, "another order"),
        (gate(class_("a")), gate(class_("a", match="x")), OPENS, "by the prefix x; before: recognised by ids"),
        (gate(class_("a")), gate(class_("a", consent=True)), CLOSES, "needs consent now"),
        (gate(class_("a", consent=True)), gate(class_("a")), OPENS, "no consent any more"),
        (gate(scopes={"w": ["w"]}), gate(scopes={"w": ["w", "r"]}), OPENS, "w now implies r"),
        (gate(scopes={"w": ["w", "r"]}), gate(scopes={"w": ["w"]}), CLOSES, "w no longer implies r"),
        (gate(identity="i"), gate(identity="j"), OPENS, "decided anew"),
        (gate(identity={"scopes": "scope"}), gate(identity={"scopes": "scp"}), OPENS, "scopes: scp; before: scope"),
        (gate(consent=None), gate(consent=["t", "p", None]), OPENS, "looked up in t by p; before: looked up nowhere"),
        (gate(class_("a")), gate(class_("a")), NEITHER, "it says the same"),
        ('{"value": "select 1"}', '{"value": "select 2"}', OPENS, "computed anew: select 2; before: select 1"),
    ],
)  # fmt: skip
def test_a_function(before, after, effect, words):
    said = of_function(before, after)
    assert together(said) is effect
    assert words in "; ".join(line for _, line in said)


def test_what_decides_as_the_gate_does_says_so():
    """Rewritten without another value of its own it follows the gate; what an older record lacks of that is no news."""
    plain, follows = '{"value": "x"}', '{"value": "x", "follows": "what mcp_rls.gate says"}'
    assert of_function(follows, follows) == of_function(plain, follows) == [(NEITHER, "follows what mcp_rls.gate says")]
    assert of_function(plain, plain) == THE_SAME
    assert together(of_function(follows, '{"value": "y", "follows": "what mcp_rls.gate says"}')) is OPENS


def test_what_is_not_known_opens():
    """An object that someone changed by hand has no meaning any more."""
    assert of_function("", gate()) == of_function(gate(), "") == of_policy("select", meaning(), "") == UNKNOWN


CONDITIONS = st.one_of(
    st.sampled_from(["p", "q"]),
    st.lists(st.sampled_from(["1", "2", "3"]), min_size=1, max_size=3, unique=True).map(lambda v: ["a", *v]),
)
RULES = st.lists(
    st.builds(
        lambda rows, scopes: rule(*rows, scopes=tuple(scopes)),
        st.lists(CONDITIONS, max_size=2),
        st.sets(st.sampled_from(["r", "w"])),
    ),
    max_size=2,
)


def admitted(rules: list[dict[str, Any]], scopes: dict[str, list[str]]) -> set[tuple[Any, ...]]:
    """Every (scopes of a token, p, q, a) that some rule admits."""
    held = [frozenset(s) for n in range(3) for s in itertools.combinations("rw", n)]
    return {
        (words, p, q, a)
        for words, p, q, a in itertools.product(held, (0, 1), (0, 1), "123")
        if any(
            set(r["scopes"]) <= words.union(*(scopes.get(w, ()) for w in words))
            and all({"p": p, "q": q}[c] if isinstance(c, str) else a in c[1:] for c in r["rows"])
            for r in rules
        )
    }


@given(RULES, RULES, st.sampled_from([{}, W_IMPLIES_R, {"r": ["r", "w"]}]))
def test_closing_never_admits_more(old, new, scopes):
    """CLOSES and NEITHER are proofs: for no row and token do the new rules admit what the old didn't."""
    said = of_policy("select", meaning(bot=old), meaning(bot=new), scopes)
    before, after = admitted(old, scopes), admitted(new, scopes)
    assert after <= before or together(said) is OPENS
    if together(said) is NEITHER:
        assert after == before
