"""A policy set against a live database: what would change there, and carrying it out in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from mcp_rls.catalog import Catalog
from mcp_rls.compiler.lower import lower
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.resolve import ResolvedPolicies, resolve
from mcp_rls.database.introspect import read_catalog, read_state
from mcp_rls.database.typecheck import typecheck
from mcp_rls.diagnostics import Diagnostics, Invalid
from mcp_rls.plan import Operation, Plan, plan
from mcp_rls.state import State

Connection = psycopg.Connection[Any]
LOCK_TIMEOUT = "2s"


class Refused(Exception):
    """The plan was not carried out and nothing was changed; the message says why."""


@dataclass(frozen=True)
class Prepared:
    """One policy file against one database: the facts, both states, and the plan between them."""

    catalog: Catalog
    resolved: ResolvedPolicies
    actual: State
    desired: State
    plan: Plan
    diagnostics: Diagnostics


def prepare(conn: Connection, policies: PolicySet, accept: frozenset[str] = frozenset()) -> Prepared:
    """Compiles the policies against this database and plans; reads only.

    Raises Invalid with every diagnostic when there is an error among them.
    """
    diagnostics = Diagnostics()
    catalog = read_catalog(conn)
    resolved = resolve(policies, catalog, diagnostics, accept, partial=True)
    if resolved is not None:
        typecheck(conn, resolved, diagnostics)
    if resolved is None or diagnostics.has_errors:
        raise Invalid(diagnostics)
    actual = read_state(conn, policies.schemas, policies.roles)
    desired = lower(resolved, actual)
    return Prepared(catalog, resolved, actual, desired, plan(actual, desired), diagnostics)


def pending(conn: Connection, policies: PolicySet) -> Plan:
    """What is still to be done so that this database holds what the policies compile to."""
    return prepare(conn, policies).plan


def install(conn: Connection, policies: PolicySet, accept: frozenset[str] = frozenset()) -> Plan:
    """Compiles and applies in one transaction (a savepoint inside an open one); the plan that was carried out.

    Raises Invalid for errors in the policies, Refused when the database stands against it.
    """
    with _refusals(LOCK_TIMEOUT), conn.transaction(), _settings(conn, LOCK_TIMEOUT):
        _alone(conn)
        prepared = prepare(conn, policies, accept)
        _execute(conn, prepared.plan)
        _verify(conn, prepared.resolved)
    return prepared.plan


def apply_plan(
    conn: Connection,
    policies: PolicySet,
    expected: Plan,
    *,
    lock_timeout: str = LOCK_TIMEOUT,
    progress: Callable[[Operation], None] | None = None,
) -> None:
    """Carries `expected` out in one transaction.

    Raises Refused, with nothing changed, when the database moved since the plan was made, another apply is under way
    for longer than `lock_timeout`, or a lock could not be had in that time.
    """
    with _refusals(lock_timeout), conn.transaction(), _settings(conn, lock_timeout):
        _alone(conn)
        prepared = prepare(conn, policies)
        if (prepared.plan.before, prepared.plan.after) != (expected.before, expected.after):
            raise Refused("the database changed since this plan was made; plan again")
        _execute(conn, expected, progress)
        _verify(conn, prepared.resolved)


def _alone(conn: Connection) -> None:
    """Waits for another apply to end, as long as for any lock."""
    conn.execute("select pg_advisory_xact_lock(hashtext('mcp_rls.apply'))")


@contextmanager
def _refusals(lock_timeout: str) -> Iterator[None]:
    """PostgreSQL's errors in its own words, as a refusal: the transaction is rolled back."""
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise Refused(f"a lock was not to be had within {lock_timeout}; nothing was changed") from error
    except psycopg.errors.DuplicateSchema as error:
        raise Refused("there is a schema mcp_rls without a manifest: it isn't ours, and was left alone") from error
    except psycopg.Error as error:
        if error.sqlstate is None:  # not the server's word: the connection is gone
            raise
        hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
        raise Refused(f"PostgreSQL refused, and nothing was changed: {error.diag.message_primary}{hint}") from error


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


def _verify(conn: Connection, resolved: ResolvedPolicies) -> None:
    """Plans again: anything left to do means that a statement did not have its effect (a grant by another grantor)."""
    actual = read_state(conn, resolved.policies.schemas, resolved.policies.roles)
    left = plan(actual, lower(resolved, actual))
    if left:
        words = "; ".join(o.words for o in left.operations[:3])
        raise Refused(f"after applying, this was still to be done, so nothing was changed: {words}")
