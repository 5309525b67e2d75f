"""The matrix on random worlds in which the product is right: no leak, no error, and nothing too strict but for want of
grants or policies of the app's own.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from mcp_rls.compiler.policy import read_policies
from mcp_rls.harness.matrix import Matrix, Options, run_matrix

from . import run
from .generate import worlds
from .render import policy_file, schema
from .run import Connection, Refused, installed
from .world import World

pytestmark = [pytest.mark.postgres, pytest.mark.fuzz]

_PERSON = "nullif(current_setting('app.person', true), '')"
_CLAIMS = "current_setting('request.jwt.claims', true)"


def told(connection: Connection, world: World) -> Matrix | None:
    """The matrix of a world, its app's policies reading the person from the claims; None if the file is refused."""
    try:
        with installed(connection, world):
            for table in world.tables:
                connection.execute(f'drop trigger "  only the target" on app."{table.name}"'.encode())
            policies, _ = read_policies("policies.yaml", policy_file(world))
            assert policies is not None
            return run_matrix(connection, policies, Options(full=True))
    except Refused:
        return None


def test_random_worlds_have_no_false_finding(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most cells are decided too, though the conditions are any."""
    found = list[Matrix]()

    def by_claims(world: World) -> str:
        path = "{" + ",".join(world.person.path) + "}"
        person = f"(case when {_CLAIMS} like '{{%' then {_CLAIMS} end::jsonb #>> '{path}')"
        return schema(world).replace(_PERSON, person)

    monkeypatch.setattr(run, "schema", by_claims)

    @settings(
        max_examples=9, database=None, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck)
    )
    @given(worlds())
    def one(world: World) -> None:
        matrix = told(connection, world)
        if matrix is not None:
            found.append(matrix)
            wrong = [f for f in matrix.findings if f.kind != "TOO STRICT" or not _for_want(dict(f.facts))]
            assert wrong == [], "\n".join([policy_file(world), wrong[0].headline, *wrong[0].lines()])

    seed(7)(one)()
    cells = sum(len(matrix.cells) for matrix in found)
    assert cells > 1000
    assert sum(len(matrix.undecided) for matrix in found) < cells / 2


def _for_want(facts: dict[str, tuple[str, ...]]) -> bool:
    """Whether the person's own side is all that is missing."""
    text = " ".join([*facts.get("got", ()), *facts.get("grants", ())])
    return "privilege" in text or "no permissive policy" in text
