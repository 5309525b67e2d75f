"""A policy believes what the client says of itself.

## What

`user_metadata` is in the token, and the person it belongs to can write into it: on Supabase any client that acts for a
person changes it by one request to the Auth API. Request headers and cookies are the client's own words. So is a
setting that the session sets by itself (`application_name`), or that a function which the client may call sets from its
argument. A policy that decides by one of these is decided by the one that it should stop.

With a policy file for Supabase, `email` and `phone` count too: a client's token changes them.

## Fix

Decide by what only the server writes: a claim of the token that its issuer vouches for (`app_metadata`, a claim of a
token hook), or a row of a table that clients can't write.

## What it doesn't catch

A claim that your issuer copies from the person's own words under another name. A table that clients can write, which is
read in place of a claim. `set_config('request.jwt.claims', ..)` by whoever runs SQL of its own: that goes for every
claim, and is a matter of the session.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.claims import Origin
from mcp_rls.inspection.reading import read, reader
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR

_OWN_WORDS = {"user_metadata", "raw_user_meta_data"}
_SESSION_SAYS = {"application_name", "search_path", "timezone", "datestyle", "client_encoding", "role"}
_CHANGED_BY_TOKEN = {("email",), ("phone",)}


def find(world: World) -> Iterator[Found]:
    """Policies, and functions that they call, in which such a value occurs."""
    given = _set_by_callers(world)
    found: dict[str, Found] = {}
    for text in read(world.facts, world.by_hand()):
        for subject, origin in text.origins:
            why = _why(world, origin, given)
            if why:
                name = ".".join(origin.path) or origin.source
                found.setdefault(
                    subject,
                    Found(
                        subject,
                        f"{subject} decides by {name}: {why}",
                        ("decide by a claim that only the issuer writes (app_metadata), or by a row of a table",),
                        text.table.name,
                    ),
                )
    yield from found.values()


def _why(world: World, origin: Origin, given: frozenset[str]) -> str:
    if _OWN_WORDS & set(origin.path):
        return "its person, and any client that acts for it, writes that"
    if origin.source in ("headers", "cookies") and origin.path:
        return f"the client sends its {origin.source} itself"
    if origin.source == "setting" and origin.path[0].lower() in _SESSION_SAYS:
        return "the session sets it itself"
    if origin.source == "setting" and origin.path[0] in given:
        return "a function that clients may call sets it from its argument"
    supabase = world.policies is not None and world.policies.platform == "supabase"
    if supabase and origin.source == "claims" and origin.path in _CHANGED_BY_TOKEN:
        return "a client's token can change it"
    return ""


def _set_by_callers(world: World) -> frozenset[str]:
    """Settings that functions which a token's role may call set from their arguments."""
    doings = reader(world.facts).doings
    callable_ = (f for f in world.facts.functions.values() if not f.is_trigger and "set_config" in f.body + f.sql_body)
    return frozenset(name for f in callable_ if world.calling(f) for name in doings.sets_from_arguments(f))
