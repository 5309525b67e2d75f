"""What can be run of a cases file, each kind an item of its own."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from mcp_rls.pytest_plugin import options, servers
from mcp_rls.pytest_plugin.reports import BY_GRANT, HOSTILE_TOKENS, HOSTILE_TRIES

if TYPE_CHECKING:
    from mcp_rls.catalog import TableName
    from mcp_rls.compiler.model import PolicySet
    from mcp_rls.harness.probes.kit.verdict import ProbeRun
    from mcp_rls.harness.run import Runner
    from mcp_rls.harness.session import Connection
    from mcp_rls.harness.suite import Case, Suite, TokenSpec
    from mcp_rls.harness.verdict import CheckResult
    from mcp_rls.harness.workshop import Workshop

_PROBED = pytest.StashKey["ProbeRun"]()  # of a cases file: what its probes found, once they ran


class NotHeld(Exception):
    """An expectation that didn't hold; the message is the whole report."""


class CasesItem(pytest.Item):
    """What all kinds share: a project, a line of the cases file, and a message that needs no traceback."""

    policies: Path
    line: int

    @classmethod
    def of(cls, parent: pytest.File, policies: Path, name: str, line: int = 0, **facts: Any) -> Self:
        """An item of the file `parent`; `facts` are what its kind declares."""
        item: Self = cls.from_parent(parent, name=name)
        item.policies, item.line = policies, line
        vars(item).update(facts)
        item.add_marker(pytest.mark.rls)
        return item

    @property
    def workshop(self) -> Workshop:
        return servers.workshop(self.config)

    def database(self) -> tuple[Connection, PolicySet, Suite]:
        """An idle connection to the project's database, and what is tried there."""
        workshop, project = self.workshop, servers.project(self.config, self.policies)
        policies = workshop.policies(project.policies)
        connection, suite = workshop.connection(project), workshop.suite(self.path, policies)
        workshop.let_go()
        return connection, policies, suite

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, (NotHeld, *servers.foreseen())):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        # A description that ended the node id would be shown in its place, every dot turned into "::".
        return self.path, max(self.line - 1, 0), f"{self.name} (line {self.line})"


class CheckItem(CasesItem):
    """Checks of the suite itself, on a stage that the items of a file share."""

    def results(self, runner: Runner) -> Iterable[CheckResult]:
        raise NotImplementedError

    def runtest(self) -> None:
        workshop = self.workshop
        runner = workshop.runner(servers.project(self.config, self.policies), self.path)
        results = list(self.results(runner))
        if by_grant := sum(result.by_grant for result in results):
            self.user_properties.append((BY_GRANT, by_grant))
        failures = [result.message for result in results if not result.passed]
        if workshop.server().kind == "given" and hasattr(self.config, "workerinput"):
            workshop.let_go()  # other workers wait for this database
        if failures:
            raise NotHeld("\n\n".join(failures))


class CaseItem(CheckItem):
    case: Case

    def results(self, runner: Runner) -> Iterable[CheckResult]:
        return [runner.case(self.case)]


class CellsItem(CheckItem):
    token: TokenSpec
    table: TableName | None = None  # None: every covered table but `others`
    others: frozenset[TableName] = frozenset()

    def results(self, runner: Runner) -> Iterable[CheckResult]:
        covered = [table.name for table in runner.stage.covered if table.name not in self.others]
        for table in [self.table] if self.table is not None else covered:
            yield from runner.cells(self.token, table)


class ScoreItem(CasesItem):
    """How much of what could be wrong with the policies the file notices."""

    least: float

    def runtest(self) -> None:
        from mcp_rls import report
        from mcp_rls.harness.mutation.score import mutation_score

        score = mutation_score(*self.database())
        self.user_properties.append(("rls_mutation_score", score.shown))
        if score.exit_code(self.least):
            out = io.StringIO()
            report.write("mutants", "text", report.Assayed(score, self.workshop.server().description, self.least), out)
            raise NotHeld(f"mutation score {score.shown} %, less than {self.least:g} %\n\n{out.getvalue().rstrip()}")


class HostileItem(CasesItem):
    """What comes near one client token of the suite, in a transaction of its own."""

    token: str

    def runtest(self) -> None:
        from mcp_rls.harness.hostile import run_hostile

        found = run_hostile(*self.database(), [self.token])
        self.user_properties += [(HOSTILE_TOKENS, found.variants), (HOSTILE_TRIES, found.tries)]
        if found.variants and not found.passed:
            told = ["\n".join([one.headline, *one.lines()]) for one in found.findings]
            raise NotHeld("\n\n".join(told) or found.sentence())


class ProbeItem(CasesItem):
    """One probe as every client token of the suite. All that are to run do so when the first one does, together."""

    probe: str

    def runtest(self) -> None:
        from mcp_rls import report

        assert self.parent is not None, "an item of a cases file is its child"
        if _PROBED not in self.parent.stash:
            self.parent.stash[_PROBED] = self._run_all()
        run = self.parent.stash[_PROBED].only(self.probe)
        if run.exit_code:
            out = io.StringIO()
            report.write("probes", "text", report.Probed(run, self.workshop.server().description), out)
            raise NotHeld(out.getvalue().strip())

    def _run_all(self) -> ProbeRun:
        from mcp_rls.harness.probes import run_probes

        items = [item for item in self.session.items if isinstance(item, ProbeItem) and item.parent is self.parent]
        strict = options.probes(self.config)[1]
        return run_probes(*self.database(), [item.probe for item in items], strict=strict)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.name}, as every client token"
