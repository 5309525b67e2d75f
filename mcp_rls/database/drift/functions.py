"""Functions of the schema mcp_rls that are not what was applied: their text, their owner, who may EXECUTE them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mcp_rls.database.drift.finding import PUTS_BACK, Finding, Kind
from mcp_rls.database.drift.reading import Look
from mcp_rls.effect import Effect

_TREE = re.compile(r"text(?: ([0-9a-f]{32}))? owner (.*) execute(?: (.*))?", re.DOTALL)


class Held(NamedTuple):
    """What the manifest keeps of a function: a digest of its text, its owner, and who may EXECUTE it."""

    text: str
    owner: str
    holders: str

    @classmethod
    def of(cls, tree: str) -> Held:
        match = _TREE.fullmatch(tree)
        return cls(*match.groups("")) if match else cls("", "", "")


def told(look: Look) -> Iterator[Finding]:
    """What there is to say of functions in the schema mcp_rls."""
    applied, stored = ({o for o in some if o.startswith("function ")} for some in (look.manifest, look.stored))
    for object_ in sorted(applied | stored):
        if object_ not in stored:
            yield _drift(look, object_, "gone", "", "what calls it raises an error", Effect.CLOSES)
        elif object_ not in applied:
            means = "functions of this schema find each other by their names"
            yield _drift(look, object_, "new", "", means, Effect.OPENS, "`mcp-rls apply` drops it")
        else:
            was, now = Held.of(look.manifest[object_].tree), Held.of(look.stored[object_].tree)
            yield from _changed(look, object_, was, now)


def _drift(
    look: Look, object_: str, now: str, was: str, means: str, effect: Effect, remedy: str = PUTS_BACK
) -> Finding:
    place = look.manifest[object_].place if object_ in look.manifest else ""
    return Finding(Kind.DRIFT, object_, now, was, means, remedy, effect, place)


def _changed(look: Look, object_: str, was: Held, now: Held) -> Iterator[Finding]:
    if was.text != now.text:
        means = "every policy that calls it may let in other rows"
        yield _drift(look, object_, "replaced by another text", _meaning(look, object_), means, Effect.OPENS)
    if was.owner != now.owner:
        means = "its owner can replace it, and it reads with its owner's rights"
        yield _drift(look, object_, f"owned by {now.owner}", f"owned by {was.owner}", means, Effect.OPENS)
    if was.holders != now.holders:
        more = set(now.holders.split(",")) - set(was.holders.split(",")) - {""}
        means = "they can call it by themselves" if more else "policies that call it raise an error for the others"
        after, before = (h.holders.replace(",", ", ") or "its owner alone" for h in (now, was))
        effect = Effect.OPENS if more else Effect.CLOSES
        yield _drift(look, object_, f"EXECUTE for {after}", f"for {before}", means, effect)


def _meaning(look: Look, object_: str) -> str:
    facts = look.manifest[object_].facts or {}
    return str(facts.get("value", ""))
