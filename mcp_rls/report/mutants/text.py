"""A mutation score for a reader: how many of each kind were noticed, then each that wasn't, and what would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TextIO

from rich.text import Text

from mcp_rls.harness.mutation.mutant import Kind
from mcp_rls.harness.mutation.score import Fate, Score, Trial
from mcp_rls.report import Assayed, console, counted, shown

_FATES = (Fate.KILLED, Fate.SURVIVED, Fate.EQUIVALENT)
_GAP = 2


def write(assayed: Assayed, out: TextIO) -> None:
    """A table by kind, why some don't count, a paragraph for each survivor, and the score."""
    page, score = console(out), assayed.score
    for part in (_table(score), _equivalents(score), _broken(score), _survivors(score), _summary(assayed)):
        for line in part:
            page.print(line, soft_wrap=True)


def _table(score: Score) -> Iterator[Text]:
    kinds = [kind for kind in Kind if any(t.mutant.kind is kind for t in score.trials)]
    width = max(len(str(kind)) for kind in kinds)
    yield Text(_row("", [str(fate) for fate in _FATES], width), "bold")
    for kind in kinds:
        numbers = [score.count(fate, kind) for fate in _FATES]
        line = Text(_row(str(kind), [str(n) if n else "·" for n in numbers], width))
        if numbers[1]:
            line.stylize("bold red")
        yield line
    yield Text()


def _row(name: str, cells: list[str], width: int) -> str:
    padded = (f"{cell:>{len(str(fate)) + _GAP}}" for cell, fate in zip(cells, _FATES, strict=True))
    return f"  {name:<{width}}{''.join(padded)}"


def _equivalents(score: Score) -> Iterator[Text]:
    """The reasons why mutants are not counted, the most frequent first."""
    reasons = Counter(trial.reason for trial in score.of_fate(Fate.EQUIVALENT))
    if reasons:
        yield Text("equivalent, and not counted:")
        for reason, number in reasons.most_common():
            yield Text(f"  {number:>4}  {shown(reason)}", "dim")
        yield Text()


def _broken(score: Score) -> Iterator[Text]:
    for trial in score.of_fate(Fate.BROKEN):
        yield Text(f"BROKEN {trial.mutant.span}: {shown(trial.mutant.sentence)}", "bold magenta")
        yield Text(f"  {shown(trial.reason)}")
        yield Text("  that is a bug of mcp-rls, and no kill; please report it")
        yield Text()


def _survivors(score: Score) -> Iterator[Text]:
    for trial in score.of_fate(Fate.SURVIVED):
        place = shown(str(trial.mutant.span))
        yield Text(f"SURVIVED {place}: {shown(trial.mutant.sentence)} (mutant {trial.mutant.number})", "bold red")
        yield from (Text(line) for line in _details(score, trial))
        yield Text()


def _details(score: Score, trial: Trial) -> Iterator[str]:
    """What would kill a survivor, or that nothing was found."""
    found = trial.suggestion
    if found is None:
        yield f"  {trial.unexplained}"
        return
    yield f"  token   {shown(found.token)}, {found.command} on {shown(str(found.table))}"
    yield f"  row     {shown(found.row)}"
    yield f"  now     {shown(found.original)}"
    yield f"  mutant  {shown(found.mutated)}"
    if found.like:
        yield f"  add     the lines for mutant {found.like}"
        return
    first, *rest = found.lines.text.splitlines()
    yield f"  add     {shown(first)}"
    yield from (f"          {shown(line)}" for line in rest)
    for case in found.widened:
        says = f"lists {case.keys} too" if not case.conflict else f"can't hold; take another row: {case.conflict}"
        yield f"  and     {shown(score.suite.path)}:{case.line} then {shown(says)}"


def _summary(assayed: Assayed) -> Iterator[Text]:
    score = assayed.score
    good = not score.exit_code(assayed.fail_under) and not score.count(Fate.SURVIVED)
    yield Text(sentence(assayed), "bold green" if good else "bold red")
    checks = sum(trial.checks for trial in score.trials)
    total = f"{counted(len(score.trials), 'mutant')} in {score.seconds:.1f} s, {score.milliseconds:.0f} ms each"
    search = f"; {score.searched:.1f} s to find what would kill the survivors" if score.count(Fate.SURVIVED) else ""
    yield Text(f"{total}, {counted(checks, 'check')} run{search}; {shown(assayed.database)}", "dim")


def sentence(assayed: Assayed) -> str:
    """'mutation score 95.4 %: 309 of 324 killed, 15 survived, 54 equivalent; asked for: 90 %'."""
    score = assayed.score
    others = (Fate.SURVIVED, Fate.EQUIVALENT, Fate.BROKEN)
    parts = [f"{score.count(Fate.KILLED)} of {score.counted} killed"]
    parts += [f"{score.count(fate)} {fate}" for fate in others if score.count(fate)]
    asked = f"; asked for: {assayed.fail_under:g} %" if assayed.fail_under is not None else ""
    return f"mutation score {score.shown} %: {', '.join(parts)}{asked}"
