"""Rules to policies: few, whatever their number; and what the gate opens is what the rules say."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_rls.catalog import Catalog, Column, Role, Table, TableName
from mcp_rls.compiler import ceilings, ledger
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.carried import Gate
from mcp_rls.compiler.lower import as_before, lower
from mcp_rls.compiler.model import COMMANDS
from mcp_rls.compiler.policy import read_policies
from mcp_rls.compiler.resolve import ResolvedPolicies, ResolvedRule, ResolvedTable, resolve
from mcp_rls.diagnostics import Diagnostics, Span
from mcp_rls.state import Policy, Privilege, State, Switches, policy_name

NOTES = TableName("public", "notes")
COLUMNS = tuple(
    Column(n, t, base_type=t) for n, t in {"id": "integer", "owner": "uuid", "status": "text", "f": "boolean"}.items()
)
ROLES = {n: Role(n) for n in ("authenticated", "anon")}
HEAD = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated, anon]
anonymous: [anon]
identity: {direct: no_client}
classes: {helper: {match: {ids: [helper]}}, reader: {match: {ids: [reader]}}}
scopes: {"n:r": {text: t}, "n:w": {text: t, implies: ["n:r"]}, "n:x": {text: t}}
"""


def catalog(*names: str, **more: Any) -> Catalog:
    tables = {
        TableName("public", n): Table(TableName("public", n), "table", "owner", COLUMNS, **more)
        for n in names or ("notes",)
    }
    return Catalog(180000, "owner", tables, ROLES, schemas=frozenset({"public"}))


def resolved(text: str, facts: Catalog | None = None) -> ResolvedPolicies:
    policies, diagnostics = read_policies("policies.yaml", HEAD + text)
    assert policies is not None, [str(d) for d in diagnostics]
    found = resolve(policies, facts, diagnostics)
    assert found is not None, [str(d) for d in diagnostics]
    return found


def lowered(text: str, facts: Catalog | None = None, actual: State | None = None) -> State:
    return lower(resolved(text, facts), actual or State())


def names(state: State) -> list[str]:
    return [p.name.removeprefix("mcp_rls: ") for p in state.policies.values()]


def policy(state: State, name: str) -> Policy:
    return next(p for p in state.policies.values() if p.name == f"mcp_rls: {name}")


# --- how many

RULE = '{who: helper, allow: [select, insert, update, delete], scope: "n:w", rows: "status = \'open\'"}'


def test_a_table_has_at_most_four_ceilings():
    """One a command, RESTRICTIVE, for the token roles; a closed or unlisted one has a single one for all commands."""
    state = lowered(
        f"tables: {{public.notes: {{clients: [{RULE}]}}, public.closed: {{}}}}", catalog("notes", "closed", "unlisted")
    )
    ceilings = [p for p in state.policies.values() if not p.permissive]
    assert all(p.roles == ("anon", "authenticated") for p in ceilings)
    found = {(p.table.name, p.command) for p in ceilings}
    assert found == {("closed", "all"), ("unlisted", "all"), *(("notes", c) for c in COMMANDS)}
    notes = [f"notes {word}" for word in ("as before", "delete", "insert", "select", "update")]
    assert names(state) == ["closed as before", "closed closed", *notes, "unlisted as before", "unlisted closed"]


def test_the_number_of_rules_changes_no_number():
    """A hundred rules make as many policies and functions as one, and no more cases than there are row conditions."""
    one = lowered(f"tables: {{public.notes: {{clients: [{RULE}]}}}}", catalog())
    rules = ", ".join(RULE.replace("'open'", f"'s{n}'") for n in range(100))
    many = lowered(f"tables: {{public.notes: {{clients: [{rules.replace(', update', '')}, {RULE}]}}}}", catalog())
    assert names(many) == names(one)
    assert list(many.functions) == list(one.functions)
    assert max(len(re.findall(r"\bwhen\b", p.using or "")) for p in many.policies.values()) <= 3
    same = lowered(f"tables: {{public.notes: {{clients: [{', '.join([RULE] * 100)}]}}}}", catalog())
    assert policy(same, "notes select").using == policy(one, "notes select").using


def test_the_number_of_tables_changes_no_function():
    """The functions are the file's, not a table's."""
    wanted = [f"t{n}" for n in range(30)]
    entries = ", ".join(f"public.{n}: {{clients: [{RULE}]}}" for n in wanted)
    one = lowered(f"tables: {{public.t0: {{clients: [{RULE}]}}}}", catalog("t0"))
    many = lowered(f"tables: {{{entries}}}", catalog(*wanted))
    assert list(many.functions.values()) == list(one.functions.values())
    assert len(many.functions) <= len(ledger.STATIC) + 2


def test_functions_that_nothing_calls_are_not_made():
    """The static ones and the gate are there always; the others with the first policy that names them."""
    static = {f.name for f in ledger.STATIC} | {"gate"}
    assert {f.name for f in lowered("", catalog()).functions.values()} == static
    text = """
claims: {{tenant: {{claim: tenant, type: integer}}}}
sets: {{mine: {{type: integer, query: "select 1 where token.person is not null"}}}}
tables: {{public.notes: {{clients: [{{who: helper, allow: select, rows: "{}"}}]}}}}
"""
    for condition, more in {
        "owner = token.person": {"person"},
        "status = token.client": {"client"},
        "id = token.tenant": {"claim_tenant"},
    }.items():
        made = {f.name for f in lowered(text.format(condition), catalog()).functions.values()}
        assert made >= static | more
    assert {f.name for f in lowered(text.format("id in mine"), catalog()).functions.values()} >= {"set_mine", "person"}


def test_one_people_policy_a_command():
    """Permissive, whatever the number of people rules; none for a command that no rule allows."""
    people = '{allow: select, rows: "f"}, {allow: [select, update], rows: "id = 1"}, {allow: insert, check: "f"}'
    state = lowered(f"tables: {{public.notes: {{people: [{people}]}}}}", catalog())
    assert names(state) == ["notes closed", "notes people insert", "notes people select", "notes people update"]
    select, update, insert = (policy(state, f"notes people {c}") for c in ("select", "update", "insert"))
    assert (select.permissive, select.check) == (True, None)
    assert "f" in (select.using or "")
    assert update.using == update.check
    assert insert.using is None


# --- the output is a function of the input

LONG = f"""
claims: {{tenant: {{claim: tenant, type: integer}}}}
sets: {{mine: {{type: integer, query: "select 1 where token.person is not null"}}}}
tables:
  public.b: {{clients: [{RULE}, {{who: [reader, helper], allow: select, scope: ["n:x", "n:r"], rows: "id in mine"}}]}}
  public.a:
    people: [{{allow: select, rows: "owner = token.person"}}]
    clients: [{{who: reader, allow: select, scope: "n:x"}}]
"""
_PRINT = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.compiler.test_lower import LONG, catalog, lowered
state = lowered(LONG, catalog("a", "b"))
print(state.fingerprint, [p.using for p in state.policies.values()])
"""


def test_the_same_file_gives_the_same_text():
    """To the byte, in another process with another hash seed too."""
    root = str(Path(__file__).parents[2])
    runs = {
        subprocess.run(
            [sys.executable, "-c", _PRINT, root],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "77")
    }
    state = lowered(LONG, catalog("a", "b"))
    assert runs == {f"{state.fingerprint} {[p.using for p in state.policies.values()]}\n"}


def test_the_order_of_tables_and_scopes_in_the_file_does_not_matter():
    """Only rules and classes have an order."""
    head, tables = LONG.split("tables:\n")
    first, second = (f"  public.{part}" for part in tables.split("  public.")[1:])
    turned = f"{head}tables:\n{second}{first}".replace('["n:x", "n:r"]', '["n:r", "n:x"]')

    def texts(text: str) -> dict[Any, Any]:
        return {k: (p.using, p.check) for k, p in lowered(text, catalog("a", "b")).policies.items()}

    assert texts(LONG) == texts(turned)


def test_places_in_the_file_are_no_part_of_an_object():
    """A line more at the top of the file changes comments, and no policy or function."""
    before, after = lowered(LONG, catalog("a", "b")), lowered("\n\n" + LONG, catalog("a", "b"))
    assert before.fingerprint == after.fingerprint
    assert policy(before, "b select").place != policy(after, "b select").place
    assert re.fullmatch(r"policies\.yaml:\d+", policy(before, "b select").place)


# --- what depends on the actual state


def actual(*, row_security: bool = False, force: bool = False, **more: Any) -> State:
    return State(switches={NOTES: Switches(NOTES, row_security, force)}, **more)


OPEN = f"tables: {{public.notes: {{clients: [{RULE}]}}}}"


@pytest.mark.parametrize("force", [False, True])
def test_row_security_goes_on_and_force_stays(force):
    """On for every covered table; FORCE as it was, or as the file asks."""
    for row_security in (False, True):
        state = lowered(OPEN, catalog(), actual(row_security=row_security, force=force))
        assert state.switches[NOTES] == Switches(NOTES, True, force)
    asked = OPEN.replace("{clients", "{force: true, clients")
    assert lowered(asked, catalog(), actual()).switches[NOTES].force


def test_as_before_only_where_row_security_was_off():
    """Where it was on, the app's policies decide, or nobody; under people rules there is none either."""
    assert as_before(NOTES).name in {p.name for p in lowered(OPEN, catalog(), actual()).policies.values()}
    assert "notes as before" not in names(lowered(OPEN, catalog(), actual(row_security=True)))
    people = OPEN.replace("{clients", '{people: [{allow: select, rows: "f"}], clients')
    assert "notes as before" not in names(lowered(people, catalog(), actual()))
    kept = actual(row_security=True, policies={(NOTES, as_before(NOTES).name): as_before(NOTES)})
    assert "notes as before" in names(lowered(OPEN, catalog(), kept))


def privileges(*held: tuple[str, str]) -> frozenset[Privilege]:
    return frozenset(Privilege(NOTES, role, privilege) for role, privilege in held)


def test_what_row_security_cannot_narrow_is_revoked():
    """TRUNCATE, TRIGGER, REFERENCES, MAINTAIN of token roles and PUBLIC; nothing of others, and no row privilege."""
    blind = [(r, p) for r in ("authenticated", "public") for p in ("TRUNCATE", "TRIGGER", "REFERENCES", "MAINTAIN")]
    others = [("authenticated", "SELECT"), ("authenticated", "DELETE"), ("service", "TRUNCATE"), ("public", "INSERT")]
    state = lowered(OPEN, catalog(), actual(privileges=privileges(*blind, *others)))
    assert state.revoked == privileges(*blind)
    assert state.privileges == privileges(*others)


def test_people_rules_keep_what_they_need():
    """And what was revoked comes back with a rule that needs it."""
    held = privileges(*(("authenticated", p) for p in ("SELECT", "INSERT", "UPDATE", "DELETE")))
    reading = 'tables: {public.notes: {people: [{allow: select, rows: "f"}]}}'
    state = lowered(reading, catalog(), actual(privileges=held))
    assert state.privileges == privileges(("authenticated", "SELECT"))
    writing = reading.replace("allow: select", "allow: [select, insert]")
    again = lowered(writing, catalog(), actual(privileges=state.privileges, revoked=state.revoked))
    assert again.privileges == privileges(("authenticated", "SELECT"), ("authenticated", "INSERT"))
    assert again.revoked == privileges(("authenticated", "UPDATE"), ("authenticated", "DELETE"))


@pytest.mark.parametrize("length", [40, 45, 50, 63])
def test_names_fit_and_differ(length):
    """At most 63 bytes each; long ones of one beginning differ."""
    made = [policy_name("t" * length + end) for end in (" select", " insert", " as before", " people select")]
    assert all(len(n.encode()) <= 63 for n in made)
    assert len(set(made)) == 4
    assert len(policy_name("ü" * 40).encode()) <= 63


# --- what the gate opens

SCOPES = ("a", "b", "c")
CONDITIONS = (
    e.TRUE,
    e.FALSE,
    e.Col("p"),
    e.Col("q"),
    e.conjunction((e.Col("p"), e.Col("q"))),
    e.disjunction((e.Col("q"), e.Col("r"))),
)
ROWS = [dict(zip("pqr", row, strict=True)) for row in itertools.product((True, False), repeat=3)]
CHECK = e.Col("r")
Rules = list[ResolvedRule]


@st.composite
def rules(draw: st.DrawFn) -> Rules:
    """Rules of one class; all update rules of it have one check."""
    made = []
    for _ in range(draw(st.integers(1, 6))):
        commands = frozenset(draw(st.sets(st.sampled_from(COMMANDS), min_size=1)))
        rows = draw(st.sampled_from(CONDITIONS))
        scopes = frozenset(draw(st.sets(st.sampled_from(SCOPES))))
        new_row = CHECK if "update" in commands else rows
        made.append(ResolvedRule(commands, ("helper",), scopes, rows, new_row, Span()))
    return made


def holds(expr: e.Expr, row: dict[str, bool]) -> bool:
    match expr:
        case e.Col(name):
            return row[name]
        case e.Logic(op, operands):
            return (all if op == "and" else any)(holds(o, row) for o in operands)
    return expr == e.TRUE


def opened(found: dict[str, list[list[Any]]], held: set[str]) -> int:
    """What mcp_rls.gate makes of its rules: the first entry all of whose scopes are held."""
    entries = found.get("helper", [])
    return next((n for n, *scopes in entries if set(scopes) <= held), 0)


def meant(mine: Rules, command: str, held: set[str], row: dict[str, bool]) -> tuple[bool, ...]:
    """What the design says of the old and the new row, for one that is both."""
    open_rules = [r for r in mine if r.scopes <= held]
    seen = any(holds(r.rows, row) for r in open_rules if "select" in r.commands)
    of = [r for r in open_rules if command in r.commands]
    rows, new = any(holds(r.rows, row) for r in of), any(holds(r.new_row, row) for r in of)
    return {"select": (seen,), "insert": (new,), "update": (seen and rows, seen and new), "delete": (seen and rows,)}[
        command
    ]


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(rules(), st.sampled_from(COMMANDS))
def test_every_token_meets_the_case_of_its_rules(mine, command):
    """For every set of scopes that a token may hold and every row, the case that is open says what its rules say."""
    table = ResolvedTable(NOTES, True, None, tuple(mine), False, False, Span())
    given_ = resolved("")
    found, cases = ceilings._cases(given_, table, command, ["helper"], Gate(given_.policies))
    for count in range(len(SCOPES) + 1):
        for held in map(set, itertools.combinations(SCOPES, count)):
            number = opened(found, held)
            for row in ROWS:
                wanted = meant(mine, command, held, row)
                given_case = tuple(holds(part, row) for part in cases[number - 1]) if number else (False,) * len(wanted)
                assert given_case == wanted or (command == "update" and not given_case[0] and not wanted[0]), (
                    held,
                    row,
                )


def test_cases_that_are_equal_are_one():
    """Two classes of one condition share a case; an entry that changes nothing isn't there."""
    text = """
tables:
  public.notes:
    clients:
      - {who: [helper, reader], allow: select, scope: "n:r", rows: "status = 'open'"}
      - {who: helper, allow: select, scope: "n:w", rows: "status = 'open'"}
      - {who: reader, allow: select, scope: "n:w", rows: "status = 'shut'"}
"""
    using = policy(lowered(text, catalog()), "notes select").using or ""
    found = re.search(r"'(\{.*\})'::jsonb", using)
    assert found is not None
    entries = json.loads(found[1])
    assert {tuple(x) for x in entries["helper"]} == {(1, "n:r"), (1, "n:w")}
    assert entries["reader"][0][1:] == ["n:r", "n:w"]
    assert using.count("when 1 then") == 1


_ASKED = r"\(current_user, '\{.*\}'::jsonb\)"
SOME = re.compile(rf"\(\(select nullif\(mcp_rls\.gate{_ASKED}, 0\)\) is not null\)")
_BY = _ASKED.replace("current_user", 'current_user collate "default"')
_HELD = rf"\(select mcp_rls\.held_\w+{_BY}\)"
HELD = re.compile(rf"\(nullif\(\((\w+ = {_HELD}|{_HELD} = \w+)\), false\) is not null\)")


def test_direct_sessions_first_and_closed_last():
    """Each ceiling is a CASE that is true for a direct session and false for what meets no case.

    Where nothing is asked of rows, it says that some case is open; an update's check may be what USING has left.
    """
    state = lowered(LONG, catalog("a", "b"))
    forms = {"case": 0, "some": 0, "true": 0}
    for p in state.policies.values():
        for text in (p.using, p.check):
            if p.permissive or text is None:
                continue
            if text == "true":
                assert (p.command, text is p.check) == ("update", True)
                forms["true"] += 1
            elif SOME.fullmatch(text) or (HELD.fullmatch(text) and p.command != "insert"):
                forms["some"] += 1
            else:
                assert text.startswith("case (select mcp_rls.gate(current_user, '")
                assert re.search(r"when -1 then true\b", text)
                assert re.search(r"else false\s+end$", text)
                forms["case"] += 1
    assert forms["case"] > 0 < forms["some"]


@pytest.mark.parametrize(
    ("people", "clients", "anchored"),
    [
        ("owner = token.person", "", True),
        ("token.person = owner and status = 'open'", "", True),
        ("status = 'open' and owner = token.person", ', scope: "n:r"', True),
        ("owner = token.person or status = 'open'", "", False),
        ("owner <> token.person", "", False),
        ("status = 'open'", "", False),
        ("owner = token.person", ", rows: \"status = 'open'\"", False),
    ],
)
def test_a_ceiling_repeats_the_equality_that_people_must_meet(people, clients, anchored):
    """With a value that only who is let in has; people's policy then has it once and plain, else twice, hardened."""
    state = lowered(
        f"""
tables:
  public.notes:
    people: [{{allow: select, rows: "{people}"}}]
    clients: [{{who: helper, allow: select{clients}}}]
""",
        catalog(),
    )
    ceiling, own = policy(state, "notes select").using, policy(state, "notes people select").using
    assert ceiling is not None
    assert own is not None
    assert bool(HELD.fullmatch(ceiling)) == anchored
    assert own.count("mcp_rls.person()") == own.count("owner")
    assert own.count("owner") == 1 or not anchored
    assert ("held_person" in {f.name for f in state.functions.values()}) == anchored


def test_diagnostics_of_reading_stay_errors():
    """A file with an unknown column isn't lowered at all."""
    policies, diagnostics = read_policies(
        "p.yaml", HEAD + 'tables: {public.notes: {clients: [{who: helper, allow: select, rows: "nope"}]}}'
    )
    assert policies is not None
    assert resolve(policies, catalog(), Diagnostics()) is None
    assert not diagnostics.has_errors


def test_policies_of_sessions_that_resolve_call_nothing_but_sets():
    """What reads settings, each known to `resolve`; the same cases are open, by another name where rules differ."""
    text = """
resolved: true
claims: {tenant: {claim: tenant, type: integer}}
sets: {mine: {type: integer, query: "select 1 where token.person is not null"}}
tables:
  public.notes:
    people: [{allow: [select, update, delete], rows: "owner = token.person"}, {allow: select, rows: "id in mine"}]
    clients: [{who: helper, allow: select, rows: "id = token.tenant"}, {who: helper, allow: update, scope: "n:w"}]
"""
    state = lowered(text, catalog())
    written = [part for p in state.policies.values() for part in (p.using, p.check) if part]
    calls = {call for part in written for call in re.findall(r"mcp_rls\.\w+\(", part)}
    readers = {"opened", "held_person"}
    assert calls == {f"mcp_rls.{name}(" for name in ("set_mine", *readers)}
    written += [f.definition for f in state.functions.values() if f.name in readers]
    read = {name for part in written for name in re.findall(r"'(mcp_rls\.\w+)'(?!\))", part)}
    assert {"mcp_rls.claims", "mcp_rls.open", "mcp_rls.person", "mcp_rls.claim_tenant"} <= read
    resolve_ = next(f for f in state.functions.values() if f.name == "resolve")
    set_ = resolve_.definition + next(f.definition for f in state.functions.values() if f.name == "entries")
    assert all(name.removeprefix("mcp_rls.") in set_ for name in read)
    assert resolve_.execute == ("public",)
    assert "resolve" not in {f.name for f in lowered(text.replace("resolved: true", ""), catalog()).functions.values()}
