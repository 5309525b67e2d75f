"""The whole tool on a bundled example: checked, compiled, migrated with stock Alembic, and proven token by token."""

from __future__ import annotations

import io
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.syntax import Syntax
from rich.text import Text

from mcp_rls import report, sql
from mcp_rls.catalog import TableName
from mcp_rls.compiler.lower import lower
from mcp_rls.compiler.policy import read_policies
from mcp_rls.database.server import Progress, open_server
from mcp_rls.diagnostics import Invalid, Severity
from mcp_rls.plan import plan
from mcp_rls.report import counted
from mcp_rls.scaffold import make_project, templates
from mcp_rls.state import policy_name

if TYPE_CHECKING:
    from mcp_rls.compiler.model import PolicySet
    from mcp_rls.database.apply import Prepared
    from mcp_rls.database.waiting import Connection
    from mcp_rls.diagnostics import Diagnostics
    from mcp_rls.harness.verdict import SuiteResult

EXAMPLE = "help-desk"
_SHOWN = TableName("public", "tickets")  # the table whose rules and ceiling are shown
_WIDEST = 120


def run_demo(
    out: TextIO,
    *,
    database: str | None = None,
    container: str | None = None,
    progress: Progress | None = None,
    begun: float | None = None,
) -> int:
    """Shows each stage on `out` as it ends; the exit code. `begun`: what time.perf_counter() said at the start.

    Works in a temporary directory and a scratch database, and leaves neither behind. Raises what the stages raise.
    """
    from mcp_rls.harness.project import connected, run_sql_file

    page = _Page(out, time.perf_counter() if begun is None else begun)
    page.heading("a help desk, and what each agent may do in it")
    with ExitStack() as opened:
        with page.stage("started") as say:
            server = opened.enter_context(open_server(database, container=container, progress=progress))
            url = opened.enter_context(server.scratch_database())
            project = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="mcp-rls-demo-")))
            files = make_project(next(t for t in templates() if t.name == EXAMPLE), project)
            with connected(url) as connection:
                run_sql_file(connection, project / "schema.sql")
            made = f"a project of {counted(len(files), 'file')}, its schema.sql in a scratch database"
            say(f"{server.description}; {made}")
        return _stages(page, project, url)


def _stages(page: _Page, project: Path, url: str) -> int:
    from mcp_rls.harness.project import connected

    with connected(url) as connection:
        policies, prepared = _check(page, connection, project)
        _compile(page, policies, prepared, project)
        settled = _migrate(page, connection, url, project, policies)
        result = _prove(page, connection, project, policies)
    page.ending()
    return result.exit_code if settled else 1


# --- the stages -------------------------------------------------------------------------------------------------------


def _check(page: _Page, connection: Connection, project: Path) -> tuple[PolicySet, Prepared]:
    from mcp_rls.database.apply import prepare

    with page.stage("checked") as say:
        policies, diagnostics = read_policies("policies.yaml", _text(project / "policies.yaml"))
        if policies is None:
            raise Invalid(diagnostics)
        prepared = prepare(connection, policies)
        diagnostics.extend(prepared.diagnostics)
        rules = sum(len(policies.client_rules(table)) for table in policies.tables)
        people = sum(len(t.people) for t in policies.tables.values() if not isinstance(t.people, str))
        say(
            f"policies.yaml: {counted(len(policies.classes), 'class', 'classes')} of clients,"
            f" {counted(len(policies.scopes), 'scope')}, {counted(len(policies.sets), 'set')},"
            f" {counted(rules, 'rule')} for clients and {people} for people",
            f"{counted(len(prepared.resolved.tables), 'table')} in schema.sql: {_found(diagnostics)}",
        )
    return policies, prepared


def _found(diagnostics: Diagnostics) -> str:
    counts = [(s, sum(d.severity is s for d in diagnostics)) for s in sorted(Severity, reverse=True)]
    return ", ".join(counted(number, s.label) for s, number in counts if number) or "no errors, warnings or notes"


def _compile(page: _Page, policies: PolicySet, prepared: Prepared, project: Path) -> None:
    with page.stage("compiled") as say:
        desired = lower(prepared.resolved, prepared.actual)
        lines = sum(len(statement.splitlines()) for statement in plan(prepared.actual, desired).statements)
        ceilings = sum(not p.permissive for p in desired.policies.values())
        functions = len(desired.functions)
        say(
            f"{counted(len(desired.policies), 'policy', 'policies')}: {counted(ceilings, 'ceiling')} for clients,"
            f" {len(desired.policies) - ceilings} for people",
            f"{counted(functions, 'function')} in the schema mcp_rls; {counted(lines, 'line')} of SQL in all",
        )
    source = _text(project / "policies.yaml").splitlines()
    rules = [rule for rule in policies.client_rules(_SHOWN) if "select" in rule.commands]
    ceiling = desired.policies[_SHOWN, policy_name(f"{_SHOWN.name} select")]
    page.code("\n".join(source[rule.span.line - 1].strip() for rule in rules), "yaml")
    page.code(sql.create_policy(ceiling), "sql")


def _migrate(page: _Page, connection: Connection, url: str, project: Path, policies: PolicySet) -> bool:
    """Whether nothing is left to do afterwards."""
    from alembic import command
    from alembic.config import Config

    from mcp_rls.alembic_plugin import there_and_back, write_revision
    from mcp_rls.database.apply import prepare

    with page.stage("migrated") as say:
        config = Config(project / "alembic.ini", cmd_opts=Namespace(x=[f"url={url}"]))
        command.upgrade(config, "head")
        prepared = prepare(connection, policies)
        up, down = there_and_back(prepared.actual, prepared.desired)
        with redirect_stdout(io.StringIO()):  # Alembic says what it writes
            path = write_revision(project / "alembic.ini", "first policies", up, down, database=url)
        command.upgrade(config, "head")
        left = prepare(connection, policies).plan
        changes = counted(len(up.operations), "change")
        say(
            f"{changes} as an Alembic revision, with the way back: migrations/versions/{path.name}",
            "alembic upgrade head, then planned again: "
            + (f"{counted(len(left.operations), 'change')} still pending" if left else "nothing pending"),
        )
    return not left


def _prove(page: _Page, connection: Connection, project: Path, policies: PolicySet) -> SuiteResult:
    from mcp_rls.harness.run import run_suite
    from mcp_rls.harness.suite import read_suite

    with page.stage("proven") as say:
        suite, diagnostics = read_suite("cases.yaml", _text(project / "cases.yaml"), policies)
        if suite is None:
            raise Invalid(diagnostics)
        result = run_suite(connection, policies, suite)
        say(
            f"{counted(result.attempts, 'statement')} as {counted(len(suite.tokens), 'token')},"
            " each judged by a look past row security"
        )
    page.gap()
    page.results(report.Results(result, suite, "all in one transaction, rolled back"))
    return result


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


# --- what it looks like -----------------------------------------------------------------------------------------------


class _Page:
    """The terminal: a paragraph for each stage with the time that it took, and code and tables between."""

    def __init__(self, out: TextIO, begun: float) -> None:
        self.out = out
        self.console = report.console(out)
        self.width = min(self.console.width, _WIDEST)
        self.begun = self.marked = begun

    def heading(self, text: str) -> None:
        self.gap()
        self.line(Text.assemble(("mcp-rls demo", "bold"), f" · {text}"))
        self.line(Text("─" * self.width, "dim"))

    def gap(self) -> None:
        self.console.print()

    def line(self, text: Text) -> None:
        text.rstrip()
        self.console.print(text, soft_wrap=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[..., None]]:
        """Yields what takes the stage's lines, printed when it ends with the time since the one before."""
        said: list[str] = []

        def say(*lines: str) -> None:
            said.extend(lines)

        yield say
        now = time.perf_counter()
        took, self.marked = f"{now - self.marked:.2f} s", now
        lines = [Text(part.plain) for line in said for part in Text(line).wrap(self.console, self.width - 20)]
        self.gap()
        for number, line in enumerate(lines):
            line.pad_right(max(0, self.width - 20 - line.cell_len))
            head = (("✓ ", "bold green"), (f"{name:<10}", "bold")) if number == 0 else ("", " " * 12)
            self.line(Text.assemble(*head, line, (f"{took:>8}" if number == 0 else "", "dim")))

    def code(self, text: str, language: str) -> None:
        self.gap()
        coloured = Syntax(text, language, theme="ansi_dark", background_color="default").highlight(text)
        coloured.rstrip()
        for line in coloured.wrap(self.console, self.width - 12, no_wrap=False):
            self.line(Text.assemble(" " * 12, line))

    def results(self, results: report.Results) -> None:
        report.write("results", "text", results, self.out)

    def ending(self) -> None:
        self.gap()
        self.line(Text.assemble(("✓ ", "bold green"), f"{time.perf_counter() - self.begun:.1f} s in all."))
        self.line(Text(f"  To make it yours: mcp-rls init --template {EXAMPLE} my-help-desk"))
