"""The commands that meet a database: plan, apply, revision, test, and what check and compile learn from one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import psycopg
import pytest
from click.testing import CliRunner, Result

from mcp_rls.cli import main
from mcp_rls.database.server import Server, open_server
from mcp_rls.resources import bundled
from mcp_rls.scaffold import make_project, templates

pytestmark = pytest.mark.postgres

ROOT = Path(__file__).parents[2]
TEMPLATE = bundled("policy_templates") / "help-desk"
POLICIES, SCHEMA, CASES = TEMPLATE / "policies.yaml", TEMPLATE / "schema.sql", TEMPLATE / "cases.yaml"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for this file."""
    with open_server() as opened:
        yield opened


@pytest.fixture
def database(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a database with the help desk's tables and nothing of ours; no other database is in reach."""
    monkeypatch.delenv("MCP_RLS_DATABASE_URL", raising=False)
    with server.scratch_database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SCHEMA.read_bytes())
        yield url


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


# --- plan and apply


def test_apply_brings_a_database_to_what_the_policies_say(database: str):
    """Pending before (exit 1), nothing pending after (exit 0), and applying again does nothing."""
    before = run("plan", POLICIES, "--database", database, code=1)
    assert re.search(r"^CLOSES public\.tickets: a ceiling .* \(ACCESS EXCLUSIVE\)$", before.stdout, re.MULTILINE)
    assert re.search(r"^→ \d+ changes \(\d+ OPENS, \d+ CLOSES\) pending in", before.stdout, re.MULTILINE)
    applied = run("apply", POLICIES, "--database", database)
    assert re.match(r"applied \d+ changes to PostgreSQL", applied.stdout)
    assert re.search(r"^mcp-rls: closes  public\.tickets: a ceiling", applied.stderr, re.MULTILINE)
    assert re.search(r"^mcp-rls:         note in the manifest what changed$", applied.stderr, re.MULTILINE)
    assert "nothing pending" in run("plan", POLICIES, "--database", database).stdout
    assert "nothing pending" in run("apply", POLICIES, "--database", database).stdout


def test_plan_reads_only(database: str):
    """The database has nothing of ours afterwards."""
    run("plan", POLICIES, "--database", database, "--sql", code=1)
    with psycopg.connect(database) as connection:
        found = connection.execute("select count(*) from pg_namespace where nspname = 'mcp_rls'").fetchone()
    assert found == (0,)


def test_plan_as_json_and_annotations(database: str):
    """The same operations in each format."""
    document = json.loads(run("plan", POLICIES, "--database", database, "--format", "json", code=1).stdout)
    annotations = run("plan", POLICIES, "--database", database, "--format", "github", code=1).stdout
    assert document["pending"] is True
    assert len(document["operations"]) == len(annotations.splitlines())
    assert {o["effect"] for o in document["operations"]} == {"opens", "closes", "neither"}


def test_apply_as_json_and_annotations(database: str):
    """What the plan said, as done; when it is run again, that nothing was to do."""
    planned = json.loads(run("plan", POLICIES, "--database", database, "--format", "json", code=1).stdout)
    applied = json.loads(run("apply", POLICIES, "--database", database, "--format", "json").stdout)
    assert applied["operations"] == planned["operations"]
    assert (planned["pending"], applied["pending"]) == (True, False)
    assert run("apply", POLICIES, "--database", database, "--format", "github").stdout == ""


def test_compiled_sql_is_a_plan_of_its_own(database: str):
    """The offline script, run by hand, leaves nothing to do but close the tables that it couldn't see."""
    script = run("compile", POLICIES).stdout
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(script.encode())
    left = json.loads(run("plan", POLICIES, "--database", database, "--format", "json", code=1).stdout)
    subjects = {o["subject"] for o in left["operations"]}
    assert any("public.oauth_apps" in subject for subject in subjects)
    assert not any("public.tickets" in subject for subject in subjects)


def test_compile_against_a_database_is_its_plan(database: str):
    """Run by hand, nothing is left; the way back leaves nothing of ours but row security."""
    with psycopg.connect(database, autocommit=True) as connection:
        up = run("compile", POLICIES, "--database", database).stdout
        down = run("compile", POLICIES, "--database", database, "--down").stdout
        connection.execute(up.encode())
        assert "nothing pending" in run("plan", POLICIES, "--database", database).stdout
        connection.execute(down.encode())
        found = connection.execute(
            "select array(select polname from pg_policy"
            " where polname like 'mcp\\_rls: %' and not polname like '%as before'),"
            " (select relrowsecurity from pg_class where oid = 'public.members'::regclass),"
            " exists(select from pg_namespace where nspname = 'mcp_rls')"
        ).fetchone()
    assert found == ([], True, False)


def test_apply_gives_up_when_a_table_is_locked(database: str):
    """Exit 2, and nothing is changed."""
    with psycopg.connect(database) as other:
        other.execute("lock table public.tickets in access share mode")
        result = run("apply", POLICIES, "--database", database, "--lock-timeout", "100ms", code=2)
    assert "lock" in result.stderr
    assert "ACCESS EXCLUSIVE" in run("plan", POLICIES, "--database", database, code=1).stdout


def test_a_lock_timeout_that_is_no_time_is_refused(database: str):
    """By PostgreSQL, in one line."""
    result = run("apply", POLICIES, "--database", database, "--lock-timeout", "soon", code=2)
    assert "lock_timeout" in result.stderr


def test_without_a_database_plan_makes_one_from_the_schema_beside_the_file(database: str):
    """In an embedded server, thrown away afterwards."""
    assert "schema.sql in PostgreSQL" in run("plan", POLICIES, code=1).stdout


# --- check and compile against a database


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """The help desk's policies with a column, a table and a type that don't exist."""
    text = POLICIES.read_text(encoding="utf-8")
    for right, mistake in (
        ("rows: \"status in ('open', 'pending', 'closed')\"", "rows: \"state in ('open', 'pending', 'closed')\""),
        ("public.comments:", "public.coments:"),
        ('rows: "org_id in my_orgs"', 'rows: "name in my_orgs"'),
    ):
        assert right in text
        text = text.replace(right, mistake, 1)
    file = tmp_path / "policies.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_database_shows_mistakes_that_the_file_alone_cannot(wrong: Path, database: str):
    """The nearest right name, and the place; without a database the file is sound."""
    run("check", wrong)
    for place in (["--database", database], ["--schema", str(SCHEMA)]):
        found = run("check", wrong, *place, code=1).stdout
        assert re.search(r'policies\.yaml:\d+:\d+: error\[unknown-column\] .*"state"', found)
        assert 'did you mean "public.comments"?' in found
    assert "unknown-table" in run("plan", wrong, "--database", database, code=1).stderr
    assert run("apply", wrong, "--database", database, code=1).stdout == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("create tabel public.t (id int);", r"schema\.sql:1: "),
        ("select 1;\n\nselect nothing;", r"schema\.sql:3: "),
        (None, "No such file"),
        (b"\xff\xfe", "schema.sql"),
    ],
)
def test_a_schema_file_that_does_not_run_is_named_with_its_line(
    text: str | bytes | None, expected: str, tmp_path: Path, database: str
):
    """Exit 2, no traceback."""
    file = tmp_path / "schema.sql"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert re.search(expected, run("check", POLICIES, "--schema", file, code=2).stderr)


def test_a_schema_file_is_never_loaded_into_a_given_database(database: str, tmp_path: Path):
    """With --schema the server is used for a scratch database."""
    extra = tmp_path / "extra.sql"
    extra.write_text("create table public.extra (id int);", encoding="utf-8")
    found = run("plan", POLICIES, "--database", database, "--schema", SCHEMA, "--schema", extra, code=1).stdout
    assert "public.extra: closed to clients" in found
    with psycopg.connect(database) as connection:
        assert connection.execute("select to_regclass('public.extra')").fetchone() == (None,)


# --- revision


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    make_project(next(t for t in templates() if t.name == "help-desk"), directory)
    return directory


def alembic(project: Path, database: str, *arguments: str, code: int = 0) -> str:
    """Alembic's own command line, in the project."""
    ran = subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=project, env={**os.environ, "MCP_RLS_DATABASE_URL": database},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == code, ran.stderr
    return ran.stdout + ran.stderr


def test_revision_writes_what_alembic_then_applies(project: Path, database: str):
    """Up: nothing pending, and no second revision. Down: refuses to open until told so, and leaves nothing of ours."""
    place = ["--database", database, "--config", str(project / "alembic.ini")]
    policies = project / "policies.yaml"
    early = run("revision", policies, "-m", "too early", *place, code=2)
    assert "alembic upgrade head" in early.stderr
    alembic(project, database, "upgrade", "head")
    written = Path(run("revision", policies, "-m", "first policies", *place).stdout.strip())
    assert written == project / "migrations" / "versions" / "0002_first_policies.py"
    alembic(project, database, "upgrade", "head")
    assert "no revision written" in run("revision", policies, "-m", "second", *place).stdout
    assert len(list((project / "migrations" / "versions").glob("*.py"))) == 2
    assert "mcp_rls_open=yes" in alembic(project, database, "downgrade", "base", code=255)
    alembic(project, database, "-x", "mcp_rls_open=yes", "downgrade", "base")
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "select exists(select from pg_namespace where nspname = 'mcp_rls'),"
            " (select count(*) from pg_policy where polname like 'mcp\\_rls: % select')"
        ).fetchone()
    assert found == (False, 0)


def test_revision_without_a_configuration_says_so(database: str, tmp_path: Path):
    """Exit 2."""
    result = run("revision", POLICIES, "-m", "x", "--database", database, "--config", tmp_path / "no.ini", code=2)
    assert "no such file" in result.stderr


# --- test


def test_the_cases_of_the_help_desk_hold(server: Server, monkeypatch: pytest.MonkeyPatch):
    """In text, JSON and JUnit the same; tokens that may do nothing stand under their own heading."""
    monkeypatch.setenv("MCP_RLS_DATABASE_URL", server.url)
    text = run("test", POLICIES).stdout
    assert "denied everything, as expected" in text
    assert re.search(r"^✓ .*cases\.yaml: (\d+) of \1 cases held, (\d+) of \2 unlisted cells denied", text, re.MULTILINE)
    document = json.loads(run("test", POLICIES, "--format", "json").stdout)
    suite = ElementTree.fromstring(run("test", POLICIES, "--format", "junit").stdout).find("testsuite")
    assert suite is not None
    assert document["passed"] is True
    assert int(suite.get("tests", "0")) == len(document["checks"])
    assert run("test", POLICIES, "--format", "github").stdout.startswith("::notice")


def test_the_files_of_the_folder_are_taken(server: Server, project: Path, monkeypatch: pytest.MonkeyPatch):
    """policies.yaml, and cases.yaml beside it, where neither is named."""
    monkeypatch.setenv("MCP_RLS_DATABASE_URL", server.url)
    monkeypatch.chdir(project)
    for more in ((), ("policies.yaml",), ("policies.yaml", "cases.yaml")):
        assert re.search(r"^✓ cases\.yaml: \d+ of \d+ cases held", run("test", *more).stdout, re.MULTILINE)
    (project / "cases.yaml").rename(project / "others.yaml")
    assert "cases.yaml" in run("test", code=2).stderr


def test_a_case_that_does_not_hold_exits_1(database: str, tmp_path: Path):
    """With what was seen and the rule's line; on a terminal the token's cell is marked."""
    run("apply", POLICIES, "--database", database)
    cases = tmp_path / "cases.yaml"
    text = CASES.read_text(encoding="utf-8")
    right = "- {as: ann-claude, select: public.tickets, sees: [1, 5, 6]}"
    assert right in text
    cases.write_text(text.replace(right, right.replace("[1, 5, 6]", "[1, 6]")), encoding="utf-8")
    failed = run("test", POLICIES, cases, "--database", database, code=1).stdout
    assert "LEAK: ann-claude sees 1 row of public.tickets" in failed
    assert "✗" in failed
    annotation = run("test", POLICIES, cases, "--database", database, "--format", "github", code=1).stdout
    assert re.search(r"^::error file=.*cases\.yaml,line=\d+,col=\d+,title=LEAK::", annotation, re.MULTILINE)


def test_a_database_without_the_policies_is_not_tested(database: str):
    """It would be about something else: exit 2."""
    assert "pending" in run("test", POLICIES, "--database", database, code=2).stderr


def test_cases_that_name_what_is_not_there_exit_1(database: str, tmp_path: Path):
    """All of it in one run."""
    cases = tmp_path / "cases.yaml"
    cases.write_text(
        CASES.read_text(encoding="utf-8").replace("as: bob,", "as: bobb,").replace("sees: [1, 3, 4]", "see: [1, 3, 4]"),
        encoding="utf-8",
    )
    result = run("test", POLICIES, cases, "--database", database, code=1)
    assert 'did you mean "bob"?' in result.stderr
    assert 'did you mean "sees"?' in result.stderr
    assert result.stdout == ""
