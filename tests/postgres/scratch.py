"""A database for one test: install a policy file in it, then ask what a token sees and may change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.policy import read_policies
from mcp_rls.database import apply
from mcp_rls.database.server import Server
from mcp_rls.harness.session import impersonation
from mcp_rls.operation import Plan

ANN = "00000000-0000-4000-8000-00000000000a"
BOB = "00000000-0000-4000-8000-00000000000b"
ROLES = ("authenticated", "anon")

HEAD = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated, anon]
anonymous: [anon]
identity: {direct: no_client}
classes: {helper: {match: {ids: [helper]}}}
"""
NOTES = f"""
create table public.notes (id integer primary key, owner uuid, status text);
insert into public.notes values (1, '{ANN}', 'open'), (2, '{ANN}', 'closed'), (3, '{BOB}', 'open');
grant select, insert, update, delete on public.notes to authenticated, anon;
"""

Claims = dict[str, Any] | str | None
Answer = list[Any] | int | str


def policies(text: str) -> PolicySet:
    """The policy file in `text`, which must be free of errors. What `text` doesn't begin with is HEAD's."""
    found, diagnostics = read_policies("policies.yaml", text if text.lstrip().startswith("mcp_rls:") else HEAD + text)
    assert found is not None, [str(d) for d in diagnostics]
    return found


@dataclass
class Scratch:
    """One database; `connection` is a superuser's, and commits each statement."""

    url: str
    connection: psycopg.Connection[Any]
    resolved: bool = False  # what was installed reads what mcp_rls.resolve makes of the claims

    def run(self, statements: str) -> list[tuple[Any, ...]]:
        """Carries out SQL as superuser; the rows of the last statement, if it gives any."""
        cursor = self.connection.execute(statements.encode())
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description else []

    def value(self, query: str) -> Any:
        return self.run(query)[0][0]

    def install(self, text: str, accept: frozenset[str] = frozenset()) -> Plan:
        found = policies(text)
        self.resolved = found.resolved
        return apply.install(self.connection, found, accept)

    def prepare(self, text: str) -> apply.Prepared:
        return apply.prepare(self.connection, policies(text))

    def left(self, text: str, accept: frozenset[str] = frozenset()) -> list[str]:
        """What a plan would still do, in words."""
        return [o.words for o in apply.prepare(self.connection, policies(text), accept).plan.operations]

    @contextmanager
    def token(self, claims: Claims, role: str = "authenticated") -> Iterator[psycopg.Connection[Any]]:
        """The connection as a token's session, rolled back afterwards."""
        with self.connection.transaction(force_rollback=True):
            self.connection.execute(impersonation(document(claims), role, resolved=self.resolved).encode())
            yield self.connection

    def ask(self, claims: Claims, *statements: str, role: str = "authenticated") -> Answer:
        """What the last statement gives a token: rows (bare values where they have one column), how many it changed,
        or 'SQLSTATE message' of the error. Nothing of it stays.
        """
        try:
            with self.token(claims, role):
                for statement in statements:
                    cursor = self.connection.execute(statement.encode())
                if cursor.description is None:
                    return cursor.rowcount
                rows = cursor.fetchall()
                return [row[0] if len(row) == 1 else row for row in rows]
        except psycopg.Error as error:
            return f"{error.sqlstate} {error.diag.message_primary}"

    def sees(self, claims: Claims, table: str = "public.notes", *, role: str = "authenticated") -> Answer:
        """The ids of the rows of `table` that a token reads, in order."""
        return self.ask(claims, f"select id from {table} order by id", role=role)


def document(claims: Claims) -> str:
    """Claims as the text that a session carries; '' for none."""
    return claims if isinstance(claims, str) else "" if claims is None else json.dumps(claims)


def ann(**claims: Any) -> dict[str, Any]:
    """Ann's token: of the app itself, or with a client's claims."""
    return {"sub": ANN, **claims}


def helper(**claims: Any) -> dict[str, Any]:
    """Ann's token in the hands of the client `helper`."""
    return {"sub": ANN, "client_id": "helper", **claims}


def make_roles(connection: psycopg.Connection[Any], *names: str) -> None:
    """Makes roles that aren't there yet; they are the server's, and stay."""
    for name in names:
        known = connection.execute("select from pg_roles where rolname = %s", (name,)).fetchone()
        if known is None:
            quoted = '"' + name.replace('"', '""') + '"'
            connection.execute(f"create role {quoted} nologin".encode())


@contextmanager
def scratch_on(server: Server, template: str | None = None) -> Iterator[Scratch]:
    with (
        server.scratch_database(template) as url,
        psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection,
    ):
        connection.execute("set client_min_messages = 'warning'")
        make_roles(connection, *ROLES)
        yield Scratch(url, connection)
