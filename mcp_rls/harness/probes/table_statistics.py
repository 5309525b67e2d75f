"""Findings on what PostgreSQL keeps about whole tables for everybody to read: their size, samples of their values."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from mcp_rls import sql
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import Bench, Sight, Trial
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.session import CannotTest
from mcp_rls.harness.stage import Attempt

TITLE = "statistics"
NOTHING = "no table hides all its rows from any token"
_LEARNT = "the size of the table is readable: where it is shown nothing, it learns that there are rows, such as {row}"
_HELD = "the size of the table is refused"
_REMEDY = (
    "revoke EXECUTE on the size functions of pg_catalog from public, and SELECT on pg_class where nothing needs it"
)
_TABLE = "pg_temp.mcp_rls_probe"


def probe(bench: Bench) -> Iterator[Found]:
    for sight in bench.hiding:
        if not sight.seen and sight.table.kind != "partitioned":  # whose rows are its partitions'
            found = bench.judge(str(sight.name), _size(sight), Verdict.KNOWN_LIMIT, _HELD, _REMEDY)
            if found is not None:
                yield found
    for view, asked in _SAMPLES.items():
        yield _samples(bench, view, asked)


def _size(sight: Sight) -> Iterator[Trial]:
    target = sql.literal(sql.table(sight.name))
    for question in (
        f"select pg_total_relation_size({target}::regclass)",
        # not yet counted where no statistics were ever taken
        f"select greatest(relpages, 0) + greatest(reltuples, 0) from pg_class where oid = {target}::regclass",
    ):
        yield Trial(sight, (question,), partial(_positive, sight.hidden[0]), _LEARNT, row=sight.hidden[0])


def _positive(key: Key, attempt: Attempt) -> Key | None:
    return key if attempt.error is None and attempt.rows and (attempt.rows[0][0] or 0) > 0 else None


# --- samples of values ------------------------------------------------------------------------------------------------

_SAMPLES = {
    "pg_catalog.pg_stats": "select from pg_stats where tablename = 'mcp_rls_probe'",
    "pg_catalog.pg_statistic": f"select from pg_statistic where starelid = '{_TABLE}'::regclass",
}


def _samples(bench: Bench, view: str, asked: str) -> Found:
    """What the view shows of a table made for this test, all of whose rows are hidden: it is one for all tables."""
    mark = (view, bench.role)
    if mark not in bench.lasting:
        try:
            bench.lasting[mark] = _tried(bench, view, [asked], _planted(bench.role))
        except CannotTest as problem:
            bench.lasting[mark] = Found(view, Verdict.UNDECIDED, str(problem))
    found: Found = bench.lasting[mark]
    return found


def _tried(bench: Bench, view: str, asked: list[str], plant: tuple[str, ...]) -> Found:
    row = "a row of a table made for this test"
    if bench.act(asked, plant=plant).rows:
        remedy = f"revoke select on {view} from public"
        return Found(view, Verdict.LEAKS, "samples of hidden values are readable", row, remedy)
    # a login role that is no superuser is refused the one, and shown the other
    if not any(bench.control([question], plant=plant).rows for question in _SAMPLES.values()):
        return Found(view, Verdict.UNDECIDED, "not even past row security are there any samples")
    return Found(view, Verdict.HOLDS, "samples of hidden values aren't shown", row)


def _planted(role: str) -> tuple[str, ...]:
    return (
        "create temporary table mcp_rls_probe as select n % 3 as n from generate_series(1, 300) n",
        f"analyze {_TABLE}",
        f"alter table {_TABLE} enable row level security",
        f"grant select on {_TABLE} to {sql.role(role)}",
    )
