"""A policy set against a live database: what would change there, and carrying it out in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from mcp_rls import sql
from mcp_rls.catalog import Catalog, TableName
from mcp_rls.compiler.ledger import LOCK_TIMEOUT, PATIENCE, SEEN_OF
from mcp_rls.compiler.lower import lower
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.resolve import ResolvedPolicies, resolve
from mcp_rls.database import dependents
from mcp_rls.database.drift import unnoted
from mcp_rls.database.introspect import read_catalog, read_state
from mcp_rls.database.reads import reads
from mcp_rls.database.typecheck import typecheck
from mcp_rls.database.waiting import (
    Connection,
    Moved,
    Progress,
    Refused,
    again,
    alone,
    lock,
    patiently,
    refusals,
)
from mcp_rls.diagnostics import Diagnostics, Invalid
from mcp_rls.inspection.read import read_facts
from mcp_rls.lints import World, refused, run
from mcp_rls.operation import Operation, Plan
from mcp_rls.plan import operations, plan
from mcp_rls.state import SCHEMA, State
from mcp_rls.ways import by_table, with_tables

_PROMISED = ("before", "after", "by_hand")  # what a plan says of the database it was made for


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
    dependents.warn(conn, actual, desired, diagnostics)
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
    with refusals(conn), conn.transaction(), _settings(conn, LOCK_TIMEOUT):
        alone(conn)
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
        with refusals(conn), conn.transaction(), _settings(conn, lock_timeout):
            alone(conn)
            prepared = prepare(conn, policies)
            if any(getattr(prepared.plan, part) != getattr(expected, part) for part in _PROMISED):
                raise Moved("the database changed since this plan was made; plan again")
            _carry_out(conn, expected, lock_timeout, progress)
            _verify(conn, prepared)

    again(attempt, patience, waiting)


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
        with refusals(conn), conn.transaction(), _settings(conn, lock_timeout):
            _carry_out(conn, step, lock_timeout)

    for number, (about, step) in enumerate(steps):
        try:
            again(partial(attempt, step), patience, waiting)
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
        with refusals(conn), conn.transaction(), _settings(conn, lock_timeout):
            alone(conn, "pg_advisory_lock")

    again(take, patience, waiting)
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
    with refusals(conn), conn.transaction(), _settings(conn, LOCK_TIMEOUT):
        alone(conn)
        changed = [row[0] for row in conn.execute(query.encode(), arguments)]
        if changed:
            conn.execute(sql.note(policies.schemas, policies.acting).encode())
    return changed


def _carry_out(
    conn: Connection, plan_: Plan, lock_timeout: str, progress: Callable[[Operation], None] | None = None
) -> None:
    """Takes every lock first, by name, so that nothing is done in vain; then the statements."""
    lock(conn, plan_.locked, lock_timeout)
    _execute(conn, plan_, progress)


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
