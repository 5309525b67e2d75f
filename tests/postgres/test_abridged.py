"""What is recorded of policies together comes out as what is recorded one by one, in Python and in PostgreSQL."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from mcp_rls import sql
from mcp_rls.abridged import PEOPLE, Row, abridged, expanded
from mcp_rls.compiler import ledger, meaning
from mcp_rls.database.server import Server
from mcp_rls.scaffold import Template, templates
from tests.postgres.scratch import HEAD, NOTES, Scratch, scratch_on

Entry = tuple[str, str, str, str]
COMMANDS = ("select", "insert", "update", "delete")
CONDITIONS = (
    "a = token.tenant",
    "token.tenant_id is null",
    "x",
    ["status", "'open'", "'é token.person'"],
    'q "\\ :x %s',
)


def rows(entries: list[Entry]) -> list[Row]:
    """The entries as `record` takes them."""
    return [sql.row(*entry) for entry in entries]


def by_object(found: list[Row]) -> list[Row]:
    return sorted(found, key=lambda row: str(row["object"]))


def assert_expanded(entries: list[Entry]) -> list[Row]:
    """Nothing is lost or added; the rows as they are abridged."""
    said = abridged(rows(entries))
    each = [one for row in said for one in (expanded(row) if "policies" in row else [row])]
    assert by_object(each) == by_object(rows(entries))
    return said


def assert_recorded_alike(scratch: Scratch, entries: list[Entry]) -> None:
    """Both forms leave the same rows."""
    written = []
    for statement in (sql.record(entries), sql.record(entries, abridging=True)):
        scratch.run("delete from mcp_rls.manifest")
        scratch.run(statement)
        written.append(scratch.run("select * from mcp_rls.manifest order by object"))
    assert written[0] == written[1]
    assert len(written[0]) == len(entries)


def test_people_are_called_the_same() -> None:
    assert PEOPLE == meaning.PEOPLE


@pytest.mark.postgres
@pytest.mark.parametrize("template", templates(), ids=lambda template: template.name)
def test_both_forms_say_the_same_of_a_template(template: Template, server: Server) -> None:
    """Of each of its policies; and all that are for one command are said together."""
    text = (template.folder / "policies.yaml").read_text()
    with scratch_on(server) as scratch:
        scratch.run((template.folder / "schema.sql").read_text())
        text = text[text.index("mcp_rls:") :]
        scratch.install(text)
        state = scratch.prepare(text).desired
        entries = [(p.object, p.source, p.place, p.meaning) for p in state.policies.values()]
        assert_expanded(entries)
        alone = [row["object"] for row in abridged(rows(entries)) if "policies" not in row]
        assert {name.rpartition(" ")[2] for name in alone}.isdisjoint(COMMANDS)
        assert_recorded_alike(scratch, entries)


def some(rng: random.Random, things: tuple[Any, ...]) -> list[Any]:
    return rng.sample(things, rng.randint(0, 2))


def rule(rng: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {"may": rng.sample(COMMANDS, rng.randint(1, 4)), "scopes": some(rng, ("n:r", "n:w"))}
    found["rows"] = some(rng, CONDITIONS)
    return found | ({"new": some(rng, CONDITIONS)} if rng.random() < 0.3 else {})


def group(rng: random.Random, head: str) -> list[Entry]:
    """What some policies of a table could say; now and then what they never would."""
    said: Row = {
        "policies": head,
        "file": rng.choice(("p.yaml", "a b.yaml", "C:/p.yaml", "")),
        "written": {c: f"{rng.randint(1, 99)} {'0f' * 16}" for c in rng.sample(COMMANDS, rng.randint(1, 4))},
        "rules": {w: [rule(rng) for _ in range(rng.randint(1, 3))] for w in (PEOPLE, "helper") if rng.random() < 0.7},
        "values": {name: [name, "text"] for name in ("tenant", "tenant_id") if rng.random() < 0.5},
    }
    found = list(expanded(said))
    if rng.random() < 0.3:
        odd = rng.choice(found)
        odd |= rng.choice(
            ({"place": ""}, {"source": ""}, {"facts": {"may": {"helper": {"rules": [{}], "sees": [{}]}}}})
        )
    return [(row["object"], row["source"], row["place"], json.dumps(row["facts"])) for row in found]


@pytest.mark.postgres
def test_both_forms_say_the_same_of_anything(scratch: Scratch) -> None:
    """Also of what can't be said together."""
    rng = random.Random(1)
    scratch.run(NOTES)
    rule = "{allow: [select, insert, update, delete]}"
    scratch.install(HEAD + f"tables: {{public.notes: {{people: [{rule}], clients: [{{who: helper, {rule[1:-1]}}}]}}}}")
    together = apart = 0
    for _ in range(300):
        entries = [e for head in ("notes people", "notes") for e in group(rng, f"public.notes mcp_rls: {head}")]
        said = assert_expanded(entries)
        together, apart = (
            together + sum("policies" in row for row in said),
            apart + sum("object" in row for row in said),
        )
        assert_recorded_alike(scratch, entries)
    assert min(together, apart) > 50, (together, apart)


@pytest.mark.postgres
def test_nobody_but_the_owner_records(scratch: Scratch) -> None:
    scratch.run(NOTES)
    scratch.install(HEAD + "tables: {public.notes: {people: existing}}")
    for function in (ledger.RECORD, ledger.NOTE, ledger.CHANGE):
        for role, may in (("authenticated", False), ("anon", False), ("current_user", True)):
            name = role if role == "current_user" else f"'{role}'"
            asked = f"select has_function_privilege({name}, '{function.signature}', 'execute')"
            assert scratch.value(asked) is may, (function.signature, role)
