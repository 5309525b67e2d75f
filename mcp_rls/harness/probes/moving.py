"""Findings on updates that give a row the values of another: moving it into the token's reach, or out of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from mcp_rls import sql
from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import Bench, Sight, Trial, written
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.probes.kit.writable import Row, settable, stored, updates
from mcp_rls.harness.stage import Attempt

TITLE = "rows moved by an update"
NOTHING = "no row is hidden from any token"
_IN = "it gives {row}, which is hidden, the values of a row that it is shown"
_OUT = "it gives a row the values of {row}, which is hidden, and so puts it out of its own sight"
_HELD = "no row was moved to or from where the hidden row is"
_REMEDY = "narrow the `check` of the update rule to what its `rows` and the select rule admit"
_ROWS = 2


def probe(bench: Bench) -> Iterator[Found]:
    for sight in bench.hiding:
        found = bench.judge(str(sight.name), _trials(bench, sight), Verdict.LEAKS, _HELD, _REMEDY)
        if found is not None:
            yield found


def _trials(bench: Bench, sight: Sight) -> Iterator[Trial]:
    unique = {c for u in bench.facts.uniques if u.table == sight.name for c in u.columns}
    granted = settable(sight) or [c.name for c in sight.table.columns if not c.generated]
    columns = [name for name in granted if name not in unique]
    columns = columns or [name for name in granted if name not in sight.table.primary_key]
    for hidden in sight.hidden[:_ROWS] if columns else ():
        for shown in sight.seen[:1] or (hidden,):
            yield from _moves(bench, sight, hidden, stored(sight, shown, columns), hidden)
        for writable in updates(bench, sight):
            yield from _moves(bench, sight, writable.key, stored(sight, hidden, columns), hidden)


def _moves(bench: Bench, sight: Sight, moved: Key, values: Row, hidden: Key) -> Iterator[Trial]:
    inwards = moved == hidden
    run = partial(_moved, bench, sight, moved, values)
    tells = partial(_written, sight, hidden) if inwards else partial(_gone, sight, moved, hidden)
    way = "an update inwards" if inwards else "an update outwards"
    yield Trial(sight, (), tells, _IN if inwards else _OUT, row=hidden, run=run, way=way)


def _moved(bench: Bench, sight: Sight, moved: Key, values: Row, past: bool) -> Attempt:
    """The update, then whether who did it is still shown the row.

    The token's has no WHERE, so that only the policies for UPDATE are asked; the login role's always has one.
    """
    this, name = rows.by_key(sight.table, moved), sql.table(sight.name)
    update, look = rows.update(sight.table, values), rows.look(sight.table)
    if past:
        return bench.control([f"{update} where {this}", f"select from {name} where false"], look)
    both = [update, f"select from {name} where {this}"]
    attempt = bench.act(both, look)
    # an error about one row says nothing about another
    return attempt if attempt.error is None else bench.act(both, look, bench.stage.isolation(sight.table, moved))


def _written(sight: Sight, key: Key, attempt: Attempt) -> Key | None:
    return key if key in written(sight, attempt) else None


def _gone(sight: Sight, moved: Key, hidden: Key, attempt: Attempt) -> Key | None:
    if attempt.error is not None or attempt.rows:
        return None
    return hidden if moved in rows.changed(sight.there, rows.snapshot(sight.table, attempt.look)) else None
