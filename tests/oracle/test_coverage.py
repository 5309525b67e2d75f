"""Policies that note what they come to decide as the evaluator says, on generated worlds: noting changes no answer."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from mcp_rls.compiler.policy import read_policies
from mcp_rls.compiler.resolve import resolve
from mcp_rls.database.introspect import read_catalog, read_state
from mcp_rls.database.server import open_server
from mcp_rls.diagnostics import Diagnostics
from mcp_rls.harness.coverage import record
from mcp_rls.harness.coverage.twins import make_twins
from mcp_rls.harness.session import run

from .campaign import Campaign
from .run import Connection, prepare, product

pytestmark = pytest.mark.postgres


@pytest.fixture
def connection() -> Iterator[Connection]:
    with (
        open_server() as server,
        server.scratch_database() as url,
        psycopg.connect(url, prepare_threshold=None) as found,
    ):
        prepare(found)
        yield found


@pytest.mark.fuzz
def test_policies_that_note_agree_with_the_evaluator(connection: Connection) -> None:
    """A few thousand judgements, none of which differs; and every world has something to note."""
    numbers: list[int] = []

    def noting(conn: Connection, text: str) -> None:
        product(conn, text)
        record.forget(conn)
        policies, _ = read_policies("policies.yaml", text)
        assert policies is not None
        resolved = resolve(policies, read_catalog(conn), Diagnostics())
        assert resolved is not None
        twins = make_twins(resolved, read_state(conn, policies.schemas, policies.roles))
        run(conn, *record.recorder(conn, policies.roles), *twins.statements)
        numbers.append(twins.numbers)

    campaign = Campaign(connection, noting)
    finding = campaign.run(20_000, seed=2)
    if finding:
        pytest.fail(str(finding), pytrace=False)
    assert min(numbers) > 0
