"""The statements that are measured, each as somebody without row security writes it and as it is under a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.data import REGION, TENANT
from tests.bench.variants import Own

_NEW = 10**12  # ids of inserted rows begin here
_COLUMNS = "id, tenant_id, region, status, amount, title, body, created_at"
_VALUES = f"{TENANT}, '{REGION}', 'draft', 5, 'title', 'body', timestamptz '2026-01-01 00:00:00+00'"


@dataclass(frozen=True)
class Workload:
    """`text(own, n)` is its n-th statement, with the conditions `own` written out."""

    name: str
    text: Callable[[Own, int], str]
    times: int  # executions in a turn
    parameter: Callable[[int], int] | None = None  # of the n-th execution; the statement is then prepared
    writes: bool = False  # each turn is rolled back

    def explained(self, own: Own) -> str:
        """A statement that EXPLAIN takes."""
        text = self.text(own, 1)
        return text.replace("%s", str(self.parameter(1))) if self.parameter else text


def workloads(ids: list[int]) -> list[Workload]:
    """All workloads; `ids` are of rows in docs that both sides see."""

    def one(n: int) -> int:
        return ids[n % len(ids)]

    def reading(select: str, *tables: str, tail: str = "", on: str = "") -> Callable[[Own, int], str]:
        return lambda own, n: f"{select}{_where(on.replace(':id', str(one(n))), *(own[t] for t in tables))}{tail}"

    totals = "select status, count(*), sum(amount)"
    grouped = " group by status order by status"
    newest = " order by created_at desc limit 50"
    joined = "select count(*), sum(comments.amount) from docs join comments on comments.doc_id = docs.id"
    changed = "update docs set amount = amount + 1"
    return [
        Workload("point", reading("select id, title, body from docs", "docs", on="id = :id"), 40),
        Workload(
            "prepared", reading("select id, title, body from docs", "docs", on="id = %s::bigint"), 40, parameter=one
        ),
        Workload("range", reading("select id, title from docs", "docs"), 20),
        Workload("order", reading("select id, title from docs", "docs", tail=newest), 20),
        Workload("aggregate", reading(f"{totals} from docs", "docs", tail=grouped), 20),
        Workload("count", reading("select count(*) from docs", "docs"), 20),
        Workload("scan", reading("select count(*) from wide", "wide"), 1),
        Workload("group", reading(f"{totals} from wide", "wide", tail=grouped), 1),
        Workload("join", reading(joined, "docs", "comments"), 15),
        Workload(
            "insert", lambda _, n: f"insert into docs ({_COLUMNS}) values ({_NEW + n}, {_VALUES})", 20, writes=True
        ),
        Workload("insert1000", lambda _, n: _insert_many(n, 1000), 1, writes=True),
        Workload("update", reading(changed, "docs", on="id = :id"), 20, writes=True),
        Workload("delete", reading("delete from docs", "docs", on="id = :id"), 20, writes=True),
    ]


WORDS = {
    "point": "a row by its primary key",
    "prepared": "the same, prepared",
    "range": "the person's 100 rows",
    "order": "the newest 50 of them",
    "aggregate": "sums over them, by status",
    "count": "their number",
    "scan": "count over a column without index",
    "group": "sums over the same, by status",
    "join": "two tables under policies",
    "insert": "one row",
    "insert1000": "1000 rows in one statement",
    "update": "one row by primary key",
    "delete": "one row by primary key",
}


def _insert_many(n: int, rows: int) -> str:
    return (
        f"insert into docs ({_COLUMNS}) select {_NEW + n * rows} + g, {_VALUES} from generate_series(0, {rows - 1}) g"
    )


def _where(*conditions: str) -> str:
    kept = [c for c in conditions if c]
    return f" where {' and '.join(kept)}" if kept else ""
