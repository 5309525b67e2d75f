"""The statements that are measured, each as somebody without row security writes it and as it is under a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.data import OWNED, REGION, TENANT
from tests.bench.platforms import Own

_NEW = 10**12  # ids of inserted rows begin here
_COLUMNS = "id, tenant_id, region, status, amount, title, body, created_at, words"
_VALUES = f"{TENANT}, '{REGION}', 'draft', 5, 'title', 'body', timestamptz '2026-01-01 00:00:00+00', 'w3 x9'"


@dataclass(frozen=True)
class Workload:
    """`text(own, n)` is its n-th statement, with the conditions `own` written out, and %s for the parameter."""

    name: str
    text: Callable[[Own, int], str]
    times: int  # executions in a turn
    parameter: Callable[[int], int] | None = None  # of the n-th execution; the statement is then prepared
    writes: bool = False  # each turn is rolled back

    def whole(self, own: Own) -> str:
        """The first statement as one text, parameter and all."""
        text = self.text(own, 1)
        return text.replace("%s", str(self.parameter(1))) if self.parameter else text


def workloads(ids: list[int]) -> list[Workload]:
    """All workloads; `ids` are of rows in docs that both sides see."""

    def one(n: int) -> int:
        return ids[n % len(ids)]

    def reading(select: str, *tables: str, tail: str = "", on: str = "") -> Callable[[Own, int], str]:
        return lambda own, n: f"{select}{_where(on.replace(':id', str(one(n))), *(own[t] for t in tables))}{tail}"

    by_id = "select id, title, body from docs"
    few = "select id, title from docs"
    totals = "select status, count(*), sum(amount)"
    grouped = " group by status order by status"
    newest = " order by created_at desc limit 50"
    joined = "select count(*), sum(comments.amount) from docs join comments on comments.doc_id = docs.id"
    found = "words @@ 'w3'::tsquery"
    changed = "update docs set amount = amount + 1"
    return [
        Workload("point", reading(by_id, "docs", on="id = :id"), 40),
        Workload("prepared", reading(by_id, "docs", on="id = %s::bigint"), 40, parameter=one),
        Workload("range", reading(few, "docs"), 20),
        Workload("order", reading(few, "docs", tail=newest), 20),
        Workload("aggregate", reading(f"{totals} from docs", "docs", tail=grouped), 20),
        Workload("count", reading("select count(*) from docs", "docs"), 20),
        Workload("scan", reading("select count(*) from wide", "wide"), 1),
        Workload("group", reading(f"{totals} from wide", "wide", tail=grouped), 1),
        Workload("join", reading(joined, "docs", "comments"), 15),
        Workload("search", reading("select count(*) from docs", "docs", on=found), 15),
        Workload("filter", _repeated, 20),
        Workload(
            "insert", lambda _, n: f"insert into docs ({_COLUMNS}) values ({_NEW + n}, {_VALUES})", 20, writes=True
        ),
        Workload("insert1000", lambda _, n: _insert_many(n, 1000), 1, writes=True),
        Workload("update", reading(changed, "docs", on="id = :id"), 20, writes=True),
        Workload("update100", reading(changed, "docs"), 1, writes=True),
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
    "search": "a word among the person's rows",
    "filter": "the query repeats the policy",
    "insert": "one row",
    "insert1000": "1000 rows in one statement",
    "update": "one row by primary key",
    "update100": "the person's 100 rows",
    "delete": "one row by primary key",
}


def chain(tables: int) -> Workload:
    """A join of so many tables under policies: docs and comments in turn, along their keys."""
    names = [("docs", "comments")[n % 2] for n in range(tables)]
    text = "docs t0"
    for n, name in enumerate(names[1:], start=1):
        keys = f"t{n}.doc_id = t{n - 1}.id" if name == "comments" else f"t{n}.id = t{n - 1}.doc_id"
        text += f" join {name} t{n} on {keys}"

    def query(own: Own, _: int) -> str:
        conditions = (own[name].replace(f"{name}.", f"t{n}.") for n, name in enumerate(names))
        return f"select count(*) from {text}{_where(*conditions)}"

    return Workload(f"join of {tables}", query, 10)


def _repeated(own: Own, _: int) -> str:
    """A query that names the person's rows although a policy does, as one's tools go on doing."""
    condition = own["docs"] or f"docs.{OWNED['docs'].by_hand}"
    return f"select id, title from docs where {condition} and created_at > timestamptz '2024-01-01 06:00:00+00'"


def _insert_many(n: int, rows: int) -> str:
    return (
        f"insert into docs ({_COLUMNS}) select {_NEW + n * rows} + g, {_VALUES} from generate_series(0, {rows - 1}) g"
    )


def _where(*conditions: str) -> str:
    kept = [c for c in conditions if c]
    return f" where {' and '.join(kept)}" if kept else ""
