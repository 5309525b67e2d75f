"""The command that shows what each kind of token may do with each table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcp_rls import report
from mcp_rls.cli.options import (
    DATABASE_VARIABLE,
    Target,
    load,
    neighbour,
    output_format,
    policy_file,
    progress,
    target,
)

if TYPE_CHECKING:
    from mcp_rls.compiler.model import PolicySet
    from mcp_rls.harness.session import Connection

_DATABASE = f"Else {DATABASE_VARIABLE}. One with the tables is used as it is, and nothing is committed there."


@click.command(short_help="What each kind of token may do with each table, seen in a real PostgreSQL.")
@policy_file
@target(_DATABASE)
@output_format("matrix")
@click.option("--hostile", is_flag=True, help="Also try tokens that come near a valid one.")
@click.option("--full", is_flag=True, help="Also try RETURNING, upserts, MERGE, FOR UPDATE, TRUNCATE and COPY.")
@click.option("--allow-undecided", is_flag=True, help="Exit 0 though something could not be decided.")
def matrix(file: Path, target: Target, format_: str, *, hostile: bool, full: bool, allow_undecided: bool) -> None:
    """Show what each class of clients, with each set of scopes, may do with each table, from FILE alone.

    Rows are made up that tell the conditions of the rules apart, tokens act on them, and what they get is held against
    the meaning of FILE: what the same person's own session gets, as far as some rule of the class is true of the row.
    More is a LEAK, less is TOO STRICT. What no row could show is UNDECIDED, never safe.

    Without a database that has the tables, a scratch one is made: the tables from --schema (default: schema.sql beside
    FILE), then the policies. In a database that is given, tables are locked against writes until all is rolled back,
    and each row of theirs is tried: use one for tests.

    Exit 0: everything is as FILE says. 1: something isn't. 2: something is undecided, or could not be tried.
    """
    from mcp_rls.harness.matrix import Options, run_matrix

    policies = load(file)
    with _opened(policies, target, file) as (connection, description):
        found = run_matrix(connection, policies, Options(hostile, full), _counted())
    report.write("matrix", format_, report.Possible(found, description, allow_undecided), sys.stdout)
    sys.exit(found.exit_code(allow_undecided=allow_undecided))


@contextmanager
def _opened(policies: PolicySet, target: Target, file: Path) -> Iterator[tuple[Connection, str]]:
    """A database with the tables: the given one as it is, else a scratch one with the policies in it."""
    from mcp_rls.database.introspect import read_catalog
    from mcp_rls.harness.check import covered_tables
    from mcp_rls.harness.project import build, connected

    with target.server() as server:
        if server.kind == "given" and not target.schema:
            with connected(server.url) as connection:
                if covered_tables(policies, read_catalog(connection)):
                    _tell_pending(connection, policies)
                    yield connection, server.description
                    return
        with server.scratch_database() as url, connected(url) as connection:
            build(connection, url, policies, target.schema or neighbour(file))
            yield connection, server.description


def _tell_pending(connection: Connection, policies: PolicySet) -> None:
    """Says when the database doesn't hold what FILE compiles to: what is found may be about that."""
    from mcp_rls.database.apply import pending
    from mcp_rls.database.waiting import Refused
    from mcp_rls.diagnostics import Invalid

    try:
        left = len(pending(connection, policies).operations)
    except (Invalid, Refused) as problem:
        progress(f"the policies can't be compared with the database: {str(problem).splitlines()[0]}")
        return
    if left:
        progress(f"{report.counted(left, 'change')} of {policies.path} not applied to this database")


def _counted() -> Callable[[int, int], None] | None:
    """What counts the tokens on a terminal's stderr, and wipes the count at the end."""
    if not sys.stderr.isatty():
        return None

    def count(done: int, total: int) -> None:
        end = "\r\x1b[2K" if done == total else f"\rtrying token {done} of {total}"
        sys.stderr.write(end)
        sys.stderr.flush()

    return count
