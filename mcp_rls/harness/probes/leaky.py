"""Findings on what a query's own conditions are asked about: hidden rows, if they come before the policies."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from mcp_rls import sql
from mcp_rls.catalog import Column
from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import Bench, Sight, Trial
from mcp_rls.harness.probes.kit.facts import Routine
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.stage import Attempt

TITLE = "a query's own conditions"
NOTHING = "no row is hidden from any token"
_HELD = "a cheap function, a division and a cast were never asked about the hidden row"
_REMEDY = "nothing of the user's may be LEAKPROOF, and no policy may be weaker for SELECT than the file says"
_SETTING = "mcp_rls.probe"  # where the function notes what it is asked about
_NOTED = f"coalesce(current_setting('{_SETTING}', true), '')"
_FUNCTION = (
    "create function pg_temp.mcp_rls_note(asked text) returns boolean language plpgsql cost 0.0001 as"
    f" $$ begin perform set_config('{_SETTING}', {_NOTED} || asked || chr(10), true); return true; end $$"
)
_DIVIDED, _CAST = "22012", "22P02"


def probe(bench: Bench) -> Iterator[Found]:
    for sight in bench.hiding:
        found = bench.judge(str(sight.name), _trials(sight), Verdict.LEAKS, _HELD, _REMEDY)
        if found is not None:
            yield found
    for routine in bench.facts.routines:
        if routine.leakproof and bench.facts.callable(bench.role, routine) and len(routine.arguments) == 1:
            yield from _leakproof(bench, routine)


def _trials(sight: Sight) -> Iterator[Trial]:
    name, key = sql.table(sight.name), sight.hidden[0]
    text = f"array_to_string({rows.key_expression(sight.table)}, chr(9))"
    asked = f"select count(*) from {name} t where pg_temp.mcp_rls_note({text})"
    noted = (asked, f"select {_NOTED}")
    learnt = "a function of the query is asked about {row}, which is hidden"
    yield Trial(sight, noted, partial(_noted, sight), learnt, plant=(_FUNCTION,), way="a function")
    this = rows.by_key(sight.table, key, "t.")
    for state, condition in (
        (_DIVIDED, f"1 / (case when {this} then 0 else 1 end) = 1"),
        (_CAST, f"(case when {this} then 'x' else '1' end)::integer = 1"),
    ):
        statement = f"select from {name} t where {condition}"
        learnt = "an error of the query's own condition tells that {row} is there"
        yield Trial(sight, (statement,), partial(_raised, state, key), learnt, row=key, way="an error")


def _noted(sight: Sight, attempt: Attempt) -> Key | None:
    lines = set(attempt.rows[0][0].split("\n")) if attempt.rows else set()
    return next((k for k in sight.hidden if "\t".join(k) in lines), None)


def _raised(state: str, key: Key, attempt: Attempt) -> Key | None:
    return key if attempt.error is not None and attempt.error.sqlstate == state else None


# --- functions that PostgreSQL was told to trust ----------------------------------------------------------------------


def _leakproof(bench: Bench, routine: Routine) -> Iterator[Found]:
    """A LEAKPROOF function may be asked before the policies; how often it is called tells."""
    remedy = f"alter function {routine} not leakproof"
    if not routine.harmless and not bench.call_volatile:
        words = "it is volatile and was not called: --call-volatile calls it, inside the transaction"
        yield Found(str(routine), Verdict.UNDECIDED, words, remedy=remedy)
        return
    if not bench.stage.superuser:
        words = "only a superuser can have calls counted"
        yield Found(str(routine), Verdict.UNDECIDED, words, remedy=remedy)
        return
    trials = (t for s in bench.hiding for t in _counted(routine, s))
    held = "it is called for rows that the token is shown, and for no others"
    found = bench.judge(str(routine), trials, Verdict.LEAKS, held, remedy)
    if found is not None:
        yield found


def _counted(routine: Routine, sight: Sight) -> Iterator[Trial]:
    ((_, kind),) = routine.arguments
    column = next((c for c in sight.table.columns if _takes(c, kind)), None)
    if column is None:
        return
    calls = f"(select coalesce(sum(calls), 0) from pg_stat_xact_user_functions where funcid = {routine.oid})"
    asked = f"select count(*) from {sql.table(sight.name)} t where {routine.called(f't.{sql.ident(column.name)}')}"
    statements = (
        f"select set_config('{_SETTING}', {calls}::text, true)",
        f"{asked} is not null",
        f"select {calls} - current_setting('{_SETTING}')::numeric",
    )
    plant = ("set local track_functions = 'all'",)
    learnt = "it is handed hidden rows before the policies are asked, such as {row}"
    yield Trial(sight, statements, partial(_more_calls, sight), learnt, plant=plant, row=sight.hidden[0])


def _takes(column: Column, kind: str) -> bool:
    return kind in (column.type, column.base_type)


def _more_calls(sight: Sight, attempt: Attempt) -> Key | None:
    return sight.hidden[0] if attempt.rows and attempt.rows[0][0] > len(sight.seen) else None
