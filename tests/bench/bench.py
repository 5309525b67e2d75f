"""The price of policies: what statements cost under them, as a multiple of the same statements with a WHERE by hand.

The reference is the tables' owner, whom row security doesn't touch, with literals for what the token says. A figure is
the median ratio of the backend's CPU time (of time on the clock where that can't be read). Exit 1: the two sides gave
different rows, or a goal was missed. Only ratios mean anything: both sides share whatever else the machine does.
All of it takes six minutes of processor time, and as long on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

# Found from the root, when this is started as a script too.
import psycopg  # noqa: E402

from mcp_rls.database.embedded import embedded  # noqa: E402
from mcp_rls.database.server import Server, open_server  # noqa: E402
from tests.bench import data, growth, picture, tables  # noqa: E402
from tests.bench.growth import CURVES, PARTITIONS  # noqa: E402
from tests.bench.measure import stand_aside  # noqa: E402
from tests.bench.platforms import PLATFORMS  # noqa: E402
from tests.bench.results import MEAN, Curve, Figures, Results, Setting, as_data, counted, differing, missed  # noqa: E402
from tests.bench.run import Bench, opened  # noqa: E402
from tests.bench.workloads import WORDS  # noqa: E402

# As on a server in use: an index's pages are found in memory.
_MEMORY = ("shared_buffers=512MB",)


def main() -> int:
    arguments = _arguments()
    started = time.monotonic()
    with _server() as server:
        stand_aside()
        results = Results()
        for rows in arguments.rows:
            _measure(server, rows, arguments, results)
        if PARTITIONS in arguments.growth:
            _measure_partitions(server, arguments, results)
        about = {"server": server.description, "rounds": arguments.rounds}
    seconds = round(time.monotonic() - started)
    _tell(f"{seconds} s")
    _report(results, arguments, server.description)
    _write(arguments.out, results, as_data(results, **about, seconds=seconds))
    wrong = [*differing(results), *missed(results, arguments.goal)]
    for line in wrong:
        print(line)
    return 1 if wrong else 0


@contextmanager
def _server() -> Iterator[Server]:
    """Yields the server that is named, else one of our own."""
    given = os.environ.get("MCP_RLS_DATABASE_URL")
    with open_server(given) if given else embedded(settings=_MEMORY, progress=_tell) as server:
        yield server


def _measure(server: Server, rows: int, arguments: argparse.Namespace, results: Results) -> None:
    """All platforms and numbers of rules on tables of so many rows."""
    with _data(server, rows) as url:
        for name in arguments.platforms:
            for rules in arguments.rules:
                setting = Setting(name, rules, rows)
                _tell(f"{setting}:", end="")
                with _bench(server, url, name, rules, arguments.rounds) as bench:
                    results.figures[setting] = _figures(bench, arguments.workloads)
                    if (rules, rows) == (arguments.rules[-1], arguments.rows[0]):
                        for grows in (g for g in arguments.growth if g != PARTITIONS):
                            for step in CURVES[grows].steps:
                                _grow(bench, name, grows, step, results)
                _tell("")


def _measure_partitions(server: Server, arguments: argparse.Namespace, results: Results) -> None:
    for step in CURVES[PARTITIONS].steps:
        with _data(server, growth.ROWS, step) as url:
            for name in arguments.platforms:
                with _bench(server, url, name, arguments.rules[0], arguments.rounds) as bench:
                    _tell(f"{name}, partitioned:", end="")
                    _grow(bench, name, PARTITIONS, step, results)
                    _tell("")


@contextmanager
def _data(server: Server, rows: int, partitions: int = 0) -> Iterator[str]:
    """Yields the URL of a database with the data."""
    of = f", {counted(partitions, 'partition')}" if partitions else ""
    _tell(f"{server.description}: making {counted(rows, 'row')} a table{of}")
    with server.scratch_database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            data.create(connection, rows, partitions)
        yield url


@contextmanager
def _bench(server: Server, url: str, platform: str, rules: int, rounds: int) -> Iterator[Bench]:
    with opened(url, PLATFORMS[platform], rules, rounds, local=server.kind == "embedded") as bench:
        yield bench


def _figures(bench: Bench, names: list[str]) -> Figures:
    figures = {}
    for workload in bench.workloads:
        if workload.name in names:
            _tell(f" {workload.name}", end="")
            figures[workload.name] = bench.figure(workload)
    return figures


def _grow(bench: Bench, platform: str, grows: str, step: int, results: Results) -> None:
    """One point of each curve along which that grows."""
    _tell(f" {grows} {step}", end="")
    for name, workload in CURVES[grows].prepare(bench, step):
        results.curves.setdefault(Curve(platform, grows, name), {})[step] = bench.figure(workload)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = "; ".join(f"{p.name}: {p.words}" for p in PLATFORMS.values())
    usual = [p.name for p in PLATFORMS.values() if not p.on_request]
    parser.add_argument("--rows", type=_positive, nargs="+", metavar="N", help="in each table, 100 of a tenant")
    parser.add_argument("--rules", type=_positive, nargs="+", metavar="N", help="classes of clients")
    parser.set_defaults(rows=[10_000, 1_000_000], rules=[1, 10, 50, 200])
    parser.add_argument("--platforms", nargs="+", choices=list(PLATFORMS), default=usual, metavar="P", help=words)
    parser.add_argument("--workloads", nargs="+", choices=list(WORDS), default=list(WORDS), metavar="W")
    parser.add_argument(
        "--growth", nargs="*", choices=list(CURVES), default=list(CURVES), metavar="G", help=", ".join(CURVES)
    )
    parser.add_argument("--rounds", type=_positive, default=24, help="turns of each side at most (%(default)s)")
    parser.add_argument("--plans", action="store_true", help="also the InitPlans and the shape of each plan")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "bench", metavar="DIR", help="for JSON and pictures"
    )
    parser.add_argument("--goal", type=_goals, default={}, metavar="point=1.6,mean=1.3", help="exit 1 above these")
    arguments = parser.parse_args()
    for name in ("rows", "rules"):
        setattr(arguments, name, sorted(set(getattr(arguments, name))))
    arguments.platforms = list(dict.fromkeys(arguments.platforms))
    if arguments.rows[0] < data.LEAST_ROWS:
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
        if name not in (*WORDS, MEAN):
            raise argparse.ArgumentTypeError(f"no workload {name!r}; there are {', '.join([*WORDS, MEAN])}")
        goals[name] = float(ratio)
    return goals


def _report(results: Results, arguments: argparse.Namespace, description: str) -> None:
    load = " ".join(f"{x:.2f}" for x in os.getloadavg())
    print(f"{description}; at most {arguments.rounds} rounds; load {load}")
    for name in arguments.platforms:
        for rows in arguments.rows:
            print(f"\n{tables.table(results, name, rows)}")
            if arguments.plans:
                for rules, figures in results.columns(name, rows).items():
                    print(f"plans at {counted(rules, 'rule')}:\n{tables.plans(figures)}")
        if arguments.growth:
            print(f"\n{tables.curves(results, name)}")


def _write(folder: Path, results: Results, found: dict[str, object]) -> None:
    """The JSON, and a picture for each platform."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name in results.platforms():
        (folder / f"{name}.svg").write_text(picture.drawn(results, name), encoding="utf-8")
    _tell(f"figures and pictures are in {folder}")


def _tell(words: str, end: str = "\n") -> None:
    print(words, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
