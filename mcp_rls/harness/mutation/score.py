"""The mutation score of a suite: each mutant made in a savepoint, and the suite run until it notices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import psycopg

from mcp_rls.compiler.model import PolicySet
from mcp_rls.harness.clients import enter
from mcp_rls.harness.mutation.columns import mutants_of_columns
from mcp_rls.harness.mutation.completion import noticed
from mcp_rls.harness.mutation.mutant import Kind, Mutant
from mcp_rls.harness.mutation.objects import mutants_of_objects
from mcp_rls.harness.mutation.order import Order, Try
from mcp_rls.harness.mutation.original import Original, read_original
from mcp_rls.harness.mutation.recognition import mutants_of_recognition
from mcp_rls.harness.mutation.rules import mutants_of_rules
from mcp_rls.harness.mutation.search import Search
from mcp_rls.harness.mutation.sets import mutants_of_sets
from mcp_rls.harness.mutation.standing import Standing, standing
from mcp_rls.harness.mutation.suggestion import Suggestion
from mcp_rls.harness.run import Runner, open_runner
from mcp_rls.harness.session import CannotTest, Connection, one_line
from mcp_rls.harness.suite import Suite
from mcp_rls.harness.verdict import CheckResult, SuiteResult

_SHOWN = 3  # checks that failed without a mutant


class Fate(Enum):
    """BROKEN: PostgreSQL refused the mutant, or a check could not be tried on it. That is a bug of ours, no kill."""

    KILLED = "killed"
    SURVIVED = "survived"
    EQUIVALENT = "equivalent"
    BROKEN = "broken"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Trial:
    """What became of one mutant. `killer`: the check that noticed it; `reason`: why it is equivalent, or broken."""

    mutant: Mutant
    fate: Fate
    killer: CheckResult | None = None
    reason: str = ""
    checks: int = 0  # that were run
    seconds: float = 0.0
    suggestion: Suggestion | None = None  # for a survivor: what would kill it
    tries: int = 0  # statements that were compared to find that

    @property
    def unexplained(self) -> str:
        """What is to be said of a survivor without a suggestion."""
        found = f"no difference found in {self.tries} {'try' if self.tries == 1 else 'tries'}"
        return found if self.tries else "what would notice it wasn't sought"


@dataclass(frozen=True)
class Score:
    """Every mutant, and how long that took. `seconds` are those of the trials, without the search for killers."""

    suite: Suite = field(repr=False)
    policies: str
    trials: tuple[Trial, ...]
    baseline: SuiteResult
    seconds: float
    searched: float = 0.0

    def count(self, fate: Fate, kind: Kind | None = None) -> int:
        return sum(t.fate is fate and kind in (None, t.mutant.kind) for t in self.trials)

    def of_fate(self, fate: Fate) -> tuple[Trial, ...]:
        return tuple(t for t in self.trials if t.fate is fate)

    @property
    def counted(self) -> int:
        """The mutants that a suite could notice."""
        return self.count(Fate.KILLED) + self.count(Fate.SURVIVED)

    @property
    def percent(self) -> float:
        """Killed of those that could be; 0 where there were none: that proves nothing."""
        return 100 * self.count(Fate.KILLED) / self.counted if self.counted else 0.0

    @property
    def shown(self) -> str:
        """The score with one decimal, rounded down: 100 is said of nothing less."""
        return f"{int(self.percent * 10) / 10:g}"

    @property
    def milliseconds(self) -> float:
        """The time that a mutant took, making it included."""
        return 1000 * self.seconds / len(self.trials) if self.trials else 0.0

    def exit_code(self, fail_under: float | None) -> int:
        """0: as good as was asked for. 1: it isn't. 2: some mutant could not be tried, so the score isn't whole."""
        if self.count(Fate.BROKEN) or not self.counted:
            return 2
        return int(fail_under is not None and self.percent < fail_under)


Progress = Callable[[str, int, int], None]  # 'mutant' or 'survivor'; how many are done, of how many


def mutation_score(
    conn: Connection, policies: PolicySet, suite: Suite, progress: Progress | None = None, *, search: bool = True
) -> Score:
    """How many mutants of this database's policies the suite notices; all in one transaction that is rolled back.

    `search`: for each that it doesn't, what would. Raises: Invalid; CannotTest when a score would mean nothing, above
    all when the suite doesn't pass as things are.
    """
    with open_runner(conn, policies, suite, explains=False) as runner:
        baseline, standings = _baseline(runner)
        begun = time.perf_counter()
        runner.stage.to_base()
        original = read_original(runner.stage, suite)
        mutants = distinct(original)
        assay = _Assay(runner, original, Order(runner, standings))
        trials = list(_counted("mutant", map(assay.trial, mutants), len(mutants), progress))
        seconds = time.perf_counter() - begun
        if search:
            survivors = [t for t in trials if t.fate is Fate.SURVIVED]
            found = _counted("survivor", map(assay.explained, survivors), len(survivors), progress)
            explained = {t.mutant.number: t for t in found}
            trials = [explained.get(t.mutant.number, t) for t in trials]
        searched = time.perf_counter() - begun - seconds
    return Score(suite, policies.path, tuple(trials), baseline, seconds, searched)


def _baseline(runner: Runner) -> tuple[SuiteResult, dict[str, Standing]]:
    """The suite without any mutant, which must pass, and how each token stands."""
    begun = time.perf_counter()
    standings: dict[str, Standing] = {}
    results = []
    for result in runner.everything():
        results.append(result)
        if result.check.token not in standings and runner.stage.bearer is not None:
            standings[result.check.token] = standing(runner.stage)
    done = SuiteResult(runner.suite.path, tuple(results), runner.stage.attempts, time.perf_counter() - begun)
    if not done.passed:
        raise CannotTest(_refusal(done))
    return done, {name: standings[name] for name in runner.suite.tokens if name in standings}


def _refusal(result: SuiteResult) -> str:
    if not result.results:
        return f"{result.path}: nothing is tried there, so a mutation score would mean nothing"
    failures = result.failures
    lines = [f"  {one.headline}" for one in failures[:_SHOWN]]
    lines += [f"  and {len(failures) - _SHOWN} more"] if len(failures) > _SHOWN else []
    head = f"{result.path}: {len(failures)} of {len(result.results)} checks don't hold as things are,"
    return "\n".join([f"{head} so a mutation score would mean nothing", *lines, "hint: mcp-rls test shows them whole"])


def distinct(original: Original) -> list[Mutant]:
    """The mutants of a database, numbered; those that one statement makes alike, once."""
    made = (
        *mutants_of_objects(original),
        *mutants_of_columns(original),
        *mutants_of_rules(original),
        *mutants_of_recognition(original),
        *mutants_of_sets(original),
    )
    order = {kind: number for number, kind in enumerate(Kind)}
    seen: set[tuple[str, ...]] = set()
    found: list[Mutant] = []
    for mutant in sorted(made, key=lambda m: order[m.kind]):
        if not mutant.statements or mutant.statements not in seen:
            seen.add(mutant.statements)
            found.append(replace(mutant, number=len(found) + 1))
    if not found:
        raise CannotTest(f"{original.policies.path}: nothing is installed that could be mutated")
    return found


def _counted(what: str, trials: Iterator[Trial], total: int, progress: Progress | None) -> Iterator[Trial]:
    for done, trial in enumerate(trials, 1):
        if progress is not None:
            progress(what, done, total)
        yield trial


class _Assay:
    """Mutants on one stage."""

    def __init__(self, runner: Runner, original: Original, order: Order) -> None:
        self.runner = runner
        self.order = order
        self.search = Search(runner, original, order.standings)

    def trial(self, mutant: Mutant) -> Trial:
        if mutant.equivalent:
            return Trial(mutant, Fate.EQUIVALENT, reason=mutant.equivalent)
        begun = time.perf_counter()
        try:
            with self.runner.stage.altered(*mutant.statements):
                trial = self._tried(mutant)
        except psycopg.errors.DatabaseError as error:
            if self.runner.stage.conn.closed:
                raise CannotTest(f"the connection was lost: {one_line(error)}") from None
            trial = Trial(mutant, Fate.BROKEN, reason=one_line(error))
        return replace(trial, seconds=time.perf_counter() - begun)

    def _tried(self, mutant: Mutant) -> Trial:
        number, untried = 0, ""
        for number, result in enumerate(self._results(mutant), 1):
            if noticed(result):
                self.order.noticed(mutant, result.check.token)
                return Trial(mutant, Fate.KILLED, result, checks=number)
            if not result.passed:
                untried = untried or result.headline
        return Trial(mutant, Fate.BROKEN if untried else Fate.SURVIVED, reason=untried, checks=number)

    def _results(self, mutant: Mutant) -> Iterator[CheckResult]:
        alike: dict[str, bool] = {}  # tokens that are recognised as before
        for one in self.order.of_mutant(mutant):
            if mutant.concern.recognition:
                if one.token not in alike:
                    alike[one.token] = self._stands_as_before(one.token)
                if alike[one.token]:
                    continue
            yield from self._run(one)

    def _stands_as_before(self, token: str) -> bool:
        enter(self.runner.stage, self.runner.suite.tokens[token])
        known = self.order.standings[token]
        return known.kind != "unknown" and standing(self.runner.stage) == known

    def _run(self, one: Try) -> Sequence[CheckResult]:
        if one.case is not None:
            return (self.runner.case(one.case),)
        return self.runner.cells(self.runner.suite.tokens[one.token], one.table, (one.command,))

    def explained(self, trial: Trial) -> Trial:
        """A survivor with what would kill it."""
        suggestion, tries = self.search.of_mutant(trial.mutant)
        return replace(trial, suggestion=suggestion, tries=tries)
