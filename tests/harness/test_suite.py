"""Cases files: what they become, and what is said of those that aren't right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mcp_rls.catalog import Catalog, Column, Table, TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.policy import read_policies
from mcp_rls.diagnostics import Diagnostics
from mcp_rls.harness.suite import Suite, load_suite, read_suite, show_value

POLICIES = """\
mcp_rls: 1
platform: postgres
schemas: [public]
identity:
  person: {claim: sub, type: uuid}
  client: {claim: client_id}
  scopes: {claim: scope}
  direct: no_client
roles: [authenticated]
claims:
  tenant: {claim: app_metadata.tenant_id, type: uuid}
classes:
  assistant: {match: {ids: [the-assistant]}}
scopes:
  "notes:read": {text: Read your notes}
tables:
  public.notes:
    clients:
      - {who: assistant, allow: select, scope: "notes:read", rows: "owner = token.person and tenant = token.tenant"}
"""
CASES = """\
fixtures:
  public.notes: [{id: 1, owner: 00000000-0000-4000-8000-00000000000a, body: hello}]
people: {ann: {sub: 00000000-0000-4000-8000-00000000000a}}
tokens:
  ann: {person: ann}
  ann-assistant: {person: ann, class: assistant, scope: "notes:read", consent: none}
  odd: {person: ann, client: some-client, scope: [a, b], claims: {tenant: t}, raw: {client_id: null}}
cases:
  - {as: ann, select: public.notes, sees: [1]}
  - {as: ann, insert: {public.notes: {id: 9, body: x}}, allowed: true}
  - {as: ann-assistant, insert: {public.notes: {id: 9}}, refused: policy}
  - {as: ann, update: {public.notes: {where: {id: 1}, set: {body: y}}}, changes: [1]}
  - {as: ann, delete: {public.notes: {}}, changes: [[1], {body: hello}]}
"""
CATALOG = Catalog(
    180006,
    "postgres",
    tables={
        TableName("public", "notes"): Table(
            TableName("public", "notes"),
            "table",
            "postgres",
            (Column("id", "bigint", True), Column("owner", "uuid"), Column("body", "text")),
            ("id",),
        )
    },
)


@pytest.fixture(scope="module")
def policies() -> PolicySet:
    found, diagnostics = read_policies("policies.yaml", POLICIES)
    assert found is not None, list(diagnostics)
    return found


def read(text: str, policies: PolicySet, catalog: Catalog | None = CATALOG) -> tuple[Suite | None, Diagnostics]:
    return read_suite("cases.yaml", text, policies, catalog)


def test_a_sound_file_becomes_a_suite(policies: PolicySet) -> None:
    """Names are resolved: people to subjects, tables to names, an absent role is left to the class."""
    suite, diagnostics = read(CASES, policies)
    assert suite is not None, list(diagnostics)
    assert len(diagnostics) == 0
    token = suite.tokens["ann-assistant"]
    assert (token.sub, token.class_name, token.role) == ("00000000-0000-4000-8000-00000000000a", "assistant", "")
    assert not token.consent
    assert suite.tokens["odd"].scope == ("a", "b")
    assert suite.tokens["odd"].raw == {"client_id": None}
    assert [case.expect.kind for case in suite.cases] == ["sees", "allowed", "refused", "changes", "changes"]
    assert suite.cases[3].title == "ann update public.notes where id=1 set body=y"
    assert (suite.cases[1].span.line, suite.cases[1].number) == (10, 2)


# One change to the sound file, and the one error that it makes: code, line, and a part of what is said.
WRONG = [
    ("person: ann}\n  ann-assistant", "person: anne}\n  ann-assistant", "unknown-person", 5, 'did you mean "ann"?'),
    ("class: assistant", "class: asistant", "unknown-class", 6, 'did you mean "assistant"?'),
    ("claims: {tenant: t}", "claims: {tenent: t}", "unknown-claim", 7, 'did you mean "tenant"?'),
    ("client: some-client", "client: c, class: assistant", "bad-value", 7, "a class or a client, not both"),
    ("consent: none", "consent: no", "wrong-type", 6, "expected 'none'"),
    ("consent: none", "consnt: none", "unknown-key", 6, 'did you mean "consent"?'),
    ("consent: none", "session: none", "bad-value", 6, "postgres has no table of sessions"),
    ("consent: none", "session: no", "wrong-type", 6, "expected 'none'"),
    ("consent: none", "role: anon", "unknown-role", 6, 'there is no role "anon"'),
    ("scope: [a, b]", "scope: 7", "wrong-type", 7, "expected a text or a list, found the number 7"),
    ("sub: 00000000-0000-4000-8000-00000000000a}}", "sub: ann}}", "bad-value", 3, "is a uuid, found 'ann'"),
    ("as: ann, select", "as: anna, select", "unknown-token", 9, 'did you mean "ann"?'),
    ("select: public.notes", "select: public.note", "unknown-table", 9, 'did you mean "public.notes"?'),
    ("select: public.notes", "select: notes", "unknown-table", 9, 'did you mean "public.notes"?'),
    ("select: public.notes", "select: auth.users", "unknown-table", 9, "doesn't cover the schema"),
    (
        "insert: {public.notes: {id: 9, body: x}}",
        "insert: {public.notes: {id: 9, boddy: x}}",
        "unknown-column",
        10,
        'did you mean "body"?',
    ),
    ("set: {body: y}", "set: {bdy: y}", "unknown-column", 12, 'did you mean "body"?'),
    ("where: {id: 1}", "wher: {id: 1}", "unknown-key", 12, 'did you mean "where"?'),
    ("set: {body: y}", "set: {}", "bad-value", 12, "`set` names no column"),
    ("sees: [1]", "changes: [1]", "bad-value", 9, "`changes` doesn't fit select"),
    ("sees: [1]", "sees: [1], refused: grant", "bad-value", 9, "found sees and refused"),
    ("sees: [1]", "refused: policy", "bad-value", 9, "write `sees: []`"),
    ("changes: [1]", "refused: polcy", "bad-value", 12, 'did you mean "policy"?'),
    (", sees: [1]", "", "missing-key", 9, "found nothing"),
    ("sees: [1]", "sees: 1", "wrong-type", 9, "expected a list, found the number 1"),
    ("sees: [1]", "sees: [[1, 2]]", "wrong-key", 9, 'a key of "public.notes" is (id); found 2 values'),
    ("allowed: true", "allowed: false", "bad-value", 10, "`refused: policy`"),
    (
        "select: public.notes",
        "select: public.notes, delete: {public.notes: {}}",
        "bad-value",
        9,
        "found select and delete",
    ),
    ("body: hello}]", "boddy: hello}]", "unknown-column", 2, 'did you mean "body"?'),
    ("fixtures:", "fixture:", "unknown-key", 1, 'did you mean "fixtures"?'),
]


@pytest.mark.parametrize(("before", "after", "code", "line", "says"), WRONG)
def test_one_mistake_is_one_error_in_its_place(
    policies: PolicySet, before: str, after: str, code: str, line: int, says: str
) -> None:
    """Each mistake has a code, its line, and either the nearest right name or what to write."""
    assert before in CASES
    suite, diagnostics = read(CASES.replace(before, after, 1), policies)
    assert suite is None
    found = [d for d in diagnostics if d.code == code and d.span.line == line]
    assert len(found) == 1, list(map(str, diagnostics))
    assert says in str(found[0])
    assert found[0].span.column > 0


def test_all_mistakes_come_out_in_one_run(policies: PolicySet) -> None:
    """Nine mistakes that don't hide each other are nine errors, in reading order."""
    text = CASES
    for before, after, *_ in (WRONG[0], WRONG[1], WRONG[2], WRONG[9], WRONG[22], WRONG[24]):
        text = text.replace(before, after, 1)
    suite, diagnostics = read(text, policies)
    assert suite is None
    assert len(diagnostics.errors) >= 5
    assert [d.span.line for d in diagnostics] == sorted(d.span.line for d in diagnostics)


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("fixtures:", "fixture:", "unknown-key"),
        ("tokens:", "toekns:", "unknown-key"),
        ("people:", "peple:", "unknown-key"),
        ("people: {ann: {sub: 00000000-0000-4000-8000-00000000000a}}", "people: 7", "wrong-type"),
    ],
)
def test_a_mistake_in_one_section_hides_none_elsewhere(policies: PolicySet, before: str, after: str, code: str) -> None:
    """And nothing is said of what may stand in the section that can't be read."""
    assert before in CASES
    text = CASES.replace(before, after, 1).replace("changes: [1]}", "change: [1]}")
    suite, diagnostics = read(text, policies, None)
    assert suite is None
    assert [(d.code, d.span.line) for d in diagnostics if d.span.line == 12] == [("unknown-key", 12)]
    assert sorted(d.code for d in diagnostics) == sorted([code, "unknown-key"])


def test_a_misspelt_list_of_cases_is_not_called_empty(policies: PolicySet) -> None:
    suite, diagnostics = read(CASES.replace("cases:", "case:"), policies)
    assert suite is None
    assert [d.code for d in diagnostics] == ["unknown-key"]


def test_a_session_that_nothing_asks_for_is_no_part_of_a_token_yet(policies: PolicySet) -> None:
    """On a platform that has sessions the error says that they aren't supported, not that there are none."""
    supabase = replace(policies, platform="supabase")
    assert read(CASES, supabase)[0] is not None
    suite, diagnostics = read(CASES.replace("consent: none", "session: none"), supabase)
    assert suite is None
    assert [(d.code, d.span.line, d.span.column) for d in diagnostics] == [("not-yet", 6, 71)]


def test_a_file_without_a_clients_token_is_warned_of(policies: PolicySet) -> None:
    """It is a suite all the same; with one such token there is no warning, however it comes to be a client's."""
    own = "people: {ann: {sub: 00000000-0000-4000-8000-00000000000a}}\ntokens:\n  ann: {person: ann}\n"
    case = "cases: [{as: ann, select: public.notes, sees: []}]\n"
    suite, diagnostics = read(own + case, policies)
    assert suite is not None
    assert [(d.code, d.severity.label, d.span.line) for d in diagnostics] == [("no-client-token", "warning", 2)]
    for token in ("{client: somebody}", "{person: ann, class: assistant}", '{raw: "no claims"}'):
        suite, diagnostics = read(f"{own}  other: {token}\n{case}", policies)
        assert suite is not None
        assert list(diagnostics) == []


@pytest.mark.parametrize("text", ["", "# nothing\n", "cases: []\n", "tokens: {}\n", "people: {}\ncases:\n"])
def test_a_file_without_cases_is_an_error(policies: PolicySet, text: str) -> None:
    """Nothing to show is never a pass."""
    suite, diagnostics = read(text, policies)
    assert suite is None
    assert diagnostics.has_errors


@pytest.mark.parametrize("text", ["[1, 2]", "just a text", "cases: 3", "tokens: [a]", "fixtures: {public.notes: {}}"])
def test_a_wrong_shape_is_an_error_and_no_crash(policies: PolicySet, text: str) -> None:
    suite, diagnostics = read(text, policies)
    assert suite is None
    assert "wrong-type" in {d.code for d in diagnostics}


def test_without_a_catalog_columns_are_left_to_the_run(policies: PolicySet) -> None:
    """The same misspelt column is found once there is a catalog."""
    text = CASES.replace("set: {body: y}", "set: {bdy: y}")
    assert read(text, policies, None)[0] is not None
    assert read(text, policies)[0] is None


def test_a_missing_file_is_an_error(policies: PolicySet, tmp_path: Path) -> None:
    suite, diagnostics = load_suite(tmp_path / "cases.yaml", policies)
    assert suite is None
    assert [d.code for d in diagnostics] == ["file-unreadable"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [("open", "open"), ("two words", "'two words'"), ("", "''"), ("a\nb", r"'a\nb'"), (None, "null")],
)
def test_a_value_is_shown_on_one_line(value: object, shown: str) -> None:
    """What a row holds can't look like a further line of a message."""
    assert show_value(value) == shown
