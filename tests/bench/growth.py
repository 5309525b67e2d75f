"""What a ratio may grow with, apart from rules and rows: the token's size, its scopes, tables in a join, partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tests.bench import data
from tests.bench.run import Bench
from tests.bench.workloads import Workload, chain

ROWS = 10_000  # what grows here is a price of the statement, not of its rows
PARTITIONS = "partitions"


@dataclass(frozen=True)
class Growth:
    """`measure` makes the bench ready for each step and gives its workloads, by the curve that each belongs to."""

    words: str
    steps: tuple[int, ...]
    prepare: Callable[[Bench, int], Iterable[tuple[str, Workload]]]


def _plain(bench: Bench, names: tuple[str, ...]) -> Iterator[tuple[str, Workload]]:
    return ((w.name, w) for w in bench.workloads if w.name in names)


def _claims(bench: Bench, size: int) -> Iterable[tuple[str, Workload]]:
    bench.carry(data.claims(bench.acting, bench.role, size=size))
    return _plain(bench, ("point", "range", "insert"))


def _scopes(bench: Bench, number: int) -> Iterable[tuple[str, Workload]]:
    bench.carry(data.claims(bench.acting, bench.role, scopes=number))
    return _plain(bench, ("point", "range", "insert"))


def _join(bench: Bench, tables: int) -> Iterable[tuple[str, Workload]]:
    bench.carry(data.claims(bench.acting, bench.role))
    return [("join", chain(tables))]


def _partitions(bench: Bench, _: int) -> Iterable[tuple[str, Workload]]:
    """One partition is left of a point; the person's rows are looked for in all of them."""
    return _plain(bench, ("point", "prepared", "range"))


CURVES = {
    "claims": Growth("bytes of claims", (512, 1024, 2048, 4096, 8192, 16384), _claims),
    "scopes": Growth("scopes in the token", (1, 3, 10, 30, 100), _scopes),
    "join": Growth("tables in the join", (1, 2, 4, 6, 8), _join),
    PARTITIONS: Growth("partitions of the table", (1, 100, 1000), _partitions),
}
