"""What a suite showed of a policy file, and what it left out: a value that travels between processes as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mcp_rls.diagnostics import Span
from mcp_rls.harness.coverage.points import Point


@dataclass(frozen=True)
class Miss:
    """Something that no test showed, in words; `outcomes`: how many points it stands for."""

    span: Span
    text: str
    outcomes: int


@dataclass(frozen=True)
class Coverage:
    """The points of one policy file, and the keys of those that were shown."""

    path: str
    points: tuple[Point, ...]
    seen: frozenset[str] = frozenset()

    @property
    def possible(self) -> int:
        return sum(point.counts for point in self.points)

    @property
    def shown(self) -> int:
        return sum(point.counts and point.key in self.seen for point in self.points)

    @property
    def percent(self) -> float:
        """Rounded down, so that 100 means all; 100 where there is nothing to show."""
        return math.floor(1000 * self.shown / self.possible) / 10 if self.possible else 100.0

    def is_under(self, percent: float) -> bool:
        return self.shown * 100 < percent * self.possible

    @property
    def excluded(self) -> tuple[Miss, ...]:
        """What can't be shown, and why."""
        found = [Miss(p.span, f"{p.about} {p.missed}; it can't: {p.never}", 1) for p in self.points if p.never]
        return tuple(sorted(found, key=lambda miss: miss.span))

    @property
    def misses(self) -> tuple[Miss, ...]:
        """What was left out, in reading order; what comes of something that was left out is counted with it."""
        missed = {p.key: p for p in self.points if p.counts and p.key not in self.seen}
        roots: dict[str, list[Point]] = {}
        for point in missed.values():
            roots.setdefault(_root(point, missed), []).append(point)
        groups: dict[tuple[Span, str], list[Point]] = {}
        for key in roots:
            groups.setdefault((missed[key].span, missed[key].about), []).append(missed[key])
        found = [m for points in groups.values() for m in self._told(points, roots)]
        return tuple(sorted(found, key=lambda miss: miss.span))

    def _told(self, points: list[Point], roots: Mapping[str, list[Point]]) -> Iterator[Miss]:
        """The misses of one subject; both sides of one condition are one."""
        sides = [p for p in points if p.kind in ("atom", "branch")]
        for point in points if len(sides) < 2 else [p for p in points if p not in sides]:
            more = len(roots[point.key]) - 1
            yield Miss(point.span, f"{point.about} {point.missed}{_and(more)}{self._remark(point)}", more + 1)
        if len(sides) >= 2:
            count = sum(len(roots[p.key]) for p in sides)
            how = "was NULL whenever it was asked" if self._was_null(sides[0]) else "was never asked"
            yield Miss(sides[0].span, f"{sides[0].about} {how}{_and(count - len(sides))}", count)

    def _was_null(self, point: Point) -> bool:
        return f"{point.key.rpartition(' ')[0]} null" in self.seen

    def _remark(self, point: Point) -> str:
        if point.kind in ("atom", "branch"):
            return " (it was NULL instead)" if self._was_null(point) else ""
        return f": {point.detail}" if point.detail else ""

    # --- between processes

    def document(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "file": self.path,
            "percent": self.percent,
            "shown": self.shown,
            "possible": self.possible,
            "missed": [_entry(miss) for miss in self.misses],
            "excluded": [_entry(miss) for miss in self.excluded],
            "points": [_point(p) | {"shown": p.key in self.seen} for p in self.points],
        }


def from_document(document: Mapping[str, Any]) -> Coverage:
    """The coverage that `document` told."""
    path = str(document["file"])
    points = tuple(
        Point(
            p["key"],
            p["kind"],
            Span(path, p["line"], p["column"]),
            p["about"],
            p["missed"],
            p["detail"],
            p["never"],
            tuple(p["under"]),
            tuple(p["parts"]),
        )
        for p in document["points"]
    )
    return Coverage(path, points, frozenset(p["key"] for p in document["points"] if p["shown"]))


def merged(parts: Iterable[Coverage]) -> tuple[Coverage, ...]:
    """One for each policy file: what was shown in any of the parts was shown."""
    found: dict[str, Coverage] = {}
    for part in parts:
        known = found.get(part.path)
        points = {p.key: p for p in (*(known.points if known else ()), *part.points)}
        seen = part.seen | (known.seen if known else frozenset())
        found[part.path] = Coverage(part.path, tuple(points.values()), seen)
    return tuple(found[path] for path in sorted(found))


def _root(point: Point, missed: Mapping[str, Point]) -> str:
    """The key of the miss that tells it: itself, or what would have to be shown first, or a part that says more."""
    if point.under and all(key in missed for key in point.under):
        return _root(missed[point.under[0]], missed)
    part = next((key for key in point.parts if key in missed), None)
    return _root(missed[part], missed) if part is not None else point.key


def _and(more: int) -> str:
    return f" ({more} more {'outcome' if more == 1 else 'outcomes'} with it)" if more else ""


def _entry(miss: Miss) -> dict[str, Any]:
    return {"line": miss.span.line, "column": miss.span.column, "text": miss.text, "outcomes": miss.outcomes}


def _point(point: Point) -> dict[str, Any]:
    return {
        "key": point.key,
        "kind": point.kind,
        "line": point.span.line,
        "column": point.span.column,
        "about": point.about,
        "missed": point.missed,
        "detail": point.detail,
        "never": point.never,
        "under": list(point.under),
        "parts": list(point.parts),
    }
