"""What it changes that a ceiling comes or goes, where others stand beside it or take its place.

RESTRICTIVE policies all bind at once: one that lets through no less than another of its command and role can come and
go, and nothing changes. That is proved from their meanings, as far as these are known.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from itertools import product

from mcp_rls.effect import UNKNOWN, Effect, Said, of_policy, together, who_may
from mcp_rls.state import ROW_PRIVILEGES, Policy

_COMMANDS = tuple(map(str.lower, ROW_PRIVILEGES))


def is_held(ceiling: Policy, others: Iterable[Policy], turned: Collection[str]) -> bool:
    """Whether for each of its commands and roles one of the others lets nobody through whom it doesn't.

    `turned`: roles that stand for a class on its side alone, or on theirs.
    """
    known = list(others)
    return all(any(_holds(p, ceiling, *bound, turned) for p in known) for bound in _bounds(ceiling))


def opened(ceiling: Policy, others: Iterable[Policy]) -> list[str]:
    """What may be done when it goes, by those that take its place; nothing, if these don't take all of it."""
    bounds = list(_bounds(ceiling))
    instead = [[p for p in others if _binds(p, *bound)] for bound in bounds]
    said = [
        line
        for (command, _), policies in zip(bounds, instead, strict=True)
        for policy in policies
        for effect, line in _changed(command, ceiling.meaning, policy.meaning)
        if effect is Effect.OPENS
    ]
    return list(dict.fromkeys(said)) if all(instead) else []


def _bounds(ceiling: Policy) -> Iterator[tuple[str, str]]:
    """The commands and roles that it binds."""
    return product(_COMMANDS if ceiling.command == "all" else (ceiling.command,), ceiling.roles)


def _binds(policy: Policy, command: str, role: str) -> bool:
    return not policy.permissive and policy.command in ("all", command) and bool({role, "public"} & set(policy.roles))


def _holds(policy: Policy, ceiling: Policy, command: str, role: str, turned: Collection[str]) -> bool:
    if not _binds(policy, command, role):
        return False
    if policy.is_shut:
        return True
    # no meaning speaks of direct sessions: they pass any ceiling but those of class roles, and what is shut
    if ceiling.is_shut or role in turned:
        return False
    return together(_changed(command, ceiling.meaning, policy.meaning)) is not Effect.OPENS


def _changed(command: str, before: str, after: str) -> list[Said]:
    """What changes from one meaning to the other; that of a ceiling for nobody leaves open how claims are read."""
    if not before or not after:
        return UNKNOWN
    if not who_may(after):
        return []
    if not who_may(before):
        before = json.dumps({**json.loads(after), "may": {}})
    return of_policy(command, before, after)
