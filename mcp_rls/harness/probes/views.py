"""Findings on views: one without `security_invoker` reads with its owner's rights, whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from mcp_rls import sql
from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import REFUSED, Bench, Sight, Trial, written
from mcp_rls.harness.probes.kit.facts import Relation
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.probes.kit.without import Comparison, alone, judge
from mcp_rls.harness.probes.kit.writable import Row, constant, copies
from mcp_rls.harness.stage import Attempt

TITLE = "views"
NOTHING = "no view of a covered table can be reached by a token's role"
_REMEDY = "alter view ... set (security_invoker = true), or accept it under doors"
_CHANGED = "through the view it changes {row}, which is hidden"
_INSERTED = "through the view it inserts what is refused without it, a copy of {row}"
_HELD = "what it writes through the view left the hidden row as it was"


def probe(bench: Bench) -> Iterator[Found]:
    for view in bench.facts.relations:
        reached = bench.facts.reached(bench.role, view)
        sights = [s for s in bench.hiding if s.name in view.reads]
        if view.kind != "v" or not sights:
            continue
        if reached.columns:
            question = [f"select {', '.join(map(sql.ident, reached.columns))} from {sql.table(view.name)}"]
            compared = Comparison(bench, str(view), _REMEDY, bound=view.invoker)
            yield from _some(judge(bench, compared, question, sights))
        if reached.written:
            trials = (trial for sight in sights for trial in _writes(bench, view, sight))
            yield from _some(bench.judge(str(view), trials, Verdict.LEAKS, _HELD, _REMEDY))


def _some(found: Found | None) -> tuple[Found, ...]:
    return () if found is None else (found,)


def _writes(bench: Bench, view: Relation, sight: Sight) -> Iterator[Trial]:
    """A DELETE and an UPDATE of all that the view has, and rows through it that are refused without it."""
    name, look = sql.table(view.name), rows.look(sight.table)
    known = {column.name for column in bench.stage.table(view.name).columns}
    yield Trial(sight, (f"delete from {name}",), partial(_first_written, sight), _CHANGED, look, alone(bench, sight))
    for column, value in constant(bench, sight, known).items():
        statement = f"update {name} set {sql.ident(column)} = {value}"
        yield Trial(sight, (statement,), partial(_first_written, sight), _CHANGED, look)
    for key, row in zip(sight.hidden, list(copies(bench, sight))[-1:], strict=False):
        through = {column: value for column, value in row.items() if column in known}
        refused = bench.act([rows.insert(sight.table, row, overriding=True)]).error
        if refused is not None and refused.sqlstate in REFUSED:
            yield Trial(sight, (_insert(name, through),), partial(_one_more, sight, key), _INSERTED, look, row=key)


def _insert(name: str, row: Row) -> str:
    return f"insert into {name} ({', '.join(map(sql.ident, row))}) values ({', '.join(row.values())})"


def _first_written(sight: Sight, attempt: Attempt) -> Key | None:
    return next(iter(written(sight, attempt)), None)


def _one_more(sight: Sight, key: Key, attempt: Attempt) -> Key | None:
    return key if attempt.error is None and len(attempt.look) > len(sight.there) else None
