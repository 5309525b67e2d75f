"""What is known of a role's policies without a row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_rls.catalog import TableName
from mcp_rls.database.introspect import read_catalog
from mcp_rls.harness.facts import BindingPolicy, role_facts
from tests.postgres.scratch import HEAD, NOTES, Scratch, ann, helper

pytestmark = pytest.mark.postgres

FILE = """
tables:
  public.notes:
    people: [{allow: [select, delete], rows: "RULE"}]
    clients: [{who: helper, allow: select}]
"""


def ceiling(scratch: Scratch, command: str) -> BindingPolicy:
    with scratch.connection.transaction():
        notes = [t for t in read_catalog(scratch.connection).tables.values() if t.name.name == "notes"]
        facts = role_facts(scratch.connection, "authenticated", notes)
    return next(p for p in facts.policies[notes[0].name] if not p.permissive and p.command == command)


@pytest.mark.parametrize("resolved", ["", "resolved: true\n"])
@pytest.mark.parametrize("rule", ["owner = token.person", "token.person = owner and id > 0"])
def test_what_a_ceiling_asks_whatever_the_row(scratch: Scratch, rule: str, resolved: str) -> None:
    """Where it repeats people's equality, that the token's value is there: not so for a client that may not delete."""
    scratch.run(NOTES)
    scratch.install(HEAD + resolved + FILE.replace("RULE", rule))
    for command, claims, there in (
        ("select", ann(), True),
        ("select", helper(), True),
        ("delete", ann(), True),
        ("delete", helper(), False),
        ("delete", {}, False),
    ):
        asked = ceiling(scratch, command).whatever_the_row(command)  # type: ignore[arg-type]  # two commands
        assert asked is not None
        assert "owner" not in asked
        scratch.run("grant usage on schema mcp_rls to authenticated")
        assert scratch.ask(claims, f"select {asked}") == [there], (command, claims)


@pytest.mark.parametrize("other", ["{} or id = 1", "id = 1 or {}", "not {}", "{} is false"])
def test_what_somebody_wrote_beside_it_is_not_left_out(scratch: Scratch, other: str) -> None:
    """Only what we make is known to be false where the value is missing."""
    scratch.run(NOTES)
    scratch.install(HEAD + FILE.replace("RULE", "owner = token.person"))
    using = ceiling(scratch, "delete").using
    assert using is not None
    scratch.run(f'alter policy "mcp_rls: notes delete" on notes using ({other.format(using)})')
    policy = ceiling(scratch, "delete")
    assert policy.whatever_the_row("delete") == policy.using != using


def test_a_permissive_policy_closes_nothing_by_itself() -> None:
    policy = BindingPolicy(TableName("public", "notes"), "p", False, "all", "false", None)
    assert policy.whatever_the_row("select") == "false"
    assert replace(policy, permissive=True).whatever_the_row("select") is None
