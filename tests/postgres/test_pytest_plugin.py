"""The pytest plugin, run on projects of its own: fixtures, cases files as items, messages, and a light start."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from mcp_rls.database.server import open_server

pytestmark = pytest.mark.postgres
pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
ANN = "00000000-0000-4000-8000-00000000000a"
BOB = "00000000-0000-4000-8000-00000000000b"

POLICIES = """\
mcp_rls: 1
platform: postgres
schemas: [public]
identity: {person: {claim: sub, type: uuid}, client: {claim: client_id}, scopes: {claim: scope}, direct: no_client}
roles: [plugin_user]
classes:
  assistant: {match: {ids: [the-assistant]}}
scopes:
  "notes:read": {text: Read your notes}
tables:
  public.notes:
    people:
      - {allow: [select, insert, update, delete], rows: "owner = token.person"}
    clients:
      - {who: assistant, allow: select, scope: "notes:read", rows: "not secret"}
"""
SCHEMA = """\
do $$ begin
  create role plugin_user nologin;
exception when duplicate_object or unique_violation then null;
end $$;
create table public.notes (id int primary key, owner uuid not null, secret boolean not null default false);
create index on public.notes (owner);
create table public.plans (id int primary key);
grant select, insert, update, delete on public.notes, public.plans to plugin_user;
"""
CASES = f"""\
fixtures:
  public.notes:
    - {{id: 1, owner: {ANN}}}
    - {{id: 2, owner: {ANN}, secret: true}}
    - {{id: 3, owner: {BOB}}}
people: {{ann: {{sub: {ANN}}}, bob: {{sub: {BOB}}}}}
tokens:
  ann: {{person: ann}}
  ann-assistant: {{person: ann, class: assistant, scope: "notes:read"}}
cases:
  - {{as: ann, select: public.notes, sees: [1, 2]}}
  - {{as: ann-assistant, select: public.notes, sees: [1]}}
"""
TEST = """\
def test_assistant(rls):
    assistant = rls.token(person="ann", class_="assistant", scope="notes:read")
    assistant.sees("public.notes", [1])
    assert assistant.update("public.notes", {"id": 1}, {"secret": True}).hidden


def test_more_rows(rls):
    rls.fixtures({"public.notes": [{"id": 9, "owner": rls.people["ann"]}]})
    rls.token(person="ann").sees("public.notes", [1, 2, 9])


def test_the_rows_are_gone_again(rls):
    rls.token(person="ann").sees("public.notes", [1, 2])
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project like the one that `mcp-rls init` writes."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MCP_RLS_DATABASE_URL", raising=False)
    write(pytester, "policies.yaml", POLICIES)
    write(pytester, "schema.sql", SCHEMA)
    write(pytester, "cases.yaml", CASES)
    return pytester


def write(pytester: pytest.Pytester, name: str, text: str) -> None:
    (pytester.path / name).write_text(text, encoding="utf-8")


def run(project: pytest.Pytester, *arguments: str, alone: bool = False) -> pytest.RunResult:
    """A run of pytest in the project; `alone`: in a process of its own, which takes a second more."""
    installed = entry_points(group="pytest11", name="mcp_rls")
    plugin = [] if installed else ["-p", "mcp_rls.pytest_plugin"]
    arguments = (*plugin, "-p", "no:cacheprovider", "-W", "error", *arguments)
    return project.runpytest_subprocess(*arguments) if alone else project.runpytest_inprocess(*arguments)


def test_fixture_and_cases_pass(project: pytest.Pytester) -> None:
    """Tests in Python and both kinds of items: 2 cases, 1 table that the files name, 1 item for all others."""
    write(project, "test_it.py", TEST)
    result = run(project, "-v", alone=True)
    result.assert_outcomes(passed=3 + 2 + 2)
    result.stdout.fnmatch_lines(
        [
            "mcp-rls *: policies.yaml on an embedded PostgreSQL",
            "cases.yaml::ann-assistant select public.notes: sees [[]1] PASSED*",
            "cases.yaml::ann-assistant public.notes: nothing else PASSED*",
            "cases.yaml::ann-assistant other tables: nothing PASSED*",
            "test_it.py::test_assistant PASSED*",
        ]
    )


def test_workers_share_nothing(project: pytest.Pytester) -> None:
    """Under xdist each worker has a server of its own, and the same items pass."""
    write(project, "test_it.py", TEST)
    run(project, "-n", "2", alone=True).assert_outcomes(passed=7)


def test_a_failure_shows_the_facts_and_no_traceback(project: pytest.Pytester) -> None:
    """The same message for a case and for an assertion: token, rows, rule with its line, policies."""
    write(project, "cases.yaml", CASES.replace("public.notes, sees: [1]}", "public.notes, sees: [2]}"))
    write(
        project,
        "test_it.py",
        "def test_it(rls):\n"
        "    rls.token(person='ann', class_='assistant', scope='notes:read').sees_nothing('public.notes')\n",
    )
    result = run(project, "-rf")
    result.assert_outcomes(failed=2, passed=3)
    result.stdout.fnmatch_lines(
        [
            "LEAK: ann-assistant sees 1 row of public.notes that it must not see",
            "  token     ann-assistant: person ann, client the-assistant (class assistant), scope 'notes:read'*",
            "  expected  sees [[]2]",
            "  got       allowed: [[]1]",
            f"  row       1: owner={ANN} secret=false",
            '  let in by rule policies.yaml:15:9: assistant, scope notes:read, rows "not secret"',
            '            rule policies.yaml:13:9: people, rows "owner = token.person"',
            "  fix       narrow the rule at policies.yaml:15:*",
            "  if meant  sees: [[]1]",
            "  case      cases.yaml:12:5",
        ]
    )
    result.stdout.fnmatch_lines(["*AssertionError: LEAK: ann via assistant sees 1 row*", "*policies.yaml:15:9*"])
    result.stdout.no_fnmatch_line("*mcp_rls/harness/*")


def test_cells_find_what_no_case_allows(project: pytest.Pytester) -> None:
    """A rule more than the cases say fails the item of that table; a table that no file names has its own."""
    wider = POLICIES.replace("allow: select", "allow: [select, delete]")
    write(project, "policies.yaml", wider)
    result = run(project, "-rf")
    result.assert_outcomes(failed=1, passed=3)
    result.stdout.fnmatch_lines(
        ["LEAK: ann-assistant deletes 1 row of public.notes by a delete without WHERE, and no case allows it"]
    )


def test_an_unsound_project_is_an_error_and_never_a_pass(project: pytest.Pytester) -> None:
    """Unknown names, an empty file, a schema that doesn't run, a role that is missing: each is told in a line."""
    write(project, "cases.yaml", CASES.replace("as: ann-assistant", "as: ann-asistant"))
    result = run(project)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*error[[]unknown-token[]]*", '*did you mean "ann-assistant"*'])

    write(project, "cases.yaml", "tokens: {}\n")
    run(project).assert_outcomes(errors=1)

    write(project, "cases.yaml", CASES)
    write(project, "schema.sql", SCHEMA.replace("grant select", "gran select"))
    result = run(project)
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(["*schema.sql:8: the schema doesn't run*"])


def test_somebody_elses_cases_file_is_left_alone(pytester: pytest.Pytester) -> None:
    """Without a policy file a cases.yaml isn't ours."""
    write(pytester, "cases.yaml", "anything: {at: all}\n")
    write(pytester, "test_it.py", "def test_it():\n    pass\n")
    run(pytester).assert_outcomes(passed=1)


def test_settings(project: pytest.Pytester) -> None:
    """ini keys and options share their names; a marker asks for empty tables; extra cases files are found."""
    for name in ("policies.yaml", "schema.sql", "cases.yaml"):
        (project.path / "rules").mkdir(exist_ok=True)
        (project.path / name).rename(project.path / "rules" / name)
    (project.path / "rules" / "cases.yaml").rename(project.path / "rules" / "some_cases.yaml")
    project.makeini(
        "[pytest]\nrls_policies = rules/policies.yaml\nrls_cases = some_cases.yaml\n"
        "addopts = --strict-markers --strict-config\n"
    )
    (project.path / "tests").mkdir()
    write(
        project,
        "tests/test_it.py",
        "import pytest\n"
        "def test_fixtures(rls):\n    rls.token(person='ann').sees('public.notes', [1, 2])\n"
        "@pytest.mark.rls(fixtures=False)\n"
        "def test_none(rls):\n"
        "    rls.fixtures({'public.notes': [{'id': 1, 'owner': rls.people['bob']}]})\n"
        "    rls.token(person='bob').sees('public.notes', [1])\n",
    )
    run(project, "tests").assert_outcomes(passed=2)
    run(project, "rules").assert_outcomes(passed=4)
    run(project, "tests", "--rls-cases=none").assert_outcomes(failed=2)
    result = run(project, "tests", "--rls-postgres=nothing")
    assert result.ret != 0
    result.stderr.fnmatch_lines(["*expected embedded, container or container:IMAGE*"])


def test_a_given_database(project: pytest.Pytester) -> None:
    """An empty one is only a server; one with the tables must hold the policies; both ways nothing stays in it."""
    write(project, "test_it.py", TEST)
    with open_server() as server, server.scratch_database() as url:
        result = run(project, f"--rls-database={url}")
        result.assert_outcomes(passed=7)
        result.stdout.fnmatch_lines(["mcp-rls *: policies.yaml on a given server"])
        subprocess.run([sys.executable, "-c", _FILL, url, str(project.path / "schema.sql")], check=True, timeout=60)
        result = run(project, f"--rls-database={url}")
        result.assert_outcomes(failed=4, errors=3)
        result.stdout.fnmatch_lines(["*doesn't hold what *policies.yaml compiles to*"])
        apply = [sys.executable, "-c", _INSTALL, url, str(project.path / "policies.yaml")]
        subprocess.run(apply, check=True, timeout=60)
        run(project, f"--rls-database={url}", "-n", "2", alone=True).assert_outcomes(passed=7)
        subprocess.run([sys.executable, "-c", _IS_EMPTY, url], check=True, timeout=60)


_FILL = """
import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as conn:
    conn.execute(open(sys.argv[2], "rb").read())
"""
_INSTALL = """
import sys, psycopg
from pathlib import Path
from mcp_rls import install, load_policies
with psycopg.connect(sys.argv[1], autocommit=True) as conn:
    install(conn, load_policies(Path(sys.argv[2]))[0])
"""
_IS_EMPTY = """
import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as conn:
    assert conn.execute("select count(*) from public.notes").fetchone() == (0,)
"""


def test_the_plugin_starts_light(project: pytest.Pytester) -> None:
    """Neither loading the plugin nor collecting a cases file imports a driver or starts a server."""
    write(
        project,
        "test_it.py",
        "import sys\n"
        "def test_it():\n"
        "    heavy = {'psycopg', 'mcp_rls.database', 'mcp_rls.harness.run', 'testcontainers', 'alembic'}\n"
        "    assert not heavy & set(sys.modules)\n",
    )
    run(project, "-k", "test_it", alone=True).assert_outcomes(passed=1, deselected=4)
