"""What a plan asks the database doesn't grow with the number of tables; only conditions are put to it one by one."""

from __future__ import annotations

import psycopg
import pytest

from mcp_rls.database import apply
from mcp_rls.database.server import open_server
from tests.bench.plan_scale import counted, file, read, schema

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def asked():
    """Numbers of statements that `prepare` sends, installed or not, by tables and whether rules have conditions."""
    found = {}
    with open_server() as server:
        for tables in (3, 30):
            with server.scratch_database() as url, psycopg.connect(url, autocommit=True) as connection:
                connection.execute(schema(tables).encode())
                for installed in (False, True):
                    for rows in ("", "status = 'open'"):
                        policies = read(file(tables, rows=rows))
                        with counted(connection) as sent:
                            apply.prepare(connection, policies)
                        found[installed, tables, bool(rows)] = len(sent)
                    apply.install(connection, policies)
    return found


@pytest.mark.parametrize("installed", [False, True])
def test_thirty_tables_take_as_many_queries_as_three(installed, asked):
    """Reading the catalog and what is installed; rules without conditions add nothing."""
    assert asked[installed, 30, False] == asked[installed, 3, False] < 40


@pytest.mark.parametrize("installed", [False, True])
def test_each_condition_of_a_table_is_planned_once(installed, asked):
    """Two statements more for each, with the path that it is planned under; one for several commands counts once."""
    assert [asked[installed, tables, True] - asked[installed, tables, False] for tables in (3, 30)] == [6, 60]
