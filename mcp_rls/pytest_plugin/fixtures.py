"""The fixtures `rls_server` and `rls`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from mcp_rls.pytest_plugin import options, servers

if TYPE_CHECKING:
    from mcp_rls.database.server import Server
    from mcp_rls.harness.api import Rls


@pytest.fixture(scope="session")
def rls_server(pytestconfig: pytest.Config) -> Server:
    """The PostgreSQL server of this run: started when first used, one for each xdist worker."""
    __tracebackhide__ = True
    try:
        return servers.workshop(pytestconfig).server()
    except servers.foreseen() as problem:
        pytest.fail(str(problem), pytrace=False)


@pytest.fixture
def rls(request: pytest.FixtureRequest) -> Iterator[Rls]:
    """Tokens in a database that has the project's tables, its policies, and the fixtures of its cases file.

    All that a test does is rolled back.
    """
    __tracebackhide__ = True
    config = request.config
    policies = servers.policies_file(config, request.path.parent)
    if policies is None:
        pytest.fail(f"no {options.setting(config, 'policies')} beside {request.path} or above it", pytrace=False)
    marker = request.node.get_closest_marker("rls")
    with_fixtures = marker is None or marker.kwargs.get("fixtures", True)
    from mcp_rls.harness.api import Rls

    workshop = servers.workshop(config)
    suite = None
    with ExitStack() as opened:
        try:
            cases = servers.starting_cases(config, policies)
            if cases is not None:
                suite = workshop.suite(cases, workshop.policies(policies))
            stage = opened.enter_context(workshop.stage(servers.project(config, policies)))
            if suite is not None and with_fixtures:
                stage.insert_fixtures(suite.fixtures, suite.span)
        except servers.foreseen() as problem:
            pytest.fail(str(problem), pytrace=False)
        rls = Rls(stage, suite.people if suite is not None else {})
        yield rls
        try:
            rls.all_judged()
        except AssertionError as unjudged:
            pytest.fail(str(unjudged), pytrace=False)
