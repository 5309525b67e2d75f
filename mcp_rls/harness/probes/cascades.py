"""Findings on foreign keys with an action: it reaches rows that are closed to whoever set it off."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import Bench, Sight, Trial, written
from mcp_rls.harness.probes.kit.facts import Reference
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.probes.kit.writable import absent
from mcp_rls.harness.stage import Attempt

TITLE = "actions of foreign keys"
NOTHING = "no foreign key with an action leads from a row that is hidden from any token"
_ACTIONS = ("c", "n", "d")  # cascade, set null, set default
_LEARNT = "what it writes to the table referred to changes {row}, which is hidden"
_HELD = "the hidden row that refers stayed as it was"
_REMEDY = "on delete no action, or take DELETE on the table referred to from clients, or accept it under doors"
_DEEP = 3  # references followed upwards
_ROWS = 3


def probe(bench: Bench) -> Iterator[Found]:
    for reference in bench.facts.references:
        sight = bench.sight(reference.table)
        if sight is not None and not sight.trouble:
            trials = _trials(bench, reference, sight)
            found = bench.judge(str(reference), trials, Verdict.LEAKS, _HELD, _REMEDY)
            if found is not None:
                yield found


def _trials(bench: Bench, reference: Reference, sight: Sight) -> Iterator[Trial]:
    for key in sight.hidden[:_ROWS]:
        for target, above in _referred(bench, reference, sight, key):
            for statement in _statements(bench, reference, target, above):
                tells, look = partial(_written, sight, key), rows.look(sight.table)
                yield Trial(sight, (statement,), tells, _LEARNT, look, row=key)


def _statements(bench: Bench, reference: Reference, target: Sight, above: Key) -> Iterator[str]:
    """What sets the action off: the row referred to is deleted, or one above it, or its key changes."""
    if reference.on_delete in _ACTIONS:
        for sight, key in _up(bench, target, above, 0):
            yield rows.delete(sight.table, f" where {rows.by_key(sight.table, key)}")
    fresh = absent(target, reference.referenced)
    if reference.on_update in _ACTIONS and fresh:
        yield rows.update(target.table, fresh, f" where {rows.by_key(target.table, above)}")


def _referred(bench: Bench, reference: Reference, sight: Sight, key: Key) -> Iterator[tuple[Sight, Key]]:
    """The row that a row refers to."""
    target = bench.sight(reference.target)
    mine = tuple(sight.there[key].data[c] for c in reference.columns)
    if target is not None and None not in mine:
        for above, row in target.there.items():
            if tuple(row.data[c] for c in reference.referenced) == mine:
                yield target, above


def _up(bench: Bench, sight: Sight, key: Key, depth: int) -> Iterator[tuple[Sight, Key]]:
    """The row, and rows above it whose deletion would take it along."""
    yield sight, key
    for reference in bench.facts.references if depth < _DEEP else ():
        if reference.table == sight.name and reference.on_delete == "c":
            for target, above in _referred(bench, reference, sight, key):
                yield from _up(bench, target, above, depth + 1)


def _written(sight: Sight, key: Key, attempt: Attempt) -> Key | None:
    return key if key in written(sight, attempt) else None
