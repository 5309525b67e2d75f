"""Random worlds in shared roles and in class roles: a client of a class is allowed the same rows, both ways."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from mcp_rls.state import class_role_name

from .evaluator import Session
from .generate import worlds
from .render import policy_file
from .run import Check, Connection, Refused, _allowed, _checks, _everything, answer, installed, product
from .world import ClientClass, Token, World

pytestmark = [pytest.mark.postgres, pytest.mark.fuzz]


def with_class_roles(connection: Connection, text: str) -> None:
    product(connection, text + "class_roles: true\n")


def for_everybody(world: World) -> World:
    """The world with the app's policies for PUBLIC: where classes have roles, they can't be for a role of people."""
    tables = (replace(t, policies=tuple(replace(p, roles=("public",)) for p in t.policies)) for t in world.tables)
    return replace(world, tables=tuple(tables))


def answers(
    connection: Connection, world: World, tokens: list[Token], *, own: bool
) -> tuple[tuple[Check, ...], list[list[str]]]:
    with installed(connection, world, with_class_roles if own else product):
        checks = tuple(_checks(connection, world))
        return checks, [answer(connection, world, token, checks) for token in tokens]


def told(world: World, checks: tuple[Check, ...], given_: list[str]) -> list[object]:
    """What each statement came to: the rows it saw or changed, or that a constraint stopped it."""
    return [
        "constraint" if one == "constraint" else _allowed(check, one, _everything(world, check))
        for check, one in zip(checks, given_, strict=True)
    ]


def decided_by_role(world: World, of: ClientClass) -> bool:
    """Whether nothing but its role says that a session is a live one of the class."""
    return of.registry is None and not (world.consent and (world.scope is None or of.consent_required))


def test_class_roles_allow_what_ceilings_on_shared_roles_do(connection: Connection) -> None:
    """Statement by statement; in a shared role a client then has nothing, and everybody else what they had."""
    seen = {"same": 0, "allowed": 0, "nothing": 0, "refused": 0}

    @settings(
        max_examples=9, database=None, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck)
    )
    @given(worlds())
    def one(generated: World) -> None:
        world = for_everybody(generated)
        sessions = [Session(world, token) for token in world.tokens]
        classes = [session.client_class for session in sessions]
        own = [
            replace(token, role=class_role_name(of.name)) if of else token
            for token, of in zip(world.tokens, classes, strict=True)
        ]
        try:
            checks, shared = answers(connection, world, list(world.tokens), own=False)
            _, in_own = answers(connection, world, own, own=True)
            _, left = answers(connection, world, list(world.tokens), own=True)
        except Refused:
            seen["refused"] += 1
            return
        for number, (session, of) in enumerate(zip(sessions, classes, strict=True)):
            was, is_, remains = (told(world, checks, some[number]) for some in (shared, in_own, left))
            about = f"{policy_file(world)}\n{own[number]}"
            if of is None:
                assert is_ == was, about
            else:
                assert not any(remains), about
                seen["nothing"] += len(checks)
                if not session.live and decided_by_role(world, of):
                    continue  # its claims are off, and the role alone says what it is
                assert is_ == was, about
                seen["same"] += len(checks)
                seen["allowed"] += sum(map(bool, is_))

    seed(3)(one)()
    assert seen["same"] > 400, seen
    assert seen["allowed"] > 40, seen
    assert seen["nothing"] >= seen["same"]
