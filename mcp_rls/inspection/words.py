"""How lints say things."""

from __future__ import annotations

from collections.abc import Iterable


def listed(things: Iterable[object], limit: int = 3) -> str:
    """'a, b, c and 2 more'."""
    names = [str(thing) for thing in things]
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
