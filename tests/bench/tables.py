"""Figures as text and as JSON."""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from typing import Any

from tests.bench.measure import Figure
from tests.bench.variants import VARIANTS
from tests.bench.workloads import WORDS

Figures = dict[str, Figure]  # by workload
Results = dict[tuple[str, int], Figures]  # by variant and number of rules

MEAN = "mean"


def counted(rules: int) -> str:
    """'1 rule', '50 rules'."""
    return f"{rules} rule{'s' if rules > 1 else ''}"


def mean(ratios: list[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def table(results: Results, variant: str) -> str:
    """The ratios of one variant: a line for each workload, columns for each number of rules."""
    by_rules = {rules: figures for (name, rules), figures in results.items() if name == variant}
    fewest, most = min(by_rules), max(by_rules)
    first = by_rules[fewest]
    grown = fewest != most
    against = "against those policies alone" if VARIANTS[variant].own_policies else "against the owner's own WHERE"
    lines = [
        f"{variant}: {VARIANTS[variant].words}; {against}",
        f"{'':<45}{'reference':>9}"
        + "".join(f"{counted(rules):>15}" for rules in by_rules)
        + ("    growth" if grown else ""),
        f"{'':<45}{'µs':>9}"
        + f"{'cpu':>8}{'wall':>7}" * len(by_rules)
        + (f"{f'{fewest} to {most}':>10}" if grown else "")
        + "  same rows",
    ]
    for name, figure in first.items():
        found = [figures[name] for figures in by_rules.values()]
        cells = "".join(f"{_ratio(f.cpu):>8}{f.wall:>7.2f}" for f in found)
        growth = f"{by_rules[most][name].ratio / figure.ratio:>10.2f}" if grown else ""
        same = "yes" if all(f.same for f in found) else "NO"
        lines.append(f"{name:<11}{WORDS[name]:<34}{figure.hand_us:>9.1f}{cells}{growth}  {same}")
    return "\n".join([*lines, _means(list(by_rules.values()))])


def _means(columns: list[Figures]) -> str:
    cells = []
    for figures in columns:
        cpus = [f.cpu for f in figures.values() if f.cpu is not None]
        cpu = mean(cpus) if cpus else None
        cells.append(f"{_ratio(cpu):>8}{mean([f.wall for f in figures.values()]):>7.2f}")
    ratios = [mean([f.ratio for f in figures.values()]) for figures in columns]
    growth = f"{ratios[-1] / ratios[0]:>10.2f}" if len(columns) > 1 else ""
    return f"{'geometric mean':<54}" + "".join(cells) + growth


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def plans(figures: Figures) -> str:
    """For each workload how many InitPlans its plan has, and its shape beside that of the reference."""
    lines = []
    for name, figure in figures.items():
        mine, theirs = figure.policy_plan, figure.hand_plan
        shape = mine.shape if mine.shape == theirs.shape else f"{mine.shape}   reference: {theirs.shape}"
        lines.append(f"  {name:<11}{mine.initplans} InitPlan{' ' if mine.initplans == 1 else 's'}  {shape}")
    return "\n".join(lines)


def missed(results: Results, goals: dict[str, float]) -> list[str]:
    """A line for each goal that a variant missed."""
    found = []
    for (variant, rules), figures in results.items():
        ratios = {name: figure.ratio for name, figure in figures.items()}
        ratios[MEAN] = mean(list(ratios.values()))
        found += [
            f"{variant}, {counted(rules)}: {name} is {ratios[name]:.2f}, the goal {goal:.2f}"
            for name, goal in goals.items()
            if name in ratios and ratios[name] > goal
        ]
    return found


def differing(results: Results) -> list[str]:
    """A line for each workload whose two sides gave, or left behind, different rows."""
    return [
        f"{variant}, {counted(rules)}: {name} has other rows than the reference"
        for (variant, rules), figures in results.items()
        for name, figure in figures.items()
        if not figure.same
    ]


def as_data(results: Results, **about: Any) -> dict[str, Any]:
    """Everything measured, for `--json`."""
    runs = [
        {
            "variant": variant,
            "rules": rules,
            "mean": mean([f.ratio for f in figures.values()]),
            "workloads": {name: asdict(f) | {"ratio": f.ratio} for name, f in figures.items()},
        }
        for (variant, rules), figures in results.items()
    ]
    return {**about, "load": os.getloadavg(), "runs": runs}
