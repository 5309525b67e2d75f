"""From a sound schema one thing is made wrong at a time; what is then found, at every severity, is known in full."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mcp_rls.compiler.model import PolicySet
from mcp_rls.database.apply import prepare
from mcp_rls.database.server import Server
from mcp_rls.diagnostics import Diagnostics, Invalid
from mcp_rls.inspection.read import read_facts
from mcp_rls.lints import World, key_of, lints, refused
from tests.postgres.lints.perturbations import BY_HAND, WITH_FILE, Perturbation
from tests.postgres.lints.sound import CEILING, FILE, ROWS, SCHEMA
from tests.postgres.scratch import Scratch, policies, scratch_on

pytestmark = pytest.mark.postgres

LEAST = 60


@pytest.fixture(scope="module")
def by_hand(server: Server) -> Iterator[Scratch]:
    """The sound schema with a ceiling by hand."""
    with scratch_on(server) as made:
        made.run(SCHEMA + ROWS + CEILING)
        yield made


@pytest.fixture(scope="module")
def with_file(server: Server) -> Iterator[Scratch]:
    """The sound schema with the policies of its file."""
    with scratch_on(server) as made:
        made.run(SCHEMA + ROWS)
        made.install(FILE)
        yield made


def found(scratch: Scratch, perturbation: Perturbation, file: PolicySet | None) -> list[str]:
    """The code and the object of everything that is found in the perturbed database, of which nothing stays."""
    with scratch.connection.transaction(force_rollback=True):
        scratch.run(perturbation.sql)
        facts = read_facts(scratch.connection)
        world = World(replace(facts, version=perturbation.version or facts.version), file)
        said = [key_of(lint, one) for lint in lints().values() for one in lint.find(world)]
        return sorted([*said, *(f"{d.code} {d.subject}".rstrip() for d in _compiled(scratch, file))])


def _compiled(scratch: Scratch, file: PolicySet | None) -> Diagnostics:
    """What `check` says of the file itself against this database."""
    try:
        return prepare(scratch.connection, file, refused()).diagnostics if file is not None else Diagnostics()
    except Invalid as invalid:
        return invalid.diagnostics


@pytest.mark.parametrize("perturbation", BY_HAND, ids=lambda p: p.name)
def test_perturbed_by_hand(perturbation: Perturbation, by_hand: Scratch) -> None:
    """Without a file: what `mcp-rls lint` finds is this and nothing else."""
    assert found(by_hand, perturbation, None) == sorted(perturbation.found)


@pytest.mark.parametrize("perturbation", WITH_FILE, ids=lambda p: p.name)
def test_perturbed_under_a_file(perturbation: Perturbation, with_file: Scratch) -> None:
    """With the policies of a file in force: what `mcp-rls check` finds is this and nothing else."""
    assert found(with_file, perturbation, policies(FILE)) == sorted(perturbation.found)


def test_every_lint_is_perturbed() -> None:
    """Each is in what some case finds, and some cases are seen by several."""
    cases = (*BY_HAND, *WITH_FILE)
    codes = [{key.partition(" ")[0] for key in case.found} for case in cases]
    assert len(cases) >= LEAST
    assert set(lints()) - frozenset().union(*codes) == set()
    assert sum(len(one) > 1 for one in codes) >= 10
