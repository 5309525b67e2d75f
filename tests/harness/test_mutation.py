"""What mutants are made of, and what is said of them without a server: variants, proofs, what a policy needs, lines."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mcp_rls.catalog import Catalog, Column, ForeignPolicy, Function, Table, TableName
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import Condition, PolicySet
from mcp_rls.compiler.policy import read_policies
from mcp_rls.compiler.predicate import parse
from mcp_rls.compiler.raw import Names
from mcp_rls.compiler.resolve import resolve
from mcp_rls.diagnostics import Diagnostics
from mcp_rls.harness.mutation.ceiling import asked_of_client, sessions
from mcp_rls.harness.mutation.conditions import Known, variants
from mcp_rls.harness.mutation.domains import _listed
from mcp_rls.harness.mutation.mutant import Kind
from mcp_rls.harness.mutation.notation import Lines, Notation, mapping, scalar
from mcp_rls.harness.mutation.parents import needed_by
from mcp_rls.harness.mutation.proof import Domain, never, same
from mcp_rls.harness.mutation.readers import readers
from mcp_rls.harness.mutation.sets import without_a_test
from mcp_rls.harness.suite import Suite, read_suite

CLAIMS, SETS = frozenset({"tenant", "team"}), frozenset({"mine", "ours", "names"})
STATUS = Domain("text", ("open", "pending", "closed"), nullable=False)


def condition(text: str) -> e.Expr:
    found = Diagnostics()
    expr = parse(Condition(text), Names(CLAIMS, SETS), found)
    assert expr is not None, list(found)
    return expr


def kinds(text: str, known: Known | None = None) -> dict[str, Kind]:
    """The words of each variant."""
    return {v.words: v.kind for v in variants(condition(text), known or Known())}


# --- variants ---------------------------------------------------------------------------------------------------------


def test_each_part_is_dropped_negated_and_joined_otherwise():
    """A condition of two parts."""
    assert kinds("a and b = 1") == {
        "no longer asks for a and (b = 1)": Kind.CONDITION_DROPPED,
        "asks for one alone of: a, b = 1": Kind.AND_OR,
        "no longer asks for a": Kind.ATOM_DROPPED,
        "asks for not a instead of a": Kind.ATOM_NEGATED,
        "no longer asks for b = 1": Kind.ATOM_DROPPED,
        "asks for b <> 1 instead of b = 1": Kind.ATOM_NEGATED,
    }


def test_parts_of_an_or_inside_an_and_are_reached():
    """However deep a part stands."""
    found = kinds("a and (b is null or c > now())")
    assert found["asks for b is not null instead of b is null"] is Kind.ATOM_NEGATED
    assert found["asks for c >= now() instead of c > now()"] is Kind.COMPARISON
    assert found["no longer admits b is null"] is Kind.ATOM_DROPPED


def test_a_list_gets_longer_and_shorter():
    """By values that the column can hold; an equality is a list of one, which can't get shorter."""
    known = Known({"s": tuple(e.Lit(v, "string") for v in ("open", "closed", "spam"))})
    found = kinds("s in ('open', 'closed')", known)
    assert [w for w, k in found.items() if k is Kind.LIST_LONGER] == ["also admits s = 'spam'"]
    assert [w for w, k in found.items() if k is Kind.LIST_SHORTER] == [
        "no longer admits s = 'open'",
        "no longer admits s = 'closed'",
    ]
    assert Kind.LIST_SHORTER not in kinds("s = 'open'", known).values()


def test_a_claim_or_a_set_is_taken_for_another_of_its_type():
    """And for none of another type, which PostgreSQL wouldn't take."""
    known = Known(
        {}, {"person": "uuid", "client": "text", "tenant": "uuid"}, {"mine": "uuid", "ours": "uuid", "names": "text"}
    )
    assert [w for w, k in kinds("owner = token.person", known).items() if k is Kind.VALUE_SWAPPED] == [
        "asks for owner = token.tenant instead of owner = token.person"
    ]
    assert [w for w, k in kinds("org in mine", known).items() if k is Kind.VALUE_SWAPPED] == [
        "asks for org = any (ours) instead of org = any (mine)"
    ]


def test_no_variant_is_the_condition_itself_or_comes_twice():
    """Whatever the condition."""
    for text in ("a", "not a", "a = 1 and a = 1", "not (a and b)", "a in (1, 2) or a in (2, 1)", "a is not null"):
        expr = condition(text)
        found = [v.expr for v in variants(expr, Known())]
        assert expr not in found
        assert len(found) == len(set(found)) > 0
    assert not list(variants(e.TRUE, Known()))


# --- proofs -----------------------------------------------------------------------------------------------------------

DOMAINS = {
    "s": STATUS,
    "n": Domain("text", ("open", "closed"), nullable=True),
    "b": Domain("boolean", ("true", "false"), nullable=False),
    "c": Domain("boolean", ("true", "false"), nullable=True),
    "free": Domain("text", None, nullable=False),
    "i": Domain("number", None, nullable=False),
}
EQUAL = [
    ("s in ('open', 'pending', 'closed')", "true"),
    ("s <> 'open'", "s in ('pending', 'closed')"),
    ("s = 'spam'", "false"),
    ("not b", "b = false"),
    ("not b", "b is not true"),
    ("c is not false", "c or c is null"),
    ("n in ('open', 'closed')", "n is not null"),
    ("free in ('a', 'b') and free <> 'b'", "free = 'a'"),
    ("i in (1, 2) and i <> 2", "i = 1"),
    ("owner = token.person and s = 'open'", "s in ('open') and owner = token.person"),
    ("x > 1 or not (x > 1)", "x <= 1 or x > 1"),
    ("(a = 1) is true", "a = 1"),
]
OTHER = [
    ("n in ('open', 'closed')", "true"),  # NULL
    ("not c", "c is not true"),  # NULL
    ("free in ('a', 'b')", "true"),
    ("x > 1", "x >= 1"),
    ("x > 1 or not (x > 1)", "true"),  # NULL
    ("unknown = 'a'", "unknown in ('a', 'b')"),
    ("i = 1", "i = 1.0"),  # another spelling: not decided
    ("lower(s) = 'open'", "s = 'open'"),
    ("owner = token.person", "owner = token.tenant"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_conditions_that_hold_on_the_same_rows(one: str, other: str):
    """Proved from what the columns can hold."""
    assert same(condition(one), condition(other), DOMAINS)
    assert same(condition(other), condition(one), DOMAINS)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_is_not_proved_is_not_equal(one: str, other: str):
    """Because some row tells them apart, or because it isn't decided."""
    assert not same(condition(one), condition(other), DOMAINS)


def test_a_condition_that_no_row_meets():
    """By the values of a column; not by what isn't understood."""
    assert never(condition("s = 'open' and s = 'closed'"), DOMAINS)
    assert not never(condition("x > 1 and x < 0"), DOMAINS)


LISTS = {
    "CHECK ((status = ANY (ARRAY['open'::text, 'it''s'::text])))": ("open", "it's"),
    "CHECK (((status)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])))": ("a", "b"),
    "CHECK (((status = ANY (ARRAY['a'::text, 'b'::text])) OR (id > 1)))": None,
    "CHECK ((status <> ALL (ARRAY['a'::text, 'b'::text])))": None,
    "CHECK ((status = ANY (ARRAY[lower('A'::text), 'b'::text])))": None,
    "CHECK ((amount > 0))": None,
}


@pytest.mark.parametrize(("definition", "values"), LISTS.items())
def test_a_check_that_lists_values(definition: str, values: tuple[str, ...] | None):
    """As PostgreSQL prints it; one that says anything else lists none."""
    assert _listed(definition) == values


# --- ceilings ---------------------------------------------------------------------------------------------------------

POLICIES = """\
mcp_rls: 1
platform: postgres
schemas: [public]
identity: {person: {claim: sub, type: uuid}, client: {claim: client_id}, scopes: {claim: scope}, direct: no_client}
roles: [authenticated]
classes:
  assistant: {match: {ids: [the-assistant]}}
scopes:
  "notes:read": {text: Read}
  "notes:write": {text: Write, implies: ["notes:read"]}
tables:
  public.notes:
    clients:
      - {who: assistant, allow: select, scope: "notes:read", rows: "status = 'open'"}
      - {who: assistant, allow: delete, scope: "notes:write"}
"""


@pytest.fixture(scope="module")
def policies() -> PolicySet:
    found, diagnostics = read_policies("policies.yaml", POLICIES)
    assert found is not None, list(diagnostics)
    return found


def test_what_a_client_must_meet(policies: PolicySet):
    """By its scopes; a write carries what the class may see, and without it is closed."""
    resolved = resolve(policies, None, Diagnostics())
    assert resolved is not None
    (table,) = resolved.tables
    held = [scopes for _, scopes in sessions(policies, [table])]
    assert held == [frozenset(), frozenset({"notes:read"}), frozenset({"notes:read", "notes:write"})]
    asked = {len(scopes): asked_of_client(table, "delete", "assistant", scopes)[0] for scopes in held}
    assert asked == {0: e.FALSE, 1: e.FALSE, 2: condition("status = 'open'")}
    assert asked_of_client(table, "update", "assistant", held[-1])[0] == e.FALSE


# --- what a policy needs ----------------------------------------------------------------------------------------------

TICKETS, MEMBERS = TableName("public", "tickets"), TableName("public", "members")
EXISTS = "(EXISTS ( SELECT\n   FROM public.tickets t\n  WHERE (t.id = comments.ticket_id)))"
NEEDS = {
    EXISTS: {TICKETS},
    f"((author_id = ( SELECT app.person_id() AS person_id)) AND {EXISTS})": {TICKETS},
    "(org_id IN ( SELECT m.org_id\n   FROM public.members m\n  WHERE (m.note = ')'::text)))": {MEMBERS},
    f"((author_id = app.person_id()) OR {EXISTS})": set(),
    f"(NOT {EXISTS})": set(),
    "(NOT (org_id IN ( SELECT m.org_id\n   FROM public.members m)))": set(),
    "(EXISTS ( SELECT count(*) AS count\n   FROM public.tickets t))": set(),  # a row where there is none
    "(EXISTS ( SELECT 1\n   FROM public.tickets\n  WHERE (a = 1)\nUNION\n SELECT 1\n   FROM public.x))": set(),
    "(EXISTS ( SELECT\n   FROM (public.tickets t\n     LEFT JOIN public.members m ON (true))))": set(),
}  # fmt: skip


@pytest.mark.parametrize(("text", "needed"), NEEDS.items())
def test_tables_of_which_a_policy_needs_a_row(text: str, needed: set[TableName]):
    """A positive read that decides by itself; nothing else counts."""
    assert needed_by(text) == needed


def test_a_set_without_one_of_its_tests():
    """Each of those that are ANDed; a query of another shape is left alone."""
    query = "select org_id from public.members where user_id = token.person and role in ('a and b', 'c')"
    head = "select org_id from public.members where"
    assert dict(without_a_test(query)) == {
        f"{head} role in ('a and b', 'c')": "user_id = token.person",
        f"{head} user_id = token.person": "role in ('a and b', 'c')",
    }
    assert dict(without_a_test("select id from t where a = 1")) == {"select id from t where true": "a = 1"}
    for other in ("select id from t", "select id from t where a or b", "select id from t where a group by id"):
        assert not list(without_a_test(other))


def test_readers_are_found_through_others():
    """By policies, and by what a function's text names."""

    def table(name: str, *policies: ForeignPolicy) -> Table:
        return Table(TableName("public", name), "table", "me", (Column("id", "bigint"),), ("id",), policies=policies)

    def policy(on: str, *reads: str, functions: tuple[str, ...] = ()) -> ForeignPolicy:
        names = frozenset(TableName("public", name) for name in reads)
        return ForeignPolicy(TableName("public", on), "p", True, "all", ("public",), "x", None, names, functions)

    tables = (table("a"), table("b", policy("b", "a")), table("c", policy("c", functions=("app.f",))), table("d"))
    function = Function("app", "f", "sql", "select 1 from public.b")
    found = readers(Catalog(180000, "me", {t.name: t for t in tables}, {}, {"app.f": (function,)}), tables)
    assert {str(t).partition(".")[2]: sorted(n.name for n in names) for t, names in found.items()} == {
        "a": ["b", "c"],
        "b": ["c"],
        "c": [],
        "d": [],
    }


# --- lines ------------------------------------------------------------------------------------------------------------

VALUES: Mapping[str, object] = {
    "a": 1,
    "b": None,
    "c": True,
    "d": "plain",
    "e": "no",
    "f": "a: b, {c} # d",
    "g": "12",
    "h": "00000000-0000-4000-8000-00000000000a",
    "i": ["tickets:read", "x"],
    "j": {"k": ""},
    "l": "2026-01-01 00:00:00+00",
    "m": "0x1f",
}


def test_values_come_back_as_they_were(policies: PolicySet):
    """Written as YAML and read again."""
    line = mapping(VALUES)
    rest = "tokens: {ann: {}}\ncases: [{as: ann, select: public.notes, sees: []}]"
    text = f"fixtures: {{public.notes: [{line}]}}\n{rest}"
    suite, diagnostics = read_suite("cases.yaml", text, policies)
    assert suite is not None, list(diagnostics)
    assert dict(suite.fixtures[TableName("public", "notes")][0]) == VALUES
    assert scalar("the-name") == "the-name"


def test_lines_extend_a_suite(policies: PolicySet):
    """Fixtures, tokens and cases come after those that are there; what can't be read makes no suite."""
    text = "people: {ann: {sub: 00000000-0000-4000-8000-00000000000a}}\ntokens: {ann: {person: ann}}\n"
    suite, _ = read_suite("cases.yaml", f"{text}cases: [{{as: ann, select: public.notes, sees: []}}]", policies)
    assert isinstance(suite, Suite)
    notation = Notation(policies, suite)
    name = TableName("public", "notes")
    more = notation.extended(
        Lines(
            (),
            ((name, "{id: 1}"),),
            ("new: {person: ann, class: assistant}",),
            ("- {as: new, select: public.notes, sees: [1]}",),
        )
    )
    assert more is not None
    assert list(more.tokens) == ["ann", "new"]
    assert more.tokens["ann"] == suite.tokens["ann"]
    assert [case.number for case in more.cases] == [1, 2]
    assert more.fixtures[name] == ({"id": 1},)
    assert notation.extended(Lines(tokens=("new: {class: unheard-of}",))) is None
