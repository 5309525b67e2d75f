"""A whole project tested: a database with its schema and its policies, and the suite run against it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from mcp_rls.compiler.model import PolicySet
from mcp_rls.database.apply import install, pending
from mcp_rls.database.introspect import read_catalog
from mcp_rls.database.server import Server
from mcp_rls.database.waiting import Refused
from mcp_rls.harness.check import covered_tables
from mcp_rls.harness.run import Progress, run_suite
from mcp_rls.harness.session import CannotTest, Connection, one_line
from mcp_rls.harness.stage import Watcher
from mcp_rls.harness.suite import Suite
from mcp_rls.harness.verdict import SuiteResult

_PSQL = ("\\restrict ", "\\unrestrict ")  # what pg_dump writes around a dump; only psql understands it


def test_project(
    server: Server,
    policies: PolicySet,
    suite: Suite,
    schema_paths: Sequence[Path] = (),  # noqa: PT028 - this is no test, see below
    progress: Progress | None = None,  # noqa: PT028
    watcher: Watcher | None = None,  # noqa: PT028
) -> SuiteResult:
    """Runs the suite in a database with the project's schema and policies; see `project_database` for which.

    Raises: Invalid, CannotTest, Refused, ServerError.
    """
    with project_database(server, policies, schema_paths) as conn:
        return run_suite(conn, policies, suite, progress, watcher=watcher)


test_project.__test__ = False  # type: ignore[attr-defined]  # pytest takes every function test_* for a test


@contextmanager
def project_database(server: Server, policies: PolicySet, schema_paths: Sequence[Path] = ()) -> Iterator[Connection]:
    """Yields an idle connection to a database that holds what the policies compile to.

    A given database that has covered tables is used as it is: it must hold the policies already, and nothing is
    committed there. Else a scratch database is made on the server: schema files in order (SQL, or an alembic.ini
    that is upgraded to head), then the policies; it is dropped afterwards.
    """
    if server.kind == "given":
        with connected(server.url) as conn:
            if covered_tables(policies, read_catalog(conn)):
                require_installed(conn, policies)
                yield conn
                return
    with server.scratch_database() as url, connected(url) as conn:
        build(conn, url, policies, schema_paths)
        yield conn


def build(conn: Connection, url: str, policies: PolicySet, schema_paths: Sequence[Path]) -> None:
    """Brings schema and policies into an empty database."""
    for path in schema_paths:
        if path.suffix == ".ini":
            upgrade(path, url)
        else:
            run_sql_file(conn, path)
    install(conn, policies)


def require_installed(conn: Connection, policies: PolicySet) -> None:
    """Raises CannotTest unless the database holds what the policy file compiles to."""
    try:
        left = pending(conn, policies)
    except Refused as problem:
        raise CannotTest(str(problem)) from None
    if left:
        count = len(left.operations)
        words = "\n".join(f"  {operation.words}" for operation in left.operations[:3])
        raise CannotTest(
            f"the database doesn't hold what {policies.path} compiles to, so a test would be about something else; "
            f"{count} change{'s' if count > 1 else ''} pending:\n{words}\nhint: mcp-rls apply {policies.path}"
        )


def run_sql_file(conn: Connection, path: Path) -> None:
    """Runs the whole file as one simple query, which is one transaction."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotTest(f"{path}: the schema can't be read: {one_line(error)}") from None
    # Blanked, not removed, so that the line of an error stays right.
    lines = ["" if line.startswith(_PSQL) else line for line in text.split("\n")]
    try:
        conn.execute("\n".join(lines).encode())
    except psycopg.Error as error:
        position = error.diag.statement_position
        line = "\n".join(lines)[: int(position)].count("\n") + 1 if position else 0
        place = f"{path}:{line}" if line else str(path)
        raise CannotTest(f"{place}: the schema doesn't run: {one_line(error)}") from None


def upgrade(ini: Path, url: str) -> None:
    """Runs `alembic upgrade head` in a process of its own, since an env.py may do anything."""
    if not ini.exists():
        raise CannotTest(f"{ini}: there is no such file")
    command = [sys.executable, "-m", "alembic", "-c", str(ini.resolve()), "upgrade", "head"]
    environment = {**os.environ, "MCP_RLS_DATABASE_URL": url}
    done = subprocess.run(
        command, cwd=ini.resolve().parent, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = "\n".join(f"  {line}" for line in done.stderr.strip().splitlines()[-5:])
        raise CannotTest(f"{ini}: alembic upgrade head failed:\n{last}")


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """An autocommitting connection that never prepares statements: a savepoint's rollback would forget them."""
    try:
        conn = psycopg.connect(url, autocommit=True, prepare_threshold=None)
    except psycopg.OperationalError as error:
        raise CannotTest(f"the database doesn't answer: {one_line(error)}") from None
    try:
        yield conn
    finally:
        conn.close()
