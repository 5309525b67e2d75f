"""Expectation and observation to a verdict, with a message that a person can act on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from mcp_rls.catalog import Table, TableName
from mcp_rls.compiler.model import Command
from mcp_rls.diagnostics import Span
from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key, Observation
from mcp_rls.harness.suite import Case

_KEYS = 12  # listed at most


class Verdict(Enum):
    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"  # it could not be tried: never a pass

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Check:
    """One thing that is judged: a case of the file, or the rows of one cell that no case frees."""

    token: str
    table: TableName
    command: Command
    case: Case | None = None  # None: a cell
    span: Span = Span()  # of the case, or of the token

    @property
    def title(self) -> str:
        if self.case is not None:
            return f"{self.case.title}: {self.case.expect}"
        return f"{self.token} {self.command} {self.table}: nothing else"


@dataclass(frozen=True)
class Finding:
    """What a comparison came to. `headline` is '' when it passed, else a kind and one sentence."""

    verdict: Verdict = Verdict.PASSED
    headline: str = ""
    keys: tuple[Key, ...] = ()  # rows that were seen or changed and must not be, or the other way round
    new: rows.Data | None = None  # a row that is not in the table: what was inserted
    hint: str = ""  # what to write if it is meant
    remedy: str = ""  # what to do about it, where no policy has a say

    @property
    def kind(self) -> str:
        """LEAK, DENIED, WRONG REASON, VACUOUS, ERROR or UNDECIDED."""
        return self.headline.partition(":")[0]


@dataclass(frozen=True)
class CheckResult:
    """A check with what was seen. `message` is the plain text for a person; '' when it passed."""

    check: Check
    verdict: Verdict
    expected: str
    observation: Observation | None = None  # None: it was never tried
    headline: str = ""
    message: str = ""
    keys: tuple[Key, ...] = ()
    by_catalog: str = ""  # why the catalog alone proves the denial, where nothing could be tried
    by_grant: bool = False  # a cell that is denied for want of a grant: no policy was asked
    attempts: int = 0  # statements that were run as the token
    seconds: float = 0.0
    hint: str = ""  # what to write if it is meant

    @property
    def passed(self) -> bool:
        return self.verdict is Verdict.PASSED


@dataclass(frozen=True)
class SuiteResult:
    """All results: cases in the order of the file, then cells by token, table and command."""

    path: str
    results: tuple[CheckResult, ...]
    attempts: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())

    def count(self, verdict: Verdict) -> int:
        return sum(r.verdict is verdict for r in self.results)

    @property
    def cases(self) -> tuple[CheckResult, ...]:
        return tuple(r for r in self.results if r.check.case is not None)

    @property
    def cells(self) -> tuple[CheckResult, ...]:
        return tuple(r for r in self.results if r.check.case is None)

    @property
    def by_grant(self) -> tuple[CheckResult, ...]:
        """Cells that show nothing of the policies: a grant that comes later could open them."""
        return tuple(r for r in self.cells if r.by_grant)

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """Everything that didn't pass."""
        return tuple(r for r in self.results if not r.passed)

    @property
    def passed(self) -> bool:
        return bool(self.results) and not self.failures

    @property
    def exit_code(self) -> int:
        """0: everything held. 1: something didn't. 2: something could not be decided, or nothing was tried."""
        if not self.results or self.count(Verdict.UNDECIDED):
            return 2
        return 1 if self.failures else 0


def failed(kind: str, sentence: str, keys: Sequence[Key] = (), hint: str = "", remedy: str = "") -> Finding:
    return Finding(Verdict.FAILED, f"{kind}: {sentence}", tuple(keys), None, hint, remedy)


def undecided(sentence: str, remedy: str = "") -> Finding:
    return Finding(Verdict.UNDECIDED, f"UNDECIDED: {sentence}", remedy=remedy)


@dataclass(frozen=True)
class Scene:
    """What a case is judged against: rows that exist, keys that it expects, rows that its WHERE finds."""

    table: Table
    there: frozenset[Key]
    expected: tuple[Key, ...] = ()
    matched: frozenset[Key] = frozenset()
    brought: frozenset[Key] = frozenset()  # the token's own rows: seen or not, no case speaks of them
    ungranted: bool = False  # the token acts in a class role, which is granted nothing where its class has no rule


def judge(case: Case, observation: Observation, scene: Scene) -> Finding:
    """The finding for one case."""
    kind = case.expect.kind
    if kind == "refused":
        return _judge_refused(case, observation, scene)
    if observation.constraint:
        sentence = f"the {case.command} by {case.token} was {observation}"
        return failed("ERROR", f"{sentence}: {observation.error}", hint="refused: constraint")
    if observation.errored:
        return failed("ERROR", f"the {case.command} by {case.token} ended in {observation}")
    if kind == "allowed":
        return _judge_allowed(case, observation)
    return _judge_sees(case, observation, scene) if kind == "sees" else _judge_changes(case, observation, scene)


def _judge_allowed(case: Case, observation: Observation) -> Finding:
    if observation.allowed:
        return Finding()
    if observation.hidden:
        return failed("DENIED", f"the insert by {case.token} raised no error, yet the row isn't there")
    word = "policy" if observation.refused_by_policy else "grant"
    sentence = f"{case.token} can't insert into {case.table}: {observation}"
    return failed("DENIED", sentence, hint=f"refused: {word}")


def _judge_sees(case: Case, observation: Observation, scene: Scene) -> Finding:
    expected = set(scene.expected)
    missing = [k for k in scene.expected if k not in scene.there]
    if missing:
        sentence = f"{_rows(missing)} of {case.table} {_do(missing)} not exist: {_listed(missing, scene)}"
        there = [k for k in scene.there if k not in scene.brought]
        remedy = f"add it under `fixtures:`, or name rows that are there: {_listed(sorted(there), scene)}"
        return failed("VACUOUS", sentence, missing, remedy=remedy)
    if not scene.there - scene.brought:
        remedy = f"give {case.table} a row under `fixtures:`"
        return failed("VACUOUS", f"{case.table} has no rows, so nobody could see any", remedy=remedy)
    if observation.refused_by_grant:
        meant = "refused: grant"
        if expected:
            sentence = f"{case.token} can't read {case.table} for want of a grant"
            return failed("DENIED", sentence, scene.expected, meant)
        if scene.ungranted:
            return Finding()
        sentence = f"{case.token} sees nothing for want of a grant: no policy was asked"
        return failed("WRONG REASON", sentence, hint=meant)
    seen = set(observation.keys) - (scene.brought - expected)
    meant = _meant("sees", [k for k in observation.keys if k in seen], scene)
    leaked = [k for k in observation.keys if k in seen - expected]
    if leaked:
        sentence = f"{case.token} sees {_rows(leaked)} of {case.table} that it must not see"
        return failed("LEAK", sentence, leaked, meant)
    hidden = [k for k in scene.expected if k not in seen]
    if hidden:
        return failed("DENIED", f"{case.token} doesn't see {_rows(hidden)} of {case.table}", hidden, meant)
    return Finding()


def _judge_changes(case: Case, observation: Observation, scene: Scene) -> Finding:
    expected = set(scene.expected)
    if not scene.matched:
        return _found_nothing(case, "changes: []")
    outside = [k for k in scene.expected if k not in scene.matched]
    if outside:
        sentence = f"the case's `where` doesn't find {_rows(outside)} of {case.table}: {_listed(outside, scene)}"
        remedy = f"correct `where`, which finds {_listed(sorted(scene.matched), scene)}, or the keys"
        return failed("VACUOUS", sentence, outside, remedy=remedy)
    if not (observation.allowed or observation.hidden):
        sentence = f"the {case.command} by {case.token} was {observation}"
        meant = f"refused: {'policy' if observation.refused_by_policy else 'grant'}"
        if expected:
            return failed("DENIED", sentence, scene.expected, meant)
        if observation.refused_by_grant and scene.ungranted:
            return Finding()
        return failed("WRONG REASON", f"{sentence}; expected it to find no row", hint=meant)
    verb, meant = f"{case.command}s", _meant("changes", observation.keys, scene)
    leaked = [k for k in observation.keys if k not in expected]
    if leaked:
        return failed("LEAK", f"{case.token} {verb} {_rows(leaked)} of {case.table} that it must not", leaked, meant)
    kept = [k for k in scene.expected if k not in observation.keys]
    if kept:
        return failed("DENIED", f"{case.token} doesn't {case.command} {_rows(kept)} of {case.table}", kept, meant)
    return Finding()


def _judge_refused(case: Case, observation: Observation, scene: Scene) -> Finding:
    if case.command in ("update", "delete") and not scene.matched:
        return _found_nothing(case, f"refused: {case.expect.reason}")
    met = {
        "policy": observation.refused_by_policy or (observation.refused_by_grant and scene.ungranted),
        "grant": observation.refused_by_grant,
        "constraint": bool(observation.constraint),
        None: False,
    }
    if met[case.expect.reason]:
        return Finding()
    meant = "sees" if case.command == "select" else "changes"
    if observation.allowed:
        done = {"select": "sees rows of", "insert": "inserts into"}.get(case.command, f"{case.command}s rows of")
        hint = "allowed: true" if case.command == "insert" else _meant(meant, observation.keys, scene)
        return failed("LEAK", f"{case.token} {done} {case.table}, which must be refused", observation.keys, hint)
    if observation.errored and not observation.constraint:
        return failed("ERROR", f"the {case.command} by {case.token} ended in {observation}")
    sentence = f"the {case.command} by {case.token} wasn't refused by {case.expect.reason}; it was {observation}"
    other = next((word for word, held in met.items() if held), None)
    return failed("WRONG REASON", sentence, hint=f"refused: {other}" if other else f"{meant}: []")


def _found_nothing(case: Case, otherwise: str) -> Finding:
    """The finding for a WHERE that meets no row, whatever row security says of it."""
    sentence = f"no row of {case.table} meets the case's `where`, so it would be `{otherwise}` whatever the policies"
    return failed("VACUOUS", sentence, remedy="add such a row under `fixtures:`, or correct `where`")


def _meant(word: str, keys: Sequence[Key], scene: Scene) -> str:
    """'sees: [1, 3]'; '' where rows have no key to be listed by."""
    return f"{word}: {_listed(keys, scene)}" if scene.table.primary_key else ""


def _listed(keys: Sequence[Key], scene: Scene) -> str:
    more = ", ..." if len(keys) > _KEYS else ""
    return f"[{', '.join(rows.show(key, scene.table) for key in keys[:_KEYS])}{more}]"


def _rows(keys: Sequence[Key]) -> str:
    return "1 row" if len(keys) == 1 else f"{len(keys)} rows"


def _do(keys: Sequence[Key]) -> str:
    return "does" if len(keys) == 1 else "do"
