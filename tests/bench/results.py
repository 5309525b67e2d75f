"""What was measured, and what is derived from it: means, growth, goals that were missed, and all of it as JSON."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.bench.measure import Figure
from tests.bench.platforms import PLATFORMS

Figures = dict[str, Figure]  # by workload
Points = dict[int, Figure]  # by what grows

MEAN = "mean"


@dataclass(frozen=True)
class Setting:
    """What was measured together: `rules` for each table, `rows` in each."""

    platform: str
    rules: int
    rows: int

    def __str__(self) -> str:
        return f"{self.platform}, {counted(self.rules, 'rule')}, {counted(self.rows, 'row')}"


@dataclass(frozen=True)
class Curve:
    """How one workload's ratio grows with something."""

    platform: str
    grows: str  # a key of growth.CURVES
    workload: str


@dataclass
class Results:
    figures: dict[Setting, Figures] = field(default_factory=dict)
    curves: dict[Curve, Points] = field(default_factory=dict)

    def columns(self, platform: str, rows: int) -> dict[int, Figures]:
        """Figures by number of rules."""
        return {s.rules: f for s, f in self.figures.items() if (s.platform, s.rows) == (platform, rows)}

    def platforms(self) -> list[str]:
        found = [*(s.platform for s in self.figures), *(c.platform for c in self.curves)]
        return [name for name in PLATFORMS if name in found]

    def rows(self) -> list[int]:
        return sorted({s.rows for s in self.figures})


def counted(number: int, what: str) -> str:
    """'1 rule', '50 rules'."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def mean(ratios: Iterable[float]) -> float:
    """The geometric mean."""
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logs) / len(logs))


def mean_of(figures: Figures) -> float:
    return mean(figure.ratio for figure in figures.values())


def missed(results: Results, goals: dict[str, float]) -> Iterator[str]:
    """A line for each goal that a platform missed."""
    for setting, figures in results.figures.items():
        ratios = {name: figure.ratio for name, figure in figures.items()} | {MEAN: mean_of(figures)}
        for name, goal in goals.items():
            if name in ratios and ratios[name] > goal:
                yield f"{setting}: {name} is {ratios[name]:.2f}, the goal {goal:.2f}"


def differing(results: Results) -> Iterator[str]:
    """A line for each workload whose two sides gave, or left behind, different rows."""
    for setting, figures in results.figures.items():
        yield from (f"{setting}: {name} has other rows than the reference" for name, f in figures.items() if not f.same)
    for curve, points in results.curves.items():
        yield from (
            f"{curve.platform}, {curve.grows} {at}: {curve.workload} has other rows than the reference"
            for at, figure in points.items()
            if not figure.same
        )


def as_data(results: Results, **about: Any) -> dict[str, Any]:
    """Everything measured, for a JSON file."""
    runs = [
        asdict(setting) | {"mean": mean_of(figures), "workloads": {name: _data(f) for name, f in figures.items()}}
        for setting, figures in results.figures.items()
    ]
    curves = [
        asdict(curve) | {"points": [{"at": at} | _data(figure) for at, figure in points.items()]}
        for curve, points in results.curves.items()
    ]
    return {**about, "load": os.getloadavg(), "runs": runs, "curves": curves}


def _data(figure: Figure) -> dict[str, Any]:
    return {"ratio": figure.ratio} | asdict(figure)
