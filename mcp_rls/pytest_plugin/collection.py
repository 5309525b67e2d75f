"""A cases file as a collector, read without a database."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mcp_rls.pytest_plugin import options, servers
from mcp_rls.pytest_plugin.items import CaseItem, CellsItem, HostileItem, ProbeItem, ScoreItem

if TYPE_CHECKING:
    from mcp_rls.compiler.model import PolicySet
    from mcp_rls.harness.suite import Suite, TokenSpec


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A cases file with a policy file; any other file of that name is somebody else's."""
    name = file_path.name
    if not (name == "cases.yaml" or name.endswith(("_cases.yaml", ".cases.yaml"))):
        return None
    policies = servers.policies_file(parent.config, file_path.parent)
    if policies is None:
        return None
    cases_file: CasesFile = CasesFile.from_parent(parent, path=file_path)
    cases_file.policies = policies
    return cases_file


class CasesFile(pytest.File):
    """One item for each case, and for each client token one a table for what no case allows."""

    policies: Path

    def collect(self) -> Iterable[pytest.Item]:
        policies, suite = self._read()
        clients = _client_tokens(policies, suite)
        yield from self._cases(suite)
        yield from self._cells(policies, suite, clients)
        least = options.least(self.config, "mutation")
        if least is not None:
            yield ScoreItem.of(self, self.policies, f"mutation score: at least {least:g} %", least=least)
        if options.flag(self.config, "hostile"):
            for token in clients:
                name = f"{token.name}: nothing that comes near it"
                yield HostileItem.of(self, self.policies, name, token.span.line, token=token.name)
        for probe in options.probes(self.config)[0]:
            yield ProbeItem.of(self, self.policies, f"probe {probe}", probe=probe)

    def _cases(self, suite: Suite) -> Iterable[pytest.Item]:
        seen: dict[str, int] = {}
        for case in suite.cases:
            name = f"{case.title}: {case.expect}"
            seen[name] = seen.get(name, 0) + 1
            name += f" ({seen[name]})" if seen[name] > 1 else ""
            yield CaseItem.of(self, self.policies, name, case.span.line, case=case)

    def _cells(self, policies: PolicySet, suite: Suite, clients: list[TokenSpec]) -> Iterable[pytest.Item]:
        """Which tables there are is known to the database alone: those that no file names share an item."""
        named = {*policies.tables, *suite.fixtures, *(case.table for case in suite.cases)}
        tables = sorted(table for table in named if table.schema in policies.schemas)
        for token in clients:
            place = self, self.policies
            for table in tables:
                name = f"{token.name} {table}: nothing else"
                yield CellsItem.of(*place, name, token.span.line, token=token, table=table)
            name = f"{token.name} other tables: nothing"
            yield CellsItem.of(*place, name, token.span.line, token=token, others=frozenset(tables))

    def _read(self) -> tuple[PolicySet, Suite]:
        from mcp_rls.compiler.policy import load_policies
        from mcp_rls.harness.suite import load_suite

        policies, diagnostics = load_policies(_shown(self.policies))
        if policies is None:
            raise self.CollectError("\n".join(str(d) for d in diagnostics))
        suite, diagnostics = load_suite(_shown(self.path), policies)
        if suite is None:
            raise self.CollectError("\n".join(str(d) for d in diagnostics))
        for diagnostic in diagnostics:
            self.warn(pytest.PytestCollectionWarning(str(diagnostic)))
        return policies, suite


def _client_tokens(policies: PolicySet, suite: Suite) -> list[TokenSpec]:
    from mcp_rls.harness.token import is_client_token

    return [token for token in suite.tokens.values() if is_client_token(policies, token)]


def _shown(path: Path) -> Path:
    """The path as messages should say it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
