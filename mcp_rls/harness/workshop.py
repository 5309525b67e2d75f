"""What a whole test session shares: one server, a database for each project, one open transaction at a time.

Everything is made when it is first asked for, and kept until `close`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.policy import load_policies
from mcp_rls.database.introspect import read_catalog
from mcp_rls.database.server import Server, open_server
from mcp_rls.diagnostics import Invalid
from mcp_rls.harness.coverage.gathering import Gathering
from mcp_rls.harness.coverage.result import Coverage
from mcp_rls.harness.project import project_database
from mcp_rls.harness.run import Runner, open_runner
from mcp_rls.harness.session import Connection
from mcp_rls.harness.stage import Stage, open_stage
from mcp_rls.harness.suite import Suite, load_suite

_T = TypeVar("_T")


@dataclass(frozen=True)
class Project:
    """A policy file, and what makes its database: SQL files, or an alembic.ini."""

    policies: Path
    schema: tuple[Path, ...] = ()


def shown(path: Path) -> Path:
    """The path as messages should say it: relative, where it leads down from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


class Workshop:
    """With `coverage`, what policies come to is gathered in every stage."""

    def __init__(self, database: str | None, container: str | None, *, coverage: bool = False) -> None:
        self._database = database
        self._container = container
        self._gatherings: dict[Project, Gathering] | None = {} if coverage else None
        self._lasting = ExitStack()
        self._passing = ExitStack()
        self._passing_key: Hashable = None
        self._passing_value: Any = None
        self._kept: dict[Hashable, Any] = {}
        self._failed: dict[Hashable, Exception] = {}

    def server(self) -> Server:
        def opened() -> Server:
            return self._lasting.enter_context(open_server(self._database, container=self._container))

        return self._keep("server", opened)

    def policies(self, path: Path) -> PolicySet:
        """Raises: Invalid."""

        def loaded() -> PolicySet:
            policies, diagnostics = load_policies(shown(path))
            if policies is None:
                raise Invalid(diagnostics)
            return policies

        return self._keep(("policies", path), loaded)

    def suite(self, path: Path, policies: PolicySet) -> Suite:
        """Raises: Invalid."""

        def loaded() -> Suite:
            suite, diagnostics = load_suite(shown(path), policies)
            if suite is None:
                raise Invalid(diagnostics)
            return suite

        return self._keep(("suite", path, policies.path), loaded)

    def connection(self, project: Project) -> Connection:
        """An idle connection to the project's database. Raises: Invalid, CannotTest, Refused, ServerError."""

        def opened() -> Connection:
            database = project_database(self.server(), self.policies(project.policies), project.schema)
            return self._lasting.enter_context(database)

        return self._keep(("connection", project), opened)

    def runner(self, project: Project, cases: Path) -> Runner:
        """The runner of a cases file, kept until something else needs the database."""
        conn, policies = self.connection(project), self.policies(project.policies)
        suite, watcher = self.suite(cases, policies), self._gathering(project)
        return self._pass(("runner", project, cases), lambda: open_runner(conn, policies, suite, watcher=watcher))

    @contextmanager
    def stage(self, project: Project) -> Iterator[Stage]:
        """Yields an empty stage for one test, rolled back afterwards."""
        conn, policies = self.connection(project), self.policies(project.policies)
        self.let_go()
        catalog = self._keep(("catalog", project), lambda: read_catalog(conn))
        with open_stage(conn, policies, catalog, frozenset(policies.acting), self._gathering(project)) as stage:
            yield stage

    def _gathering(self, project: Project) -> Gathering | None:
        if self._gatherings is None:
            return None
        return self._gatherings.setdefault(project, Gathering(self.policies(project.policies)))

    def coverage(self) -> list[Coverage]:
        """What was gathered of each project, once the open transaction has ended."""
        self.let_go()
        return [gathering.result() for gathering in (self._gatherings or {}).values()]

    def let_go(self) -> None:
        """Ends the open transaction, if there is one."""
        self._passing.close()
        self._passing_key = self._passing_value = None

    def close(self) -> None:
        """Ends everything: transactions, databases, the server."""
        try:
            self.let_go()
        finally:
            self._lasting.close()
            self._kept.clear()

    def _keep(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """The value under `key`, made once; a failure is kept too, since a second try would take as long."""
        if key in self._failed:
            raise self._failed[key]
        if key not in self._kept:
            try:
                self._kept[key] = make()
            except Exception as problem:
                self._failed[key] = problem
                raise
        kept: _T = self._kept[key]
        return kept

    def _pass(self, key: Hashable, make: Callable[[], AbstractContextManager[_T]]) -> _T:
        if self._passing_key != key:
            self.let_go()
            self._passing_value = self._passing.enter_context(make())
            self._passing_key = key
        value: _T = self._passing_value
        return value
