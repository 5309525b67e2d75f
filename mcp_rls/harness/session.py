"""Being a token inside one transaction, and the checks without which that would prove nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from mcp_rls import sql
from mcp_rls.catalog import Table
from mcp_rls.state import SCHEMA

Connection = psycopg.Connection[Any]

# Older PostgREST put each claim in a setting of its own, and policies may still read those.
LEGACY_SETTINGS = (
    "request.jwt.claim",
    "request.jwt.claim.sub",
    "request.jwt.claim.role",
    "request.jwt.claim.email",
)


class CannotTest(Exception):
    """A test run that could not begin, or could not go on: neither a pass nor a failure. The message says why."""


def impersonation(claims: str | None, role: str, *, resolved: bool = False) -> str:
    """The statement that makes the session `role` with `claims`, until the savepoint is rolled back.

    `resolved`: policies read what mcp_rls.resolve makes of the claims; a token role may not name it.
    """
    settings = {"request.jwt.claims": claims or "", **dict.fromkeys(LEGACY_SETTINGS, "")}
    calls = [_set(name, value) for name, value in settings.items()]
    calls += [f"{SCHEMA}.resolve({sql.literal(role)})"] if resolved else []
    return f"select {', '.join([*calls, _set('role', role)])}"


def _set(name: str, value: str) -> str:
    return f"set_config({sql.literal(name)}, {sql.literal(value)}, true)"


def impersonate(conn: Connection, claims: str | None, role: str, *, resolved: bool = False) -> None:
    """Acts as `role` with `claims` from here to the end of the transaction or savepoint.

    Raises: CannotTest when the role can't be taken, or there is no transaction to take it in.
    """
    try:
        run(conn, impersonation(claims, role, resolved=resolved))
    except psycopg.Error as error:
        hint = f"grant {sql.ident(role)} to the login role"
        raise CannotTest(f'can\'t act as the role "{role}": {one_line(error)}\nhint: {hint}') from None
    # Asked apart: statements sent together are one transaction, and outside of one the settings are gone by now.
    answer = run(conn, "select current_user")[0]
    if answer != [(role,)]:
        raise CannotTest(f'the session is "{answer[0][0]}" after taking the role "{role}": no open transaction?')


def step_back(conn: Connection) -> None:
    """The login role again; the claims stay, but nobody asks for them."""
    run(conn, "reset role")


def run(conn: Connection, *statements: str) -> list[list[tuple[Any, ...]]]:
    """The rows of each statement, in one round trip; a statement without rows has an empty list."""
    cursor = conn.execute(";\n".join(statements).encode())
    results = []
    while True:
        results.append(cursor.fetchall() if cursor.description is not None else [])
        if not cursor.nextset():
            return results


def preflight(conn: Connection, roles: Iterable[str], tables: Sequence[Table]) -> None:
    """Raises CannotTest unless the login role bypasses row security and none of the acting `roles` does."""
    (login, superuser, bypasses), *_ = run(
        conn, "select rolname, rolsuper, rolbypassrls from pg_roles where rolname = session_user"
    )[0]
    if run(conn, "select current_user = session_user")[0] != [(True,)]:
        raise CannotTest("the connection has taken another role; fixtures need the login role itself\nhint: reset role")
    if not (superuser or bypasses):
        raise CannotTest(
            f'the login role "{login}" is under row security: it can\'t insert fixtures or see what is hidden\n'
            "hint: connect as a superuser, or as a role with BYPASSRLS"
        )
    for role in dict.fromkeys(roles):
        _acting_role(conn, role, tables)
    if not superuser:
        _sees(conn, login, tables)
    settings = "select set_config('row_security', 'on', true), set_config('lock_timeout', '10s', true)"
    # Messages are read, and PostgreSQL translates them; only a superuser may choose the language.
    run(conn, settings + (", set_config('lc_messages', 'C', true)" if superuser else ""))


def _acting_role(conn: Connection, role: str, tables: Sequence[Table]) -> None:
    name = sql.literal(role)
    found = run(conn, f"select rolsuper, rolbypassrls from pg_roles where rolname = {name}")[0]
    if not found:
        hint = f"create role {sql.ident(role)} nologin"
        raise CannotTest(f'tokens arrive as the role "{role}", which the database lacks\nhint: {hint}')
    superuser, bypasses = found[0]
    if superuser or bypasses:
        what = "a superuser" if superuser else "a role with BYPASSRLS"
        raise CannotTest(
            f'the acting role "{role}" is {what}: row security never binds it, so nothing can be tested\n'
            f"hint: alter role {sql.ident(role)} nosuperuser nobypassrls, or let tokens arrive as another role"
        )
    owners = {table.owner for table in tables}
    listed = ", ".join(map(sql.literal, owners)) or "null"
    owned = run(
        conn, f"select rolname from pg_roles where rolname in ({listed}) and pg_has_role({name}, oid, 'usage')"
    )[0]
    if owned:
        owner = owned[0][0]
        mine = next(str(t.name) for t in tables if t.owner == owner)
        how = "owns" if owner == role else f'has the rights of "{owner}", which owns'
        hint = f"alter table {mine} owner to another role" + (
            "" if owner == role else f", or revoke {owner} from {role}"
        )
        raise CannotTest(f'the acting role "{role}" {how} {mine}, so row security doesn\'t bind it there\nhint: {hint}')


def _sees(conn: Connection, login: str, tables: Sequence[Table]) -> None:
    """Raises CannotTest unless the login role may read every table: a failing look would pass for a denial."""
    names = ", ".join(sql.literal(sql.table(table.name)) for table in tables) or "null"
    query = f"select t from unnest(array[{names}]::text[]) t where not has_table_privilege(t, 'select')"
    closed = [name for (name,) in run(conn, query)[0]]
    if closed:
        listed = ", ".join(closed[:3])
        hint = f"grant select on {listed} to {sql.ident(login)}"
        raise CannotTest(f'the login role "{login}" has no SELECT privilege on {listed}\nhint: {hint}')


def one_line(error: BaseException) -> str:
    """The first line of what went wrong."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    return " ".join(str(error).split()) or type(error).__name__
