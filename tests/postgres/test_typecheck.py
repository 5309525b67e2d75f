"""Conditions that PostgreSQL can't plan, and what is said of each."""

from __future__ import annotations

import pytest

from mcp_rls.compiler.model import PolicySet
from mcp_rls.database.apply import prepare
from mcp_rls.diagnostics import Diagnostic, Invalid
from tests.postgres.scratch import NOTES, Scratch, policies

pytestmark = pytest.mark.postgres

FITTING = ["id > 0", "status = 'open'", "owner = token.person"]
WRONG = {
    "status > 0": "operator does not exist: text > integer",
    "owner = 'ann'": 'invalid input syntax for type uuid: "ann"',
    "id = 1 / 0": "division by zero",
    "status": "argument of WHERE must be type boolean, not type text",
}


def refused(scratch: Scratch, conditions: list[str]) -> dict[str, str]:
    """What is said of those of these conditions that don't fit the table of notes."""
    scratch.run(NOTES)
    scratch.run("set search_path = public")
    rules = "".join(f'      - {{who: helper, allow: select, rows: "{c}"}}\n' for c in conditions)
    found = policies(f"tables:\n  public.notes:\n    clients:\n{rules}")
    first = min(rule.span.line for rule in found.client_rules(next(iter(found.tables))))
    errors = errors_of(scratch, found)
    assert {d.code for d in errors} <= {"type-mismatch"}
    assert scratch.value("show search_path") == "public"
    return {conditions[d.span.line - first]: d.message for d in errors}


def errors_of(scratch: Scratch, found: PolicySet) -> tuple[Diagnostic, ...]:
    try:
        prepare(scratch.connection, found)
    except Invalid as invalid:
        return invalid.diagnostics.errors
    return ()


def test_conditions_that_fit_are_silent(scratch: Scratch):
    """Alone and together, and a condition that stands twice."""
    assert refused(scratch, [*FITTING, FITTING[0]]) == {}


@pytest.mark.parametrize("wrong", WRONG)
def test_one_that_does_not_fit_is_told_from_those_that_do(scratch: Scratch, wrong: str):
    """In PostgreSQL's words, on its own line."""
    assert refused(scratch, [*FITTING[:2], wrong, FITTING[2]]) == {wrong: f"PostgreSQL refuses this: {WRONG[wrong]}"}


def test_all_that_do_not_fit_are_told(scratch: Scratch):
    """In one run."""
    assert refused(scratch, [*WRONG, *FITTING]) == {c: f"PostgreSQL refuses this: {m}" for c, m in WRONG.items()}
