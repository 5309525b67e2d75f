"""Findings on unique keys: a row that is refused as a duplicate tells that a hidden row has its key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import Bench, Sight, Trial
from mcp_rls.harness.probes.kit.facts import Unique
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.probes.kit.writable import clashing, inserts, refused, updates
from mcp_rls.harness.stage import Attempt

TITLE = "duplicate keys"
NOTHING = "no row with a unique key is hidden from any token"
_LEARNT = "refused as a duplicate, it learns that {row} is there"
_HELD = "refused, or taken, before the key was compared with a hidden row's"
_REMEDY = "let the key begin with the column that says whose the row is, or use uuid keys"
_RANDOM = "a duplicate is told, but the key is a uuid that the database makes up: only who has it can ask"
_ROWS = 2
_RAISED = ("_bt_check_unique", "check_exclusion_or_unique_constraint")


def probe(bench: Bench) -> Iterator[Found]:
    for unique in bench.facts.uniques:
        sight = bench.sight(unique.table)
        if sight is not None and not sight.trouble:
            found = bench.judge(str(unique), _trials(bench, sight, unique), Verdict.KNOWN_LIMIT, _HELD, _REMEDY)
            if found is not None:
                shown = found.verdict is Verdict.KNOWN_LIMIT and unique.random
                yield replace(found, verdict=Verdict.HOLDS, words=_RANDOM, remedy="") if shown else found


def _trials(bench: Bench, sight: Sight, unique: Unique) -> Iterator[Trial]:
    for key in sight.hidden[:_ROWS]:
        for values in clashing(bench, sight, unique, key):
            for row in inserts(bench, sight) or refused(bench, sight):
                yield _trial(sight, key, unique, rows.insert(sight.table, {**row, **values}, overriding=True))
            for writable in updates(bench, sight):
                where = f" where {rows.by_key(sight.table, writable.key)}"
                yield _trial(sight, key, unique, rows.update(sight.table, {**writable.sets, **values}, where))


def _trial(sight: Sight, key: Key, unique: Unique, statement: str) -> Trial:
    def clashes(attempt: Attempt) -> Key | None:
        """A partition's index has a name of its own; other keys of the row are fresh."""
        diag = attempt.error.diag if attempt.error is not None else None
        mine = sight.table.kind == "partitioned" or (diag is not None and diag.constraint_name == unique.name)
        return key if diag is not None and diag.source_function in _RAISED and mine else None

    # A key that may be deferred is compared at the end.
    return Trial(sight, (statement, "set constraints all immediate"), clashes, _LEARNT, row=key)
