"""A suite against a database: every case, then every cell that no case frees. Nothing is committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import psycopg

from mcp_rls.catalog import Catalog, Table, TableName
from mcp_rls.compiler.model import COMMANDS, Command, PolicySet
from mcp_rls.database.introspect import read_catalog
from mcp_rls.diagnostics import Invalid
from mcp_rls.harness import rows, trials
from mcp_rls.harness.cells import CellOutcome, Cells, Freed, closed_by_catalog, person_columns, witness_values
from mcp_rls.harness.check import check_suite
from mcp_rls.harness.clients import enter
from mcp_rls.harness.columns import column_twin
from mcp_rls.harness.keys import KeyReader
from mcp_rls.harness.message import compose, untried
from mcp_rls.harness.observe import Key
from mcp_rls.harness.session import CannotTest, Connection, one_line
from mcp_rls.harness.stage import Stage, Watcher, open_stage
from mcp_rls.harness.suite import Case, Suite, TokenSpec
from mcp_rls.harness.token import Bearer, is_client_token
from mcp_rls.harness.twin import blind_twin
from mcp_rls.harness.verdict import (
    Check,
    CheckResult,
    Finding,
    Scene,
    SuiteResult,
    Verdict,
    failed,
    judge,
    undecided,
)
from mcp_rls.harness.witness import NoWitness, insert_witness

_NOTHING = "nothing but what its cases allow"

Progress = Callable[[int, int, CheckResult], None]  # how many are done, of how many, and the one just done


def run_suite(
    conn: Connection,
    policies: PolicySet,
    suite: Suite,
    progress: Progress | None = None,
    catalog: Catalog | None = None,
    watcher: Watcher | None = None,
) -> SuiteResult:
    """Every result of the suite against this database, in one transaction that is rolled back.

    Raises: Invalid for what the suite names and the database lacks; CannotTest when a run would prove nothing.
    """
    begun = time.perf_counter()
    with open_runner(conn, policies, suite, catalog, watcher) as runner:
        results: list[CheckResult] = []
        for result in runner.everything():
            results.append(result)
            if progress is not None:
                progress(len(results), runner.total, result)
        order = {name: index for index, name in enumerate(suite.tokens)}
        results.sort(key=lambda r: _place(r, order))
        return SuiteResult(suite.path, tuple(results), runner.stage.attempts, time.perf_counter() - begun)


@contextmanager
def open_runner(
    conn: Connection,
    policies: PolicySet,
    suite: Suite,
    catalog: Catalog | None = None,
    watcher: Watcher | None = None,
    *,
    explains: bool = True,
) -> Iterator[Runner]:
    """Yields a runner whose checks can be asked for one by one, fixtures inserted."""
    catalog = catalog or read_catalog(conn)
    diagnostics = check_suite(suite, catalog)
    if diagnostics.has_errors:
        raise Invalid(diagnostics)
    roles = frozenset(t.role or policies.roles[0] for t in suite.tokens.values()) | {*policies.class_roles.values()}
    with open_stage(conn, policies, catalog, roles, watcher) as stage:
        stage.insert_fixtures(suite.fixtures, suite.span)
        yield Runner(stage, suite, explains=explains)


class Runner:
    """The checks of a suite on an open stage. `explains`: what didn't pass has a message, which costs a few queries."""

    def __init__(self, stage: Stage, suite: Suite, *, explains: bool = True) -> None:
        self.explains = explains
        self.stage = stage
        self.suite = suite
        self.policies = stage.policies
        self._keys = KeyReader(stage)
        self._people = frozenset(str(sub).lower() for sub in suite.people.values())
        self._inserted: dict[int, tuple[rows.StoredRow, ...]] = {}  # by case number

    @property
    def total(self) -> int:
        clients = {token.name for token in self.client_tokens()}
        listed = {(c.token, c.table) for c in self.suite.cases if c.command == "select" and c.token in clients}
        return len(self.suite.cases) + len(clients) * len(self.stage.covered) * len(COMMANDS) - len(listed)

    def client_tokens(self) -> tuple[TokenSpec, ...]:
        return tuple(t for t in self.suite.tokens.values() if is_client_token(self.policies, t))

    def everything(self) -> Iterator[CheckResult]:
        """Cases and cells, token by token: becoming a token takes longer than a statement as it."""
        clients = {token.name for token in self.client_tokens()}
        for token in self.suite.tokens.values():
            self._see(token)
            for case in self.suite.cases:
                if case.token == token.name:
                    yield self.case(case)
            if token.name in clients:
                for table in self.stage.covered:
                    yield from self.cells(token, table.name)

    def _see(self, token: TokenSpec) -> None:
        """What the token sees, all at once; what goes wrong here is told by the checks that ask again."""
        with suppress(CannotTest, psycopg.Error):
            enter(self.stage, token)
            trials.see(self.stage, self.stage.covered)

    # --- cases ---

    def case(self, case: Case) -> CheckResult:
        """The result of one case."""
        check = Check(case.token, case.table, case.command, case, case.span)
        return self._timed(check, str(case.expect), lambda bearer: self._case(case, bearer))

    def _case(self, case: Case, bearer: Bearer) -> CellOutcome:
        table = self.stage.table(case.table)
        there = self.stage.snapshot(table)
        expected = self._keys.read(table, case.expect.keys)
        if isinstance(expected, str):
            remedy = f"name rows of {case.table} that are there, or add one under `fixtures:`"
            return CellOutcome(case.command, failed("ERROR", expected, remedy=remedy))
        performed = trials.perform(self.stage, case)
        self._inserted.setdefault(case.number, performed.new)  # as it was when nothing was altered yet
        matched = trials.matched(self.stage, table, case) if case.command in ("update", "delete") else ()
        brought, ungranted = _brought(bearer, table.name), _ungranted(self.policies, bearer, case.table, case.command)
        scene = Scene(table, frozenset(there), expected, frozenset(matched), brought, ungranted)
        finding = judge(case, performed.observation, scene)
        if finding.headline and performed.new:
            finding = replace(finding, new=performed.new[0].data)
        outcome = CellOutcome(case.command, finding, performed.observation)
        if finding.verdict is Verdict.PASSED:
            twin = blind_twin(self.stage, case, scene) or column_twin(self.stage, case, scene)
            outcome = CellOutcome(case.command, *twin) if twin else outcome
        return outcome

    # --- cells ---

    def cells(
        self, token: TokenSpec, name: TableName, commands: Sequence[Command] = COMMANDS
    ) -> tuple[CheckResult, ...]:
        """The results of the cells of a client token on one table; none for a token that no ceiling binds."""
        table = self.stage.table(name)
        begun, attempts = time.perf_counter(), self.stage.attempts
        checks = {command: Check(token.name, name, command, None, token.span) for command in commands}
        results: list[CheckResult] = []
        try:
            bearer = enter(self.stage, token)
            if not bearer.tried(self.policies):
                return ()
            for outcome in self._try_cells(table, bearer, self._freed(token, table, bearer), commands):
                results.append(self._result(checks[outcome.command], _NOTHING, bearer, outcome, begun, attempts))
                begun, attempts = time.perf_counter(), self.stage.attempts
        except (CannotTest, psycopg.Error) as problem:
            done = {result.check.command for result in results}
            left = [check for command, check in checks.items() if command not in done]
            results += [_untried(check, _NOTHING, problem) for check in left]
        return tuple(results)

    def _try_cells(
        self, table: Table, bearer: Bearer, freed: Freed, commands: Sequence[Command]
    ) -> Iterator[CellOutcome]:
        there = self.stage.snapshot(table)
        if any(key not in freed.brought for key in there):
            people = self._people | ({bearer.identity.person.lower()} if bearer.identity.person else set())
            yield from Cells(self.stage, table, freed, person_columns(table, there, people)).all(commands)
            return
        own = witness_values(table, self.policies, bearer.identity.person)
        trouble = None
        with self.stage.more_rows() as resume:
            try:
                self._insert_witness(table, own)
            except NoWitness as problem:
                trouble = str(problem)
            else:
                resume()
                yield from Cells(self.stage, table, freed, frozenset(own)).all(commands)
        if trouble is not None:
            yield from (self._by_catalog(table, command, trouble) for command in commands)

    def _insert_witness(self, table: Table, own: dict[str, str]) -> Key:
        """A row that is the person's own, as far as that can be guessed; else just a row."""
        try:
            return insert_witness(self.stage, table, own, fill=True)
        except NoWitness:
            return insert_witness(self.stage, table, {}, fill=True)

    def _by_catalog(self, table: Table, command: Command, trouble: str) -> CellOutcome:
        reason = closed_by_catalog(self.stage, table, command)
        if reason:
            return CellOutcome(command, Finding(), None, reason)
        return CellOutcome(
            command,
            undecided(f"{table.name} has no rows to try: {trouble}", f"give {table.name} a row under `fixtures:`"),
        )

    def _freed(self, token: TokenSpec, table: Table, bearer: Bearer) -> Freed:
        """What the cases of this token give it on this table."""
        keys: dict[Command, frozenset[Key]] = {}
        inserts: list[rows.Data] = []
        for case in self.suite.cases:
            if case.token != token.name or case.table != table.name:
                continue
            if case.expect.kind == "allowed":
                if case.number not in self._inserted:
                    self.case(case)
                inserts += [row.data for row in self._inserted.get(case.number, ())]
            read = self._keys.read(table, case.expect.keys)
            if not isinstance(read, str):
                keys[case.command] = keys.get(case.command, frozenset()) | frozenset(read)
        return Freed(keys, tuple(inserts), _brought(bearer, table.name), "select" in keys)

    # --- results ---

    def _timed(self, check: Check, expected: str, tried: Callable[[Bearer], CellOutcome]) -> CheckResult:
        begun, attempts = time.perf_counter(), self.stage.attempts
        try:
            bearer = enter(self.stage, self.suite.tokens[check.token])
            return self._result(check, expected, bearer, tried(bearer), begun, attempts)
        except (CannotTest, psycopg.Error) as problem:
            return _untried(check, expected, problem)

    def _result(
        self, check: Check, expected: str, bearer: Bearer, outcome: CellOutcome, begun: float, attempts: int
    ) -> CheckResult:
        by_grant = self._is_by_grant(check, outcome, bearer)
        finding, message = outcome.finding, ""
        if by_grant and self._has_idle_rule(check, bearer):
            privilege = f"no role of tokens has {check.command.upper()} on {check.table}"
            finding = undecided(f"the file has a rule for this, and {privilege}: no policy was asked")
        if self.explains and finding.verdict is not Verdict.PASSED:
            message = compose(self.stage, check, finding, expected, outcome.observation)
        return CheckResult(
            check,
            finding.verdict,
            expected,
            outcome.observation,
            finding.headline,
            message,
            finding.keys,
            outcome.by_catalog,
            by_grant,
            self.stage.attempts - attempts,
            time.perf_counter() - begun,
            finding.hint,
        )

    def _has_idle_rule(self, check: Check, bearer: Bearer) -> bool:
        """Whether the file lets the token's class do this to some row, and nobody is granted it: that is no denial."""
        if not self.policies.has_rule(bearer.class_name, check.table, check.command):
            return False
        return not any(self.stage.facts(role).may(check.table, check.command) for role in self.policies.acting)

    def _is_by_grant(self, check: Check, outcome: CellOutcome, bearer: Bearer) -> bool:
        """Whether a cell is denied for want of a grant alone, and not one that the policy file withholds."""
        denied = check.case is None and outcome.finding.verdict is Verdict.PASSED
        if not denied or _ungranted(self.policies, bearer, check.table, check.command):
            return False
        if outcome.by_catalog:
            return not self.stage.facts(bearer.role).may(check.table, check.command)
        return outcome.observation is not None and outcome.observation.refused_by_grant


def _brought(bearer: Bearer, table: TableName) -> frozenset[Key]:
    return frozenset(key for name, key in bearer.brought if name == table)


def _ungranted(policies: PolicySet, bearer: Bearer, table: TableName, command: Command) -> bool:
    """Whether the token acts in the role of a class that has no rule for this, and so no privilege."""
    of = policies.class_of_role(bearer.role)
    return of is not None and not policies.has_rule(of, table, command)


def _untried(check: Check, expected: str, problem: CannotTest | psycopg.Error) -> CheckResult:
    text = str(problem) if isinstance(problem, CannotTest) else one_line(problem)
    headline = f"UNDECIDED: {text.splitlines()[0]}"
    return CheckResult(check, Verdict.UNDECIDED, expected, None, headline, untried(check, expected, text))


def _place(result: CheckResult, tokens: dict[str, int]) -> tuple[int, int, TableName, int]:
    """Cases in the order of the file, then cells."""
    check = result.check
    number = check.case.number if check.case is not None else 1_000_000
    return (number, tokens[check.token], check.table, COMMANDS.index(check.command))
