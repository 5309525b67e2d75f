"""The matrix on a real server: right policies have no finding and nothing undecided, broken ones never pass."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from mcp_rls import report
from mcp_rls.catalog import TableName
from mcp_rls.cli import main
from mcp_rls.compiler.model import COMMANDS, PolicySet
from mcp_rls.compiler.policy import load_policies
from mcp_rls.database.apply import install
from mcp_rls.database.server import Server, open_server
from mcp_rls.harness.matrix import Matrix, Options, Verdict, run_matrix
from mcp_rls.harness.matrix.field import WORDS
from mcp_rls.harness.session import CannotTest
from mcp_rls.resources import bundled
from tests.postgres.matrix_cases import APP, APP_SCHEMA, LEAKS, STRICT, ZOO, ZOO_SCHEMA
from tests.postgres.scratch import Scratch, policies

pytestmark = pytest.mark.postgres

TEMPLATES = sorted(path.name for path in bundled("policy_templates").iterdir() if (path / "policies.yaml").exists())
HELP_DESK = bundled("policy_templates") / "help-desk"
GOLDEN = Path(__file__).parent / "golden" / "matrix"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for this file."""
    with open_server() as opened:
        yield opened


@pytest.fixture(scope="module")
def desk(server: Server) -> Iterator[tuple[psycopg.Connection[Any], PolicySet]]:
    """The help desk with its policies in force; tests change it in transactions that are rolled back."""
    with ExitStack() as stack:
        yield from opened(stack, server, "help-desk")


def opened(stack: ExitStack, server: Server, name: str) -> Iterator[tuple[psycopg.Connection[Any], PolicySet]]:
    folder = bundled("policy_templates") / name
    found, _ = load_policies(folder / "policies.yaml")
    assert found is not None
    url = stack.enter_context(server.scratch_database())
    connection = stack.enter_context(psycopg.connect(url, autocommit=True, prepare_threshold=None))
    connection.execute((folder / "schema.sql").read_bytes())
    install(connection, found)
    yield connection, found


def seen(matrix: Matrix) -> dict[str, str]:
    """For each token its row: 'si·d' for each table, in order."""
    letters = {Verdict.ALLOWED: str.upper, Verdict.CONDITIONAL: str.lower}
    rows = {}
    for number, principal in enumerate(matrix.principals):
        cells = [[matrix.at[number, table, command] for command in COMMANDS] for table in matrix.tables]
        words = ["".join(letters[c.verdict](c.command[0]) if c.verdict in letters else "·" for c in s) for s in cells]
        rows[principal.name] = " ".join(words)
    return rows


def broken(connection: psycopg.Connection[Any], found: PolicySet, statement: str) -> Matrix:
    """The matrix after one statement, which is undone."""
    with connection.transaction(force_rollback=True):
        connection.execute(statement.encode())
        return run_matrix(connection, found)


# --- what is right ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_as_its_file_says(name: str, server: Server) -> None:
    """No finding and nothing undecided, in the plain run and in the full one; each class may do something."""
    with ExitStack() as stack:
        for connection, found in opened(stack, server, name):
            matrix = run_matrix(connection, found, Options(full=True))
            assert matrix.findings == ()
            assert matrix.undecided == ()
            assert matrix.exit_code() == 0
            for class_name in found.classes:
                numbers = [n for n, p in enumerate(matrix.principals) if p.class_name == class_name]
                assert any(cell.got for cell in matrix.cells if cell.principal in numbers)


def test_what_the_help_desk_lets_whom_do(desk: tuple[psycopg.Connection[Any], PolicySet]) -> None:
    """A few rows by hand: comments, invoices, mcp_grants, members, oauth_apps, orgs, tickets."""
    rows = seen(run_matrix(*desk))
    assert rows["ann, the app itself"] == "SIUD SIUD SIUD SIUD S··· SIUD SIUD"
    assert rows["ann, assistant, tickets:write"] == "si·d ···· ···· S··· ···· S··· siu·"
    assert rows["ann, claude, tickets:write"] == "si·· ···· ···· S··· ···· S··· s···"
    assert rows["ann, partners, invoices:write"] == "···· s·u· ···· S··· ···· S··· ····"
    nothing = "···· ···· ···· ···· ···· ···· ····"
    for name in (
        "ann, assistant, consent dead by revoked_at",
        "ann, partners, registration dead by approved",
        "ann, claude, without consent",
        "assistant, no person",
        "ann, no class, unknown client, every scope",
        "no class, no token",
    ):
        assert rows[name] == nothing, name


def test_narrowed_through_another_table_is_no_finding(desk: tuple[psycopg.Connection[Any], PolicySet]) -> None:
    """Comments of a ticket that a client can't see are hidden by the app's own policy: that is said, and no more."""
    matrix = run_matrix(*desk)
    through = {cell.table: cell.through for cell in matrix.cells if cell.through}
    assert through == {TableName("public", "comments"): (TableName("public", "tickets"),)}


def test_nothing_is_left_behind(desk: tuple[psycopg.Connection[Any], PolicySet]) -> None:
    """No row, trigger or function, and the session is the login role's."""
    connection, found = desk
    look = (
        "select (select count(*) from public.tickets), (select count(*) from pg_trigger where tgname like '%mcp_rls%'),"
        " (select count(*) from pg_proc where proname like 'mcp_rls_%'), current_user = session_user"
    )
    run_matrix(connection, found)
    assert connection.execute(look).fetchone() == (0, 0, 0, True)


def test_text_and_json_of_the_help_desk(
    desk: tuple[psycopg.Connection[Any], PolicySet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the character, but for times and the server; of the JSON without the cells in which all is denied."""
    monkeypatch.setenv("COLUMNS", "120")  # the reader's width decides how many tables stand side by side
    matrix = run_matrix(*desk)
    for name in ("text", "json"):
        out = io.StringIO()
        report.write("matrix", name, report.Possible(matrix, "PostgreSQL"), out)
        written = re.sub(r'(in |"seconds": )\d+\.\d+', r"\g<1>0", out.getvalue().replace(str(HELP_DESK), "help-desk"))
        if name == "json":
            document = json.loads(written)
            document["cells"] = [cell for cell in document["cells"] if cell["verdict"] != "denied"]
            written = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        golden = GOLDEN / f"help-desk.{'txt' if name == 'text' else name}"
        if os.environ.get("MCP_RLS_REWRITE") == "1":
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(written, encoding="utf-8")
        assert written == golden.read_text(encoding="utf-8")


# --- what is broken ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_found(name: str, desk: tuple[psycopg.Connection[Any], PolicySet]) -> None:
    """With the table, the command, a token, a row, and a line of the policy file; and the exit code says no."""
    statement, table, command = LEAKS[name]
    matrix = broken(*desk, statement)
    leaks = [f for f in matrix.findings if (f.kind, f.table.name, f.command) == ("LEAK", table, command)]
    assert leaks, [f.headline for f in matrix.findings]
    assert leaks[0].rows
    assert leaks[0].span.path.endswith("policies.yaml")
    titles = {title for title, _ in leaks[0].facts}
    assert {"token", "expected", "fix"} <= titles
    assert titles & {"let in by", "policies"}
    assert matrix.exit_code() == 1


def test_every_way_to_a_row_is_tried(desk: tuple[psycopg.Connection[Any], PolicySet]) -> None:
    """With row security off each way lets somebody in, and the finding names it; with it on, TRUNCATE alone does."""
    granted, off = "grant truncate on public.comments to authenticated", "alter table public.comments disable row level"
    ways = {word for form, word in WORDS.items() if form != "do nothing"}  # which changes nothing in any case
    connection, found = desk
    for statement, expected in ((f"{granted}; {off} security", ways), (granted, {WORDS["truncate"]})):
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
            matrix = run_matrix(connection, found, Options(full=True))
        told = " ".join(finding.sentence for finding in matrix.findings)
        assert {word for word in ways if word in told} == expected


@pytest.mark.parametrize("name", STRICT)
def test_too_strict_is_found_and_explained(name: str, desk: tuple[psycopg.Connection[Any], PolicySet]) -> None:
    """Expected and denied: with the reason."""
    statement, table, command, words = STRICT[name]
    matrix = broken(*desk, statement)
    strict = [f for f in matrix.findings if (f.kind, f.table.name, f.command) == ("TOO STRICT", table, command)]
    assert strict, [f.headline for f in matrix.findings]
    assert words in "\n".join([strict[0].headline, *strict[0].lines()])
    assert not [f for f in matrix.findings if f.kind == "LEAK"]


@pytest.mark.parametrize("name", ["owner-rows", "tenant-members", "append-only-log"])
def test_no_policy_of_ours_is_missed(name: str, server: Server) -> None:
    """With any one of them dropped, or row security off on any table, the matrix isn't clean."""
    with ExitStack() as stack:
        for connection, found in opened(stack, server, name):
            listed = connection.execute(
                "select format('drop policy %I on %s', polname, polrelid::regclass) from pg_policy"
                " where starts_with(polname, 'mcp_rls: ') union all select format('alter table %s disable row level"
                " security', oid::regclass) from pg_class where relrowsecurity"
            ).fetchall()
            assert len(listed) > 6
            survivors = [s for (s,) in listed if broken(connection, found, s).exit_code() == 0]
            assert survivors == []


def test_what_no_row_could_show_is_undecided(desk: tuple[psycopg.Connection[Any], PolicySet]) -> None:
    """A table that takes no row: its people can't be tried, its clients only by the catalog; never a pass."""
    matrix = broken(*desk, "alter table public.oauth_apps add constraint never check (client_id is null) not valid")
    apps = [cell for cell in matrix.cells if cell.table.name == "oauth_apps" and cell.command == "select"]
    by_token = {matrix.principals[cell.principal].name: cell for cell in apps}
    assert by_token["ann, the app itself"].verdict is Verdict.UNDECIDED
    assert "never" in by_token["ann, the app itself"].why
    closed = by_token["ann, claude, tickets:write"]
    assert (closed.verdict, closed.why[:11]) == (Verdict.DENIED, "by catalog:")
    # bookkeeping apps can't be registered then, so nothing is said of them
    partner = next(c for c in matrix.cells if matrix.principals[c.principal].name == "ann, partners, invoices:read")
    assert partner.verdict is Verdict.UNDECIDED
    assert matrix.exit_code() == 2
    assert matrix.exit_code(allow_undecided=True) == 0


def test_a_table_with_too_many_rows_is_undecided(desk: tuple[psycopg.Connection[Any], PolicySet]) -> None:
    """Rows are tried one by one; a table that has thousands is for another tool, and is never called safe."""
    statement = (
        "insert into public.oauth_apps (client_id, name) select 'app ' || n, 'x' from generate_series(1, 2500) n"
    )
    matrix = broken(*desk, statement)
    cells = [c for c in matrix.cells if c.table.name == "oauth_apps" and c.verdict is Verdict.UNDECIDED]
    assert "too many" in cells[0].why


def test_an_error_decides_nothing(desk: tuple[psycopg.Connection[Any], PolicySet]) -> None:
    """An app's policy that ends in an error for everybody."""
    matrix = broken(*desk, "create policy odd on public.orgs as restrictive for select using (1 / (id - id) = 1)")
    whys = {cell.why for cell in matrix.undecided if cell.table.name == "orgs" and cell.command == "select"}
    assert any("division by zero" in why for why in whys)
    assert matrix.exit_code() != 0


def test_roles_that_row_security_does_not_bind_are_refused(desk: tuple[psycopg.Connection[Any], PolicySet]) -> None:
    """A token role that bypasses it, or owns a table: nothing would be shown."""
    connection, found = desk
    for statement in ("alter role authenticated bypassrls", "alter table public.orgs owner to authenticated"):
        with pytest.raises(CannotTest):
            broken(connection, found, statement)


# --- all sorts of tables ----------------------------------------------------------------------------------------------


def test_all_sorts_of_tables(scratch: Scratch) -> None:
    """Numbers for persons, claims, enumerations, domains, keys of two columns and of none, generated columns,
    partitions, arrays, times, prefixes: every condition is witnessed on both sides.
    """
    scratch.run(ZOO_SCHEMA)
    found = policies(ZOO)
    install(scratch.connection, found)
    matrix = run_matrix(scratch.connection, found, Options(full=True))
    assert [f.headline for f in matrix.findings] == []
    told = {(str(c.table), c.command, c.why) for c in matrix.undecided if matrix.principals[c.principal].class_name}
    assert told == set()
    rows = seen(matrix)
    tables = [str(table) for table in matrix.tables]
    agents = dict(zip(tables, rows["ann, agents, write extra"].split(), strict=True))
    assert agents["zoo.kinds"] == "s·u·"
    assert agents["zoo.tasks"] == "si·d"
    assert agents["zoo.notes"] == "s··d"
    assert agents["zoo.events"] == "si··"
    assert agents["zoo.memberships"] == "S···"
    assert agents["zoo.unlisted"] == "····"
    listed = dict(zip(tables, rows["ann, listed, read"].split(), strict=True))
    assert (listed["zoo.tenants"], listed["zoo.kinds"], listed["zoo.tasks"]) == ("s···", "s···", "····")


def test_an_app_with_users_of_its_own(scratch: Scratch) -> None:
    """Keys to users outside the covered schemas, a trigger that makes profiles, defaults from the claims, functions
    that hide what policies read: everything is witnessed, and a table that only a trigger writes is closed to all.
    """
    scratch.run(APP_SCHEMA)
    found = policies(APP)
    install(scratch.connection, found)
    matrix = run_matrix(scratch.connection, found, Options(full=True))
    assert (matrix.findings, matrix.undecided, matrix.exit_code()) == ((), (), 0)
    assert [str(table) for table in matrix.tables][:2] == ["public.audit", "public.docs"]
    rows = seen(matrix)
    assert rows["ann, the app itself"] == "···· SIUD S·U· SI·· SI··"
    assert rows["ann, writer, docs:write"] == "···· siu· S··· S··· S···"


def test_a_table_that_the_database_lacks_is_undecided(desk: tuple[psycopg.Connection[Any], PolicySet]) -> None:
    """What the file lists and nobody can try is never left out."""
    matrix = broken(*desk, "drop table public.invoices cascade")
    missing = [cell for cell in matrix.cells if cell.table.name == "invoices"]
    assert {(cell.verdict, cell.why) for cell in missing} == {
        (Verdict.UNDECIDED, "there is no such table in the database")
    }


def test_every_major_version_agrees(each_scratch: Scratch) -> None:
    """The same matrix, also where MERGE or the error-free cast to JSON is missing."""
    folder = bundled("policy_templates") / "tenant-members"
    found, _ = load_policies(folder / "policies.yaml")
    assert found is not None
    each_scratch.run((folder / "schema.sql").read_text())
    install(each_scratch.connection, found)
    matrix = run_matrix(each_scratch.connection, found, Options(full=True))
    assert matrix.exit_code() == 0
    assert seen(matrix)["ann, integrations, projects:write members:read"] == "s··· s··· siud"


# --- the command ------------------------------------------------------------------------------------------------------


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_the_command_needs_nothing_but_the_file(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables are those of schema.sql beside it; each format is written."""
    monkeypatch.delenv("MCP_RLS_DATABASE_URL", raising=False)
    text = run("matrix", HELP_DESK / "policies.yaml", "--database", server.url, "--schema", HELP_DESK / "schema.sql")
    assert "as the file says" in text.stdout
    assert "tries in" in text.stdout
    file = bundled("policy_templates") / "owner-rows" / "policies.yaml"
    page = run("matrix", file, "--database", server.url, "--format", "html")
    assert page.stdout.startswith("<!doctype html>")


def test_the_command_takes_a_database_as_it_is(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that drifted is judged, not refused: what isn't applied is told, and what leaks is found."""
    monkeypatch.delenv("MCP_RLS_DATABASE_URL", raising=False)
    folder = bundled("policy_templates") / "owner-rows"
    with server.scratch_database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute((folder / "schema.sql").read_bytes())
            found, _ = load_policies(folder / "policies.yaml")
            assert found is not None
            install(connection, found)
            connection.execute('drop policy "mcp_rls: notes select" on public.notes')
        result = run("matrix", folder / "policies.yaml", "--database", url, "--format", "json", code=1)
        assert "not applied to this database" in result.stderr
        document = json.loads(result.stdout)
        assert document["passed"] is False
        assert {f["kind"] for f in document["findings"]} == {"LEAK"}
        assert document["findings"][0]["line"] > 0


def test_undecided_is_no_answer(server: Server, tmp_path: Path) -> None:
    """Exit 2, unless it is let pass; and the text says why."""
    folder = bundled("policy_templates") / "owner-rows"
    schema = tmp_path / "schema.sql"
    text = (folder / "schema.sql").read_text()
    schema.write_text(text + "alter table public.api_keys add check (length(label) > 1000);\n")
    options = ("matrix", folder / "policies.yaml", "--database", server.url, "--schema", schema)
    undecided = run(*options, code=2)
    assert "UNDECIDED: public.api_keys" in undecided.stdout
    run(*options, "--allow-undecided")
