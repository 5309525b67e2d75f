"""One transaction in which a whole suite runs, in layers of savepoints, and which is rolled back at the end.

fixtures                 mcp_rls_base
  rows of one token      mcp_rls_token
    acting as it         mcp_rls_act     every statement starts from here, and is undone before the next
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg

from mcp_rls import sql
from mcp_rls.catalog import Catalog, Table, TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.diagnostics import Span
from mcp_rls.harness import rows
from mcp_rls.harness.check import covered_tables
from mcp_rls.harness.facts import RoleFacts, role_facts
from mcp_rls.harness.observe import Key
from mcp_rls.harness.session import CannotTest, Connection, impersonate, impersonation, one_line, preflight, run
from mcp_rls.harness.suite import Values
from mcp_rls.harness.token import Bearer

_BASE, _TOKEN, _ACT = "mcp_rls_base", "mcp_rls_token", "mcp_rls_act"
_ALTERED = "mcp_rls_altered"
_BACK = f"rollback to {_ACT}"
_NUMBERS = itertools.count(1)
_MOST_PREPARED = 2000  # a plan takes some tens of kilobytes in the server
# Skips every row but one: row security was asked about them all before, and no other row is disturbed.
_SKIP = "create function pg_temp.mcp_rls_skip() returns trigger language plpgsql as 'begin return null; end'"
_TRIGGER = '" mcp_rls"'  # triggers fire by name, and a blank sorts first: skipped rows reach no other trigger

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Attempt:
    """A statement as the token: its rows and those of the look after it, or the error that ended it."""

    rows: Rows
    look: Rows
    error: psycopg.Error | None = None


class Watcher(Protocol):
    """Somebody who is told of each stage of a run, and of each token that has acted there."""

    def begin(self, stage: Stage) -> None:
        """The stage is open; what is done now stays until it is closed."""

    def leave(self, stage: Stage, bearer: Bearer) -> None:
        """The token has done all it does for now, and is still the one who acts."""

    def end(self, conn: Connection) -> None:
        """Everything was rolled back, whatever ended it."""


class Stage:
    """The open transaction. `attempts` counts the statements that were run as a token."""

    def __init__(self, conn: Connection, policies: PolicySet, catalog: Catalog, watcher: Watcher | None = None) -> None:
        self.conn = conn
        self.policies = policies
        self.catalog = catalog
        self.watcher = watcher
        self.covered = covered_tables(policies, catalog)
        self.attempts = 0
        self.bearer: Bearer | None = None
        self.fixture_keys: dict[TableName, tuple[Key, ...]] = {}
        self._acting = False
        self._snapshots: dict[TableName, rows.Snapshot] = {}
        self._facts: dict[str, RoleFacts] = {}
        self.queries: dict[TableName, str] = {}  # the keys of a table's rows
        self.sights: dict[TableName, Rows] = {}  # what the acting token was shown already, see trials.see
        self._statements: dict[str, str] = {}  # text to its prepared name; '' until it is met again

    @property
    def superuser(self) -> bool:
        return self.catalog.roles[self.catalog.user].superuser

    def table(self, name: TableName) -> Table:
        found = self.catalog.tables.get(name)
        if found is None:
            raise CannotTest(f'there is no table "{name}" in the database')
        return found

    def facts(self, role: str) -> RoleFacts:
        """What the catalog says about an acting role, read once."""
        if role not in self._facts:
            if self._acting:
                run(self.conn, _BACK, "reset role")  # the last statement may have ended in an error
            self._facts[role] = role_facts(self.conn, role, self.covered)
        return self._facts[role]

    # --- as the login role ---

    def insert_fixtures(
        self, fixtures: Mapping[TableName, tuple[Values, ...]], span: Callable[..., Span] = lambda *_: Span()
    ) -> None:
        """Inserts the rows past row security, below whatever comes later."""
        self.to_base()
        for name, values in fixtures.items():
            table = self.table(name)
            for index, row in enumerate(values):
                statement = rows.insert(table, rows.literals(table, row), overriding=True)
                answer = self.try_do(f"{statement} returning {_returned_key(table)}")
                if isinstance(answer, psycopg.Error):
                    place = span("fixtures", str(name), index)
                    raise CannotTest(_unfit(f"row {index + 1} of {name}", answer, place))
                self.fixture_keys[name] = (*self.fixture_keys.get(name, ()), tuple(answer[-1][0][0]))
        # Constraints that wait for the commit would never be asked.
        late = self.try_do("set constraints all immediate")
        if isinstance(late, psycopg.Error):
            raise CannotTest(_unfit("the fixtures", late, Span()))
        self._advance_sequences(list(fixtures))
        self.keep()

    def keep(self) -> None:
        """What the login role brought since is below every token from now on."""
        assert not self._acting, "rows are kept before anybody acts"
        run(self.conn, f"savepoint {_BASE}")

    def _advance_sequences(self, names: list[TableName]) -> None:
        """Sets sequences past the keys of the fixtures. ALTER SEQUENCE, unlike setval, is undone by a rollback."""
        owned = [
            f"select {sql.literal(c.name)}, {sql.literal(sql.table(n))},"
            f" pg_get_serial_sequence({sql.literal(sql.table(n))}, {sql.literal(c.name)})"
            for n in names
            for c in self.table(n).columns
            if c.has_default and c.base_type in ("smallint", "integer", "bigint")
        ]
        if not owned:
            return
        for column, table, sequence in self.ask(" union all ".join(owned)):
            top = self.ask(f"select max({sql.ident(column)}) from {table}")[0][0] if sequence else None
            if top is not None and top > 0:
                self.try_do(f"alter sequence {sequence} restart with {top + 1}")

    @contextmanager
    def altered(self, *statements: str) -> Iterator[None]:
        """The database made another one below everything that acts in it, undone at the end. Raises: psycopg.Error."""
        self.to_base()
        run(self.conn, f"savepoint {_ALTERED}")
        kept, keys = self._facts, dict(self.fixture_keys)
        self._facts = {}
        try:
            run(self.conn, *statements, f"savepoint {_BASE}")
            yield
        finally:
            run(self.conn, f"rollback to {_ALTERED}", f"release {_ALTERED}")
            self._facts, self.fixture_keys = kept, keys
            self.bearer, self._acting = None, False
            self._changed()

    def to_base(self) -> None:
        """Nobody acts any more, and only the fixtures are left."""
        if self.watcher is not None and self.bearer is not None and self._acting:
            self.watcher.leave(self, self.bearer)
        run(self.conn, f"rollback to {_BASE}")
        self.bearer, self._acting = None, False
        self._changed()

    def try_do(self, *statements: str) -> list[Rows] | psycopg.Error:
        """The rows of statements whose effect stays for as long as the present layer; or their error."""
        assert not self._acting, "rows are brought by the login role, not by a token"
        self._changed()
        try:
            return run(self.conn, "savepoint mcp_rls_try", *statements, "release mcp_rls_try")[1:-1]
        except psycopg.Error as error:
            run(self.conn, "rollback to mcp_rls_try", "release mcp_rls_try")
            return error

    def ask(self, query: str) -> Rows:
        """The rows of a query past row security; nothing it does stays. Raises psycopg.Error."""
        if self._acting:
            return run(self.conn, _BACK, "reset role", query)[-1]
        try:
            return run(self.conn, "savepoint mcp_rls_ask", query, "release mcp_rls_ask")[1]
        except psycopg.Error:
            run(self.conn, "rollback to mcp_rls_ask", "release mcp_rls_ask")
            raise

    def snapshot(self, table: Table) -> rows.Snapshot:
        """The rows that are really there, before the token does anything."""
        if table.name not in self._snapshots:
            self._snapshots[table.name] = rows.snapshot(table, self.ask(rows.look(table)))
        return self._snapshots[table.name]

    # --- as a token ---

    def act(self, bearer: Bearer) -> None:
        """Acts as `bearer`, above the rows that were brought for it."""
        run(self.conn, f"savepoint {_TOKEN}")
        self.bearer = bearer
        self._take_role()

    def _take_role(self) -> None:
        assert self.bearer is not None, "somebody acts"
        impersonate(self.conn, self.bearer.claims, self.bearer.role, resolved=self.policies.resolved)
        run(self.conn, f"savepoint {_ACT}")
        self._acting = True

    @contextmanager
    def more_rows(self) -> Iterator[Callable[[], None]]:
        """A layer for further rows of the login role; call what it yields to act again. Undone at the end."""
        run(self.conn, f"rollback to {_TOKEN}")
        self._acting = False
        self._changed()
        try:
            yield self._take_role
        finally:
            run(self.conn, f"rollback to {_TOKEN}")
            self._acting = False
            self._changed()
            self._take_role()

    def _changed(self) -> None:
        """The rows below the token are others now."""
        self._snapshots.clear()
        self.sights.clear()

    def attempt(self, statement: str, look: str = "", isolate: tuple[Table, Key] | None = None) -> Attempt:
        """Runs `statement` as the token and then, if it may have written, `look` past row security.

        `isolate`: only this row of the table reaches the statement's UPDATE or DELETE; policies are asked about all.
        """
        assert self._acting, "somebody acts"
        self.attempts += 1
        if isolate is not None:
            self._isolate(*isolate)
        start = () if isolate is not None else (_BACK,)
        after = ("reset role", look) if look else ()
        statement = self._prepared(statement) if isolate is None else statement
        try:
            results = run(self.conn, *start, statement, *after)
        except psycopg.OperationalError as error:
            if self.conn.closed:
                raise CannotTest(f"the connection was lost: {one_line(error)}") from None
            return Attempt([], [], error)
        except psycopg.Error as error:
            return Attempt([], [], error)
        return Attempt(results[len(start)], results[-1] if look else [])

    def rehearse(
        self, statements: Sequence[str], look: str = "", *, plant: Sequence[str] = (), past: bool = False
    ) -> Attempt:
        """Runs statements one after the other, to the rows of the last; then `look` past row security.

        `plant` comes first, as the login role. The statements are the token's, or with `past` the login role's under
        the same claims. Raises: CannotTest when what is planted doesn't take.
        """
        assert self.bearer is not None, "somebody acts"
        self.attempts += not past
        start: tuple[str, ...] = (_BACK, "reset role") if plant or past else (_BACK,)
        if plant:
            taken = () if past else (f"select set_config('role', {sql.literal(self.bearer.role)}, true)",)
            self._plant(*start, *plant, *taken)
            start = ()
        try:
            results = run(self.conn, *start, *statements, *(("reset role", look) if look else ()))
        except psycopg.Error as error:
            if self.conn.closed:
                raise CannotTest(f"the connection was lost: {one_line(error)}") from None
            return Attempt([], [], error)
        return Attempt(results[len(start) + len(statements) - 1], results[-1] if look else [])

    def _plant(self, *statements: str) -> None:
        try:
            run(self.conn, *statements)
        except psycopg.Error as error:
            raise CannotTest(one_line(error)) from None

    def attempt_all(self, statements: Sequence[str]) -> list[Rows] | None:
        """The rows of queries as the token, in one round trip; None when one of them ends in an error."""
        assert self._acting, "somebody acts"
        try:
            results = run(self.conn, _BACK, *map(self._prepared, statements))
        except psycopg.Error:
            return None
        self.attempts += len(statements)
        return results[1:]

    def _prepared(self, statement: str) -> str:
        """What to send for a statement: from its second use on it is prepared, and planned once for all tokens.

        That is what a pool of connections does to an app's statements. A plan that holds on to one token's values,
        where a policy calls a function that was declared IMMUTABLE, shows as a leak.
        """
        name = self._statements.get(statement)
        if name is None:
            self._statements[statement] = ""
        elif name == "" and len(self._statements) <= _MOST_PREPARED:
            name = self._statements[statement] = f"mcp_rls_{next(_NUMBERS)}"
            try:
                run(self.conn, _BACK, f"prepare {name} as {statement}")
            except psycopg.Error:
                self._statements[statement] = statement  # it is told by the statement itself
                return statement
        return f"execute {name}" if name and name != statement else statement

    def forget_statements(self) -> None:
        """Prepared statements outlive a transaction; these don't outlive the stage."""
        names = {n for text, n in self._statements.items() if n not in ("", text)}
        self._statements.clear()
        if names and not self.conn.closed:
            there = {name for (name,) in run(self.conn, "select name from pg_prepared_statements")[0]}
            run(self.conn, "", *(f"deallocate {n}" for n in sorted(names & there)))

    def say(self, claims: str, role: str, expressions: Sequence[str], source: str = "") -> list[str | None] | None:
        """What boolean expressions come to for a token: 'true', 'false' or None; None when one ends in an error.

        `source`: the FROM clause of the row that they are about.
        """
        # A policy calls functions by what they are; its text names them, and that takes USAGE on the schema.
        opened = [s for s in ("mcp_rls",) if s in self.catalog.schemas]
        grants = [f"grant usage on schema {sql.ident(s)} to {sql.ident(role)}" for s in opened]
        listed = ", ".join(f"({expression})::text" for expression in expressions)
        back = (_BACK, "reset role") if self._acting else ()
        run(self.conn, *back, "savepoint mcp_rls_say")
        try:
            be = impersonation(claims, role, resolved=self.policies.resolved)
            asked = (*grants, be, f"select array[{listed}]{source}")
            return list(run(self.conn, *asked)[-1][0][0])
        except psycopg.Error:
            return None
        finally:
            run(self.conn, "rollback to mcp_rls_say", "release mcp_rls_say")

    def isolation(self, table: Table, key: Key) -> tuple[str, ...]:
        """Statements of the login role that keep all rows but one from an UPDATE or DELETE after them."""
        others = f"({rows.by_key(table, key, 'old.')}) is not true"
        trigger = f"create trigger {_TRIGGER} before update or delete on {sql.table(table.name)} for each row"
        return _SKIP, f"{trigger} when ({others}) execute function pg_temp.mcp_rls_skip()"

    def _isolate(self, table: Table, key: Key) -> None:
        """Keeps all rows but one from the next UPDATE or DELETE. Its own errors are none of the token's."""
        assert self.bearer is not None, "somebody acts"
        taken = f"select set_config('role', {sql.literal(self.bearer.role)}, true)"
        try:
            run(self.conn, _BACK, "reset role", *self.isolation(table, key), taken)
        except psycopg.Error as error:
            hint = f"grant trigger on {sql.table(table.name)} to the login role"
            raise CannotTest(f"no row of {table.name} can be tried alone: {one_line(error)}\nhint: {hint}") from None


@contextmanager
def open_stage(
    conn: Connection, policies: PolicySet, catalog: Catalog, roles: frozenset[str], watcher: Watcher | None = None
) -> Iterator[Stage]:
    """Yields the stage for one run; everything on it is rolled back, to where it began if a transaction is open.

    Raises: CannotTest when it would prove nothing; what the watcher raises.
    """
    stage = Stage(conn, policies, catalog, watcher)
    # after a ROLLBACK or a DROP the driver forgets what it prepared by DEALLOCATE ALL, which would take ours along
    threshold, conn.prepare_threshold = conn.prepare_threshold, None
    try:
        with conn.transaction(force_rollback=True):
            _alone(conn)
            preflight(conn, sorted(roles), stage.covered)
            if watcher is not None:
                watcher.begin(stage)
            run(conn, f"savepoint {_BASE}")
            yield stage
            if watcher is not None:
                stage.to_base()
    finally:
        if watcher is not None:
            watcher.end(conn)
        stage.forget_statements()
        conn.prepare_threshold = threshold


def _alone(conn: Connection) -> None:
    """Waits for other runs in this database: the same fixtures would block each other half way."""
    try:
        run(conn, "set local lock_timeout = '60s'", "select pg_advisory_xact_lock(hashtext('mcp_rls.test'))")
    except psycopg.errors.LockNotAvailable:
        raise CannotTest("another test run has been using this database for a minute") from None


def _returned_key(table: Table) -> str:
    if not table.primary_key:
        return "array[tableoid::regclass::text, ctid::text]"
    return f"array[{', '.join(f'{sql.ident(c)}::text' for c in table.primary_key)}]"


def _unfit(what: str, error: psycopg.Error, place: Span) -> str:
    where = f"{place}: " if place.path else ""
    detail = f"\n  {error.diag.message_detail}" if error.diag.message_detail else ""
    return f"{where}{what} can't be inserted: {one_line(error)}{detail}"
