"""Findings on SECURITY DEFINER functions: they read and write with their owner's rights, whoever calls them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mcp_rls import sql
from mcp_rls.catalog import Column
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import Bench, Sight
from mcp_rls.harness.probes.kit.facts import Routine
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.probes.kit.without import Comparison, removable
from mcp_rls.harness.session import CannotTest

TITLE = "SECURITY DEFINER functions"
NOTHING = "no SECURITY DEFINER function can be called by a token's role"
_REMEDY = "revoke EXECUTE from public and the tokens' roles, make it SECURITY INVOKER, or accept it under doors"
_ROWS = 3  # of each table

Call = tuple[Sight, Key, bool | None, list[str]]  # a hidden row, and a question with its values


def probe(bench: Bench) -> Iterator[Found]:
    for routine in bench.facts.routines:
        if routine.definer and bench.facts.callable(bench.role, routine):
            try:
                found = _found(bench, routine)
            except CannotTest as problem:
                found = Found(str(routine), Verdict.UNDECIDED, str(problem))
            if found is not None:
                yield replace(found, remedy=_REMEDY)


def _found(bench: Bench, routine: Routine) -> Found | None:
    name = str(routine)
    if not routine.harmless and not bench.call_volatile:
        words = "it is volatile and was not called: --call-volatile calls it, inside the transaction"
        return Found(name, Verdict.UNDECIDED, words)
    if not bench.hiding:
        return None
    calls = list(_calls(bench, routine))
    if not calls:
        kinds = ", ".join(kind for _, kind in routine.arguments)
        return Found(name, Verdict.UNDECIDED, f"no hidden row has values for its arguments ({kinds})", vain=True)
    return _judged(bench, routine, calls)


def _judged(bench: Bench, routine: Routine, calls: Sequence[Call]) -> Found | None:
    compared = Comparison(bench, str(routine), _REMEDY)
    for sight, key, neutral, question in calls:
        if wrote := _wrote(bench, routine, question):
            return Found(str(routine), Verdict.LEAKS, f"it changes {wrote}, which is hidden", wrote)
        told = compared.ask(sight, key, neutral, question, _own(bench, routine, sight))
        if told is not None or compared.stuck:
            return told or compared.verdict()
    return compared.verdict()


# --- calls ------------------------------------------------------------------------------------------------------------


def _calls(bench: Bench, routine: Routine) -> Iterator[Call]:
    """A call for each hidden row, with arguments of its values where there are arguments."""
    for sight in bench.hiding:
        for key, neutral in list(removable(bench, sight))[:_ROWS]:
            arguments = _arguments(bench, routine, sight, key)
            if arguments is not None:
                yield sight, key, neutral, [_question(routine, arguments)]


def _question(routine: Routine, arguments: str) -> str:
    if routine.procedure:
        return f"call {routine.called(arguments)}"
    return f"select ({routine.called(arguments)})::text"


def _arguments(bench: Bench, routine: Routine, sight: Sight, key: Key) -> str | None:
    """Values of the row, each from the column that is most like the argument; else of the token itself."""
    values = []
    for name, kind in routine.arguments:
        value = _value(bench, sight, key, name, kind)
        if value is None:
            return None
        values.append(f"{sql.literal(value)}::{kind}")
    return ", ".join(values)


def _value(bench: Bench, sight: Sight, key: Key, name: str, kind: str) -> str | None:
    data = sight.there[key].data
    alike = [c for c in sight.table.columns if kind in (c.type, c.base_type) and data[c.name] is not None]
    if not alike:
        claim = bench.stage.policies.identity.person.type
        return bench.bearer.identity.person if kind == claim else None
    return data[min(alike, key=lambda c: _unlike(name, c, sight)).name]


def _unlike(argument: str, column: Column, sight: Sight) -> tuple[bool, bool]:
    """How little a column is meant by an argument: 'p_ticket_id' is the id of tickets, or a column ticket_id."""
    words, name = set(argument.lower().strip("_").split("_")), column.name.lower()
    named = set(name.split("_")) <= words
    return not named, name not in sight.table.primary_key


def _own(bench: Bench, routine: Routine, sight: Sight) -> Iterator[tuple[Key, list[str]]]:
    """The same with values of rows that the token is shown anyway."""
    for key in sight.seen[:_ROWS]:
        arguments = _arguments(bench, routine, sight, key)
        if arguments is not None:
            yield key, [_question(routine, arguments)]


# --- what they write --------------------------------------------------------------------------------------------------


def _wrote(bench: Bench, routine: Routine, question: list[str]) -> str:
    """A hidden row that the call wrote, in words."""
    if routine.harmless:
        return ""
    before = _everywhere(bench, ["select"])
    after = _everywhere(bench, question)
    for number, key in before if after else ():
        sight = bench.sight(bench.looked_at[number].name)
        if sight is not None and key in sight.hidden and before[number, key] != after.get((number, key)):
            return sight.row(key)
    return ""


def _everywhere(bench: Bench, statements: list[str]) -> dict[tuple[int, Key], Any]:
    """Every row's version afterwards; nothing where the statements ended in an error."""
    look = bench.act(statements, bench.look_everywhere).look
    return {(int(number), tuple(key)): version for number, key, version in look}
