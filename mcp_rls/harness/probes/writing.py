"""Findings on the other ways to write: through a join, inside a query, through a cursor, and by MERGE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from mcp_rls import sql
from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import REFUSED, Bench, Sight, Trial, written
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.probes.kit.without import alone
from mcp_rls.harness.probes.kit.writable import constant, settable
from mcp_rls.harness.stage import Attempt

TITLE = "other ways to write"
NOTHING = "no row is hidden from any token"
_HELD = "writes through a join, inside a query, through a cursor and by MERGE left the hidden row as it was"
_REMEDY = "see which policy admits the row: mcp-rls test shows the policies of the table"
_MERGE = 150000  # the first version that has it
_REFUSALS = REFUSED | {"24000"}  # the cursor found no row to stand on


@dataclass(frozen=True)
class _Names:
    """What the statements are made of, as SQL."""

    table: str
    column: str
    this: str  # a condition on the row alone
    same: str  # one that joins t and h

    @classmethod
    def of(cls, sight: Sight, key: Key, column: str) -> _Names:
        joint = [sql.ident(c) for c in sight.table.primary_key] or ["tableoid", "ctid"]
        same = " and ".join(f"t.{c} = h.{c}" for c in joint)
        return cls(sql.table(sight.name), sql.ident(column), rows.by_key(sight.table, key, "t."), same)


def probe(bench: Bench) -> Iterator[Found]:
    for sight in bench.hiding:
        found = bench.judge(str(sight.name), _trials(bench, sight), Verdict.LEAKS, _HELD, _REMEDY)
        if found is not None:
            yield found


def _trials(bench: Bench, sight: Sight) -> Iterator[Trial]:
    columns = settable(sight) or [c.name for c in sight.table.columns if not c.generated]
    if not columns:
        return
    for key in sight.hidden[:1]:
        names = _Names.of(sight, key, columns[0])
        # of a partitioned table only a partition can have the cursor's row
        ways = [*_joined(names), *(_at_cursor(names) if sight.table.kind != "partitioned" else ())]
        ways += _merged(names) if bench.stage.catalog.version >= _MERGE else ()
        for way, statements in ways:
            learnt = f"{way} changes {{row}}, which is hidden"
            tells, look = partial(_reached, sight, key), rows.look(sight.table)
            yield Trial(sight, statements, tells, learnt, look, refusals=_REFUSALS, row=key, way=way)
    yield from _blind(bench, sight, columns)


def _blind(bench: Bench, sight: Sight, columns: list[str]) -> Iterator[Trial]:
    """Inside a query, without a column that is read: then only the policies for writing are asked."""
    name, look = sql.table(sight.name), rows.look(sight.table)
    learnt, way = "a write inside a query changes {row}, which is hidden", "a write inside a query"
    values = constant(bench, sight, columns)
    for statement in (*([rows.update(sight.table, values)] if values else []), f"delete from {name}"):
        inside, plant = (f"with w as ({statement}) select",), alone(bench, sight)
        yield Trial(sight, inside, partial(_first, sight), learnt, look, plant, _REFUSALS, way=way)


def _first(sight: Sight, attempt: Attempt) -> Key | None:
    return next(iter(written(sight, attempt)), None)


def _joined(n: _Names) -> Iterator[tuple[str, tuple[str, ...]]]:
    moved = f"update {n.table} t set {n.column} = h.{n.column} from {n.table} h where {n.same} and {n.this}"
    yield "an update through a join", (moved,)
    yield "a delete through a join", (f"delete from {n.table} t using {n.table} h where {n.same} and {n.this}",)


def _at_cursor(n: _Names) -> Iterator[tuple[str, tuple[str, ...]]]:
    opened = (f"declare mcp_rls_probe cursor for select from {n.table} t where {n.this}", "fetch mcp_rls_probe")
    current = "where current of mcp_rls_probe"
    yield "a write through a cursor", (*opened, f"update {n.table} set {n.column} = {n.column} {current}")
    yield "a write through a cursor", (*opened, f"delete from {n.table} {current}")


def _merged(n: _Names) -> Iterator[tuple[str, tuple[str, ...]]]:
    for action in (f"update set {n.column} = t.{n.column}", "delete"):
        yield "a MERGE", (f"merge into {n.table} t using (select 1) s on {n.this} when matched then {action}",)


def _reached(sight: Sight, key: Key, attempt: Attempt) -> Key | None:
    """The row, when it was written, or only a constraint or reference kept it."""
    kept = attempt.error is not None and (attempt.error.sqlstate or "").startswith("23")
    return key if kept or key in written(sight, attempt) else None
