"""For a mutant that nobody noticed: a token and a row for which the original and the mutant differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice, product

import psycopg

from mcp_rls.catalog import Table, TableName
from mcp_rls.compiler.model import COMMANDS, Command
from mcp_rls.harness import rows
from mcp_rls.harness.clients import enter
from mcp_rls.harness.mutation.actors import Actor, Cast, Row
from mcp_rls.harness.mutation.completion import Completion
from mcp_rls.harness.mutation.mutant import Concern, Mutant
from mcp_rls.harness.mutation.notation import Lines, Notation, case_line, mapping, row_values
from mcp_rls.harness.mutation.original import Original
from mcp_rls.harness.mutation.questions import ROWS, Answer, Questions, answer, fresh_key
from mcp_rls.harness.mutation.standing import Standing, standing
from mcp_rls.harness.mutation.suggestion import Suggestion
from mcp_rls.harness.mutation.values import telling_columns, values_of
from mcp_rls.harness.run import Runner
from mcp_rls.harness.session import CannotTest
from mcp_rls.harness.stage import Stage
from mcp_rls.harness.suite import Case

_TRIES, _TRIES_AT_FIRST = 1500, 600  # statements on one mutant, and before rows are made up for it
_ROWS, _BASES = 24, 3  # new rows of a table, and how many of its own they are made from
_KINDS = ("direct", "client", "unknown", "closed")
_ACTORS = 8  # that are tried with each of them


@dataclass(frozen=True)
class _Difference:
    """One statement of one token, and what comes of it in the original and on the mutant."""

    actor: Actor
    table: Table
    case: Case
    original: Answer
    mutated: Answer


class Search:
    """The search on one stage. What the original answers is asked once, for all mutants."""

    def __init__(self, runner: Runner, original: Original, standings: Mapping[str, Standing]) -> None:
        self.stage: Stage = runner.stage
        self.suite = runner.suite
        self.original = original
        self.notation = Notation(original.policies, runner.suite)
        self.cast = Cast(runner.stage, original, self.notation)
        self.completion = Completion(runner.stage, self.notation, standings)
        self._standings: dict[str, Standing | None] = dict(standings)  # by name, which no two actors share
        self._answers: dict[tuple[str, Lines, str], Answer] = {}
        self._found: dict[int, tuple[Suggestion, Actor]] = {}  # by the number of the mutant
        self.tries = 0

    def of_mutant(self, mutant: Mutant) -> tuple[Suggestion | None, int]:
        """What makes the suite notice it, or None; and how many statements were compared."""
        self.tries = 0
        known = self._known_to_kill(mutant)
        if known is not None:
            return known, self.tries
        second = None  # in conflict with the suite
        for difference in self._differences(mutant):
            suggestion = self._suggestion(mutant, difference)
            if suggestion is not None and suggestion.whole:
                self._found[mutant.number] = suggestion, difference.actor
                return suggestion, self.tries
            second = second or suggestion
            if self.tries >= _TRIES:
                break
        return second, self.tries

    def _known_to_kill(self, mutant: Mutant) -> Suggestion | None:
        """What was found for another survivor, where it kills this one too."""
        for number, (found, actor) in self._found.items():
            if not self._can_tell(mutant, found, actor):
                continue
            self.tries += 1
            killer = None
            with suppress(CannotTest):
                killer = self.completion.kill(found.lines, found.token, mutant.statements)
            if killer is not None:
                check, table = killer.check, self.stage.table(killer.check.table)
                row = ", ".join(rows.show(key, table) for key in killer.keys) or found.row
                told = (row, killer.expected, killer.headline)
                return Suggestion(found.token, table.name, check.command, *told, found.lines, found.widened, number)
        return None

    def _can_tell(self, mutant: Mutant, found: Suggestion, actor: Actor) -> bool:
        """Whether the lines of another survivor are about this one too."""
        concern, known = mutant.concern, self._standing(actor)
        if known is None or not concern.tokens(known):
            return False
        if concern.recognition:
            return not self._stands_alike(mutant, actor, known)
        return found.table in (concern.tables or {found.table}) and concern.command in (None, found.command)

    def _suggestion(self, mutant: Mutant, found: _Difference) -> Suggestion | None:
        expected = found.original.expectation(found.table, found.case)
        if expected is None:
            return None
        lines = found.actor.lines.with_cases(case_line(found.case, expected))
        done = self.completion.of(lines, found.case.token, mutant.statements)
        if done is None:
            return None
        whole, widened = done
        return Suggestion(
            found.case.token,
            found.table.name,
            found.case.command,
            self._row(found),
            found.original.shown(found.table),
            found.mutated.shown(found.table),
            whole,
            widened,
        )

    def _row(self, found: _Difference) -> str:
        """The row that they differ about, in words."""
        if found.case.command == "insert":
            return mapping(found.case.values)
        with self._set(found.actor):
            there = self.stage.snapshot(found.table)
            about = sorted((found.original.keys ^ found.mutated.keys) & there.keys())
            named = [rows.show_row(there[key], found.table) for key in about]
        return named[0] if named else mapping(found.case.where)

    # --- differences

    def _differences(self, mutant: Mutant) -> Iterator[_Difference]:
        """With the rows that are there, then with more of them."""
        actors = list(self._actors(mutant.concern))
        for actor in actors:
            yield from self._of_actor(mutant, actor)
            if self.tries >= _TRIES_AT_FIRST and not mutant.concern.recognition:
                break
        for table, row in self._more_rows(mutant.concern):
            for actor in [a for a in actors if not a.rows][:_ACTORS]:
                yield from self._of_actor(mutant, actor.with_row(table, row))

    def _actors(self, concern: Concern) -> Iterator[Actor]:
        """Those that can meet a difference; of tokens that stand alike only the first, where recognition is as it was.

        Those that may the most come first: they show the most.
        """
        able = [(actor, known) for actor in self.cast.all() if (known := self._standing(actor)) is not None]
        able = [(actor, known) for actor, known in able if concern.tokens(known)]
        if concern.recognition:
            yield from (actor for actor, _ in able)
            return
        able.sort(key=lambda pair: (_KINDS.index(pair[1].kind), -len(pair[1].scopes)))
        alike: set[object] = set()
        for actor, known in able:
            spec = actor.spec
            client = (spec.client or spec.class_name, repr(spec.raw)) if known.kind in ("client", "unknown") else ()
            key = (known, spec.sub, repr(spec.claims), *client)
            if key not in alike:
                alike.add(key)
                yield actor

    def _of_actor(self, mutant: Mutant, actor: Actor) -> Iterator[_Difference]:
        known = self._standing(actor)
        if known is None or self.tries >= _TRIES:
            return
        if mutant.concern.recognition and self._stands_alike(mutant, actor, known):
            return
        for table, command in self._places(mutant.concern):
            yield from self._about(mutant, actor, table, command)

    def _places(self, concern: Concern) -> list[tuple[Table, Command]]:
        """Tables and commands that the mutant is about; what is seen comes first."""
        named = concern.tables
        tables = [t for t in self.stage.covered if named is None or t.name in named]
        tables.sort(key=lambda t: t.name not in self.suite.fixtures)
        commands = COMMANDS if concern.command is None else (concern.command,)
        return [(table, command) for command in commands for table in tables]

    def _about(self, mutant: Mutant, actor: Actor, table: Table, command: Command) -> Iterator[_Difference]:
        """The first difference that one token meets in one table by one command."""
        conditions = mutant.concern.conditions if not mutant.concern.recognition else ()
        brought = sum(name == table.name for name, _ in actor.rows)
        questions = Questions(self.original, self.suite, table, conditions, brought or ROWS)
        try:
            known = self._known(actor, questions, command)
            with self.stage.altered(*mutant.statements), self._set(actor):
                enter(self.stage, actor.spec)
                found = self._first(known)
        except (CannotTest, psycopg.Error):
            return  # such a token can't act, or such a row can't be: no difference that a suite could show
        if found is not None:
            case, original, mutated = found
            yield _Difference(actor, table, case, original, mutated)

    def _first(self, known: list[tuple[Case, Answer]]) -> tuple[Case, Answer, Answer] | None:
        for case, original in known:
            self.tries += 1
            mutated = answer(self.stage, case)
            if mutated.differs(original, case):
                return case, original, mutated
        return None

    def _known(self, actor: Actor, questions: Questions, command: Command) -> list[tuple[Case, Answer]]:
        """What the original answers."""
        with self._set(actor):
            enter(self.stage, actor.spec)
            cases = list(questions.ask(self.stage, actor.spec.name, command))
            return [(case, self._answer(actor, case)) for case in cases]

    def _answer(self, actor: Actor, case: Case) -> Answer:
        key = (actor.spec.name, actor.lines, repr(case))
        if key not in self._answers:
            self._answers[key] = answer(self.stage, case)
        return self._answers[key]

    # --- how tokens stand

    def _standing(self, actor: Actor) -> Standing | None:
        """How it stands in the original; None: it can't act."""
        name = actor.spec.name
        if name not in self._standings:
            self._standings[name] = self._stands(actor)
        return self._standings[name]

    def _stands(self, actor: Actor) -> Standing | None:
        try:
            with self._set(actor):
                enter(self.stage, actor.spec)
                return standing(self.stage)
        except (CannotTest, psycopg.Error):
            return None

    def _stands_alike(self, mutant: Mutant, actor: Actor, known: Standing) -> bool:
        self.tries += 1
        with self.stage.altered(*mutant.statements):
            return known.kind != "unknown" and self._stands(actor) in (known, None)

    # --- rows

    @contextmanager
    def _set(self, actor: Actor) -> Iterator[None]:
        """The stage with the actor's rows; as it is, without any. Raises: CannotTest."""
        if not actor.rows:
            yield
            return
        with self.stage.altered():
            for table, row in actor.rows:
                self.stage.insert_fixtures({table: (row,)})
            yield

    def _more_rows(self, concern: Concern) -> Iterator[tuple[TableName, Row]]:
        """Rows in which what the conditions ask for takes every side; each by itself."""
        if concern.recognition or not concern.conditions:
            return
        for table in (t for t in self.stage.covered if concern.tables is None or t.name in concern.tables):
            columns = telling_columns(table, concern.conditions)
            self.stage.to_base()
            there = self.stage.snapshot(table)
            options = [values_of(self.stage, self.original, self.suite, table, c) for c in columns]
            for index, base in enumerate(islice(there.values(), _BASES)):
                plain = row_values(table, base.data) | fresh_key(table, index)
                for values in islice(product(*options), _ROWS // _BASES):
                    yield table.name, plain | dict(zip((c.name for c in columns), values, strict=True))
