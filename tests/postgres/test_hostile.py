"""Hostile tokens on a real server: right gates let none through, and each planted fault is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from mcp_rls.cli import main
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.policy import load_policies
from mcp_rls.database.apply import install
from mcp_rls.database.server import Server, open_server
from mcp_rls.harness.hostile import run_hostile
from mcp_rls.harness.matrix import Hostile, Options, run_matrix
from mcp_rls.harness.suite import Suite, load_suite
from mcp_rls.resources import bundled
from tests.postgres.scratch import Scratch, policies

pytestmark = pytest.mark.postgres
pytest_plugins = ["pytester"]

CALENDAR = bundled("policy_templates") / "self-registered-clients"
SCHEMA = """
create table public.notes (
  id integer primary key, owner uuid not null, tenant uuid, status text not null default 'open');
create table public.keys (id integer primary key, owner uuid not null);
grant select, insert, update, delete on public.notes, public.keys to authenticated, anon;
"""
POLICIES = """
mcp_rls: 1
platform: postgres
schemas: [public]
identity: {person: {claim: sub, type: uuid}, client: {claim: client_id}, scopes: {claim: scope}, direct: no_client}
roles: [authenticated, anon]
anonymous: [anon]
claims: {tenant: {claim: app.tenant, type: uuid}}
classes:
  helper: {match: {ids: [helper]}}
  by_url: {match: {client_id_url_prefix: "https://agents.example/"}}
scopes:
  "notes:read": {text: Read}
  "notes:write": {text: Write, implies: ["notes:read"]}
tables:
  public.notes:
    people: [{allow: [select, insert, update, delete], rows: "owner = token.person"}]
    clients:
      - {who: [helper, by_url], allow: select, scope: "notes:read", rows: "status = 'open'"}
      - {who: helper, allow: [insert, update, delete], scope: "notes:write", rows: "status = 'open'"}
  public.keys:
    people: [{allow: [select, insert, update, delete], rows: "owner = token.person"}]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for this file."""
    with open_server() as opened:
        yield opened


@pytest.fixture
def project(scratch: Scratch) -> tuple[Scratch, PolicySet]:
    """A small project with its policies in force."""
    scratch.run(SCHEMA)
    found = policies(POLICIES)
    install(scratch.connection, found)
    return scratch, found


def attacked(scratch: Scratch, found: PolicySet) -> Hostile:
    hostile = run_matrix(scratch.connection, found, Options(hostile=True)).hostile
    assert hostile is not None
    return hostile


def test_right_policies_let_none_through(project: tuple[Scratch, PolicySet]) -> None:
    """No finding, no note, and half of the denials are of rows that the valid token has."""
    hostile = attacked(*project)
    assert hostile.findings == ()
    assert hostile.notes == ()
    assert hostile.untwinned == ()
    assert hostile.variants > 250
    assert hostile.tries > 4 * hostile.variants
    assert hostile.twins > hostile.denials / 3
    assert hostile.exit_code == 0


# In mcp_rls.gate, what is written to what a careless author might have written.
FAULTS = {
    "the prefix is looked for anywhere": ("starts_with(v_client, 'https://agents.example/')",
        "strpos(v_client, 'https://agents.example/') > 0", "LEAK", "client_id is"),
    "the prefix ends before the slash": ("starts_with(v_client, 'https://agents.example/')",
        "starts_with(v_client, 'https://agents.example')", "LEAK", "longer host"),
    "the prefix in any case": ("starts_with(v_client, 'https://agents.example/')",
        "starts_with(lower(v_client), 'https://agents.example/')", "LEAK", "upper case"),
    "odd URLs are let pass": ("and v_client !~ ", "and v_client is distinct from ", "LEAK", "climbing out"),
    "scopes are folded": ("string_to_array((document ->> 'scope'), ' ')",
        "string_to_array(lower(document ->> 'scope'), ' ')", "LEAK", "scope is in upper case"),
    "scopes are cut at any blank": ("string_to_array((document ->> 'scope'), ' ')",
        r"regexp_split_to_array(document ->> 'scope', '\s+')", "LEAK", "scope is joined by"),
    "scopes are looked for by LIKE": ("string_to_array((document ->> 'scope'), ' ')",
        "case when document ->> 'scope' like '%notes:write%' then array['notes:write'] end",
        "LEAK", "scope is"),
    "an odd list of scopes is read": (
        ('''case when not jsonb_path_exists((document -> 'scope'), 'strict $[*] ? (@.type() != "string")') then'''
         " (document -> 'scope') end"), "(document -> 'scope')", "LEAK", "a list with"),
    "an empty client is none": ("when not (document ? 'client_id') then", "when v_client is null then",
        "LEAK", "client_id is"),
    "a client id is trimmed": ("convert_to(v_client, 'UTF8')", "convert_to(btrim(v_client), 'UTF8')",
        "LEAK", "client_id is with a blank"),
    "bad claims end in an error": ("exception when others then null;",
        "exception when no_data_found then null;", "ERROR", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, project: tuple[Scratch, PolicySet]) -> None:
    """One place of the gate is wrong: a token that shows it, and what is odd about that token."""
    scratch, found = project
    written, mistake, kind, words = FAULTS[name]
    definition = scratch.value("select pg_get_functiondef('mcp_rls.gate'::regproc)")
    assert written in definition, definition
    scratch.run(definition.replace(written, mistake))
    hostile = attacked(scratch, found)
    assert hostile.exit_code == 1
    headlines = [finding.headline for finding in hostile.findings]
    assert any(line.startswith(kind) and words in line for line in headlines), headlines[:9]


def test_errors_of_the_apps_own_are_told_apart(scratch: Scratch) -> None:
    """An app's policy that casts a malformed person ends in an error, ours away too: that is noted, and no finding."""
    scratch.run(SCHEMA)
    scratch.run(
        "alter table public.keys enable row level security; create policy theirs on public.keys using"
        " (owner = (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid)"
    )
    found = policies(POLICIES.partition("  public.keys:")[0])
    install(scratch.connection, found)
    hostile = attacked(scratch, found)
    assert hostile.findings == ()
    assert any("the app's own policies ended in an error" in note for note in hostile.notes)


def test_nothing_shown_is_no_pass(project: tuple[Scratch, PolicySet]) -> None:
    """Where nobody is let in to anything, a denial shows nothing."""
    scratch, found = project
    scratch.run("revoke all on public.notes, public.keys from authenticated, anon")
    hostile = attacked(scratch, found)
    assert (hostile.twins, hostile.passed, hostile.exit_code) == (0, False, 2)
    assert "nothing was shown" in hostile.sentence()


# --- suites -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def calendar(server: Server) -> Iterator[tuple[psycopg.Connection[Any], PolicySet, Suite]]:
    """The template self-registered-clients with its cases."""
    found, _ = load_policies(CALENDAR / "policies.yaml")
    assert found is not None
    suite, _ = load_suite(CALENDAR / "cases.yaml", found)
    assert suite is not None
    with (
        server.scratch_database() as url,
        psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection,
    ):
        connection.execute((CALENDAR / "schema.sql").read_bytes())
        install(connection, found)
        yield connection, found, suite


def test_a_suites_tokens_are_varied_on_its_fixtures(
    calendar: tuple[psycopg.Connection[Any], PolicySet, Suite],
) -> None:
    """All of its live clients, or those that are named; a fault is found, and the token is named."""
    everything = run_hostile(*calendar)
    assert (everything.findings, everything.exit_code) == ((), 0)
    names = [token.name for token in suite_of(calendar).tokens.values() if token.class_name or token.client]
    some = run_hostile(*calendar, names[:1])
    assert 50 < some.variants < everything.variants
    connection, found, suite = calendar
    with connection.transaction(force_rollback=True):
        row = connection.execute("select pg_get_functiondef('mcp_rls.gate'::regproc)").fetchone()
        assert row is not None
        mistake = row[0].replace("when not (document ? 'client_id') then", "when v_client is null then")
        connection.execute(mistake.encode())
        leaks = run_hostile(connection, found, suite, names[:1])
    assert {finding.kind for finding in leaks.findings} == {"LEAK"}
    assert all(finding.token.startswith(names[0]) for finding in leaks.findings)


def suite_of(calendar: tuple[psycopg.Connection[Any], PolicySet, Suite]) -> Suite:
    return calendar[2]


def test_the_commands_print_the_count(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """`test --hostile` and `matrix --hostile`, as text and within the one JSON document."""
    monkeypatch.delenv("MCP_RLS_DATABASE_URL", raising=False)
    for command, format_ in (("test", "json"), ("test", "text"), ("matrix", "text"), ("matrix", "json")):
        arguments = [command, CALENDAR / "policies.yaml", "--database", server.url, "--hostile", "--format", format_]
        result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        if format_ == "text":
            assert "tries: none got more than it should" in result.stdout
        else:
            assert json.loads(result.stdout)["hostile"]["tokens"] > 100


def test_pytest_has_an_item_for_each_client_token(pytester: pytest.Pytester, server: Server) -> None:
    """With --rls-hostile or its setting, and only then; the count is printed at the end."""
    for name in ("policies.yaml", "schema.sql", "cases.yaml"):
        Path(pytester.path / name).write_bytes((CALENDAR / name).read_bytes())
    options = ("-p", "no:cacheprovider", f"--rls-database={server.url}", "-k", "ann-tidy")
    plain = pytester.runpytest_subprocess(*options, "--collect-only")
    assert "comes near" not in plain.stdout.str()
    asked = pytester.runpytest_subprocess(*options, "--rls-hostile", "-v")
    asked.stdout.fnmatch_lines(["*ann-tidy: nothing that comes near it*PASSED*", "rls hostile: * tokens*, * tries"])
    pytester.makeini("[pytest]\nrls_hostile = true")
    assert "comes near" in pytester.runpytest_subprocess(*options, "--collect-only").stdout.str()
