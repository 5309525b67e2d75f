"""A token without a client, or with a broken one, is taken for a session of the app itself.

## What

`(claims ->> 'client_id') is null` is true where the key is missing, and also where its value is JSON's null.
`nullif(.., '') is null` and `coalesce(.., '') = ''` are true for an empty text as well, and a default that stands in
for the claim is one that every such token has. What then opens is everything that the person may do. A token gets there
by an issuer that writes an empty claim, or a token hook that rebuilds the claims and leaves this one out.

The same goes for a scope: `scope is null or ..` gives a token without scopes all of them.

## Fix

Ask for the key, not its value: `not (claims ? 'client_id')`; a key with a broken value is then no direct session. On
Supabase ask the session's own row, which no hook changes: `exists (select from auth.sessions s where s.id = session_id
and s.oauth_client_id is null)`, in a definer function.

## What it doesn't catch

A hook that leaves out the key, where the key is asked for. A claim that was put into a setting of the app's own.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.claims import BLANK, TEXT, WORDS, Origin, Words
from mcp_rls.inspection.comparisons import Comparison
from mcp_rls.inspection.reading import PolicyText, read
from mcp_rls.inspection.tree import arms
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR


def find(world: World) -> Iterator[Found]:
    """Policies, and functions that they call, in which the absence of such a claim admits."""
    words = Words.of(world.policies)
    found: dict[str, Found] = {}
    for text in read(world.facts, world.by_hand()):
        if _by_session(text):
            continue
        for comparison in _unasked(text, words.client):
            if any(_absent(comparison, o) for o in comparison.about(words.client | words.scope)):
                subject = comparison.subject
                message = f"{subject} admits where the claim is broken, as if there were none: {comparison}"
                hint = "ask for the key: not (claims ? 'client_id'); on Supabase for the session's own row"
                found.setdefault(subject, Found(subject, message, (hint,), text.table.name))
    yield from found.values()


def _absent(comparison: Comparison, origin: Origin) -> bool:
    """Whether it helps to admit that the claim isn't there."""
    if origin.source != "claims" or comparison.positive is not True:
        return False
    if comparison.kind == "null":
        return bool({TEXT, BLANK} & origin.marks)
    if comparison.kind != "equal":
        return False
    if comparison.distinct and any(side.null for side, _ in comparison.sides):
        return TEXT in origin.marks
    wanted = {text for side, _ in comparison.sides for text in side.constants}
    given = {word for text in origin.defaults for word in (text.split() if WORDS in origin.marks else [text])}
    return bool(wanted & given)


def _by_session(text: PolicyText) -> bool:
    """Whether the session's own row is asked too."""
    places = (side.place for c in text.comparisons for side, _ in c.sides)
    return any(p is not None and p.name == "oauth_client_id" for p in places)


def _unasked(text: PolicyText, names: frozenset[str]) -> Iterator[Comparison]:
    """What the arms compare that don't ask for the absence of the key as well."""
    for arm in (arm for node in text.conditions for arm in arms(node)):
        compared = text.of(arm)
        if not any(c.kind == "key" and c.positive is False and c.about(names) for c in compared):
            yield from compared
