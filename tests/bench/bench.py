"""The price of policies: what statements cost under them, as a multiple of the same statements with a WHERE by hand.

The reference is the tables' owner, whom row security doesn't touch, with literals for what the token says. A figure is
the median ratio of the backend's CPU time (of time on the clock where that can't be read). Exit 1: the two sides gave
different rows, or a goal was missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

# Found from the root, when this is started as a script too.
import psycopg  # noqa: E402

from mcp_rls.compiler.policy import read_policies  # noqa: E402
from mcp_rls.database.apply import install  # noqa: E402
from mcp_rls.database.server import Server, open_server  # noqa: E402
from tests.bench import data, tables  # noqa: E402
from tests.bench.measure import Backend, backend, measured, stand_aside  # noqa: E402
from tests.bench.variants import VARIANTS, Variant, client  # noqa: E402
from tests.bench.workloads import WORDS, workloads  # noqa: E402

PAIRS = 3


def main() -> int:
    arguments = _arguments()
    started = time.monotonic()
    with open_server(progress=_tell) as server, server.scratch_database() as url:
        stand_aside()
        _tell(f"{server.description}: making {arguments.rows:,} rows a table")
        template = _filled(url, arguments.rows)
        results: tables.Results = {}
        for name in arguments.variants:
            for rules in arguments.rules:
                results[name, rules] = _run(server, template, VARIANTS[name], rules, arguments)
        description = server.description
    _tell(f"{time.monotonic() - started:.0f} s")
    about = {"server": description, "rows": arguments.rows, "rounds": arguments.rounds}
    if arguments.json:
        arguments.json.write_text(json.dumps(tables.as_data(results, **about), indent=1) + "\n", encoding="utf-8")
    _report(results, arguments, description)
    wrong = tables.differing(results) + tables.missed(results, arguments.goal)
    for line in wrong:
        print(line)
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = "; ".join(f"{v.name}: {v.words}" for v in VARIANTS.values())
    parser.add_argument("--rows", type=int, default=200_000, help="in each table, 100 of a tenant (%(default)s)")
    parser.add_argument("--rules", type=_positive, nargs="+", default=[1, 50], metavar="N", help="classes of clients")
    parser.add_argument(
        "--variants", nargs="+", choices=list(VARIANTS), default=["plain", "narrow"], metavar="V", help=words
    )
    parser.add_argument("--workloads", nargs="+", choices=list(WORDS), default=list(WORDS), metavar="W")
    parser.add_argument("--rounds", type=_positive, default=24, help="turns of each side (%(default)s)")
    parser.add_argument("--plans", action="store_true", help="also the InitPlans and the shape of each plan")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--goal", type=_goals, default={}, metavar="point=1.6,mean=1.3", help="exit 1 above these")
    arguments = parser.parse_args()
    arguments.rules = sorted(set(arguments.rules))
    arguments.variants = list(dict.fromkeys(arguments.variants))
    if arguments.rows < data.LEAST_ROWS:
        parser.error(f"--rows: at least {data.LEAST_ROWS}")
    return arguments


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _goals(text: str) -> dict[str, float]:
    goals = {}
    for part in text.split(","):
        name, _, ratio = part.partition("=")
        if name not in (*WORDS, tables.MEAN):
            raise argparse.ArgumentTypeError(f"no workload {name!r}; there are {', '.join([*WORDS, tables.MEAN])}")
        goals[name] = float(ratio)
    return goals


def _filled(url: str, rows: int) -> str:
    """The name of the database at `url`, filled with the data; nobody is connected to it any more."""
    with psycopg.connect(url, autocommit=True) as connection:
        data.create(connection, rows)
        connection.execute("vacuum analyze")
        return connection.info.dbname


def _run(server: Server, template: str, variant: Variant, rules: int, arguments: argparse.Namespace) -> tables.Figures:
    """All workloads under one policy file, in a fresh copy of the data."""
    acting = client(rules)  # of the class that is looked at last
    by_hand = variant.by_hand(rules)
    figures: tables.Figures = {}
    _tell(f"{variant.name}, {tables.counted(rules)}:", end="")
    with (
        server.scratch_database(template) as url,
        psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection,
    ):
        _install(connection, variant, rules, acting)
        local = server.kind == "embedded"
        _must_be_closed(url, local)
        with _pairs(url, variant, acting, local, min(PAIRS, arguments.rounds)) as pairs:
            condition = f" where {by_hand['docs']}" if by_hand["docs"] else ""
            rows = pairs[0][0].connection.execute(f"select id from docs{condition} order by id".encode())
            ids = [row[0] for row in rows]
            for workload in workloads(ids):
                if workload.name in arguments.workloads:
                    _tell(f" {workload.name}", end="")
                    figures[workload.name] = measured(pairs, workload, by_hand, arguments.rounds)
                    if workload.writes:
                        connection.execute("vacuum docs")
    _tell("")
    return figures


def _install(connection: psycopg.Connection[Any], variant: Variant, rules: int, acting: str) -> None:
    if variant.own_policies:
        data.add_own_policies(connection)
    if variant.consent:
        data.give_consents(connection, acting)
    found, diagnostics = read_policies("policies.yaml", variant.policies(rules))
    assert found is not None, "\n".join(map(str, diagnostics))
    install(connection, found)


def _must_be_closed(url: str, local: bool) -> None:
    """A client of no class sees nothing; else it isn't ceilings that are measured."""
    with backend(url, data.USER, data.claims("somebody-else"), local=local) as stranger:
        for table in data.OWNED:
            seen = stranger.connection.execute(f"select from {table} limit 1".encode()).fetchone()
            assert seen is None, f"a client without a rule reads {table}"


@contextmanager
def _pairs(
    url: str, variant: Variant, acting: str, local: bool, number: int
) -> Iterator[list[tuple[Backend, Backend]]]:
    """Yields pairs of sessions: the reference, and the token's under the policies."""
    reference = data.REFERENCE if variant.own_policies else data.OWNER
    claims = data.claims(acting)
    with ExitStack() as stack:
        yield [
            (
                stack.enter_context(backend(url, reference, claims, local=local)),
                stack.enter_context(backend(url, data.USER, claims, local=local)),
            )
            for _ in range(number)
        ]


def _report(results: tables.Results, arguments: argparse.Namespace, description: str) -> None:
    load = " ".join(f"{x:.2f}" for x in os.getloadavg())
    print(f"{description}; {arguments.rows:,} rows a table; {arguments.rounds} rounds; load {load}")
    for name in arguments.variants:
        print(f"\n{tables.table(results, name)}")
        if arguments.plans:
            for rules in arguments.rules:
                print(f"plans at {tables.counted(rules)}:\n{tables.plans(results[name, rules])}")


def _tell(words: str, end: str = "\n") -> None:
    print(words, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
