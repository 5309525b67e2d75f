"""Lines for a cases file made whole: with them the suite passes as things are, and notices the mutant."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import psycopg

from mcp_rls.catalog import TableName
from mcp_rls.harness.clients import enter
from mcp_rls.harness.mutation.notation import Lines, Notation, by_key, case_line, key_value, plain
from mcp_rls.harness.mutation.questions import neutral_column
from mcp_rls.harness.mutation.readers import readers
from mcp_rls.harness.mutation.standing import Standing, standing
from mcp_rls.harness.mutation.suggestion import Widened
from mcp_rls.harness.run import Runner
from mcp_rls.harness.session import CannotTest
from mcp_rls.harness.stage import Stage
from mcp_rls.harness.suite import Case, Expectation, Suite, TokenSpec, show_keys
from mcp_rls.harness.token import is_client_token
from mcp_rls.harness.verdict import CheckResult, Verdict

_ROUNDS = 24  # in which what a new token may do is written down


def noticed(result: CheckResult) -> bool:
    """Whether the suite turned red by what the token did; that something could not be tried at all is no kill."""
    return result.verdict is Verdict.FAILED or (
        result.verdict is Verdict.UNDECIDED and result.observation is not None and result.observation.errored
    )


class Completion:
    """What is missing, found by running the suite with the lines in it."""

    def __init__(self, stage: Stage, notation: Notation, standings: Mapping[str, Standing]) -> None:
        self.stage = stage
        self.notation = notation
        self.standings = standings
        self.readers = readers(stage.catalog, stage.covered)

    def of(self, lines: Lines, token: str, mutant: tuple[str, ...]) -> tuple[Lines, tuple[Widened, ...]] | None:
        """The whole lines, and the cases of the file that they widen; None where they prove nothing."""
        try:
            whole = self._whole(lines, token)
            if whole is None or self.kill(whole, token, mutant) is None:
                return None
            return whole, self._widened(whole) if whole.fixtures else ()
        except (CannotTest, psycopg.Error):
            return None

    @contextmanager
    def _set(self, lines: Lines) -> Iterator[Suite]:
        """Yields the suite with the lines in it, on a stage with their rows. Raises: CannotTest."""
        suite = self.notation.extended(lines)
        if suite is None:
            raise CannotTest("the lines can't be read")
        known = self.notation.suite.fixtures
        more = {name: found[len(known.get(name, ())) :] for name, found in suite.fixtures.items()}
        with self.stage.altered():
            self.stage.insert_fixtures({name: found for name, found in more.items() if found})
            yield suite

    def _whole(self, lines: Lines, token: str) -> Lines | None:
        """With a case for everything that the token may do: what no case allows must be denied."""
        for _ in range(_ROUNDS):
            with self._set(lines) as suite:
                runner = Runner(self.stage, suite, explains=False)
                failed = list(filter(self._is_ours, _results(runner, suite.tokens[token])))
                more = [line for result in failed for line in self._allowing(result, suite)]
            if not failed:
                return lines
            fresh = [line for line in more if line not in lines.cases]
            if not fresh:
                return None
            lines = lines.with_cases(*fresh)
        return None

    def _is_ours(self, result: CheckResult) -> bool:
        """Whether it failed for want of lines: the file's own cases, which a new row may concern, are told apart."""
        case = result.check.case
        return not result.passed and (case is None or case.number > len(self.notation.suite.cases))

    def _allowing(self, result: CheckResult, suite: Suite) -> list[str]:
        """Cases that say that what was done may be done."""
        check = result.check
        if check.case is not None or not result.headline.startswith("LEAK"):
            return []
        if check.command == "insert":
            return [result.hint] if result.hint else []
        table = self.stage.table(check.table)
        if not table.primary_key:
            return []
        case = Case(0, check.token, check.command, check.table, Expectation("changes"))
        if check.command == "select":
            return [case_line(case, {"sees": [key_value(table, key) for key in result.keys]})]
        role = enter(self.stage, suite.tokens[check.token]).role
        there = self.stage.snapshot(table)
        reach = self.stage.facts(role).reach[table.name]
        column = neutral_column(table, reach)
        lines = []
        for key in result.keys:
            given = {column.name: plain(column, there[key].data[column.name])} if column is not None else {}
            values = given if check.command == "update" else {}
            one = Case(0, check.token, check.command, check.table, case.expect, values, by_key(table, key))
            lines.append(case_line(one, {"changes": [key_value(table, key)]}))
        return lines

    def _widened(self, lines: Lines) -> tuple[Widened, ...]:
        """Cases of the file that don't list a new row yet, or that can't hold with it."""
        named = {name for name, _ in lines.fixtures}
        with self._set(lines) as suite:
            runner = Runner(self.stage, suite, explains=False)
            tokens = self.notation.suite.tokens.values()
            return tuple(self._concerned(r) for t in tokens for r in self._touched(runner, t, named) if not r.passed)

    def _concerned(self, result: CheckResult) -> Widened:
        case = result.check.case
        if case is None:
            return Widened(0, result.check.span.line, conflict=result.headline)
        table = self.stage.table(case.table)
        if not result.headline.startswith("LEAK") or case.command == "insert" or not table.primary_key:
            return Widened(case.number, case.span.line, conflict=result.headline)
        keys = tuple(key_value(table, key) for key in result.keys)
        return Widened(case.number, case.span.line, show_keys(keys))

    def _touched(self, runner: Runner, token: TokenSpec, named: set[TableName]) -> Iterator[CheckResult]:
        """The checks of a token that rows of these tables can touch: all, where it stands otherwise with them."""
        enter(self.stage, token)
        if standing(self.stage) != self.standings.get(token.name):
            return _results(runner, token)
        sets = " ".join(s.query for s in runner.policies.sets.values())
        if any(re.search(rf"\b{re.escape(name.name)}\b", sets) for name in named):
            return _results(runner, token)
        referred = {key.references for name in named for key in self.stage.table(name).foreign_keys}
        tables = named.union(referred, *(self.readers.get(name, frozenset()) for name in named))
        return _results(runner, token, tables)

    def kill(self, lines: Lines, token: str, mutant: tuple[str, ...]) -> CheckResult | None:
        """The first check of the token that the mutant turns red, and nothing else."""
        red: set[tuple[int, TableName, str]] = set()
        if lines.fixtures:
            with self._set(lines) as suite:
                results = _results(Runner(self.stage, suite, explains=False), suite.tokens[token])
                red = {_identity(result) for result in results if not result.passed}
        with self.stage.altered(*mutant), self._set(lines) as suite:
            results = _results(Runner(self.stage, suite, explains=False), suite.tokens[token])
            return next((r for r in results if noticed(r) and _identity(r) not in red), None)


def _identity(result: CheckResult) -> tuple[int, TableName, str]:
    check = result.check
    return check.case.number if check.case is not None else 0, check.table, check.command


def _results(runner: Runner, token: TokenSpec, tables: Collection[TableName] | None = None) -> Iterator[CheckResult]:
    """The checks of one token, as a run of the suite has them; on these tables, or all."""
    mine = [case for case in runner.suite.cases if case.token == token.name]
    yield from (runner.case(case) for case in mine if tables is None or case.table in tables)
    if is_client_token(runner.policies, token):
        for table in runner.stage.covered:
            if tables is None or table.name in tables:
                yield from runner.cells(token, table.name)
