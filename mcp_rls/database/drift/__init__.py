"""Does a database still hold what was applied? The catalog against the manifest, and the manifest against the file.

In one READ ONLY transaction with one snapshot, and without waiting for anybody's lock. A manifest that somebody wrote
to is not found out: only who may apply policies can write it.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from mcp_rls.compiler.model import PolicySet
from mcp_rls.database.drift import comments, functions, pending, policies, roles, tables, triggers, wording
from mcp_rls.database.drift.finding import Drift, Finding, Kind
from mcp_rls.database.drift.reading import (
    Connection,
    Look,
    Unanswerable,
    expressions,
    read,
)
from mcp_rls.database.drift.renames import Renames, followed, renames
from mcp_rls.database.introspect import read_catalog
from mcp_rls.effect import Effect

__all__ = ["Drift", "Finding", "Kind", "Unanswerable", "drift", "unnoted"]

LOCK_TIMEOUT = "500ms"
_PATH = "pg_catalog, pg_temp"
_ORDER = (Kind.DRIFT, Kind.PENDING, Kind.UNKNOWN, Kind.NOTE)


def drift(conn: Connection, file: PolicySet, *, lock_timeout: str = LOCK_TIMEOUT) -> Drift:
    """What the database holds that wasn't applied, and what the file asks for that wasn't; `conn` is idle.

    Raises Unanswerable where nothing can be told at all.
    """
    try:
        with conn.transaction(force_rollback=True):
            _settings(conn, lock_timeout)
            found = list(_findings(conn, file))
    except psycopg.errors.LockNotAvailable as error:
        raise Unanswerable(f"the manifest or the catalog itself was locked for {lock_timeout}") from error
    return Drift(tuple(sorted(found, key=lambda f: (_ORDER.index(f.kind), f.object))))


def unnoted(conn: Connection) -> tuple[Finding, ...]:
    """What the database holds otherwise than it was noted, and an `apply` would only take note of."""
    try:
        with conn.transaction(force_rollback=True):
            conn.execute("select set_config('search_path', %s, true), set_config('jit', 'off', true)", (_PATH,))
            first = read(conn)
            names = renames(first)
            return tuple(f for f in _drifted(conn, followed(first, names), names) if f.stays)
    except Unanswerable:
        return ()


def _settings(conn: Connection, lock_timeout: str) -> None:
    """One snapshot, no writes, no names but PostgreSQL's own, and no long wait."""
    conn.execute("set transaction isolation level repeatable read, read only")
    conn.execute(
        "select set_config('lock_timeout', %s, true), set_config('search_path', %s, true),"
        " set_config('jit', 'off', true)",
        (lock_timeout, _PATH),
    )


def _findings(conn: Connection, file: PolicySet) -> Iterator[Finding]:
    first = read(conn)
    names = renames(first)
    look = followed(first, names)
    found = list(_drifted(conn, look, names))
    drifted = {f.object for f in found if f.kind is Kind.DRIFT}
    asked = list(pending.told(file, read_catalog(conn, texts=False), look, drifted))
    yield from pending.remedied(found, asked)


def _drifted(conn: Connection, look: Look, names: Renames) -> Iterator[Finding]:
    """The catalog against the manifest."""
    found = list(_meant(conn, look, names))
    yield from found
    yield from comments.told(conn, look, {f.object for f in found})


def _meant(conn: Connection, look: Look, names: Renames) -> Iterator[Finding]:
    """What changes what is meant, or may."""
    for old, new in sorted(names.items()):
        yield Finding(Kind.NOTE, f"table {new}", "renamed, with its policies as they were", f"named {old}")
    yield from map(_suspended, sorted(look.suspended))
    if not look.noted("role "):
        words = "when policies were applied, nothing was noted of tables and roles"
        yield Finding(Kind.UNKNOWN, "manifest", words, remedy="`mcp-rls apply` takes note of them")
    else:
        yield from tables.told(look)
        yield from roles.told(conn, look)
    yield from functions.told(look)
    yield from triggers.told(conn, look)
    changed = list(policies.changes(look))
    texts = expressions(conn, look, [c.name for c in changed if c.now and not c.before])
    yield from wording.told(changed, texts, all_anew=policies.made_anew(look, changed, texts))


def _suspended(table: str) -> Finding:
    means, remedy = "it is closed to all but its owner", "`select mcp_rls.resume()` gives it its policies back"
    return Finding(Kind.DRIFT, f"table {table}", "suspended by mcp_rls.suspend", "", means, remedy, Effect.CLOSES)
