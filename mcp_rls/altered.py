"""What it opens or closes to put back what somebody altered by hand, as far as its text proves that.

Only `true` and `false` are compared with what the file says: with either as one end the direction is sure, and both
kinds of policy admit more where their text does. What isn't proved counts as OPENS.
"""

from __future__ import annotations

from collections.abc import Collection

from mcp_rls.effect import Effect, Said, of_roles, together
from mcp_rls.state import Noted, Policy

_SHOWN = 160  # characters of a text by hand
_UNPROVED = (Effect.OPENS, "which of the two lets more through can't be told from that: it counts as opening")


def of_policy(known: Policy, wanted: Policy) -> list[Said] | None:
    """What is said of a change from, or back to, a policy that was altered by hand; None where neither end is one."""
    theirs, ours = (known, wanted) if known.altered else (wanted, known)
    if theirs.altered is None or not ours.source:  # without one it is shut for a moment, by the plan itself
        return None
    head = _head(theirs, ours, back=theirs is known)
    if (known.permissive, known.command) != (wanted.permissive, wanted.command):
        kind = "permissive" if theirs.permissive else "restrictive"
        return [(Effect.OPENS, f"{head}: {kind} for {theirs.command}{_text(theirs, ' ')}")]
    same = _same(theirs, ours)
    parts = [_direction(part, known, wanted) for part in _parts(known) if part not in same]
    effect = together((e or Effect.OPENS, "") for e in parts)
    said = [(effect, head + _text(theirs, ": ", same))]
    if None in parts and Effect.OPENS not in parts:
        said.append(_UNPROVED)
    return [*said, *of_roles(known.roles, wanted.roles, permissive=wanted.permissive)]


def of_other(known: Noted, wanted: Noted) -> list[Said] | None:
    """The same of a function or a trigger, whose text is never compared."""
    theirs, ours = (known, wanted) if known.altered else (wanted, known)
    return [(Effect.OPENS, _head(theirs, ours, back=theirs is known)), _UNPROVED] if theirs.altered else None


def _head(theirs: Noted, ours: Noted, *, back: bool) -> str:
    if not back:
        return "as it was found, altered by hand"
    put = "put back" if theirs.altered and theirs.altered.source == ours.source else "written"
    return f"{put} as the file says; it was altered by hand"


def _parts(policy: Policy) -> list[str]:
    """Which of its texts count for the policy's command: for old rows, for new ones."""
    return {"insert": ["check"], "select": ["using"], "delete": ["using"]}.get(policy.command, ["using", "check"])


def _same(theirs: Policy, ours: Policy) -> set[str]:
    """The parts that nobody touched, if the file still says what was applied. Without a check, USING is one."""
    if theirs.altered is None or theirs.altered.source != ours.source:
        return set()
    kept = set(theirs.altered.kept)
    return kept if theirs.check is not None or theirs.command == "insert" or "using" in kept else kept - {"check"}


def _direction(part: str, known: Policy, wanted: Policy) -> Effect | None:
    """What the change of one part does; None where that isn't proved."""
    before, after = _effective(part, known), _effective(part, wanted)
    if not {before, after} & {"true", "false"}:
        return None
    if before == after:
        return Effect.NEITHER
    return Effect.CLOSES if before == "true" or after == "false" else Effect.OPENS


def _effective(part: str, policy: Policy) -> str:
    """The text that PostgreSQL asks: a check that isn't there is USING; without both a policy does nothing."""
    text = policy.using if part == "using" or policy.check is None else policy.check
    return text if text is not None else "false" if policy.permissive else "true"


def _text(policy: Policy, before: str, without: Collection[str] = ()) -> str:
    """The policy's texts in one line after `before`, cut if they are long; '' for none."""
    texts = (("using", "using", policy.using), ("check", "with check", policy.check))
    said = [f"{words} ({text})" for part, words, text in texts if text is not None and part not in without]
    line = " ".join(" ".join(said).split())
    return "" if not line else before + (line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…")
