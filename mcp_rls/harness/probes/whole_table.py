"""Findings on commands that take a table as a whole, and ask no policy about its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg

from mcp_rls import sql
from mcp_rls.harness.probes.kit.bench import REFUSED, Bench, Sight
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.session import CannotTest, one_line
from mcp_rls.harness.stage import Attempt

TITLE = "commands for whole tables"
NOTHING = "no row is hidden from any token"
_HELD = "emptying it, loading it in bulk and locking it whole are refused"
_LIMIT = "take UPDATE and DELETE from the role where no rule needs them, and set lock_timeout and idle timeouts for it"
_TWIN = "pg_temp.mcp_rls_probe"  # a table on which the role has every privilege
_BUSY = "55P03"  # somebody holds a lock: who may not lock is told before that


def probe(bench: Bench) -> Iterator[Found]:
    """The privileges are the role's, whoever arrives as it."""
    for sight in bench.hiding:
        mark = ("whole table", sight.name, bench.role)
        if mark not in bench.lasting:
            bench.lasting[mark] = _found(bench, sight)
        yield bench.lasting[mark]


def _found(bench: Bench, sight: Sight) -> Found:
    try:
        return _emptied(bench, sight) or _loaded(bench, sight) or _locked(bench, sight)
    except CannotTest as problem:
        return Found(str(sight.name), Verdict.UNDECIDED, str(problem))


def _emptied(bench: Bench, sight: Sight) -> Found | None:
    name, row = sql.table(sight.name), sight.row(sight.hidden[0])
    look = f"select count(*) from {name}"
    # the first is stopped where another table refers to this one
    plain, cascading = (bench.act([f"truncate {name}{how}"], look) for how in ("", " cascade"))
    if [(0,)] in (plain.look, cascading.look):
        remedy = f"revoke truncate on {name} from {sql.role(bench.role)}"
        return Found(str(sight.name), Verdict.LEAKS, f"it empties the table, {row} with it", row, remedy)
    return _undecided(bench, sight, plain, "empties", [f"truncate {_TWIN}"])


def _loaded(bench: Bench, sight: Sight) -> Found | None:
    """PostgreSQL refuses COPY FROM where row security binds; an empty load is enough to see it."""
    attempt = _copy(bench, sql.table(sight.name))
    if attempt.error is None:
        words = "it loads rows in bulk, which asks no policy"
        return Found(str(sight.name), Verdict.LEAKS, words, sight.row(sight.hidden[0]))
    held = REFUSED | {"0A000"}
    return _undecided(bench, sight, attempt, "loads", [], held)


def _locked(bench: Bench, sight: Sight) -> Found:
    name, row = str(sight.name), sight.row(sight.hidden[0])
    attempt = bench.act([f"lock table {sql.table(sight.name)} in access exclusive mode nowait"])
    if attempt.error is None or attempt.error.sqlstate == _BUSY:
        return Found(name, Verdict.KNOWN_LIMIT, "it can lock the whole table, hidden rows too", row, _LIMIT)
    lock = [f"lock table {_TWIN} in access exclusive mode nowait"]
    return _undecided(bench, sight, attempt, "locks", lock) or Found(name, Verdict.HOLDS, _HELD, row)


def _undecided(
    bench: Bench, sight: Sight, attempt: Attempt, verb: str, twin: Sequence[str], held: frozenset[str] = REFUSED
) -> Found | None:
    """None where the attempt was refused, and the same on a table that is the role's to use goes through."""
    error = attempt.error
    if error is not None and error.sqlstate not in held:
        words = f"the role may do what {verb} the table, and something else stopped it: {one_line(error)}"
        return Found(str(sight.name), Verdict.UNDECIDED, words)
    mark = ("twin", verb, bench.role)
    if mark not in bench.lasting:
        bench.lasting[mark] = _goes_through(bench, twin)
    if not bench.lasting[mark]:
        return Found(str(sight.name), Verdict.UNDECIDED, f"not even on a table of its own does it do what {verb} it")
    return None


def _goes_through(bench: Bench, statements: Sequence[str]) -> bool:
    """Whether the token does it to a table on which its role has every privilege."""
    made = ("create temporary table mcp_rls_probe (n integer)", f"grant all on {_TWIN} to {sql.role(bench.role)}")
    if not statements:
        return _copy(bench, _TWIN, made).error is None
    return bench.allowed([*statements, "select 1"], plant=made).rows == [(1,)]


def _copy(bench: Bench, name: str, plant: Sequence[str] = ()) -> Attempt:
    """An empty load as the token."""
    ready = bench.allowed(["select"], plant=plant) if plant else bench.act(["select"])
    if ready.error is not None:
        return ready
    try:
        with bench.stage.conn.cursor().copy(f"copy {name} from stdin".encode()):
            return Attempt([], [])
    except psycopg.Error as error:
        return Attempt([], [], error)
