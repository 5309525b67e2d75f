"""The place where probes act: a token on stage, what is hidden from it, and every attempt with its control."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mcp_rls import sql
from mcp_rls.catalog import Table, TableName
from mcp_rls.harness import rows, trials
from mcp_rls.harness.clients import enter
from mcp_rls.harness.facts import Reach
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.facts import SchemaFacts
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.session import CannotTest, one_line
from mcp_rls.harness.stage import Attempt, Stage
from mcp_rls.harness.suite import Suite, TokenSpec
from mcp_rls.harness.token import Bearer
from mcp_rls.harness.witness import NoWitness, insert_witness
from mcp_rls.state import SCHEMA

REFUSED = frozenset({"42501"})  # insufficient_privilege: by a policy, by a missing grant
_BRIEF = "set local statement_timeout = '2s'"
_NO_TRIGGERS = "set local session_replication_role = replica"


@dataclass(frozen=True)
class Sight:
    """A covered table as the acting token is shown it. `hidden`: rows that are there and not shown, fixtures first."""

    table: Table
    there: rows.Snapshot
    seen: tuple[Key, ...]
    hidden: tuple[Key, ...]
    reach: Reach
    trouble: str = ""  # why it isn't known

    @property
    def name(self) -> TableName:
        return self.table.name

    def row(self, key: Key) -> str:
        """'row 3 of public.tickets'."""
        shown = rows.show(key, self.table)
        return f"{shown} of {self.name}" if not self.table.primary_key else f"row {shown} of {self.name}"


@dataclass(frozen=True)
class Trial:
    """One way of asking for rows of a table that are hidden.

    `tells` names the row that an attempt gave away, or None. It is asked of the token's attempt, and of the login
    role's same attempt, which must tell: else the trial could not have told anything.
    """

    sight: Sight
    statements: tuple[str, ...]
    tells: Callable[[Attempt], Key | None]
    learnt: str  # in words; {row} is the row given away
    look: str = ""
    plant: tuple[str, ...] = ()
    refusals: frozenset[str] = REFUSED  # SQLSTATEs of a refusal that says nothing of the row
    row: Key | None = None  # the one that it is about; None: any that is hidden
    run: Callable[[bool], Attempt] | None = None  # how, where statements won't do; True: past row security
    way: str = ""  # what it is a try of: an object HOLDS only if each of its ways was tried

    @property
    def against(self) -> str:
        """'row 3 of public.tickets'."""
        return self.sight.row(self.row or self.sight.hidden[0])


@dataclass(frozen=True)
class Asked:
    """What came of a trial."""

    told: Key | None = None
    held: bool = False
    trouble: str = ""  # an error that is no refusal
    words: str = ""


@dataclass
class Bench:
    """Probes act here, one token after the other."""

    stage: Stage
    suite: Suite
    facts: SchemaFacts
    call_volatile: bool = False
    _sights: tuple[Sight, ...] = ()
    kept: dict[Any, Any] = field(default_factory=dict)  # what probes remember about the acting token
    lasting: dict[Any, Any] = field(default_factory=dict)  # and about the database
    _controls: dict[tuple[object, ...], Attempt] = field(default_factory=dict)

    def enter(self, token: TokenSpec) -> None:
        """Acts as the token from here on. Raises: CannotTest."""
        enter(self.stage, token)
        self._sights = ()
        self.kept.clear()

    @property
    def bearer(self) -> Bearer:
        assert self.stage.bearer is not None, "somebody acts"
        return self.stage.bearer

    @property
    def role(self) -> str:
        return self.bearer.role

    def fill(self) -> None:
        """A made-up row for each covered table that has none, as the login role; what can't be made up is left."""
        for table in self.stage.covered:
            if not self.stage.snapshot(table) and not table.parents:
                with suppress(NoWitness):
                    insert_witness(self.stage, table, {}, fill=True)
        self.stage.keep()

    @cached_property
    def looked_at(self) -> tuple[Table, ...]:
        """Tables of all schemas; a partitioned one stands for its partitions."""
        kinds = ("table", "partitioned")
        return tuple(t for t in self.stage.catalog.tables.values() if t.kind in kinds and t.name.schema != SCHEMA)

    @cached_property
    def look_everywhere(self) -> str:
        """A query of every row with its version: number of the table, key, version."""
        return " union all ".join(
            f"select {number}, {rows.key_expression(t)}, t.tableoid::text || t.ctid::text || t.xmin::text"
            f" from {sql.table(t.name)} t"
            for number, t in enumerate(self.looked_at)
        )

    # --- what is shown and hidden ---

    @property
    def sights(self) -> tuple[Sight, ...]:
        """Every covered table as the token is shown it."""
        if not self._sights:
            trials.see(self.stage, self.stage.covered)
            self._sights = tuple(map(self._sight, self.stage.covered))
        return self._sights

    @property
    def hiding(self) -> tuple[Sight, ...]:
        """Those with rows that are hidden from the token."""
        return tuple(s for s in self.sights if s.hidden and not s.trouble)

    def sight(self, name: TableName) -> Sight | None:
        return next((s for s in self.sights if s.name == name), None)

    def _sight(self, table: Table) -> Sight:
        there = self.stage.snapshot(table)
        reach = self.stage.facts(self.role).reach.get(table.name, Reach())
        observed = trials.select(self.stage, table)
        if observed.errored:
            return Sight(table, there, (), (), reach, f"what is hidden in {table.name} isn't known: {observed}")
        seen = frozenset(observed.keys)
        fixtures = frozenset(self.stage.fixture_keys.get(table.name, ()))
        hidden = sorted((k for k in there if k not in seen), key=lambda k: k not in fixtures)
        return Sight(table, there, tuple(k for k in there if k in seen), tuple(hidden), reach)

    # --- attempts and controls ---

    def act(self, statements: Sequence[str], look: str = "", plant: Sequence[str] = ()) -> Attempt:
        """What statements give the token, from the savepoint that all start from."""
        return self.stage.rehearse([_BRIEF, *statements], look, plant=plant)

    def control(self, statements: Sequence[str], look: str = "", plant: Sequence[str] = ()) -> Attempt:
        """What the same statements give the login role, which row security doesn't bind, under the same claims."""
        return self.stage.rehearse([_BRIEF, *statements], look, plant=plant, past=True)

    def allowed(self, statements: Sequence[str], look: str = "", plant: Sequence[str] = ()) -> Attempt:
        """What the token gets of a row of its own, or of something planted for it to get: a control too."""
        return self.act(statements, look, plant)

    def ask(self, trial: Trial) -> Asked:
        """What the trial came to: told, held, in trouble, or nothing where its control doesn't tell either."""
        try:
            answer = self._asked(trial)
            if answer != Asked() or trial.run is not None or not self.stage.superuser:
                return answer
            # A trigger that stops everybody would hide that the policies don't.
            answer = self._asked(replace(trial, plant=(_NO_TRIGGERS, *trial.plant)))
        except CannotTest as problem:
            return Asked(trouble=str(problem))
        if answer.told is None:
            return answer
        row = trial.sight.row(answer.told)
        return Asked(trouble=f"a trigger or a reference stops everybody, and without it the token would reach {row}")

    def _asked(self, trial: Trial) -> Asked:
        attempt = self._run(trial, past=False)
        told = trial.tells(attempt)
        if told is not None:
            return Asked(told, words=trial.learnt.format(row=trial.sight.row(told)))
        tells = self._control_tells(trial)
        if tells and attempt.error is not None and attempt.error.sqlstate not in trial.refusals:
            return Asked(trouble=f"the attempt ended in an error: {one_line(attempt.error)} ({attempt.error.sqlstate})")
        return Asked(held=tells)

    def _run(self, trial: Trial, *, past: bool) -> Attempt:
        if trial.run is not None:
            return trial.run(past)
        attempt = self.control if past else self.act
        return attempt(trial.statements, trial.look, trial.plant)

    def _control_tells(self, trial: Trial) -> bool:
        """Whether the control tells. What it gave is kept: another token's trial often is the same."""
        same = (trial.statements, trial.look, trial.plant)
        known = self._controls.get(same) if trial.run is None else None
        if known is None or trial.tells(known) is None:
            known = self._controls[same] = self._run(trial, past=True)
        return trial.tells(known) is not None

    def judge(self, object_: str, trials_: Iterable[Trial], shown: Verdict, held: str, remedy: str) -> Found | None:
        """What the trials of one object came to, up to the first that tells; None when there were none.

        `held` says of a HOLDS what was tried.
        """
        troubles: list[str] = []
        ways: dict[str, str] = {}  # each with a row that it was tried against, or ''
        for trial in trials_:
            answer = self.ask(trial)
            if answer.told is not None:
                return Found(object_, shown, answer.words, trial.sight.row(answer.told), remedy)
            troubles += [answer.trouble] if answer.trouble else []
            ways[trial.way] = ways.get(trial.way) or (trial.against if answer.held else "")
        if troubles:
            return Found(object_, Verdict.UNDECIDED, troubles[0], remedy=remedy)
        if ways and all(ways.values()):
            return Found(object_, Verdict.HOLDS, held, next(iter(ways.values())))
        untried = next((way for way, row in ways.items() if not row), "the attempt") or "the attempt"
        words = f"not even past row security did {untried} tell of a hidden row, so it proves nothing"
        return Found(object_, Verdict.UNDECIDED, words, remedy=remedy, vain=True) if ways else None


def hidden_among(sight: Sight, keys: Iterable[Key]) -> Key | None:
    """The first of `keys` that is hidden, or None."""
    hidden = set(sight.hidden)
    return next((k for k in keys if k in hidden), None)


def keys_in(attempt: Attempt) -> list[Key]:
    """The keys that are the first column of the answer."""
    return [tuple(row[0]) for row in attempt.rows if row and isinstance(row[0], list)]


def written(sight: Sight, attempt: Attempt) -> tuple[Key, ...]:
    """Hidden rows that the look after an attempt found written or gone."""
    if attempt.error is not None:
        return ()
    changed = rows.changed(sight.there, rows.snapshot(sight.table, attempt.look))
    return tuple(k for k in changed if k in set(sight.hidden))
