"""Findings on triggers that act with the rights of somebody else than who writes: which other tables they write to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mcp_rls import sql
from mcp_rls.harness import rows
from mcp_rls.harness.probes.kit.bench import Bench, Sight
from mcp_rls.harness.probes.kit.facts import Trigger
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.probes.kit.writable import copies, deletes, inserts, settable, updates
from mcp_rls.harness.session import CannotTest
from mcp_rls.harness.stage import Attempt

TITLE = "triggers and rules"
NOTHING = "no trigger or rule of a covered table acts with other rights than those of who writes"
_REMEDY = "see that what it writes is meant to be written for clients too, and accept it under doors"
_FIRED = "pg_temp.mcp_rls_fired"
_RING = f"begin insert into {_FIRED} values (1); return null; end"
_BELL = (
    "create temporary table mcp_rls_fired (n integer)",
    f"create function pg_temp.mcp_rls_fire() returns trigger language plpgsql security definer as '{_RING}'",
)


def probe(bench: Bench) -> Iterator[Found]:
    for trigger in bench.facts.triggers:
        sight = bench.sight(trigger.table)
        if trigger.definer and sight is not None and not sight.trouble:
            try:
                yield _found(bench, trigger, sight)
            except CannotTest as problem:
                yield Found(str(trigger), Verdict.UNDECIDED, str(problem), remedy=_REMEDY)


def _found(bench: Bench, trigger: Trigger, sight: Sight) -> Found:
    """Every write that the token may do, and those that find no row: a trigger for statements fires even then."""
    before = _everywhere(bench.act(["select"], bench.look_everywhere))
    mine = [number for number, table in enumerate(bench.looked_at) if table.name == sight.name]
    for statement in _writes(bench, sight):
        attempt = bench.act([statement], bench.look_everywhere)
        changed = sorted({n for n, *_ in before ^ _everywhere(attempt)} - set(mine)) if attempt.look else []
        if changed:
            names = ", ".join(str(bench.looked_at[n].name) for n in changed)
            words = f"a write to {sight.name} makes it write to {names}, with its owner's rights"
            return Found(str(trigger), Verdict.KNOWN_LIMIT, words, remedy=_REMEDY)
    return _held(bench, trigger, sight)


def _writes(bench: Bench, sight: Sight) -> Iterator[str]:
    for row in inserts(bench, sight) or tuple(copies(bench, sight))[:1]:
        yield rows.insert(sight.table, row, overriding=True)
    for writable in updates(bench, sight):
        yield rows.update(sight.table, writable.sets, f" where {rows.by_key(sight.table, writable.key)}")
    for key in deletes(bench, sight)[:2]:
        yield rows.delete(sight.table, f" where {rows.by_key(sight.table, key)}")
    yield rows.delete(sight.table, " where false")
    for name in settable(sight)[:1]:
        yield rows.update(sight.table, {name: "null"}, " where false")


def _held(bench: Bench, trigger: Trigger, sight: Sight) -> Found:
    """HOLDS if triggers fire for the token, or at least for the login role, and what they write is seen."""
    name = sql.table(sight.name)
    fires = f'create trigger " mcp_rls" after insert or update or delete on {name} for each statement'
    plant = (*_BELL, f"{fires} execute function pg_temp.mcp_rls_fire()")
    look = f"select n from {_FIRED}"
    for statement in _writes(bench, sight):
        if bench.allowed([statement], look, plant).look:
            words = "what the token may write makes it write to no other table"
            return Found(str(trigger), Verdict.HOLDS, words)
    if bench.control([rows.delete(sight.table, " where false")], look, plant).look:
        return Found(str(trigger), Verdict.HOLDS, "the token may not write to its table, so it never fires for it")
    words = "not even a trigger made for this test was seen to fire"
    return Found(str(trigger), Verdict.UNDECIDED, words, vain=True)


def _everywhere(attempt: Attempt) -> set[tuple[Any, ...]]:
    """(table, key, version) of every row."""
    return {(int(number), tuple(key), version) for number, key, version in attempt.look}
