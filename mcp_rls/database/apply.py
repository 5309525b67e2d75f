"""A policy set against a live database: what would change there, and carrying it out in one transaction."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import psycopg

from mcp_rls import sql
from mcp_rls.catalog import Catalog, TableName
from mcp_rls.compiler.ledger import LOCK_TIMEOUT, PATIENCE, SEEN_OF
from mcp_rls.compiler.lower import lower
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.resolve import ResolvedPolicies, resolve
from mcp_rls.database.drift import unnoted
from mcp_rls.database.drift.reading import LOCKED, rows
from mcp_rls.database.introspect import read_catalog, read_state
from mcp_rls.database.reads import reads
from mcp_rls.database.typecheck import typecheck
from mcp_rls.diagnostics import Diagnostics, Invalid
from mcp_rls.inspection.read import read_facts
from mcp_rls.lints import World, refused, run
from mcp_rls.operation import EXCLUSIVE, Operation, Plan
from mcp_rls.plan import operations, plan
from mcp_rls.state import SCHEMA, State
from mcp_rls.ways import by_table, with_tables

Connection = psycopg.Connection[Any]
Progress = Callable[[str], None]
Found = TypeVar("Found")
READING = 10.0  # seconds in which what another session has locked is read again and again, where nobody says longer
_PROMISED = ("before", "after", "by_hand")  # what a plan says of the database it was made for
_PAUSES = (0.1, 2.0)  # seconds between two tries: the first, doubled each time, and the longest


class Refused(Exception):
    """The plan was not carried out and nothing was changed; the message says why."""


class Locked(Refused):
    """A lock was not to be had in time; another try may get it."""


class Moved(Refused):
    """The database is no longer what the plan was made for; a new plan may do."""


@dataclass(frozen=True)
class Prepared:
    """One policy file against one database: the facts, both states, and the plan between them."""

    catalog: Catalog
    resolved: ResolvedPolicies
    actual: State
    desired: State
    plan: Plan
    diagnostics: Diagnostics


def state_for(conn: Connection, policies: PolicySet, only: frozenset[TableName] | None = None) -> State:
    """What of this database a plan for these policies is made from; `only`: policies of these tables alone."""
    return read_state(conn, policies.schemas, policies.acting, policies.class_roles.values(), only)


def prepare(conn: Connection, policies: PolicySet, accept: frozenset[str] = frozenset()) -> Prepared:
    """Compiles the policies against this database and plans; reads only.

    Raises Invalid with every diagnostic when there is an error among them (`accept`: codes that are let through);
    Refused while tables are suspended: their own policies are away, so a plan made now would leave them without.
    """
    diagnostics = Diagnostics()
    catalog = read_catalog(conn)
    resolved = resolve(policies, catalog, diagnostics, accept, partial=True)
    if resolved is not None:
        typecheck(conn, resolved, diagnostics)
    _lint(conn, policies, diagnostics, accept)
    if resolved is None or diagnostics.has_errors:
        raise Invalid(diagnostics)
    actual = state_for(conn, policies)
    if actual.suspended:
        tables = ", ".join(map(str, actual.suspended))
        raise Refused(f"{tables}: suspended; finish that migration, or run: select {SCHEMA}.resume()")
    desired = lower(resolved, actual)
    planned = replace(plan(actual, desired), by_hand=_by_hand(conn))
    return Prepared(catalog, resolved, actual, desired, planned, diagnostics)


def _by_hand(conn: Connection) -> tuple[Operation, ...]:
    """What the database holds otherwise than it was noted: to carry a plan out takes note of it."""
    return tuple(Operation((), f.change, f.effect, subject=f.object) for f in unnoted(conn))


def _lint(conn: Connection, policies: PolicySet, diagnostics: Diagnostics, accept: frozenset[str]) -> None:
    """Reports what of the database stands against any plan."""
    against = refused() - accept
    if against:
        diagnostics.extend(run(World(read_facts(conn), policies), policies.accepted, against).diagnostics)


def pending(conn: Connection, policies: PolicySet) -> Plan:
    """What is still to be done so that this database holds what the policies compile to."""
    return prepare(conn, policies).plan


def install(conn: Connection, policies: PolicySet, accept: frozenset[str] = frozenset()) -> Plan:
    """Compiles and applies in one transaction (a savepoint inside an open one); the plan that was carried out.

    Raises Invalid for errors in the policies, Refused when the database stands against it.
    """
    with _refusals(conn), conn.transaction(), _settings(conn, LOCK_TIMEOUT):
        _alone(conn)
        prepared = prepare(conn, policies, accept)
        _execute(conn, prepared.plan)
        _verify(conn, prepared)
    return prepared.plan


def apply_plan(
    conn: Connection,
    policies: PolicySet,
    expected: Plan,
    *,
    lock_timeout: str = LOCK_TIMEOUT,
    patience: float = PATIENCE,
    progress: Callable[[Operation], None] | None = None,
    waiting: Progress | None = None,
) -> None:
    """Carries `expected` out in one transaction, trying again for `patience` seconds when a lock can't be had.

    `lock_timeout` bounds each wait for a lock, and with it how long readers queue behind it. Raises Refused, with
    nothing changed, when the database moved since the plan was made, and Locked when no try got its locks.
    """

    def attempt() -> None:
        with _refusals(conn), conn.transaction(), _settings(conn, lock_timeout):
            _alone(conn)
            prepared = prepare(conn, policies)
            if any(getattr(prepared.plan, part) != getattr(expected, part) for part in _PROMISED):
                raise Moved("the database changed since this plan was made; plan again")
            _carry_out(conn, expected, lock_timeout, progress)
            _verify(conn, prepared)

    _patiently(attempt, patience, waiting)


def apply_by_table(
    conn: Connection,
    policies: PolicySet,
    *,
    lock_timeout: str = LOCK_TIMEOUT,
    patience: float = PATIENCE,
    progress: Progress | None = None,
    waiting: Progress | None = None,
) -> int:
    """Brings the database to what the policies say in a transaction for each table; how many there were.

    No more than one table is locked at a time, but for those whose policies read each other: they change in one
    transaction. Every step leaves a whole, recorded state that is no wider than the
    wider of both ends, so whatever stops it half way, to run it again goes on where it stopped. Raises Refused.
    """
    with _to_ourselves(conn, lock_timeout, patience, waiting):
        return _step_by_step(conn, policies, lock_timeout, patience, progress, waiting)


def _step_by_step(
    conn: Connection,
    policies: PolicySet,
    lock_timeout: str,
    patience: float,
    progress: Progress | None,
    waiting: Progress | None,
) -> int:
    prepared = patiently(conn, lambda: prepare(conn, policies), patience, waiting)
    read = reads(conn, prepared.catalog, prepared.actual, prepared.desired)
    ways = by_table(prepared.actual, prepared.desired, read)
    if ways is None:
        raise Refused("who is recognised changes together with rules of tables: that takes one transaction")
    steps = [(about, step) for about, step in ways if step]

    def attempt(step: Plan) -> None:
        with _refusals(conn), conn.transaction(), _settings(conn, lock_timeout):
            _carry_out(conn, step, lock_timeout)

    for number, (about, step) in enumerate(steps):
        try:
            _patiently(partial(attempt, step), patience, waiting)
        except Refused as refused:
            raise Refused(f"{about}: {refused}; {number} of {len(steps)} steps were done before, and stay") from refused
        if progress is not None:
            progress(f"{number + 1}/{len(steps)} {about}")
    _tell_late(conn, prepared, progress)
    patiently(conn, lambda: take_note(conn, policies), patience, waiting)
    left = patiently(conn, lambda: _left(conn, prepared.resolved), patience, waiting)
    if left:
        raise Refused(f"all {len(steps)} steps were done, and yet this is to be done: {left}")
    return len(steps)


def _tell_late(conn: Connection, prepared: Prepared, progress: Progress | None) -> None:
    """Tells what was changed by hand while the steps were taken, but for tables that they change themselves."""
    known = {o.words for o in prepared.plan.by_hand}
    ours = {f"table {o.table}" for o in prepared.plan.operations if o.table}
    for found in _by_hand(conn):
        if progress is not None and found.words not in known and found.subject not in ours:
            progress(f"found changed by hand meanwhile: {found.words}")


@contextmanager
def _to_ourselves(conn: Connection, lock_timeout: str, patience: float, waiting: Progress | None) -> Iterator[None]:
    """Keeps other applies away for several transactions: between two of them one would meet a state of neither end."""

    def take() -> None:
        with _refusals(conn), conn.transaction(), _settings(conn, lock_timeout):
            _alone(conn, "pg_advisory_lock")

    _patiently(take, patience, waiting)
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("select pg_advisory_unlock(hashtext('mcp_rls.apply'))")


def take_note(conn: Connection, policies: PolicySet) -> list[str]:
    """Writes down anew what `drift` compares with, where nothing is pending; the objects that had changed."""
    arguments = {"schemas": list(policies.schemas), "roles": list(policies.acting)}
    query = f"""select coalesce(s.object, m.object)
        from ({SEEN_OF}) s full join (select * from {SCHEMA}.manifest where source = 'seen') m on m.object = s.object
        where s.facts is distinct from m.facts order by 1"""
    with _refusals(conn), conn.transaction(), _settings(conn, LOCK_TIMEOUT):
        _alone(conn)
        changed = [row[0] for row in conn.execute(query.encode(), arguments)]
        if changed:
            conn.execute(sql.note(policies.schemas, policies.acting).encode())
    return changed


def patiently(
    conn: Connection, look: Callable[[], Found], patience: float = READING, waiting: Progress | None = None
) -> Found:
    """What `look` gives, that reads only: tried again while another session has locked what it reads.

    Raises Locked, which names those tables, when `patience` seconds are over.
    """

    def attempt() -> Found:
        try:
            return look()
        except psycopg.errors.LockNotAvailable as error:
            raise Locked(_in_the_way(conn)) from error

    return _patiently(attempt, patience, waiting)


def _patiently(attempt: Callable[[], Found], patience: float, waiting: Progress | None) -> Found:
    """What it gives, once the locks are had: tried for `patience` seconds, with longer and longer, uneven pauses."""
    until, pause = time.monotonic() + patience, _PAUSES[0]
    while True:
        try:
            return attempt()
        except Locked as locked:
            left = until - time.monotonic()
            if left <= 0:
                raise Locked(f"{locked}, in {patience:g} s of trying; nothing was changed") from locked
            if waiting is not None:
                waiting(f"{locked}; trying again")
        # uneven, so that several who wait for each other don't meet again
        time.sleep(min(left, pause * random.uniform(0.5, 1.0)))  # noqa: S311 - no secret
        pause = min(2 * pause, _PAUSES[1])


def _lock_timeout(conn: Connection) -> float:
    """The transaction's lock_timeout in seconds, as PostgreSQL read it; 0 for no limit."""
    query = "select setting::float8 / 1000 from pg_settings where name = 'lock_timeout'"
    found = conn.execute(query).fetchone()
    return float(found[0]) if found else 0.0


def _carry_out(
    conn: Connection, plan_: Plan, lock_timeout: str, progress: Callable[[Operation], None] | None = None
) -> None:
    """Takes every lock first, by name, so that nothing is done in vain; then the statements.

    All locks together are waited for no longer than `lock_timeout`: whoever reads the first table waits for the last.
    """
    patience = _lock_timeout(conn)
    until = time.monotonic() + patience
    for name in plan_.locked:
        left = max(1, int((until - time.monotonic()) * 1000)) if patience else 0
        conn.execute("select set_config('lock_timeout', %s, true)", (str(left),))
        try:
            conn.execute(f"lock table {sql.table(name)} in access exclusive mode".encode())
        except psycopg.errors.LockNotAvailable as error:
            raise Locked(f"{name} is in use: its lock was not to be had within {lock_timeout}") from error
    conn.execute("select set_config('lock_timeout', %s, true)", (lock_timeout,))
    _execute(conn, plan_, progress)


def _alone(conn: Connection, lock: str = "pg_advisory_xact_lock") -> None:
    """Waits for another apply to end, as long as for any lock."""
    try:
        conn.execute(f"select {lock}(hashtext('mcp_rls.apply'))".encode())
    except psycopg.errors.LockNotAvailable as error:
        raise Locked("another apply is at work here: its lock was not to be had") from error


@contextmanager
def _refusals(conn: Connection) -> Iterator[None]:
    """PostgreSQL's errors in its own words, as a refusal: the transaction is rolled back."""
    try:
        yield
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise Locked(_in_the_way(conn)) from error
    except psycopg.errors.DuplicateSchema as error:
        raise Refused("there is a schema mcp_rls without a manifest: it isn't ours, and was left alone") from error
    except psycopg.Error as error:
        if error.sqlstate is None:  # not the server's word: the connection is gone
            raise
        if _collided(error):
            raise Locked(f"another session changed the same at that moment: {error.diag.message_primary}") from error
        # which objects depend on one that goes is the detail; the hint of that is CASCADE, which nobody should follow
        more = "; ".join((error.diag.message_detail or error.diag.message_hint or "").splitlines())
        said = f"{error.diag.message_primary}{f' ({more})' if more else ''}"
        raise Refused(f"PostgreSQL refused, and nothing was changed: {said}") from error


def _in_the_way(conn: Connection) -> str:
    """Why a lock was not to be had, as far as it can be told: tables that another session lets nobody read."""
    held = rows(conn, LOCKED)
    if not held:
        return "a lock was not to be had"
    tables, pids = (sorted({getattr(row, key) for row in held}) for key in ("name", "pid"))
    whose = f"{EXCLUSIVE}, pid {', '.join(map(str, pids))} in pg_stat_activity"
    return f"a lock was not to be had: another session has locked {', '.join(tables)} ({whose})"


def _collided(error: psycopg.Error) -> bool:
    """Whether another session was first at the same row of a catalog: the databases of a server share its roles."""
    if isinstance(error, psycopg.errors.UniqueViolation):
        return error.diag.schema_name == "pg_catalog"
    if isinstance(error, psycopg.errors.UndefinedObject):  # a role was there and is dropped, in whatever language
        return error.diag.source_function == "shdepLockAndCheckObject"
    return isinstance(error, psycopg.errors.InternalError_)  # "tuple concurrently updated" has no code of its own


@contextmanager
def _settings(conn: Connection, lock_timeout: str) -> Iterator[None]:
    """lock_timeout, a search_path where a bare name can only mean PostgreSQL's own, and strings and NULL as usual."""
    names = ("lock_timeout", "search_path", "standard_conforming_strings", "transform_null_equals")
    values = [conn.execute("select current_setting(%s)", (n,)).fetchone() for n in names]
    conn.execute(
        "select set_config('lock_timeout', %s, true), set_config('search_path', 'pg_catalog', true),"
        " set_config('standard_conforming_strings', 'on', true), set_config('transform_null_equals', 'off', true)",
        (lock_timeout,),
    )
    yield
    for name, value in zip(names, values, strict=True):
        conn.execute("select set_config(%s, %s, true)", (name, value[0] if value else ""))


def _execute(conn: Connection, carried: Plan, progress: Callable[[Operation], None] | None = None) -> None:
    for operation in carried.operations:
        for statement in operation.statements:
            conn.execute(statement.encode())
        if progress is not None:
            progress(operation)


def _verify(conn: Connection, carried: Prepared) -> None:
    """Plans again: anything left to do means that a statement did not have its effect (a grant by another grantor).

    Tables are locked meanwhile, so it looks at those that were changed, and takes the others for what they should be.
    """
    policies = carried.resolved.policies
    tables = {o.table for o in carried.plan.operations if o.table}
    changed = frozenset(table for table in tables if table.schema in policies.schemas)
    # what was given back to a role that is a token's no more is read no more
    known = {"public", *policies.acting, *policies.class_roles.values()}
    held = frozenset(p for p in carried.desired.privileges if p.role in known)
    wanted = replace(carried.desired, privileges=held)
    now = with_tables(wanted, changed, state_for(conn, policies, changed))
    left = _words(operations(now, wanted))
    if left:
        raise Refused(f"after applying, this was still to be done, so nothing was changed: {left}")


def _left(conn: Connection, resolved: ResolvedPolicies) -> str:
    """What is still to be done, in words; '' for nothing."""
    actual = state_for(conn, resolved.policies)
    return _words(operations(actual, lower(resolved, actual)))


def _words(left: Iterator[Operation]) -> str:
    return "; ".join(o.words for o in islice(left, 3))
