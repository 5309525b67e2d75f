"""What a person reads when something failed, of real failures: a golden text for each kind, to be read in the diff."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psycopg
import pytest

from mcp_rls import report
from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.policy import read_policies
from mcp_rls.database.apply import install
from mcp_rls.database.introspect import read_catalog
from mcp_rls.database.server import Server
from mcp_rls.harness.api import Rls, Token
from mcp_rls.harness.coverage.gathering import Gathering
from mcp_rls.harness.hostile import run_hostile
from mcp_rls.harness.matrix import run_matrix
from mcp_rls.harness.mutation.score import mutation_score
from mcp_rls.harness.probes import run_probes
from mcp_rls.harness.project import connected, require_installed, run_sql_file
from mcp_rls.harness.run import Runner, open_runner, run_suite
from mcp_rls.harness.session import CannotTest
from mcp_rls.harness.stage import open_stage
from mcp_rls.harness.suite import Suite, read_suite
from mcp_rls.harness.verdict import CheckResult
from mcp_rls.resources import bundled
from tests.postgres.message_cases import FAILING, GATES, MATRICES, NOTES, NOTES_CASES, NOTES_SCHEMA, REFUSALS, Failing

pytestmark = pytest.mark.postgres

DESK = bundled("policy_templates") / "help-desk"
GOLDEN = Path(__file__).parent / "golden" / "messages"
_NOW = re.compile(r"20\d\d-\d\d-\d\d(?: \d\d:\d\d:\d\d\.\d+\+00)?(?! 00)")
_TIMES = re.compile(r"\d+\.\d+ s\b|\d+ ms\b")
Connection = psycopg.Connection[Any]


def golden(name: str, found: str) -> None:
    """Holds a text to the one that is written down, but for the time of day."""
    found = _NOW.sub("<now>", found)
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("MCP_RLS_REWRITE") == "1":
        file.parent.mkdir(exist_ok=True)
        file.write_text(found, encoding="utf-8")
    assert found == file.read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="module")
def desk(server: Server) -> Iterator[Connection]:
    """The help desk, with its policies installed."""
    with server.scratch_database() as url, connected(url) as connection:
        run_sql_file(connection, DESK / "schema.sql")
        install(connection, policies_of())
        yield connection


def edited(name: str, *edits: tuple[str, str]) -> str:
    text = (DESK / name).read_text(encoding="utf-8")
    for old, new in edits:
        assert old in text, f"{name} no longer says {old!r}"
        text = text.replace(old, new)
    return text


def policies_of(*edits: tuple[str, str]) -> PolicySet:
    found, diagnostics = read_policies("policies.yaml", edited("policies.yaml", *edits))
    assert found is not None, list(map(str, diagnostics))
    return found


def suite_of(policies: PolicySet, failing: Failing) -> Suite:
    """The help desk's fixtures and tokens, and one case in a line of its own."""
    head = edited("cases.yaml", *failing.cases).partition("\ncases:\n")[0]
    case = failing.case or "as: ann, select: public.orgs, sees: [1, 3, 4]"
    found, diagnostics = read_suite("cases.yaml", f"{head}\ncases:\n  - {{{case}}}\n", policies)
    assert found is not None, list(map(str, diagnostics))
    return found


@contextmanager
def failing_runner(connection: Connection, failing: Failing) -> Iterator[Runner]:
    """The changed help desk; undone afterwards."""
    policies = policies_of(failing.policies)
    with connection.transaction(force_rollback=True):
        if failing.policies[0]:
            install(connection, policies)
        connection.execute(failing.sql.encode())
        with open_runner(connection, policies, suite_of(policies, failing)) as runner:
            yield runner


def failed(connection: Connection, failing: Failing) -> CheckResult:
    with failing_runner(connection, failing) as runner:
        if failing.cell is None:
            return runner.case(runner.suite.cases[0])
        token, table, command = failing.cell
        name = TableName.parse(table)
        assert name is not None, table
        (result,) = runner.cells(runner.suite.tokens[token], name, (command,))
        return result


@pytest.mark.parametrize("failing", FAILING, ids=[failing.name for failing in FAILING])
def test_a_failed_check(desk: Connection, failing: Failing) -> None:
    """Who, what, which row, who let it through or kept it, where the file says so, and what to change."""
    result = failed(desk, failing)
    assert not result.passed
    golden(failing.name, result.message + "\n")


# --- what isn't tried at all ------------------------------------------------------------------------------------------


def test_a_run_that_would_prove_nothing(desk: Connection) -> None:
    """Who acts wrongly, or what is missing, and what to do about it."""
    catalog, told = read_catalog(desk), []
    for refusal in REFUSALS:
        policies = policies_of()
        with desk.transaction(force_rollback=True):
            desk.execute(refusal.sql.encode())
            seen = None if "owner" in refusal.name else catalog
            with (
                pytest.raises(CannotTest) as raised,
                open_runner(desk, policies, suite_of(policies, refusal), seen),
            ):
                pass
        told.append(f"{refusal.name}\n{raised.value}\n")
    golden("refused-to-run", "\n".join(told))


def test_a_database_that_holds_something_else(desk: Connection) -> None:
    """Which changes are pending, and what brings them."""
    with desk.transaction(force_rollback=True):
        desk.execute('drop policy "mcp_rls: tickets select" on public.tickets')
        with pytest.raises(CannotTest) as raised:
            require_installed(desk, policies_of())
    golden("refused-something-else", f"{raised.value}\n")


def test_a_file_without_cases() -> None:
    """Neither a pass nor a run."""
    suite, diagnostics = read_suite("cases.yaml", "tokens:\n  ann: {}\ncases: []\n", policies_of())
    assert suite is None
    golden("refused-without-cases", "\n".join(map(str, diagnostics)) + "\n")


# --- assertions in Python ---------------------------------------------------------------------------------------------


@pytest.fixture
def rls(desk: Connection) -> Iterator[Rls]:
    """The help desk as a test in Python has it."""
    policies = policies_of()
    suite = suite_of(policies, Failing(""))
    with open_stage(desk, policies, read_catalog(desk), frozenset(policies.roles)) as stage:
        stage.insert_fixtures(suite.fixtures)
        yield Rls(stage, suite.people)


ASSERTIONS: dict[str, Callable[[Rls], object]] = {
    "sees": lambda rls: claude(rls).sees("public.tickets", [1, 5]),
    "sees-some": lambda rls: claude(rls).sees("public.invoices"),
    "sees-nothing": lambda rls: claude(rls).sees_nothing("public.tickets"),
    "refused": lambda rls: claude(rls).update("public.tickets", {"id": 1}, {"status": "spam"}).refused("policy"),
    "changes": lambda rls: claude(rls).delete("public.comments", {"id": 1}).changes(1),
    "succeeds": lambda rls: claude(rls).insert("public.invoices", {"org_id": 1, "amount_cents": 1}).succeeds(),
}


def claude(rls: Rls) -> Token:
    return rls.token(person="ann", client="https://claude.ai/oauth/desktop", scope="tickets:read")


@pytest.mark.parametrize("name", ASSERTIONS)
def test_an_assertion_of_the_fixture(rls: Rls, name: str) -> None:
    """The message of the same failure in a cases file, but for the file; another token may have acted since."""
    with pytest.raises(AssertionError) as raised:
        ASSERTIONS[name](rls)
    golden(f"assert-{name}", f"{raised.value}\n")


def test_a_bare_assert_tells_who_and_what(rls: Rls) -> None:
    """What pytest prints for `assert attempt.refused_by_policy`."""
    attempts = [claude(rls).select("public.tickets"), claude(rls).delete("public.comments", {"id": 1})]
    golden("assert-bare", "".join(f"{attempt!r}\n" for attempt in attempts))


# --- what the other runs say ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def notes(server: Server) -> Iterator[tuple[Connection, PolicySet, Suite]]:
    """One table, two tokens, and two cases, which hold."""
    policies, _ = read_policies("policies.yaml", NOTES)
    assert policies is not None
    suite, _ = read_suite("cases.yaml", NOTES_CASES, policies)
    assert suite is not None
    with server.scratch_database() as url, connected(url) as connection:
        connection.execute(NOTES_SCHEMA.encode())
        install(connection, policies)
        yield connection, policies, suite


def written(subject: report.Subject, value: object) -> str:
    out = io.StringIO()
    report.write(subject, "text", value, out)
    return _TIMES.sub("<time>", out.getvalue())


@pytest.mark.parametrize("name", MATRICES)
def test_findings_of_a_matrix(notes: tuple[Connection, PolicySet, Suite], name: str) -> None:
    """Each kind: who let it through or kept it, and what to change."""
    connection, policies, _ = notes
    with connection.transaction(force_rollback=True):
        connection.execute(MATRICES[name].encode())
        matrix = run_matrix(connection, policies)
    assert matrix.exit_code()
    found = written("matrix", report.Possible(matrix, "PostgreSQL"))
    golden(f"matrix-{name}", found[found.index("\n\n", found.index("S I U D:")) + 2 :])


@pytest.mark.parametrize("name", GATES)
def test_findings_about_hostile_tokens(notes: tuple[Connection, PolicySet, Suite], name: str) -> None:
    """What is odd about the token, and what it got, or which error."""
    connection, policies, suite = notes
    right, wrong = GATES[name]
    with connection.transaction(force_rollback=True):
        ours = "select pg_get_functiondef(oid) from pg_proc where pronamespace = 'mcp_rls'::regnamespace"
        texts = [text for (text,) in connection.execute(ours).fetchall() if right in text]
        assert len(texts) >= 2, "the gate, and who says the same"
        for text in texts:
            connection.execute(text.replace(right, wrong).encode())
        golden(f"hostile-{name}", written("hostile", run_hostile(connection, policies, suite)))


def test_what_a_probe_says(notes: tuple[Connection, PolicySet, Suite]) -> None:
    """The object, the hidden row, the token and the remedy."""
    connection, policies, suite = notes
    with connection.transaction(force_rollback=True):
        connection.execute("grant select on public.note_list to authenticated")
        run = run_probes(connection, policies, suite, ["unique", "views"])
    golden("probes", written("probes", report.Probed(run, "PostgreSQL")))


def test_what_survivors_say(notes: tuple[Connection, PolicySet, Suite]) -> None:
    """The line of the policy file, the token and row that would kill it, and the lines to add."""
    score = mutation_score(*notes)
    found = written("mutants", report.Assayed(score, "PostgreSQL", 90))
    golden("mutants", found[found.index("SURVIVED ") :])


def test_what_coverage_misses(notes: tuple[Connection, PolicySet, Suite]) -> None:
    """Each miss with the line of the policy file."""
    connection, policies, suite = notes
    gathering = Gathering(policies)
    run_suite(connection, policies, suite, watcher=gathering)
    golden("coverage", written("coverage", gathering.result()))


# --- formats for machines ---------------------------------------------------------------------------------------------

HOSTILE = "]]> <b> & \x01 %0A::error::"  # a policy's name, which is in the message


def leaking(notes: tuple[Connection, PolicySet, Suite], policy: str) -> report.Results:
    """A run in which a policy true of every row shows a hidden row."""
    connection, policies, suite = notes
    with connection.transaction(force_rollback=True):
        connection.execute(f'create policy "{policy}" on public.notes for select using (true)'.encode())
        return report.Results(run_suite(connection, policies, suite), suite, "PostgreSQL")


@pytest.mark.parametrize("name", ["text", "json", "github", "junit"])
def test_a_failure_in_each_format(notes: tuple[Connection, PolicySet, Suite], name: str) -> None:
    """The whole message, on its line of the cases file."""
    out = io.StringIO()
    report.write("results", name, leaking(notes, "debug"), out)
    found = re.sub(r'("seconds": |time=")[\d.]+', r"\g<1>0", _TIMES.sub("<time>", out.getvalue()))
    golden(f"format-{name}", found)


def test_a_message_arrives_whole_whatever_is_in_it(notes: tuple[Connection, PolicySet, Suite]) -> None:
    """JSON and JUnit give back the text, XML what it can hold of it; an annotation is one line with its place."""
    results = leaking(notes, HOSTILE)
    leaks = [one for one in results.result.failures if one.check.case is not None]
    assert leaks
    assert all(HOSTILE in one.message for one in leaks)
    texts = {name: io.StringIO() for name in ("json", "github", "junit")}
    for name, out in texts.items():
        report.write("results", name, results, out)
    checks = json.loads(texts["json"].getvalue())["checks"]
    by_line = {check["line"]: check["message"] for check in checks if check["case"]}
    elements = {e.get("line"): e for e in ElementTree.fromstring(texts["junit"].getvalue()).iter("testcase")}
    annotations = texts["github"].getvalue().splitlines()
    for one in leaks:
        line, column = one.check.span.line, one.check.span.column
        assert by_line[line] == one.message
        failure = elements[str(line)].find("failure")
        assert failure is not None
        assert failure.text == one.message.replace("\x01", "\ufffd")
        head = f"::error file=cases.yaml,line={line},col={column},title=LEAK::"
        (told,) = [found for found in annotations if found.startswith(head)]
        undone = told.removeprefix(head).replace("%0A", "\n").replace("%25", "%")
        assert undone == one.message.replace("\x01", "\\x01")
    assert all(line.startswith("::") for line in annotations)
