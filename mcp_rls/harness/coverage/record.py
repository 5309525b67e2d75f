"""Notes that PostgreSQL keeps while every statement of a run is undone: advisory locks of the session.

A lock taken at session level outlives ROLLBACK TO SAVEPOINT and ROLLBACK, costs a tenth of a microsecond when it is
held already, and is never in the way of its own session. One number has two modes, so `true` and `false` share a slot
of the server's lock table.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Literal

import psycopg

from mcp_rls import sql
from mcp_rls.harness.session import CannotTest, Connection, run
from mcp_rls.state import SCHEMA

Value = Literal["true", "false", "null"]
Note = tuple[int, Value]  # a number, and a value that the condition with this number came to

TAKEN = f"{SCHEMA}.taken"
_NULL = 1 << 30  # what is added to a number for NULL
_TAKE = "pg_catalog.pg_try_advisory_lock"
_SHARE = "pg_catalog.pg_try_advisory_lock_shared"


def wrapped(condition: str, number: int) -> str:
    """SQL with the value of `condition`, which is noted."""
    return f"{TAKEN}({condition}, {number})"


def recorder(conn: Connection, roles: Iterable[str]) -> tuple[str, ...]:
    """Statements that make the function `mcp_rls.taken(value, number)`: it gives back its value, and notes it.

    PostgreSQL puts the body of such a function in place of its call, where a simple CASE evaluates `value` once. What
    comes of a lock changes nothing: should another session hold it, a note is lost and no verdict is.
    """
    key = conn.info.backend_pid
    body = (
        f"case value when true then {_TAKE}({key}, number) is not null"
        f" when false then {_SHARE}({key}, number) is null"
        f" else case when {_TAKE}({key}, number + {_NULL}) is null then true end end"
    )
    head = f"create function {TAKEN}(value boolean, number integer) returns boolean language sql"
    security = "" if _may_lock(conn, roles) else " security definer"
    grant = f"grant execute on function {TAKEN}(boolean, integer) to public"
    return f"{head}{security}\n  return {body}", grant


def _may_lock(conn: Connection, roles: Iterable[str]) -> bool:
    """Whether the acting roles may take the locks themselves; else the login role does it for them, which is slower.

    Raises: CannotTest when it may not either.
    """
    query = "select {who} where not has_function_privilege({who}, {name}, 'execute')"
    names = [sql.literal(f"{name}(integer, integer)") for name in (_TAKE, _SHARE)]
    if any(run(conn, query.format(who="session_user::text", name=name))[0] for name in names):
        raise CannotTest("coverage notes what it sees by advisory locks, and the login role may not take them")
    return not any(run(conn, query.format(who=sql.literal(r), name=n))[0] for r in roles for n in names)


def require_room(conn: Connection, numbers: int) -> None:
    """Raises CannotTest unless the server's lock table takes the notes with room to spare."""
    query = (
        "select current_setting('max_locks_per_transaction')::integer * (current_setting('max_connections')::integer"
        " + current_setting('max_prepared_transactions')::integer)"
    )
    room = run(conn, query)[0][0][0]
    if 4 * numbers > room:  # two locks for each, and as much for everybody else
        raise CannotTest(
            f"coverage of {numbers} conditions takes up to {2 * numbers} locks, and the server has room for {room}\n"
            "hint: raise max_locks_per_transaction"
        )


def _held(key: int) -> str:
    return (
        "select objid::bigint::integer, mode from pg_catalog.pg_locks where locktype = 'advisory'"
        f" and pid = pg_catalog.pg_backend_pid() and classid = {key} and objsubid = 2"
    )


def notes(conn: Connection) -> str:
    """The query for what was noted; `read` understands its rows."""
    return _held(conn.info.backend_pid)


def read(rows: Iterable[tuple[Any, ...]]) -> frozenset[Note]:
    """What was noted, from the rows of `notes`."""
    return frozenset(_note(number, mode) for number, mode in rows)


def _note(number: int, mode: str) -> Note:
    if number >= _NULL:
        return number - _NULL, "null"
    return number, "true" if mode == "ExclusiveLock" else "false"


def forgetting(conn: Connection) -> str:
    """The statement that gives the locks back, each as often as it was taken; the last try of each is a warning."""
    key = conn.info.backend_pid
    return f"""do $$
declare
  held record;
  level constant text := current_setting('client_min_messages');
begin
  perform set_config('client_min_messages', 'error', false);
  for held in {_held(key)} loop
    if held.mode = 'ExclusiveLock' then
      while pg_catalog.pg_advisory_unlock({key}, held.objid) loop end loop;
    else
      while pg_catalog.pg_advisory_unlock_shared({key}, held.objid) loop end loop;
    end if;
  end loop;
  perform set_config('client_min_messages', level, false);
end $$"""


def forget(conn: Connection) -> None:
    """Gives the locks back, if there is a session left that could hold any."""
    if not conn.closed:
        with suppress(psycopg.Error):  # an error here must not hide the one that ended the run
            run(conn, forgetting(conn))
