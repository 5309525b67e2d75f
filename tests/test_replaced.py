"""A ceiling that comes or goes beside others is told to change nothing only where nothing changes."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_rls.catalog import TableName
from mcp_rls.compiler import ledger
from mcp_rls.effect import Effect
from mcp_rls.plan import plan
from mcp_rls.state import Policy, State

T = TableName("public", "t")
OPENS, CLOSES, NEITHER = Effect.OPENS, Effect.CLOSES, Effect.NEITHER
STATUSES = ("open", "closed")
EITHER, ONLY_OPEN = (json.dumps({"rows": [["status", *(f"'{s}'" for s in some)]]}) for some in (STATUSES, STATUSES[:1]))
SHARED, OWN = "authenticated", "mcp_bot"


def ceiling(name: str, command: str, *roles: str, text: str = "gate", values: Any = None, **rules: str) -> Policy:
    """`rules`: class to what it may."""
    may = {who: {"rules": [json.loads(rule)]} for who, rule in rules.items()}
    using, check = None if command == "insert" else text, None if command in ("select", "delete") else text
    meaning = json.dumps({"may": may, "values": values or {}})
    found = Policy(T, f"mcp_rls: {name}", False, command, roles or (SHARED,), using, check, meaning=meaning)
    return found.sealed()


def state(*policies: Policy, class_roles: frozenset[str] = frozenset()) -> State:
    functions = {f.signature: f for f in ledger.STATIC}
    by_name = {(p.table, p.name): p for p in policies}
    return State(installed=True, functions=functions, policies=by_name, class_roles=class_roles)


def told(before: State, after: State) -> dict[str, Effect]:
    """What the plan says of each policy that comes or goes."""
    return {o.subject.partition("mcp_rls: ")[2]: o.effect for o in plan(before, after).operations if o.table}


def words(before: State, after: State) -> str:
    return "\n".join(o.words for o in plan(before, after).operations if o.table)


CLOSED = ceiling("closed", "all")
SELECT, NARROW = ceiling("select", "select", bot=EITHER), ceiling("select anew", "select", bot=ONLY_OPEN)
REST = [ceiling(command, command) for command in ("insert", "update", "delete")]
UNKNOWN = Policy(T, "mcp_rls: unknown", False, "all", (SHARED,), "gate", "gate")


@pytest.mark.parametrize(
    ("before", "after", "effects"),
    [
        ([SELECT, *REST], [CLOSED], {"closed": CLOSES, "select": NEITHER}),
        ([CLOSED], [SELECT, *REST], {"closed": OPENS, "select": NEITHER}),
        ([SELECT], [NARROW], {"select anew": CLOSES, "select": NEITHER}),
        ([NARROW], [SELECT], {"select anew": OPENS, "select": NEITHER}),
        ([SELECT], [ceiling("again", "select", bot=EITHER)], {"again": NEITHER, "select": NEITHER}),
        ([SELECT, CLOSED], [CLOSED], {"select": NEITHER}),
        ([CLOSED], [SELECT, CLOSED], {"select": NEITHER}),
        ([SELECT], [], {"select": OPENS}),
        ([CLOSED], [ceiling("insert", "insert")], {"closed": OPENS, "insert": NEITHER}),
        ([SELECT], [ceiling("closed", "all", "anon")], {"closed": CLOSES, "select": OPENS}),
        ([SELECT], [ceiling("closed", "all", "public")], {"closed": CLOSES, "select": NEITHER}),
        ([SELECT], [UNKNOWN], {"unknown": CLOSES, "select": OPENS}),
        ([SELECT], [ceiling("update", "update")], {"update": CLOSES, "select": OPENS}),
        ([CLOSED], [ceiling("shut", "all", text="false")], {"shut": CLOSES, "closed": NEITHER}),
        ([ceiling("shut", "all", text="false")], [CLOSED], {"shut": OPENS, "closed": NEITHER}),
    ],
)  # fmt: skip
def test_what_comes_and_goes(before, after, effects):
    """Each by what stands beside it: `shut` is for direct sessions too, and another role or command is no matter."""
    assert effects.items() <= told(state(*before), state(*after)).items()


def test_whose_values_are_read_otherwise_is_not_compared():
    """But nobody reads any claim: a table is closed and opened whatever its rules ask."""
    by_owner = ceiling("select", "select", values={"person": ["sub", "uuid"]}, bot='{"rows": ["owner = token.person"]}')
    assert told(state(by_owner, *REST), state(CLOSED))["select"] is NEITHER
    assert told(state(CLOSED), state(by_owner, *REST))["closed"] is OPENS
    said = "public.t: drop policy 'mcp_rls: closed'\n  bot may select where owner = token.person"
    assert words(state(CLOSED), state(by_owner, *REST)).endswith(said)
    other = ceiling("other", "select", values={"person": ["sid", "uuid"]}, bot='{"rows": ["owner = token.person"]}')
    assert told(state(by_owner), state(other)) == {"select": OPENS, "other": CLOSES}


def test_a_role_that_stands_for_a_class_no_longer():
    """A direct session passes the ceilings of shared roles, and no meaning says so."""
    before, after = ceiling("a", "select", OWN, bot=EITHER), ceiling("b", "select", OWN, bot=EITHER)
    of_class = state(before, class_roles=frozenset({OWN}))
    assert told(of_class, state(after)) == {"a": OPENS, "b": CLOSES}
    assert told(of_class, state(after, class_roles=of_class.class_roles)) == {"a": NEITHER, "b": NEITHER}


# --- what a session passes

POLICIES = st.builds(
    lambda number, command, roles, text, rules: ceiling(str(number), command, *sorted(roles), text=text, **rules),
    st.integers(0, 9),
    st.sampled_from(["all", "select", "update"]),
    st.sets(st.sampled_from([SHARED, OWN]), min_size=1),
    st.sampled_from(["gate", "gate", "false"]),
    st.dictionaries(st.sampled_from(["bot", "agent"]), st.sampled_from([EITHER, ONLY_OPEN])),
)
ENDS = st.builds(
    lambda found, own: state(*found, class_roles=frozenset({OWN}) if own else frozenset()),
    st.lists(POLICIES, max_size=3),
    st.booleans(),
)


def passed(policies: list[Policy], class_roles: frozenset[str]) -> set[tuple[str, ...]]:
    """Who gets through all of them: a command, a role, a class or a direct session, a row's status."""
    sessions = product(("select", "insert", "update", "delete"), (SHARED, OWN), ("bot", "agent", "direct"), STATUSES)

    def passes(policy: Policy, command: str, role: str, who: str, status: str) -> bool:
        if policy.command not in ("all", command) or role not in policy.roles:
            return True
        if "false" in (policy.using, policy.check):
            return False
        if who == "direct":
            return role not in class_roles
        return any(f"'{status}'" in json.dumps(rule) for rule in _rules(policy, who))

    return {s for s in sessions if all(passes(p, *s) for p in policies)}


def _rules(policy: Policy, who: str) -> list[Any]:
    return list(json.loads(policy.meaning)["may"].get(who, {"rules": []})["rules"])


@settings(max_examples=400, deadline=None, database=None, derandomize=True)
@given(ENDS, ENDS)
def test_what_is_told_to_change_nothing_changes_nothing(before, after):
    """With those that stand when it comes, or once it has gone, as many get through as without it."""
    for operation in plan(before, after).operations:
        key = (T, operation.subject.removeprefix(f"policy {T} "))
        if operation.effect is NEITHER and (key in before.policies) != (key in after.policies):
            one, other = (before, after) if key in before.policies else (after, before)
            standing = passed(list(other.policies.values()), other.class_roles)
            assert standing <= passed([one.policies[key]], one.class_roles), operation.words
