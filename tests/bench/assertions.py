"""How many assertions a second the harness makes as tokens, beside a bare psycopg loop that sends the same statements.

    python tests/bench/assertions.py [--seconds 3]

One by one: each assertion is a call of its own, a round trip with the way back, the statement and the look, judged
before the next. In batches: the cells of a suite, where one statement tries all rows of a table.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mcp_rls.compiler.policy import load_policies
from mcp_rls.database.apply import install
from mcp_rls.database.introspect import read_catalog
from mcp_rls.database.server import open_server
from mcp_rls.harness.api import Rls
from mcp_rls.harness.run import open_runner, run_suite
from mcp_rls.harness.session import Connection, run
from mcp_rls.harness.suite import load_suite
from mcp_rls.resources import bundled

_TURNS = 30
DESK = bundled("policy_templates") / "help-desk"


@contextmanager
def sent(connection: Connection) -> Iterator[list[str]]:
    """Yields what is sent to the server meanwhile."""
    texts: list[str] = []
    original = connection.execute

    def execute(query: Any, *arguments: Any, **options: Any) -> Any:
        texts.append(query.decode() if isinstance(query, bytes) else str(query))
        return original(query, *arguments, **options)

    connection.execute = execute  # type: ignore[method-assign]
    try:
        yield texts
    finally:
        connection.execute = original  # type: ignore[method-assign]


def rate(seconds: float, act: Callable[[], int]) -> float:
    """How much `act` counts a second."""
    act()
    begun, done = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        done += act()
    return done / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure (%(default)s)")
    seconds = parser.parse_args().seconds
    policies, _ = load_policies(DESK / "policies.yaml")
    assert policies is not None
    suite, _ = load_suite(DESK / "cases.yaml", policies)
    assert suite is not None
    with open_server() as server, server.scratch_database() as url, psycopg.connect(url, autocommit=True) as connection:
        run(connection, (DESK / "schema.sql").read_text(encoding="utf-8"))
        install(connection, policies)
        catalog = read_catalog(connection)
        with open_runner(connection, policies, suite, catalog) as runner:
            rls = Rls(runner.stage, suite.people)
            token = rls.token(person=next(iter(suite.people)), class_="assistant", scope="tickets:read")
            keys = token.select("public.tickets").keys
            for _ in range(3):
                token.sees("public.tickets", keys)
            with sent(connection) as texts:
                token.sees("public.tickets", keys)
            assert keys, "the token sees some rows"
            (statements,) = texts

            def assertion() -> int:
                token.sees("public.tickets", keys)
                return 1

            def bare() -> int:
                run(connection, statements)
                return 1

            everything = {str(t.name): token.select(str(t.name)).keys for t in runner.stage.covered}

            def batch() -> int:
                token.sees_all(everything)
                return len(everything)

            # in turns, for a machine's speed drifts
            pairs = [(rate(seconds / _TURNS, assertion), rate(seconds / _TURNS, bare)) for _ in range(_TURNS)]
            batched = rate(seconds, batch)
        one, plain = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
        ratio = statistics.median(bare_ / ours for ours, bare_ in pairs)
        print(f"{server.description}, one process")
        print(f"one by one: {one:,.0f} assertions/s; a bare loop that sends the same {plain:,.0f}/s: {ratio:.2f}")
        print(f"all tables at once: {batched:,.0f} assertions/s")
        begun = time.perf_counter()
        result = run_suite(connection, policies, suite, catalog=catalog)
        took = time.perf_counter() - begun
        print(f"a suite: {len(result.results)} checks, {result.attempts} statements as tokens in {took:.2f} s")


if __name__ == "__main__":
    main()
