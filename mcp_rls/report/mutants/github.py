"""A mutation score as annotations of a GitHub workflow: each survivor, on its line of the policy file."""

from __future__ import annotations

from collections import Counter
from typing import TextIO

from mcp_rls.harness.mutation.score import Fate, Trial
from mcp_rls.report import Assayed, annotation, counted


def write(assayed: Assayed, out: TextIO) -> None:
    """One workflow command for each survivor and each mutant of ours that broke, and one that tells the score."""
    score = assayed.score
    level = "error" if score.exit_code(assayed.fail_under) else "warning"
    for trial in score.of_fate(Fate.SURVIVED):
        place = {"file": trial.mutant.span.path, "line": trial.mutant.span.line, "col": trial.mutant.span.column}
        out.write(annotation(level, _message(trial), **place, title="SURVIVED") + "\n")
    for trial in score.of_fate(Fate.BROKEN):
        message = f"{trial.mutant.sentence}: {trial.reason}; a bug of mcp-rls"
        out.write(annotation("error", message, file=trial.mutant.span.path, title="BROKEN") + "\n")
    counts = Counter(str(trial.fate) for trial in score.trials)
    told = ", ".join(f"{counts[str(fate)]} {fate}" for fate in Fate if counts[str(fate)])
    message = f"{score.shown} % of {counted(score.counted, 'mutant')} killed: {told}"
    final = "error" if score.exit_code(assayed.fail_under) else "notice"
    out.write(annotation(final, message, title="mcp-rls mutants") + "\n")


def _message(trial: Trial) -> str:
    found = trial.suggestion
    if found is None:
        return f"{trial.mutant.sentence}\n{trial.unexplained}"
    return f"{trial.mutant.sentence}\nwhat would notice it:\n{found.lines.text}"
