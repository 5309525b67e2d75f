"""Each migration on the usual server, and some of them on each other major version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcp_rls.database.server import Server
from tests.postgres.majors import EVERY, found_majors
from tests.postgres.scratch import Scratch, scratch_on

SAMPLED = 12  # every twelfth, where not all are asked for


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    pairs = []
    for major, directory in found_majors().items():
        for case in metafunc.module.CASES:
            if directory is None or EVERY or case.chosen(SAMPLED):
                name = case.name if directory is None else f"{case.name}, PostgreSQL {major}"
                pairs.append(pytest.param(case, directory, id=name))
    metafunc.parametrize(("case", "case_scratch"), pairs, indirect=["case_scratch"])


@pytest.fixture
def case_scratch(
    request: pytest.FixtureRequest,
    servers: Callable[[Path | None], Server],
    record_property: Callable[[str, object], None],
) -> Iterator[Scratch]:
    """An empty database for a case, on the server that it is for."""
    server = servers(request.param)
    record_property("server", server.description)
    with scratch_on(server) as made:
        yield made
