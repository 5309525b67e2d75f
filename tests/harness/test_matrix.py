"""The matrix as far as it needs no server: spelling conditions, which tokens there are, values, and its reports."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from mcp_rls import report
from mcp_rls.catalog import Catalog, Column, Table, TableName
from mcp_rls.compiler.model import COMMANDS, PolicySet
from mcp_rls.compiler.policy import read_policies
from mcp_rls.diagnostics import Span
from mcp_rls.harness.matrix import Cell, Finding, Hostile, Matrix, Verdict
from mcp_rls.harness.matrix.conditions import atoms, conditions
from mcp_rls.harness.matrix.language import Binding, mentions_token, sets_in, spelled
from mcp_rls.harness.matrix.layout import noted_conditions
from mcp_rls.harness.matrix.people import cast
from mcp_rls.harness.matrix.principals import Principal, Principals
from mcp_rls.harness.matrix.result import Ruled, grouped
from mcp_rls.harness.matrix.values import candidates, plain

FILE = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated, anon]
anonymous: [anon]
identity: {direct: no_client}
claims: {tenant: {claim: app.tenant, type: integer}}
classes:
  helper: {match: {ids: [helper]}, consent: required}
  other: {match: {client_id_url_prefix: "https://agents.example/"}}
consent:
  table: public.grants
  columns: {person: user_id, client: client_id, scopes: scopes}
  where: "revoked_at is null and not frozen"
scopes:
  read: {text: Read}
  write: {text: Write, implies: [read]}
  send: {text: Send}
  pay: {text: Pay}
sets:
  mine: {type: bigint, query: "select id from public.orgs where owner = token.person"}
tables:
  public.notes:
    clients:
      - {who: helper, allow: select, scope: read, rows: "status in ('open', 'it''s') and org in mine"}
      - {who: helper, allow: [insert, update], scope: [write, send], rows: "size >= 3 or title like 'a%'"}
      - {who: other, allow: select, rows: "tenant = token.tenant"}
"""
BINDING = Binding("p'1", "c", (("tenant", "7"),))
NOTES = Table(
    TableName("public", "notes"),
    "table",
    "owner",
    (
        Column("id", "bigint", True, base_type="bigint"),
        Column("status", "text", True, base_type="text"),
        Column("org", "bigint", base_type="bigint"),
        Column("size", "integer", base_type="integer"),
        Column("title", "character varying(4)", True, base_type="character varying"),
        Column("tenant", "integer", base_type="integer"),
        Column("done", "boolean", base_type="boolean"),
    ),
    ("id",),
)
HOSTILE = "a<script>alert(1)</script>\x1b[31m\u202e&\"'"


@pytest.fixture(scope="module")
def policies() -> PolicySet:
    found, diagnostics = read_policies("policies.yaml", FILE)
    assert found is not None, [str(d) for d in diagnostics]
    return found


# --- conditions -------------------------------------------------------------------------------------------------------


def test_the_tokens_values_are_written_in(policies: PolicySet) -> None:
    """As typed constants, whatever they hold; a claim that is absent is NULL."""
    assert spelled(policies, "owner = token.person", BINDING) == "owner = ('p''1'::uuid)"
    assert (
        spelled(policies, "a = TOKEN.client and b = token.tenant", BINDING) == "a = ('c'::text) and b = ('7'::integer)"
    )
    assert spelled(policies, "b = token.tenant", Binding()) == "b = (null::integer)"


def test_strings_and_names_stay_as_they_are(policies: PolicySet) -> None:
    """Only the word token before a dot is the token, and only behind IN a word is a set."""
    for text in (
        "a = 'token.person in mine'",
        '"token.person" = 1',
        "x.token.person = 1",
        "mine = 1",
        "E'\\' token.person'",
    ):
        assert spelled(policies, text, BINDING) == text
    assert not mentions_token("a = 'token.person'")
    assert mentions_token("a = token.tenant", "tenant")
    assert not mentions_token("a = token.tenant", "person")


def test_a_set_becomes_its_query(policies: PolicySet) -> None:
    """With the token's values in it, NULLs dropped; `not in` stays what it is."""
    text = spelled(policies, "org not in mine", BINDING)
    assert text.startswith("org not in (select listed.member::bigint from (select id from public.orgs where owner =")
    assert "('p''1'::uuid)" in text
    assert "member is not null" in text
    assert sets_in(policies, "org in mine") == {"mine"}
    assert sets_in(policies, "mine in (1, 2)") == frozenset()


def test_atoms_know_whether_they_speak_of_the_row(policies: PolicySet) -> None:
    """Of the row itself, or of whose it is."""
    found = [atom for condition in conditions(policies, NOTES) for atom in atoms(policies, NOTES, condition)]
    assert [(atom.shown, atom.of_row) for atom in found] == [
        ("(status in ('open', 'it''s'))", True),
        ("(org = any (mine))", False),
        ("(size >= 3)", True),
        ("(title like 'a%')", True),
        ("(tenant = token.tenant)", True),
    ]


def test_values_are_what_conditions_compare_with_and_what_is_near(policies: PolicySet) -> None:
    """Constants and their neighbours, something else, and NULL where it may be."""
    wanted = noted_conditions(policies, NOTES)
    found = {c.name: candidates(c, wanted, ()) for c in NOTES.columns}
    assert found["status"] == ("'open'", "'it''s'", "'mcp-rls-other'")
    assert found["size"] == ("3", "3 - 1", "3 + 1", "null")
    assert found["title"] == ("'ax'", "'mcp-rls-other'")
    assert found["done"] == ("true", "false", "null")
    assert plain(NOTES.columns[4], 300) == "'x12c'"  # four characters, another in each row


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_scope_sets_are_those_that_make_a_difference(policies: PolicySet) -> None:
    """None, the useless, each that a rule needs, unions, one short of what is needed; the fullest at the end."""
    made = Principals(policies, cast(policies, Catalog(180000, "postgres")), {})
    assert made.scope_sets("helper") == ((), ("pay",), ("read",), ("send",), ("write",), ("write", "send"))
    assert made.scope_sets("other") == (("write", "send", "pay"), ())


def test_the_tokens_of_a_file(policies: PolicySet) -> None:
    """People, every class, and what comes near: without consent, dead, in another role, of no class, for no person."""
    made = Principals(policies, cast(policies, Catalog(180000, "postgres")), {"": ("revoked_at", "frozen")}).all()
    names = [principal.name for principal in made]
    for name in (
        "ann, the app itself",
        "the app itself, no token",
        "ann, helper, no scope",
        "bob, helper, write send",
        "ann, helper, without consent",
        "ann, helper, consent dead by revoked_at",
        "ann, helper, consent dead by frozen",
        "ann, helper, consent to write alone",
        "helper, no person",
        "ann, other, no scope, anon",
        "ann, no class, unknown client, every scope",
        "no class, no token",
    ):
        assert name in names, name
    assert len(set(names)) == len(names)
    full = next(p for p in made if p.name == "ann, helper, write send")
    assert json.loads(full.claims)["scope"] == "write send"
    assert [p.live for p in made if p.name in ("ann, helper, write send", "ann, helper, without consent")] == [
        True,
        False,
    ]


# --- what people see --------------------------------------------------------------------------------------------------


def matrix(**changes: Any) -> Matrix:
    """One table, a person who may all, and a client that may some, with everything that can be wrong."""
    table = TableName("public", HOSTILE)
    person = Principal("the app itself", "", "authenticated", "{}", "ann")
    client = Principal(HOSTILE, HOSTILE, "authenticated", HOSTILE, "ann", HOSTILE)
    rule = Ruled(HOSTILE, (HOSTILE,), Span("policies.yaml", 9, 3))
    cells = [Cell(0, table, command, Verdict.ALLOWED, 2, 2) for command in COMMANDS]
    cells += [
        Cell(1, table, "select", Verdict.CONDITIONAL, 2, 1, (rule,), through=(table,)),
        Cell(1, table, "insert", Verdict.UNDECIDED, why=HOSTILE),
        Cell(1, table, "update", Verdict.DENIED, 2, 0),
        Cell(1, table, "delete", Verdict.CONDITIONAL, 2, 1, (rule,)),
    ]
    leak = Finding("LEAK", HOSTILE, client.name, table, "delete", (HOSTILE,), (("row", (HOSTILE,)),), rule.span)
    hostile = Hostile(3, 9, 4, 2, (leak,), (HOSTILE,), (HOSTILE,))
    made = Matrix(HOSTILE, (person, client), (table,), tuple(cells), (leak,), (HOSTILE,), 9, 0.5, hostile)
    return replace(made, **changes)


def written(name: str, found: Matrix) -> str:
    out = io.StringIO()
    report.write("matrix", name, report.Possible(found, HOSTILE), out)
    return out.getvalue()


class Tags(HTMLParser):
    """The names of all tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)


def test_no_format_lets_a_name_steer_it() -> None:
    """Control characters are shown, and a page holds no tag that isn't ours."""
    for name in report.formats("matrix"):
        text = written(name, matrix())
        assert "\x1b" not in text
        assert name == "json" or "\u202e" not in text

    tags = Tags()
    tags.feed(written("html", matrix()))
    assert "script" not in tags.seen
    assert {"table", "span", "style"} <= tags.seen
    assert json.loads(written("json", matrix()))["findings"][0]["sentence"] == HOSTILE


def test_text_tells_letters_conditions_and_what_is_wrong() -> None:
    """Capitals for all, small for some, marks for what is undecided or not as the file says."""
    text = written("text", matrix())
    assert "SIUD" in text
    assert "s?·!" in text
    for word in ("Conditions", "narrowed by", "LEAK: ", "UNDECIDED: ", "line 9", "undecided", "✗"):
        assert word in text, word


def test_exit_codes() -> None:
    """A finding is the answer no; what is undecided is none, unless it is let pass; nothing tried is none either."""
    fine = matrix(findings=(), hostile=None)
    assert matrix().exit_code() == 1
    assert fine.exit_code() == 2
    assert fine.exit_code(allow_undecided=True) == 0
    decided = tuple(cell for cell in fine.cells if cell.verdict is not Verdict.UNDECIDED)
    assert matrix(findings=(), hostile=None, cells=decided).exit_code() == 0
    assert matrix(findings=(), hostile=None, cells=()).exit_code() == 2
    assert matrix(findings=(), hostile=Hostile(3, 9, 4, 0), cells=decided).exit_code() == 2


def test_findings_are_grouped() -> None:
    """Those of one kind, table and command are told once, with the names of the other tokens."""
    one = matrix().findings[0]
    others = [replace(one, token=name) for name in ("second", "third", "second")]
    assert grouped([one, *others, replace(one, command="insert")]) == [
        (one, ("second", "third")),
        (replace(one, command="insert"), ()),
    ]
