"""What a plan asks the database doesn't grow with the number of tables; only conditions are put to it by table."""

from __future__ import annotations

import psycopg
import pytest

from mcp_rls.database import apply
from mcp_rls.database.server import open_server
from tests.bench.plan_scale import counted, file, read, schema

CONDITIONS = ("", "status = 'open'", "rank > {command}")

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def asked():
    """Numbers of statements that `prepare` sends, installed or not, by tables and the conditions of rules."""
    found = {}
    with open_server() as server:
        for tables in (3, 30):
            with server.scratch_database() as url, psycopg.connect(url, autocommit=True) as connection:
                connection.execute(schema(tables).encode())
                for installed in (False, True):
                    for rows in CONDITIONS:
                        policies = read(file(tables, rows=rows))
                        with counted(connection) as sent:
                            apply.prepare(connection, policies)
                        found[installed, tables, rows] = len(sent)
                    apply.install(connection, policies)
    return found


@pytest.mark.parametrize("installed", [False, True])
def test_thirty_tables_take_as_many_queries_as_three(installed, asked):
    """Reading the catalog and what is installed; rules without conditions add nothing."""
    assert asked[installed, 30, ""] == asked[installed, 3, ""] < 70


@pytest.mark.parametrize("installed", [False, True])
def test_the_conditions_of_a_table_are_planned_at_once(installed, asked):
    """One statement more for each table, whether its rules have one condition or four."""
    for rows in CONDITIONS[1:]:
        assert [asked[installed, tables, rows] - asked[installed, tables, ""] for tables in (3, 30)] == [3, 30]
