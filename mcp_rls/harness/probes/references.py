"""Findings on foreign keys: they look past row security, so that what they take and refuse tells of hidden rows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import Bench, Sight, Trial
from mcp_rls.harness.probes.kit.facts import Reference
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.probes.kit.writable import Row, absent, deletes, inserts, refused, stored, updates
from mcp_rls.harness.stage import Attempt

TITLE = "references"
NOTHING = "no row that a foreign key leads to or from is hidden from any token"
_LEARNT = "its reference is taken, and one to a row that isn't there is not: it learns that {row} is there"
_BACK = "what it may delete can't be deleted: it learns that {row} refers to it"
_HELD = "refused whether or not the hidden row is there"
_REMEDY = "let the rule's check ask for the row referred to: exists (select ...), under the token's own row security"
_NOW = "set constraints all immediate"
_ROWS = 2


def probe(bench: Bench) -> Iterator[Found]:
    for reference in bench.facts.references:
        sight, target = bench.sight(reference.table), bench.sight(reference.target)
        if sight is not None and target is not None and not (sight.trouble or target.trouble):
            trials = (*_towards(bench, reference, sight, target), *_from(bench, reference, sight, target))
            found = bench.judge(str(reference), trials, Verdict.KNOWN_LIMIT, _HELD, _REMEDY)
            if found is not None:
                yield found


def _towards(bench: Bench, reference: Reference, sight: Sight, target: Sight) -> Iterator[Trial]:
    """References to a hidden row."""
    nowhere = absent(target, reference.referenced)
    for key in target.hidden[:_ROWS]:
        values = stored(target, key, reference.referenced)
        there = dict(zip(reference.columns, values.values(), strict=True))
        gone = dict(zip(reference.columns, nowhere.values(), strict=False))
        if "null" in there.values() or len(gone) < len(there):
            continue
        for statement, other in _statements(bench, sight, there, gone):
            tells = partial(_taken, bench, reference, other, key)
            yield Trial(target, (statement, _NOW), tells, _LEARNT, row=key)


def _statements(bench: Bench, sight: Sight, there: Row, gone: Row) -> Iterator[tuple[str, str]]:
    """The same statement with either reference."""
    for row in inserts(bench, sight) or refused(bench, sight):
        one, other = (rows.insert(sight.table, {**row, **values}, overriding=True) for values in (there, gone))
        yield one, other
    for writable in updates(bench, sight):
        where = f" where {rows.by_key(sight.table, writable.key)}"
        one, other = (rows.update(sight.table, {**writable.sets, **values}, where) for values in (there, gone))
        yield one, other


def _from(bench: Bench, reference: Reference, sight: Sight, target: Sight) -> Iterator[Trial]:
    """Rows that the token may delete, but for a hidden row that refers to them."""
    if reference.on_delete not in ("a", "r"):
        return
    referring = {key: tuple(row.data[c] for c in reference.columns) for key, row in sight.there.items()}
    for key in deletes(bench, target):
        mine = tuple(target.there[key].data[c] for c in reference.referenced)
        children = [child for child, values in referring.items() if values == mine]
        if children and all(child in sight.hidden for child in children):
            statement = rows.delete(target.table, f" where {rows.by_key(target.table, key)}")
            yield Trial(sight, (statement, _NOW), partial(_stopped, reference, children[0]), _BACK, row=children[0])


def _taken(bench: Bench, reference: Reference, other: str, key: Key, attempt: Attempt) -> Key | None:
    """The row, when the reference was taken, and the other one, to no row, is refused even past row security."""
    if attempt.error is not None:
        return None
    if other not in bench.lasting:
        bench.lasting[other] = _refers(bench.control([other, _NOW]), reference)
    return key if bench.lasting[other] else None


def _stopped(reference: Reference, key: Key, attempt: Attempt) -> Key | None:
    return key if _refers(attempt, reference) else None


def _refers(attempt: Attempt, reference: Reference) -> bool:
    """Whether it ended in a violation of this foreign key."""
    error = attempt.error
    return error is not None and error.sqlstate in ("23503", "23001") and error.diag.constraint_name == reference.name
