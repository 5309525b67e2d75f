"""Findings on inserts that do something else where the key is taken: they tell of hidden rows, or change them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from mcp_rls import sql
from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import Bench, Sight, Trial, written
from mcp_rls.harness.probes.kit.facts import Unique
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.probes.kit.writable import Row, clashing, fresh, inserts, refused, settable
from mcp_rls.harness.stage import Attempt

TITLE = "upserts"
NOTHING = "no row with a unique key is hidden from any token"
_SKIPPED = "nothing is inserted and nothing refused: it learns that {row} is there"
_CHANGED = "it changes {row}, which is hidden"
_HELD = "refused, or inserted, whether or not a hidden row has the key"
_UNCHANGED = "the hidden row with the same key stayed as it was"
_LIMIT = "let the key begin with the column that says whose the row is, or use uuid keys"
_REMEDY = "a policy for UPDATE admits the row: narrow its rows"
_RANDOM = "it is told, but the key is a uuid that the database makes up: only who has it can ask"


_OTHER = 13  # another row than the one that is inserted first


def probe(bench: Bench) -> Iterator[Found]:
    for unique in bench.facts.uniques:
        sight = bench.sight(unique.table)
        if sight is None or sight.trouble or not unique.immediate:
            continue  # an upsert doesn't heed a key that is compared later
        told = bench.judge(str(unique), _skips(bench, sight, unique), Verdict.KNOWN_LIMIT, _HELD, _LIMIT)
        if told is not None:
            shown = told.verdict is Verdict.KNOWN_LIMIT and unique.random
            yield replace(told, verdict=Verdict.HOLDS, words=_RANDOM, remedy="") if shown else told
        changed = bench.judge(str(unique), _changes(bench, sight, unique), Verdict.LEAKS, _UNCHANGED, _REMEDY)
        if changed is not None:
            yield changed


def _rows(bench: Bench, sight: Sight, unique: Unique) -> Iterator[tuple[Key, Row, Row]]:
    """A hidden row's key, a row that the token may insert, and that row as a duplicate of the hidden one."""
    for key in sight.hidden[:1]:
        for values in clashing(bench, sight, unique, key):
            for row in inserts(bench, sight) or refused(bench, sight):
                yield key, row, {**row, **fresh(bench, sight, _OTHER), **values}


def _skips(bench: Bench, sight: Sight, unique: Unique) -> Iterator[Trial]:
    """The row with a key of its own is inserted, and the other silently is not."""
    for key, row, double in _rows(bench, sight, unique):
        both = (f"{rows.insert(sight.table, r, overriding=True)} on conflict do nothing" for r in (row, double))
        tells = partial(_one_new, sight, key)
        yield Trial(sight, tuple(both), tells, _SKIPPED, look=rows.look(sight.table), row=key)


def _one_new(sight: Sight, key: Key, attempt: Attempt) -> Key | None:
    return key if attempt.error is None and len(attempt.look) == len(sight.there) + 1 else None


def _changes(bench: Bench, sight: Sight, unique: Unique) -> Iterator[Trial]:
    names = settable(sight) or [c.name for c in sight.table.columns if not c.generated]
    if not unique.plain or not names:
        return
    named, column = ", ".join(map(sql.ident, unique.columns)), sql.ident(names[0])
    for key, _, row in _rows(bench, sight, unique):
        arm = f"on conflict ({named}) do update set {column} = excluded.{column}"
        statement = f"{rows.insert(sight.table, row, overriding=True)} {arm}"
        tells = partial(_written, sight, key)
        yield Trial(sight, (statement,), tells, _CHANGED, look=rows.look(sight.table), row=key)


def _written(sight: Sight, key: Key, attempt: Attempt) -> Key | None:
    return key if key in written(sight, attempt) else None
