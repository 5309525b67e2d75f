"""What came of a run over a fleet: an outcome for each database, and the worst of them as an exit code."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from mcp_rls.database.drift import Drift
from mcp_rls.diagnostics import Diagnostic
from mcp_rls.operation import Plan

Command = Literal["plan", "apply", "drift"]


class Standing(Enum):
    """How one database came out, and the exit code that this alone would be."""

    IN_STEP = "in step", 0
    APPLIED = "applied", 0
    PENDING = "pending", 1
    DRIFTED = "drifted", 1
    INVALID = "doesn't fit", 1  # the policies have errors against it
    UNKNOWN = "not judged", 2
    REFUSED = "refused", 2  # it stands against it, and trying again would not help
    FAILED = "failed", 2
    NOT_STARTED = "not started", 2

    def __init__(self, label: str, exit_code: int) -> None:
        self.label = label
        self.exit_code = exit_code


@dataclass(frozen=True)
class Outcome:
    """What one try gave: the plan that was made or carried out, what drifted, or why there is neither."""

    standing: Standing
    plan: Plan | None = None
    drift: Drift | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    reason: str = ""
    may_pass: bool = False  # by itself, so that another try is worth it

    @property
    def details(self) -> tuple[Hashable, ...]:
        """What a reader would want to see listed, equal for databases that differ in nothing; () for none."""
        if self.plan is not None:
            return (*self.plan.operations, *self.plan.by_hand)
        if self.drift is not None:
            return self.drift.findings
        return self.diagnostics if self.standing is Standing.INVALID else ()


@dataclass(frozen=True)
class Result:
    """The last outcome of one database, after how many tries, in how many seconds of work."""

    database: str
    outcome: Outcome
    tries: int = 1
    seconds: float = 0.0


@dataclass(frozen=True)
class Group:
    """Databases of which the same is to be told."""

    outcome: Outcome
    databases: tuple[str, ...]


@dataclass(frozen=True)
class FleetRun:
    """One command carried out on each database, in the order of the fleet file."""

    command: Command
    results: tuple[Result, ...]
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """The worst: 0 everything held, 1 the answer is no, 2 there is one without an answer."""
        return max((result.outcome.standing.exit_code for result in self.results), default=0)

    def of(self, standing: Standing) -> tuple[str, ...]:
        return tuple(r.database for r in self.results if r.outcome.standing is standing)

    def groups(self) -> tuple[Group, ...]:
        """Databases with the same details together, those that most share first."""
        together: dict[Hashable, list[Result]] = {}
        for result in self.results:
            if result.outcome.details:
                together.setdefault((result.outcome.standing, result.outcome.details), []).append(result)
        groups = [Group(same[0].outcome, tuple(r.database for r in same)) for same in together.values()]
        return tuple(sorted(groups, key=lambda group: -len(group.databases)))
