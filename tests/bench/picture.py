"""Figures as an SVG for each platform: the ratio of each workload by number of rules, and what else it grows with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from tests.bench.growth import CURVES
from tests.bench.platforms import PLATFORMS
from tests.bench.results import MEAN, Curve, Figures, Results, counted, mean_of
from tests.bench.workloads import WORDS

_WIDTH, _MARGIN, _LINE = 960, 24, 19
_INK, _PALE, _GRID = "#1f2933", "#66727f", "#dfe4ea"
_RULES = ("#9ecae1", "#4292c6", "#08519c", "#08306b")  # fewer rules are lighter
_LINES = ("#08519c", "#d9640f", "#2f8132", "#7b3fa0")
_TICKS = (0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4, 6, 8, 10, 15, 20, 30, 50, 100, 200, 400)


@dataclass(frozen=True)
class _Scale:
    """A logarithmic axis: `low` at the pixel `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, least: float) -> Iterator[float]:
        """Those on the axis that leave `least` pixels between them; 1 is always there."""
        last = self.at(1)
        for tick in (t for t in _TICKS if t <= self.high):
            if self.low <= tick and (tick <= 1 or abs(self.at(tick) - last) >= least):
                last = self.at(tick)
                yield tick


def _scale(ratios: list[float], start: float, end: float) -> _Scale:
    return _Scale(min(0.9, min(ratios) / 1.05), max(1.6, max(ratios) * 1.05), start, end)


def drawn(results: Results, platform: str) -> str:
    """The SVG of one platform."""
    other = "under those policies alone" if PLATFORMS[platform].own_policies else "with a WHERE by hand"
    parts = [
        _text(_MARGIN, 34, platform, size=20, weight="bold"),
        _text(_MARGIN, 56, PLATFORMS[platform].words, colour=_PALE),
        _text(_MARGIN, 76, f"CPU of the backend, as a multiple of the same statement {other}", colour=_PALE),
    ]
    top = 104.0
    sizes = [rows for rows in results.rows() if results.columns(platform, rows)]
    width = (_WIDTH - 2 * _MARGIN) / max(len(sizes), 1)
    for n, rows in enumerate(sizes):
        parts += _dots(results.columns(platform, rows), counted(rows, "row"), _MARGIN + n * width, top, width)
    if sizes:
        top += (len(WORDS) + 1) * _LINE + 96
    curves = {c: p for c, p in results.curves.items() if c.platform == platform}
    for n, grows in enumerate(g for g in CURVES if any(c.grows == g for c in curves)):
        left = _MARGIN + n % 2 * (_WIDTH / 2 - 12)
        mine = {c: {at: f.ratio for at, f in p.items()} for c, p in curves.items() if c.grows == grows}
        parts += _lines(mine, CURVES[grows].words, left, top + n // 2 * 210)
    height = top + (len({c.grows for c in curves}) + 1) // 2 * 210
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}"'
    head += f' viewBox="0 0 {_WIDTH} {height:.0f}" font-family="system-ui, Helvetica, Arial, DejaVu Sans, sans-serif">'
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{height:.0f}" fill="white"/>', *parts, "</svg>", ""])


def _dots(by_rules: dict[int, Figures], title: str, left: float, top: float, width: float) -> Iterator[str]:
    """A line for each workload, with a dot for each number of rules."""
    named: dict[str, dict[int, float]] = {}
    for rules, figures in by_rules.items():
        for name, ratio in [*((name, f.ratio) for name, f in figures.items()), (MEAN, mean_of(figures))]:
            named.setdefault(name, {})[rules] = ratio
    scale = _scale([r for ratios in named.values() for r in ratios.values()], left + 96, left + width - 24)
    yield _text(left, top, title, weight="bold")
    bottom = top + 18 + len(named) * _LINE
    for tick in scale.ticks(30):
        yield _rule(scale.at(tick), top + 12, scale.at(tick), bottom, strong=tick == 1)
        yield _text(scale.at(tick), bottom + 14, f"{tick:g}", size=11, colour=_PALE, anchor="middle")
    order = [name for name in named if name != MEAN] + [MEAN]
    for n, name in enumerate(order):
        y = top + 26 + n * _LINE
        yield _text(left + 84, y + 4, name, size=12, anchor="end", weight="bold" if name == MEAN else "normal")
        ratios = named[name].values()
        yield _rule(scale.at(min(ratios)), y, scale.at(max(ratios)), y)
        for ratio, colour in zip(ratios, _shades(len(ratios)), strict=True):
            yield f'<circle cx="{scale.at(ratio):.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'
    x = left + 96
    for rules, colour in zip(by_rules, _shades(len(by_rules)), strict=True):
        yield f'<circle cx="{x:.1f}" cy="{bottom + 32:.1f}" r="4.5" fill="{colour}"/>'
        yield _text(x + 9, bottom + 36, counted(rules, "rule"), size=11)
        x += 78


def _lines(curves: dict[Curve, dict[int, float]], title: str, left: float, top: float) -> Iterator[str]:
    """A line for each workload; steps stand at equal distances."""
    right, bottom = left + _WIDTH / 2 - 110, top + 150
    scale = _scale([r for points in curves.values() for r in points.values()], bottom, top + 14)
    yield _text(left, top, title, weight="bold")
    for tick in scale.ticks(16):
        yield _rule(left + 30, scale.at(tick), right, scale.at(tick), strong=tick == 1)
        yield _text(left + 24, scale.at(tick) + 4, f"{tick:g}", size=11, colour=_PALE, anchor="end")
    steps = list(next(iter(curves.values())))
    places = {step: left + 42 + n * (right - left - 54) / max(len(steps) - 1, 1) for n, step in enumerate(steps)}
    for step, x in places.items():
        yield _text(x, bottom + 16, f"{step:,}", size=11, colour=_PALE, anchor="middle")
    last = math.inf
    for (curve, points), colour in sorted(
        zip(curves.items(), _LINES, strict=False), key=lambda entry: list(entry[0][1].values())[-1]
    ):
        path = " ".join(f"{places[step]:.1f},{scale.at(ratio):.1f}" for step, ratio in points.items())
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        last = min(scale.at(points[steps[-1]]), last - 14)  # labels don't lie on each other
        yield _text(right + 6, last + 4, curve.workload, size=12, colour=colour)


def _shades(number: int) -> list[str]:
    """So many colours, the last the darkest."""
    return [_RULES[-1 - round((number - 1 - n) * (len(_RULES) - 1) / max(number - 1, 1))] for n in range(number)]


def _rule(x1: float, y1: float, x2: float, y2: float, *, strong: bool = False) -> str:
    colour, width = (_PALE, 1.5) if strong else (_GRID, 1)
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _text(
    x: float, y: float, words: str, *, size: int = 13, colour: str = _INK, anchor: str = "start", weight: str = "normal"
) -> str:
    style = f'font-size="{size}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'
