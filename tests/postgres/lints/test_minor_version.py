"""Which versions of PostgreSQL have known faults in row security, without a server of that age."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_rls.catalog import TableName
from mcp_rls.inspection.facts import Facts, Relation
from mcp_rls.lints import World, lints

TABLE = Relation(
    1, TableName("public", "notes"), "table", "owner", True, False, {}, frozenset(), (), (), (), (), (), (), False, "",
    frozenset(), frozenset(), -1,
)  # fmt: skip
FACTS = Facts(18_00_00, {1: TABLE}, {}, {}, {"public": frozenset()}, {"public": "owner"})
STATISTICS, ROLE, MERGE, INLINED = "CVE-2025-8713", "CVE-2024-10976", "CVE-2023-39418", "CVE-2023-2455"


@pytest.mark.parametrize(
    ("version", "faults"),
    [
        (18_00_00, []),
        (17_00_06, []),
        (17_00_05, [STATISTICS]),
        (17_00_00, [STATISTICS, ROLE]),
        (16_00_10, []),
        (16_00_04, [STATISTICS, ROLE]),
        (15_00_14, []),
        (15_00_13, [STATISTICS]),
        (15_00_03, [STATISTICS, ROLE, MERGE]),
        (15_00_02, [STATISTICS, ROLE, MERGE, INLINED]),
        (14_00_18, [STATISTICS]),
        (13_00_16, [STATISTICS, ROLE]),
        (12_00_20, [ROLE]),
    ],
)
def test_the_faults_of_a_version(version: int, faults: list[str]) -> None:
    """Each until the minor release that mended it."""
    world = World(replace(FACTS, version=version))
    assert [found.detail for found in lints()["minor-version"].find(world)] == faults


def test_only_row_security_counts() -> None:
    """A server on which no table has it has nothing to lose by them."""
    world = World(replace(FACTS, version=15_00_02, relations={1: replace(TABLE, row_security=False)}))
    assert list(lints()["minor-version"].find(world)) == []
