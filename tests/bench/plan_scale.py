"""How long plans of many tables take, and how many statements they send: from nothing, for nothing, for one rule.

    python tests/bench/plan_scale.py [--tables 500] [--policies 4]

Each table has a rule for clients for as many commands as policies are asked for. While a plan is carried out, another
session reads the first table as its owner: its longest read is how long nobody could.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.policy import read_policies
from mcp_rls.database import apply
from mcp_rls.database.server import open_server

COMMANDS = ("select", "insert", "update", "delete")
HEAD = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated]
identity: {direct: no_client}
classes: {helper: {match: {ids: [helper]}}}
tables:
"""


def schema(tables: int) -> str:
    """SQL that makes so many tables."""
    return (
        "do $$ begin if to_regrole('authenticated') is null then create role authenticated; end if; end $$;"
        + "".join(
            f"create table public.t{n:04} (id integer primary key, owner uuid, status text, rank integer);"
            f"grant select, insert, update, delete on public.t{n:04} to authenticated;"
            for n in range(tables)
        )
    )


def file(tables: int, policies: int = 4, *, rows: str = "status = 'open'", changed: str = "") -> str:
    """A policy file with a rule for each of the first `policies` commands; the first table's rows may be others.

    `{command}` in the rows is the command's number, so that each rule has a condition of its own.
    """

    def rule(table: int) -> str:
        return changed if changed and table == 0 else rows

    lines = [
        f"  public.t{n:04}: {{clients: ["
        + ", ".join(
            f"{{who: helper, allow: {command}"
            + (f', rows: "{rule(n).format(command=number)}"' if rows and command != "insert" else "")
            + "}"
            for number, command in enumerate(COMMANDS[:policies])
        )
        + "]}\n"
        for n in range(tables)
    ]
    return HEAD + "".join(lines)


def read(text: str) -> PolicySet:
    found, diagnostics = read_policies("policies.yaml", text)
    assert found is not None, [str(d) for d in diagnostics]
    return found


@contextmanager
def counted(connection: psycopg.Connection[Any]) -> Iterator[list[bytes | str]]:
    """Yields the statements that cursors of this connection send meanwhile; BEGIN and the like are not among them."""
    sent: list[bytes | str] = []

    class Counting(psycopg.Cursor[Any]):
        def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
            sent.append(query)
            return super().execute(query, *arguments, **options)

    usual, connection.cursor_factory = connection.cursor_factory, Counting
    try:
        yield sent
    finally:
        connection.cursor_factory = usual


class Reader(threading.Thread):
    """Reads the first table again and again, and keeps the longest time that it took."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.longest, self.stopping = url, 0.0, threading.Event()

    def run(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            while not self.stopping.is_set():
                began = time.perf_counter()
                connection.execute("select from public.t0000")
                self.longest = max(self.longest, time.perf_counter() - began)
                time.sleep(0.005)


def told(what: str, connection: psycopg.Connection[Any], act: Callable[[], Any], readers: str = "") -> Any:
    """What comes of `act`; its time and statements are printed, and how long a reader at that URL had to wait."""
    reader = Reader(readers) if readers else None
    if reader:
        reader.start()
    with counted(connection) as sent:
        began = time.perf_counter()
        result = act()
        took = time.perf_counter() - began
    waited = ""
    if reader:
        reader.stopping.set()
        reader.join()
        waited = f", a read waited {reader.longest:.2f} s"
    print(f"{what:<24}{took:7.2f} s {len(sent):7,} statements{waited}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=500, help="(%(default)s)")
    parser.add_argument("--policies", type=int, default=4, choices=range(1, 5), help="for each table (%(default)s)")
    asked = parser.parse_args()
    texts = [file(asked.tables, asked.policies, changed=changed) for changed in ("", "rank > 3")]
    with open_server() as server, server.scratch_database() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute(schema(asked.tables).encode())
        print(f"{server.description}, {asked.tables} tables, {asked.policies} policies each")
        began = time.perf_counter()
        first, second = (read(text) for text in texts)
        print(f"{'read the file':<24}{(time.perf_counter() - began) / 2:7.2f} s")
        for name, policies in (("from nothing", first), ("one rule", second)):
            prepared = told(f"plan, {name}", connection, partial(apply.prepare, connection, policies))
            print(f"  {len(prepared.plan.operations):,} operations of {len(prepared.plan.statements):,} statements")
            carry = partial(apply.apply_plan, connection, policies, prepared.plan)
            told(f"apply, {name}", connection, carry, url)
            again = told("plan again", connection, partial(apply.prepare, connection, policies))
            assert not again.plan, "nothing is left to do"
        told("apply --per-table, back", connection, partial(apply.apply_by_table, connection, first), url)


if __name__ == "__main__":
    main()
