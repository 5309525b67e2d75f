"""pytest: the fixtures `rls_server` and `rls`, and cases files as test items.

Until a fixture is used or an item runs, no database driver is imported and no server started.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mcp_rls.catalog import TableName
    from mcp_rls.compiler.model import PolicySet
    from mcp_rls.database.server import Server
    from mcp_rls.harness.api import Rls
    from mcp_rls.harness.coverage.result import Coverage
    from mcp_rls.harness.probes.kit.verdict import ProbeRun
    from mcp_rls.harness.run import Runner
    from mcp_rls.harness.suite import Case, Suite, TokenSpec
    from mcp_rls.harness.verdict import CheckResult
    from mcp_rls.harness.workshop import Project, Workshop

_IMAGE = "postgres:18"
_OPTIONS = {
    "policies": "policy file, sought beside the test and in the folders above it (default: policies.yaml)",
    "schema": "what makes the tables, beside the policy file: SQL files, or an alembic.ini (default: schema.sql)",
    "cases": "cases file whose people and fixtures `rls` starts with, beside the policy file; 'none' for none"
    " (default: cases.yaml)",
    "database": "URL of a PostgreSQL; one that has the tables already is used as it is, and nothing is committed",
    "postgres": "where else the server comes from: embedded (default), container, or container:IMAGE",
    "probes": "also try side channels and ways round, an item each: all, or names of probes (mcp-rls probe --list);"
    " with the word strict among them, what row security can't prevent fails too",
}
_HOSTILE = "also try tokens that come near each client's token of a cases file: an item for each"
_COV = "say which rules, scopes and conditions of the policy file no test decided by"
_UNDER = "fail if less than so many percent of them are covered; implies --rls-cov"
_SCORE = "also make the policies wrong, one place at a time, and fail if a cases file notices less than so many percent"
_NEAR, _TRIES = "rls_hostile_tokens", "rls_hostile_tries"
_WORKSHOP = pytest.StashKey["Workshop"]()
_COVERAGE: pytest.StashKey[list[Coverage]] = pytest.StashKey()  # of xdist's workers; at the end, all of it


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rls", "row-level security (mcp-rls)")
    group.addoption("--rls-hostile", action="store_true", default=None, help=_HOSTILE)
    parser.addini("rls_hostile", _HOSTILE, type="bool", default=False)
    group.addoption("--rls-cov", action="store_true", default=None, help=_COV)
    group.addoption("--rls-cov-fail-under", metavar="PCT", type=float, default=None, help=_UNDER)
    parser.addini("rls_cov", _COV, type="bool", default=False)
    parser.addini("rls_cov_fail_under", _UNDER, default=None)
    group.addoption("--rls-mutation-fail-under", metavar="PCT", type=float, default=None, help=_SCORE)
    parser.addini("rls_mutation_fail_under", _SCORE, default=None)
    for name, text in _OPTIONS.items():
        group.addoption(f"--rls-{name}", dest=f"rls_{name}", metavar=name.upper(), default=None, help=text)
        parser.addini(f"rls_{name}", text, default=None)


def pytest_configure(config: pytest.Config) -> None:
    text = "rls(fixtures=True): with fixtures=False, `rls` starts with empty tables; items of a cases file have it too"
    config.addinivalue_line("markers", text)
    _probes(config)  # a name that is none is told at once


def pytest_unconfigure(config: pytest.Config) -> None:
    workshop = config.stash.get(_WORKSHOP, None)
    if workshop is not None:
        workshop.close()


def pytest_report_header(config: pytest.Config) -> str:
    try:
        number = version("mcp-rls")
    except PackageNotFoundError:
        number = "(not installed)"
    database, container = _source(config)
    environment = os.environ.get("MCP_RLS_DATABASE_URL") and "the server of MCP_RLS_DATABASE_URL"
    given = "a given server" if database else f"container {container}" if container else environment
    return f"mcp-rls {number}: {_setting(config, 'policies')} on {given or 'an embedded PostgreSQL'}"


# --- settings ---------------------------------------------------------------------------------------------------------

_DEFAULTS = {"policies": "policies.yaml", "schema": "schema.sql", "cases": "cases.yaml"}


def _explicit(config: pytest.Config, name: str) -> str | None:
    given = config.getoption(f"rls_{name}")
    value = given if given is not None else config.getini(f"rls_{name}")
    return str(value) if value else None


def _flag(config: pytest.Config, name: str) -> bool:
    asked = config.getoption(f"rls_{name}")
    return bool(config.getini(f"rls_{name}") if asked is None else asked)


def _setting(config: pytest.Config, name: str) -> str:
    return _explicit(config, name) or _DEFAULTS[name]


def _source(config: pytest.Config) -> tuple[str | None, str | None]:
    """The URL of the database, and the image of the container, as far as they were named."""
    postgres = _explicit(config, "postgres") or "embedded"
    kind, _, image = postgres.partition(":")
    if kind not in ("embedded", "container"):
        raise pytest.UsageError(f"rls_postgres: expected embedded, container or container:IMAGE, found {postgres!r}")
    return _explicit(config, "database"), (image or _IMAGE) if kind == "container" else None


def _probes(config: pytest.Config) -> tuple[tuple[str, ...], bool]:
    """The probes that are asked for, and whether they are strict."""
    words = (_explicit(config, "probes") or "").replace(",", " ").split()
    if not words:
        return (), False
    from mcp_rls.harness.probes import names

    unknown = set(words) - {"all", "strict", *names()}
    if unknown:
        known = ", ".join(names())
        raise pytest.UsageError(f"rls_probes: there is no probe {min(unknown)!r}; all, strict, or some of {known}")
    named = () if "all" in words else tuple(name for name in names() if name in words)
    return named or names(), "strict" in words


def _policies_file(config: pytest.Config, near: Path) -> Path | None:
    """The policy file for a file in the folder `near`: there, or in the nearest folder above, up to the root."""
    name = _setting(config, "policies")
    folders = [near, *near.parents]
    if config.rootpath in folders:
        folders = folders[: folders.index(config.rootpath) + 1]
    folders += [config.invocation_params.dir]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _project(config: pytest.Config, policies: Path) -> Project:
    from mcp_rls.harness.workshop import Project

    named = _explicit(config, "schema")
    paths = [_beside(config, policies, name) for name in (named or _DEFAULTS["schema"]).split()]
    return Project(policies, tuple(p for p in paths if named is not None or p.is_file()))


def _beside(config: pytest.Config, policies: Path, name: str) -> Path:
    """The file beside the policy file, else below the root."""
    near = policies.parent / name
    return near if near.is_file() else config.rootpath / name


def _shown(path: Path) -> Path:
    """The path as messages should say it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _workshop(config: pytest.Config) -> Workshop:
    if _WORKSHOP not in config.stash:
        from mcp_rls.harness.workshop import Workshop

        config.stash[_WORKSHOP] = Workshop(*_source(config), coverage=_covers(config))
    return config.stash[_WORKSHOP]


def _foreseen() -> tuple[type[Exception], ...]:
    """Problems whose message is all that a person needs."""
    from mcp_rls.database.apply import Refused
    from mcp_rls.database.server import ServerError
    from mcp_rls.diagnostics import Invalid
    from mcp_rls.harness.session import CannotTest

    return (CannotTest, Invalid, Refused, ServerError)


# --- coverage ---------------------------------------------------------------------------------------------------------


def _covers(config: pytest.Config) -> bool:
    return _flag(config, "cov") or _least(config) is not None


def _least(config: pytest.Config, of: str = "cov") -> float | None:
    """The percent below which the run fails."""
    name = f"rls_{of}_fail_under"
    given = config.getoption(name)
    value = config.getini(name) if given is None else given
    try:
        return float(value) if value not in (None, "") else None
    except ValueError:
        raise pytest.UsageError(f"{name}: expected a number, found {value!r}") from None


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes what a worker of xdist gathered."""
    from mcp_rls.harness.coverage.result import from_document

    documents = getattr(node, "workeroutput", {}).get("rls_cov", [])
    node.config.stash.setdefault(_COVERAGE, []).extend(map(from_document, documents))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Brings together what was gathered; a worker hands it on, anything else fails when it is too little."""
    config = session.config
    if not _covers(config):
        return
    from mcp_rls.harness.coverage.result import merged

    workshop = config.stash.get(_WORKSHOP, None)
    gathered = [*config.stash.get(_COVERAGE, []), *(workshop.coverage() if workshop is not None else [])]
    if hasattr(config, "workeroutput"):
        config.workeroutput["rls_cov"] = [coverage.document() for coverage in gathered]
        return
    config.stash[_COVERAGE] = list(merged(gathered))
    if session.exitstatus == pytest.ExitCode.OK and _shortfalls(config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _shortfalls(config: pytest.Config) -> list[str]:
    """What is covered too little, in words; a run that met no policy covered none."""
    least, found = _least(config), config.stash.get(_COVERAGE, [])
    if least is None or config.option.collectonly:
        return []
    files = [f"{c.path}: less than {least:g} % is covered" for c in found if c.is_under(least)]
    return files if found or not least else ["no test acted as a token, so nothing is covered"]


def _tell_hostile(terminalreporter: Any) -> None:
    """How much was tried with tokens that come near valid ones, over all workers."""
    reports = [report for some in terminalreporter.stats.values() for report in some]
    told = [dict(getattr(report, "user_properties", ())) for report in reports if getattr(report, "when", "") == "call"]
    tokens, tries = (sum(one.get(name, 0) for one in told) for name in (_NEAR, _TRIES))
    if tokens:
        terminalreporter.write_line(f"rls hostile: {tokens:,} tokens that come near a valid one, {tries:,} tries")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    _tell_hostile(terminalreporter)
    found, shortfalls = config.stash.get(_COVERAGE, []), _shortfalls(config) if _covers(config) else []
    if not (found or shortfalls) or hasattr(config, "workerinput"):
        return
    from mcp_rls import report

    terminalreporter.section("row-level security coverage")
    for coverage in found:
        out = io.StringIO()
        report.write("coverage", "text", coverage, out)
        terminalreporter.write(out.getvalue())
    for shortfall in shortfalls:
        terminalreporter.write_line(f"FAIL {shortfall}", red=True)


# --- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def rls_server(pytestconfig: pytest.Config) -> Server:
    """The PostgreSQL server of this run: started when first used, one for each xdist worker."""
    __tracebackhide__ = True
    try:
        return _workshop(pytestconfig).server()
    except _foreseen() as problem:
        pytest.fail(str(problem), pytrace=False)


@pytest.fixture
def rls(request: pytest.FixtureRequest) -> Iterator[Rls]:
    """Tokens in a database that has the project's tables, its policies, and the fixtures of its cases file.

    All that a test does is rolled back.
    """
    __tracebackhide__ = True
    config = request.config
    policies = _policies_file(config, request.path.parent)
    if policies is None:
        pytest.fail(f"no {_setting(config, 'policies')} beside {request.path} or above it", pytrace=False)
    marker = request.node.get_closest_marker("rls")
    with_fixtures = marker is None or marker.kwargs.get("fixtures", True)
    from mcp_rls.harness.api import Rls

    workshop = _workshop(config)
    suite = None
    with ExitStack() as opened:
        try:
            cases = _starting_cases(config, policies)
            if cases is not None:
                suite = workshop.suite(cases, workshop.policies(policies))
            stage = opened.enter_context(workshop.stage(_project(config, policies)))
            if suite is not None and with_fixtures:
                stage.insert_fixtures(suite.fixtures, suite.span)
        except _foreseen() as problem:
            pytest.fail(str(problem), pytrace=False)
        yield Rls(stage, suite.people if suite is not None else {})


def _starting_cases(config: pytest.Config, policies: Path) -> Path | None:
    name = _setting(config, "cases")
    path = _beside(config, policies, name)
    if name == "none" or (_explicit(config, "cases") is None and not path.is_file()):
        return None
    return path


# --- cases files ------------------------------------------------------------------------------------------------------


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A cases file with a policy file; any other file of that name is somebody else's."""
    name = file_path.name
    if not (name == "cases.yaml" or name.endswith(("_cases.yaml", ".cases.yaml"))):
        return None
    policies = _policies_file(parent.config, file_path.parent)
    if policies is None:
        return None
    cases_file: CasesFile = CasesFile.from_parent(parent, path=file_path)
    cases_file.policies_path = policies
    return cases_file


class CasesFile(pytest.File):
    """One item for each case, and for each client token one a table for what no case allows."""

    policies_path: Path
    probed: ProbeRun | None = None  # what the probes found, once they ran

    def collect(self) -> Iterable[pytest.Item]:
        policies, suite = self._read()
        seen: dict[str, int] = {}
        for case in suite.cases:
            name = f"{case.title}: {case.expect}"
            seen[name] = seen.get(name, 0) + 1
            name += f" ({seen[name]})" if seen[name] > 1 else ""
            item: CaseItem = CaseItem.from_parent(self, name=name)
            item.case = case
            yield item
        yield from self._cells(policies, suite)
        least = _least(self.config, "mutation")
        if least is not None:
            score: ScoreItem = ScoreItem.from_parent(self, name=f"mutation score: at least {least:g} %")
            score.least = least
            yield score
        if _flag(self.config, "hostile"):
            yield from self._hostile(policies, suite)
        for name in _probes(self.config)[0]:
            probe: ProbeItem = ProbeItem.from_parent(self, name=f"probe {name}")
            probe.probe = name
            yield probe

    def _hostile(self, policies: PolicySet, suite: Suite) -> Iterable[pytest.Item]:
        """An item for each client token: what comes near it."""
        from mcp_rls.harness.token import is_client_token

        for token in suite.tokens.values():
            if is_client_token(policies, token):
                item: HostileItem = HostileItem.from_parent(self, name=f"{token.name}: nothing that comes near it")
                item.token, item.line = token.name, token.span.line
                yield item

    def _cells(self, policies: PolicySet, suite: Suite) -> Iterable[pytest.Item]:
        """Which tables there are is known to the database alone: those that no file names share an item."""
        from mcp_rls.harness.token import is_client_token

        named = {*policies.tables, *suite.fixtures, *(case.table for case in suite.cases)}
        tables = sorted(table for table in named if table.schema in policies.schemas)
        for token in suite.tokens.values():
            if is_client_token(policies, token):
                for table in tables:
                    yield CellsItem.of(self, token, f"{token.name} {table}: nothing else", table, frozenset())
                yield CellsItem.of(self, token, f"{token.name} other tables: nothing", None, frozenset(tables))

    def _read(self) -> tuple[PolicySet, Suite]:
        from mcp_rls.compiler.policy import load_policies
        from mcp_rls.harness.suite import load_suite

        policies, diagnostics = load_policies(_shown(self.policies_path))
        if policies is None:
            raise self.CollectError("\n".join(str(d) for d in diagnostics))
        suite, diagnostics = load_suite(_shown(self.path), policies)
        if suite is None:
            raise self.CollectError("\n".join(str(d) for d in diagnostics))
        return policies, suite


class NotHeld(Exception):
    """An expectation that didn't hold; the message is the whole report."""


class _Item(pytest.Item):
    """What both kinds of items share: a runner, and a message that needs no traceback."""

    line = 0

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_marker(pytest.mark.rls)

    def results(self, runner: Runner) -> Iterable[CheckResult]:
        raise NotImplementedError

    def runtest(self) -> None:
        workshop = _workshop(self.config)
        assert isinstance(self.parent, CasesFile), "items of a cases file are its children"
        runner = workshop.runner(_project(self.config, self.parent.policies_path), self.path)
        failures = [result.message for result in self.results(runner) if not result.passed]
        if workshop.server().kind == "given" and hasattr(self.config, "workerinput"):
            workshop.let_go()  # other workers wait for this database
        if failures:
            raise NotHeld("\n\n".join(failures))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, (NotHeld, *_foreseen())):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        # A description that ended the node id would be shown in its place, every dot turned into "::".
        return self.path, max(self.line - 1, 0), f"{self.name} (line {self.line})"


class CaseItem(_Item):
    case: Case

    @property
    def line(self) -> int:  # type: ignore[override]
        return self.case.span.line

    def results(self, runner: Runner) -> Iterable[CheckResult]:
        return [runner.case(self.case)]


class CellsItem(_Item):
    token: TokenSpec
    table: TableName | None  # None: every covered table but `others`
    others: frozenset[TableName]

    @classmethod
    def of(
        cls,
        parent: CasesFile,
        token: TokenSpec,
        name: str,
        table: TableName | None,
        others: frozenset[TableName],
    ) -> CellsItem:
        item: CellsItem = cls.from_parent(parent, name=name)
        item.token, item.table, item.others, item.line = token, table, others, token.span.line
        return item

    def results(self, runner: Runner) -> Iterable[CheckResult]:
        covered = [table.name for table in runner.stage.covered if table.name not in self.others]
        for table in [self.table] if self.table is not None else covered:
            yield from runner.cells(self.token, table)


class ScoreItem(_Item):
    """How much of what could be wrong with the policies the file notices."""

    least: float

    def runtest(self) -> None:
        from mcp_rls import report
        from mcp_rls.harness.mutation.score import mutation_score

        assert isinstance(self.parent, CasesFile), "items of a cases file are its children"
        workshop, project = _workshop(self.config), _project(self.config, self.parent.policies_path)
        policies = workshop.policies(project.policies)
        suite, connection = workshop.suite(self.path, policies), workshop.connection(project)
        workshop.let_go()
        score = mutation_score(connection, policies, suite)
        self.user_properties.append(("rls_mutation_score", score.shown))
        if score.exit_code(self.least):
            out = io.StringIO()
            report.write("mutants", "text", report.Assayed(score, workshop.server().description, self.least), out)
            raise NotHeld(f"mutation score {score.shown} %, less than {self.least:g} %\n\n{out.getvalue().rstrip()}")


class HostileItem(_Item):
    """What comes near one client token of the suite, in a transaction of its own."""

    token: str

    def runtest(self) -> None:
        from mcp_rls.harness.hostile import run_hostile

        assert isinstance(self.parent, CasesFile), "items of a cases file are its children"
        workshop = _workshop(self.config)
        project = _project(self.config, self.parent.policies_path)
        policies = workshop.policies(project.policies)
        connection, suite = workshop.connection(project), workshop.suite(self.path, policies)
        workshop.let_go()
        found = run_hostile(connection, policies, suite, [self.token])
        self.user_properties += [(_NEAR, found.variants), (_TRIES, found.tries)]
        if found.variants and not found.passed:
            told = ["\n".join([one.headline, *one.lines()]) for one in found.findings]
            raise NotHeld("\n\n".join(told) or found.sentence())


class ProbeItem(_Item):
    """One probe as every client token of the suite. All that are to run do so when the first one does, together."""

    probe: str

    def runtest(self) -> None:
        from mcp_rls import report

        assert isinstance(self.parent, CasesFile), "items of a cases file are its children"
        if self.parent.probed is None:
            self.parent.probed = self._run(self.parent)
        run = self.parent.probed.only(self.probe)
        if run.exit_code:
            out = io.StringIO()
            report.write("probes", "text", report.Probed(run, _workshop(self.config).server().description), out)
            raise NotHeld(out.getvalue().strip())

    def _run(self, file: CasesFile) -> ProbeRun:
        from mcp_rls.harness.probes import run_probes

        workshop, project = _workshop(self.config), _project(self.config, file.policies_path)
        policies = workshop.policies(project.policies)
        suite, connection = workshop.suite(self.path, policies), workshop.connection(project)
        chosen = [item.probe for item in self.session.items if isinstance(item, ProbeItem) and item.parent is file]
        workshop.let_go()
        return run_probes(connection, policies, suite, chosen, strict=_probes(self.config)[1])

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.name}, as every client token"
