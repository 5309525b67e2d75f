"""A mutation score as one JSON document: everything, equivalents and timings too."""

from __future__ import annotations

import json
from typing import Any, TextIO

from mcp_rls.harness.mutation.mutant import Kind
from mcp_rls.harness.mutation.score import Fate, Score, Trial
from mcp_rls.report import Assayed


def write(assayed: Assayed, out: TextIO) -> None:
    """The score, counts by kind, and every mutant with its fate."""
    score = assayed.score
    document = {
        "policies": score.policies,
        "cases": score.suite.path,
        "database": assayed.database,
        "score": round(score.percent, 4),
        "fail_under": assayed.fail_under,
        "passed": score.exit_code(assayed.fail_under) == 0,
        "counts": {str(fate): score.count(fate) for fate in Fate},
        "kinds": {str(kind): _counts(score, kind) for kind in Kind if any(t.mutant.kind is kind for t in score.trials)},
        "checks": len(score.baseline.results),
        "seconds": round(score.seconds, 3),
        "seconds_searching": round(score.searched, 3),
        "milliseconds_each": round(score.milliseconds, 2),
        "mutants": [_entry(trial) for trial in score.trials],
    }
    json.dump(document, out, indent=2, ensure_ascii=False)
    out.write("\n")


def _counts(score: Score, kind: Kind) -> dict[str, int]:
    return {str(fate): number for fate in Fate if (number := score.count(fate, kind))}


def _entry(trial: Trial) -> dict[str, Any]:
    mutant = trial.mutant
    return {
        "number": mutant.number,
        "kind": str(mutant.kind),
        "sentence": mutant.sentence,
        "file": mutant.span.path,
        "line": mutant.span.line,
        "column": mutant.span.column,
        "statements": list(mutant.statements),
        "fate": str(trial.fate),
        "reason": trial.reason,
        "killed_by": _killer(trial),
        "checks": trial.checks,
        "milliseconds": round(1000 * trial.seconds, 2),
        "suggestion": _suggestion(trial),
        "tries": trial.tries,
    }


def _killer(trial: Trial) -> dict[str, Any] | None:
    if trial.killer is None:
        return None
    check = trial.killer.check
    return {
        "token": check.token,
        "table": str(check.table),
        "command": check.command,
        "case": check.case.number if check.case else None,
        "line": check.span.line,
        "keys": [list(key) for key in trial.killer.keys],
        "headline": trial.killer.headline,
    }


def _suggestion(trial: Trial) -> dict[str, Any] | None:
    found = trial.suggestion
    if found is None:
        return None
    return {
        "token": found.token,
        "table": str(found.table),
        "command": found.command,
        "row": found.row,
        "original": found.original,
        "mutant": found.mutated,
        "lines": found.lines.text,
        "same_as": found.like or None,
        "widened": [{"case": w.number, "line": w.line, "keys": w.keys, "conflict": w.conflict} for w in found.widened],
    }
