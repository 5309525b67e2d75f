"""What is done to each database of a fleet: what the commands plan, apply and drift do to one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcp_rls.compiler.model import PolicySet
from mcp_rls.database import drift as drifts
from mcp_rls.database.apply import apply_by_table, apply_plan, prepare, take_note
from mcp_rls.database.drift import Kind
from mcp_rls.database.fleet.outcome import Outcome, Standing
from mcp_rls.database.waiting import Connection, Progress, patiently

Work = Callable[[Connection, Progress], Outcome]  # it is told of waits, and ends them by raising

_STANDINGS = {
    None: Standing.IN_STEP,
    Kind.DRIFT: Standing.DRIFTED,
    Kind.PENDING: Standing.PENDING,
    Kind.UNKNOWN: Standing.UNKNOWN,
}


def planning(policies: PolicySet) -> Work:
    """Says what would change; reads only."""

    def work(conn: Connection, waiting: Progress) -> Outcome:
        prepared = patiently(conn, lambda: prepare(conn, policies), waiting=waiting)
        standing = Standing.PENDING if prepared.plan else Standing.IN_STEP
        return Outcome(standing, prepared.plan, diagnostics=tuple(prepared.diagnostics))

    return work


def applying(policies: PolicySet, *, lock_timeout: str, patience: float, per_table: bool = False) -> Work:
    """Brings the database to what the policies say, or leaves it as it is and raises."""

    def work(conn: Connection, waiting: Progress) -> Outcome:
        prepared = patiently(conn, lambda: prepare(conn, policies), patience, waiting)
        found = tuple(prepared.diagnostics)
        locks: Any = {"lock_timeout": lock_timeout, "patience": patience, "waiting": waiting}
        if not prepared.plan:
            patiently(conn, lambda: take_note(conn, policies), patience, waiting)
            return Outcome(Standing.IN_STEP, prepared.plan, diagnostics=found)
        if per_table:
            apply_by_table(conn, policies, **locks)
        else:
            apply_plan(conn, policies, prepared.plan, **locks)
        return Outcome(Standing.APPLIED, prepared.plan, diagnostics=found)

    return work


def drifting(policies: PolicySet, *, lock_timeout: str) -> Work:
    """Says whether the database holds what was applied, and what the file asks for; reads only."""

    def work(conn: Connection, waiting: Progress) -> Outcome:  # noqa: ARG001 - it never waits for long
        found = drifts.drift(conn, policies, lock_timeout=lock_timeout)
        return Outcome(_STANDINGS[found.answer], drift=found)

    return work
