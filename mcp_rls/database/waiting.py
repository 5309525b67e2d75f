"""Waiting for locks and for other applies, briefly and again and again; and what PostgreSQL refuses, in words.

Whoever wants to read a table queues up behind a lock on it that is waited for, so no wait is a long one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.database.drift.reading import LOCKED, rows
from mcp_rls.operation import EXCLUSIVE

Connection = psycopg.Connection[Any]
Progress = Callable[[str], None]
Found = TypeVar("Found")
_WENT = "cache lookup failed"
READING = 10.0  # seconds in which what another session has locked is read again and again, where nobody says longer
_PAUSES = (0.1, 2.0)  # seconds between two tries: the first, doubled each time, and the longest


class Refused(Exception):
    """The plan was not carried out and nothing was changed; the message says why."""


class Locked(Refused):
    """A lock was not to be had in time; another try may get it."""


class Moved(Refused):
    """The database is no longer what the plan was made for; a new plan may do."""


def patiently(
    conn: Connection, look: Callable[[], Found], patience: float = READING, waiting: Progress | None = None
) -> Found:
    """What `look` gives, that reads only: tried again while another session has locked, or changes, what it reads.

    Raises Locked, which names those tables, when `patience` seconds are over.
    """

    def attempt() -> Found:
        try:
            return look()
        except psycopg.errors.LockNotAvailable as error:
            raise Locked(_in_the_way(conn)) from error
        except psycopg.errors.InternalError_ as error:
            # what prints an object looks it up anew, and another session may have dropped it since it was found
            if _WENT in str(error):
                raise Locked(f"another session is changing what is read: {error.diag.message_primary}") from error
            raise

    return again(attempt, patience, waiting)


def again(attempt: Callable[[], Found], patience: float, waiting: Progress | None) -> Found:
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


def lock(conn: Connection, tables: Iterable[TableName], lock_timeout: str) -> None:
    """Takes these tables for the transaction, or raises Locked.

    All locks together are waited for no longer than `lock_timeout`: whoever reads the first table waits for the last.
    """
    patience = _lock_timeout(conn)
    until = time.monotonic() + patience
    for name in tables:
        left = max(1, int((until - time.monotonic()) * 1000)) if patience else 0
        conn.execute("select set_config('lock_timeout', %s, true)", (str(left),))
        try:
            conn.execute(f"lock table {sql.table(name)} in access exclusive mode".encode())
        except psycopg.errors.LockNotAvailable as error:
            raise Locked(f"{name} is in use: its lock was not to be had within {lock_timeout}") from error
    conn.execute("select set_config('lock_timeout', %s, true)", (lock_timeout,))


def _lock_timeout(conn: Connection) -> float:
    """The transaction's lock_timeout in seconds, as PostgreSQL read it; 0 for no limit."""
    query = "select setting::float8 / 1000 from pg_settings where name = 'lock_timeout'"
    found = conn.execute(query).fetchone()
    return float(found[0]) if found else 0.0


def alone(conn: Connection, take: str = "pg_advisory_xact_lock") -> None:
    """Waits for another apply to end, as long as for any lock."""
    try:
        conn.execute(f"select {take}(hashtext('mcp_rls.apply'))".encode())
    except psycopg.errors.LockNotAvailable as error:
        raise Locked("another apply is at work here: its lock was not to be had") from error


@contextmanager
def refusals(conn: Connection) -> Iterator[None]:
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
