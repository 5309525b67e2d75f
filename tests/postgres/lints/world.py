"""What the tests of a lint are made of: SQL on a real server, and the complete set of findings that it should give."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mcp_rls.inspection.read import read_facts
from mcp_rls.lints import World, key_of, lints
from tests.postgres.scratch import Scratch, policies


@dataclass(frozen=True)
class Ways:
    """A lint in five ways: silent on nothing, silent on a near miss, the bad case found, its fix, silent again.

    `found`: the subjects of all findings of the bad case. `file`: a policy file (what follows the usual head), or ''
    for a database without one.
    """

    near_miss: str
    bad: str
    fix: str
    found: tuple[str, ...]
    file: str = ""
    name: str = ""
    details: tuple[str, ...] = field(default=())  # words that the messages must have
    version: int = 0  # what the server says that it is; 0: what it is


def world_of(scratch: Scratch, file: str = "", version: int = 0) -> World:
    """The database as it stands."""
    facts = read_facts(scratch.connection)
    return World(replace(facts, version=version or facts.version), policies(file) if file else None)


def subjects(scratch: Scratch, lint: str, file: str = "", version: int = 0) -> list[str]:
    """The subjects of what one lint finds in the database as it stands."""
    return sorted(found.subject for found in lints()[lint].find(world_of(scratch, file, version)))


def keys(scratch: Scratch, file: str = "") -> set[str]:
    """The keys of everything that all lints find."""
    world = world_of(scratch, file)
    return {key_of(lint, found) for lint in lints().values() for found in lint.find(world)}
