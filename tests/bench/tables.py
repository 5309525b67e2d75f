"""Figures as text."""

from __future__ import annotations

from tests.bench.growth import CURVES
from tests.bench.platforms import PLATFORMS
from tests.bench.results import Figures, Results, counted, mean, mean_of
from tests.bench.workloads import WORDS


def table(results: Results, platform: str, rows: int) -> str:
    """The ratios of one platform: a line for each workload, columns for each number of rules."""
    by_rules = results.columns(platform, rows)
    fewest, most = min(by_rules), max(by_rules)
    grown = fewest != most
    against = "against those policies alone" if PLATFORMS[platform].own_policies else "against the owner's own WHERE"
    lines = [
        f"{platform}: {PLATFORMS[platform].words}; {against}; {counted(rows, 'row')} a table",
        f"{'':<45}{'reference':>9}"
        + "".join(f"{counted(rules, 'rule'):>15}" for rules in by_rules)
        + ("    growth" if grown else ""),
        f"{'':<45}{'µs':>9}"
        + f"{'cpu':>8}{'wall':>7}" * len(by_rules)
        + (f"{f'{fewest} to {most}':>10}" if grown else "")
        + "  same rows",
    ]
    for name, figure in by_rules[fewest].items():
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
        cells.append(f"{_ratio(cpu):>8}{mean(f.wall for f in figures.values()):>7.2f}")
    growth = f"{mean_of(columns[-1]) / mean_of(columns[0]):>10.2f}" if len(columns) > 1 else ""
    return f"{'geometric mean':<54}" + "".join(cells) + growth


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def curves(results: Results, platform: str) -> str:
    """How ratios grow with one thing after the other: a line for each workload that was asked."""
    lines = [f"{platform}: what grows, and the ratio at each"]
    for curve, points in results.curves.items():
        if curve.platform == platform:
            cells = "".join(f"{at:>8,}{figure.ratio:>6.2f}" for at, figure in points.items())
            lines.append(f"  {CURVES[curve.grows].words:<32}{curve.workload:<10}{cells}")
    return "\n".join(lines)


def plans(figures: Figures) -> str:
    """For each workload how many InitPlans its plan has, and its shape beside that of the reference."""
    lines = []
    for name, figure in figures.items():
        mine, theirs = figure.policy_plan, figure.hand_plan
        shape = mine.shape if mine.shape == theirs.shape else f"{mine.shape}   reference: {theirs.shape}"
        lines.append(f"  {name:<11}{mine.initplans} InitPlan{' ' if mine.initplans == 1 else 's'}  {shape}")
    return "\n".join(lines)
