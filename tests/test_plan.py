"""Two states to operations: their order, their effects, and that nothing is done where nothing differs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_rls.catalog import TableName
from mcp_rls.compiler import ledger
from mcp_rls.compiler.lower import as_before
from mcp_rls.effect import Effect
from mcp_rls.operation import Plan
from mcp_rls.plan import plan
from mcp_rls.state import Function, Policy, Privilege, State, Switches, digest
from mcp_rls.ways import removed, script

T, U = TableName("public", "t"), TableName("public", "u")
STATIC = {f.signature: f for f in ledger.STATIC}


def function(name: str, body: str = "1", returns: str = "integer") -> Function:
    text = f"create or replace function mcp_rls.{name}() returns {returns} as '{body}'"
    return Function(name, "", returns, text, ("authenticated",), digest(text))


def policy(
    name: str,
    using: str = "f",
    *,
    permissive: bool = False,
    table: TableName = T,
    command: str = "select",
    check: str | None = None,
) -> Policy:
    return Policy(table, f"mcp_rls: {name}", permissive, command, ("authenticated",), using, check).sealed()


def state(*things: Any, installed: bool = True, on: bool = True, **more: Any) -> State:
    functions = {f.signature: f for f in things if isinstance(f, Function)} | (STATIC if installed else {})
    policies = {(p.table, p.name): p for p in things if isinstance(p, Policy)}
    switches = {t: Switches(t, on, False) for t in (T, U)}
    return State(**{"installed": installed, "functions": functions, "policies": policies, "switches": switches, **more})


def privilege(name: str = "TRUNCATE", role: str = "authenticated", table: TableName = T) -> Privilege:
    return Privilege(table, role, name)


EMPTY = state(installed=False, on=False)
FULL = state(
    function("gate"),
    policy("t select"),
    policy("t people select", permissive=True),
    policy("u closed", table=U, command="all"),
)


def steps(made: Plan) -> list[str]:
    """Each statement in a word or two."""
    kinds = {
        r"revoke .* on table (\S+)": "revoke", r"grant .* on table": "grant", r"create schema": "create schema",
        r"drop schema": "drop schema",
        r"create or replace function mcp_rls\.(\w+)": "function", r"drop function mcp_rls\.(\w+)": "drop function",
        r"create policy .* as restrictive": "restrict", r"create policy .* as permissive": "permit",
        r"alter policy": "alter policy",
        r"drop policy": "drop policy", r"alter table .* enable": "enable", r"alter table .* force": "force",
    }  # fmt: skip
    found = []
    for statement in made.statements:
        for pattern, word in kinds.items():
            if re.match(pattern, statement, re.DOTALL):
                found.append(word)
                break
        if statement.startswith("do ") and "as permissive" in statement:
            found.append("permit")
    return found


# --- nothing to do


@pytest.mark.parametrize(
    "one", [EMPTY, FULL, state(), state(privileges=frozenset({privilege()}), revoked=frozenset({privilege("TRIGGER")}))]
)
def test_a_state_needs_no_plan_to_itself(one):
    """No operation, and one fingerprint at both ends."""
    made = plan(one, one)
    assert not made
    assert made.statements == ()
    assert made.before == made.after == one.fingerprint


def test_places_and_the_servers_own_spelling_are_no_difference():
    """A policy whose source is known to be the same isn't touched, however PostgreSQL prints it."""
    printed = {k: replace(p, using=f"( {p.using} )", place="other.yaml:9") for k, p in FULL.policies.items()}
    assert not plan(replace(FULL, policies=printed), FULL)


def test_what_somebody_changed_has_no_source_and_is_made_again():
    """Introspection leaves the source away; then only equal text would do."""
    key = (T, "mcp_rls: t select")
    changed = replace(FULL.policies[key], source="", using="(true)")
    made = plan(replace(FULL, policies={**FULL.policies, key: changed}), FULL)
    assert steps(made) == ["alter policy"]
    equal = replace(FULL.policies[key], source="")
    assert steps(plan(replace(FULL, policies={**FULL.policies, key: equal}), FULL)) == []


# --- the order


def test_the_way_up():
    """Revokes, the schema, functions, restrictive policies, permissive ones, row security; grants last."""
    actual = replace(EMPTY, privileges=frozenset({privilege()}))
    wanted = replace(FULL, privileges=frozenset({privilege("SELECT")}))
    order = steps(plan(actual, wanted))
    assert order[0] == "revoke"
    assert order[-1] == "grant"
    last = max(i for i, word in enumerate(order) if word == "function")
    assert order.index("create schema") < last < order.index("restrict") < order.index("permit") < order.index("enable")


def test_the_way_down_is_the_reverse():
    """Permissive policies go before ceilings, ceilings before functions, these before the schema; grants last."""
    wanted = replace(EMPTY, switches=FULL.switches, privileges=frozenset({privilege()}))
    order = [o.words for o in plan(FULL, wanted).operations]
    people, ceiling = (
        next(i for i, w in enumerate(order) if name in w) for name in ("people select", "'mcp_rls: t select'")
    )
    gate, schema = (
        next(i for i, w in enumerate(order) if name in w) for name in ("function mcp_rls.gate", "remove the schema")
    )
    assert people < ceiling < gate < schema < len(order) - 1
    assert "gets TRUNCATE" in order[-1]


def test_functions_are_there_before_what_calls_them():
    """Also `record`, which keeps the manifest; all of them go in the end."""
    up, down = plan(EMPTY, FULL), plan(FULL, replace(EMPTY, switches=FULL.switches))
    texts = up.statements
    noted = next(i for i, s in enumerate(texts) if s.startswith("select mcp_rls.record"))
    assert max(i for i, s in enumerate(texts) if s.startswith("create or replace function")) < noted
    dropped = [s for s in down.statements if s.startswith("drop function")]
    assert any("record" in statement for statement in dropped)


POLICIES = [
    *(policy(f"t r{n}", f"not r{n}", table=T) for n in range(3)),
    *(policy(f"t p{n}", f"r{n}", permissive=True, table=T) for n in range(3)),
    policy("u closed", "none", table=U, command="all"), policy("u p", "all", permissive=True, table=U),
]  # fmt: skip
SUBSETS = st.sets(st.sampled_from(range(len(POLICIES)))).map(lambda chosen: [POLICIES[n] for n in sorted(chosen)])
READ = frozenset({privilege("SELECT", table=t) for t in (T, U)})
HELD = st.one_of(
    st.sets(st.sampled_from([privilege(table=t) for t in (T, U)])).map(lambda more: READ | more),
    st.sets(st.sampled_from(sorted(READ))),
)
ROWS = frozenset({"r0", "r1", "r2"})


def reach(policies: dict[str, Policy], on: set[TableName], held: set[Privilege], table: TableName) -> frozenset[str]:
    """What a token's session reaches of a table: rows by its policies, 'truncate' where it may do that."""
    mine = [p for p in policies.values() if p.table == table]

    def rows(p: Policy) -> frozenset[str]:
        one = frozenset({(p.using or "").removeprefix("not ")})
        named = {"all": ROWS, "none": frozenset()}
        return named.get(p.using or "", ROWS - one if "not " in (p.using or "") else one)

    found = ROWS
    if table in on:
        found = frozenset().union(*(rows(p) for p in mine if p.permissive))
        for p in mine:
            found &= ROWS if p.permissive else rows(p)
    if Privilege(table, "authenticated", "SELECT") not in held:
        found = frozenset()
    return found | ({"truncate"} if Privilege(table, "authenticated", "TRUNCATE") in held else set())


def carried(actual: State, made: Plan, wanted: State) -> Any:
    """The reach of both tables after each statement of the plan."""
    policies = {f"{p.table} {p.name}": p for p in actual.policies.values()}
    known = {f"{p.table} {p.name}": p for p in (*actual.policies.values(), *wanted.policies.values())}
    on = {t for t, s in actual.switches.items() if s.row_security}
    held = set(actual.privileges)
    yield {t: reach(policies, on, held, t) for t in (T, U)}
    for statement in made.statements:
        if found := re.match(r'create policy "([^"]+)" on (\S+)', statement):
            policies[f"{found[2]} {found[1]}"] = known[f"{found[2]} {found[1]}"]
        elif found := re.match(r'drop policy "([^"]+)" on (\S+)', statement):
            del policies[f"{found[2]} {found[1]}"]
        elif found := re.match(r"alter table (\S+) enable", statement):
            on.add(T if found[1] == str(T) else U)
        elif found := re.match(r"(revoke|grant) (.+) on table (\S+) (?:from|to) authenticated", statement):
            for name in found[2].split(", "):
                changed = privilege(name, table=T if found[3] == str(T) else U)
                (held.discard if found[1] == "revoke" else held.add)(changed)
        yield {t: reach(policies, on, held, t) for t in (T, U)}


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(SUBSETS, SUBSETS, HELD, HELD, st.booleans())
def test_no_point_in_between_is_wider_than_both_ends(before, after, held, kept, on):
    """Policies, row security and grants come and go: stopped after any statement, a session reaches no row more."""
    actual = state(*before, on=on, privileges=frozenset(held))
    wanted = state(*after, privileges=frozenset(kept))
    points = list(carried(actual, plan(actual, wanted), wanted))
    assert points[-1] == list(carried(wanted, plan(wanted, wanted), wanted))[-1]
    for point in points:
        for table in (T, U):
            assert point[table] <= points[0][table] or point[table] <= points[-1][table]


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(SUBSETS, SUBSETS, HELD, HELD)
def test_a_plan_touches_only_what_differs(before, after, held, kept):
    """No statement names a policy that both states have, and each that differs is named."""
    actual, wanted = (state(*p, privileges=frozenset(h)) for p, h in ((before, held), (after, kept)))
    named = " ".join(s for s in plan(actual, wanted).statements if " policy " in s)
    for p in POLICIES:
        assert (f'"{p.name}" on {p.table}' in named) == ((p in before) != (p in after))


# --- effects


@pytest.mark.parametrize(
    ("actual", "wanted", "effect"),
    [
        (state(), state(policy("t select")), Effect.CLOSES),
        (state(policy("t select")), state(), Effect.OPENS),
        (state(), state(policy("t people select", permissive=True)), Effect.OPENS),
        (state(policy("t people select", permissive=True)), state(), Effect.CLOSES),
        (state(policy("t select")), state(policy("t select", "g")), Effect.OPENS),
        (state(function("gate")), state(function("gate", "2")), Effect.OPENS),
        (state(), state(function("gate")), Effect.NEITHER),
        (state(on=False), state(), Effect.CLOSES),
        (state(), state(on=False), Effect.OPENS),
        (state(privileges=frozenset({privilege()})), state(), Effect.CLOSES),
        (state(), state(privileges=frozenset({privilege()})), Effect.OPENS),
        (state(), state(as_before(T)), Effect.OPENS),
        (state(on=False), state(as_before(T), on=False), Effect.NEITHER),
        (EMPTY, state(on=False), Effect.NEITHER),
    ],
)
def test_each_operation_says_what_it_does_to_access(actual, wanted, effect):
    """What isn't proved to close counts as OPENS."""
    made = plan(actual, wanted)
    effects = {o.effect for o in made.operations} - {Effect.NEITHER}
    assert effects == ({effect} if effect is not Effect.NEITHER else set())
    assert bool(made.opens) == (effect is Effect.OPENS)
    assert all(o.words for o in made.operations)


def test_locks_are_named():
    """Policies and row security take ACCESS EXCLUSIVE; functions, grants and the manifest no lock on a user's table."""
    made = plan(replace(EMPTY, privileges=frozenset({privilege()})), FULL)
    for operation in made.operations:
        heavy = any(re.match(r"create policy|alter table|do ", s) for s in operation.statements)
        assert operation.lock == ("ACCESS EXCLUSIVE" if heavy else "")


# --- changes that PostgreSQL can't make in place


@pytest.mark.parametrize(
    ("old", "new", "how"),
    [
        (policy("x", "f"), policy("x", "g"), ["alter policy"]),
        (policy("x", "f"), replace(policy("x", "f"), roles=("anon",)).sealed(), ["alter policy"]),
        (policy("x", "f", command="update"), policy("x", "f", command="update", check="g"), ["alter policy"]),
        (
            policy("x", "f", command="update", check="g"),
            policy("x", "f", command="update"),
            ["drop policy", "restrict"],
        ),
        (policy("x", "f"), policy("x", "f", command="all"), ["drop policy", "restrict"]),
        (policy("x", "f", permissive=True), policy("x", "f"), ["drop policy", "restrict"]),
    ],
)
def test_a_policy_changes_in_place_where_it_can(old, new, how):
    """ALTER POLICY; kind, command and an expression that goes need a new one, with its comment."""
    made = plan(state(old), state(new))
    assert steps(made) == how
    assert ("create policy" in " ".join(made.statements)) == ("comment on policy" in " ".join(made.statements))


def test_a_function_of_another_result_is_made_anew():
    """With what stands on it; in the end all is as wanted, and nothing is left out."""
    actual = state(function("gate"), function("set_x", returns="integer[]"), policy("t select"), as_before(U))
    wanted = state(function("gate"), function("set_x", "2", returns="bigint[]"), policy("t select"), as_before(U))
    made = plan(actual, wanted)
    text = "\n".join(made.statements)
    assert text.index("drop function mcp_rls.set_x()") < text.index("create or replace function mcp_rls.set_x()")
    assert "as before" not in re.sub(r"select mcp_rls\.record.*", "", text)
    assert (made.before, made.after) == (actual.fingerprint, wanted.fingerprint)


# --- leaving


def test_removed_gives_back_and_keeps_row_security():
    """Nothing of ours stays but the policies `as before`; what was revoked is held again; row security stays on."""
    actual = state(
        policy("t select"),
        as_before(T),
        function("gate"),
        privileges=frozenset({privilege("SELECT")}),
        revoked=frozenset({privilege()}),
    )
    left = removed(actual)
    assert not left.installed
    assert left.functions == {}
    assert {name for _, name in left.policies} == {"mcp_rls: t as before"}
    assert left.privileges == {privilege("SELECT"), privilege()}
    assert left.switches == actual.switches
    text = "\n".join(plan(actual, left).statements)
    assert "disable" not in text
    assert "as before" not in text
    assert text.index("drop policy") < text.index("drop schema") < text.index("grant TRUNCATE")


def test_a_long_name_does_not_hide_as_before():
    """It is known by its table, not by how its name ends: kept when leaving, guarded in a script."""
    long = TableName("public", "t" * 63)
    kept = removed(state(as_before(long), policy("x", table=long)))
    assert list(kept.policies) == [(long, as_before(long).name)]
    wanted = State(
        installed=True,
        policies={(long, as_before(long).name): as_before(long)},
        switches={long: Switches(long, True, False)},
    )
    made = next(s for s in script(wanted) if "as permissive" in s)
    assert made.startswith("do ")
    assert "relrowsecurity" in made


# --- without a database


def test_a_script_asks_the_database_what_it_cannot_know():
    """`as before` only where row security is off, MAINTAIN only where there is one; no row privilege is touched."""
    text = script(state(policy("t select"), as_before(T), function("gate")))
    joined = "\n".join(text)
    assert "relrowsecurity" in joined
    assert "server_version_num" in joined
    assert joined.index("truncate") < joined.index("create policy")
    assert script(state(policy("t select"), as_before(T), function("gate"))) == text
    assert not re.search(r"revoke select|revoke insert", joined, re.IGNORECASE)
