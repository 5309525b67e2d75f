"""Which reads of narrowed tables are positive in SQL of people rules, told without a database."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import pytest

from mcp_rls.compiler.absence import absence_in
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.policy import read_policies
from mcp_rls.compiler.resolve import resolve
from mcp_rls.diagnostics import Diagnostics

HEAD = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated]
identity: {direct: no_client}
classes: {helper: {match: {ids: [helper]}}}
tables:
"""
CLOSED = "  public.blocks: {clients: none}\n"


def policies(tables: str = CLOSED) -> PolicySet:
    read, diagnostics = read_policies("policies.yaml", HEAD + tables)
    assert read is not None, [str(d) for d in diagnostics]
    return read


READ = "SELECT 1 FROM public.blocks b WHERE (b.note = notes.id)"
POSITIVE = [
    f"(EXISTS ( {READ}))",
    f"((EXISTS ( {READ})) AND (id > 1))",
    f"((id > 1) OR (EXISTS ( {READ})) OR (id IN ( SELECT b.note FROM public.blocks b)))",
    "(id IN ( SELECT b.note FROM public.blocks b WHERE (NOT b.active)))",
    "(id = ANY (ARRAY( SELECT b.note FROM public.blocks b)))",
    "(id IN ( SELECT b.note FROM public.blocks b UNION SELECT 5))",
    f"((EXISTS ( {READ})) IS TRUE)",
    "(EXISTS ( SELECT 1 FROM (public.blocks b JOIN public.blocks c ON ((c.id = b.id))) WHERE (b.note = notes.id)))",
    "(EXISTS ( SELECT 1 FROM public.blocks b, public.blocks c WHERE (c.id = b.id)))",
    f"(EXISTS ( SELECT 1 FROM public.blocks c WHERE (EXISTS ( {READ}))))",
    "(id IN ( SELECT DISTINCT b.note FROM public.blocks b))",
    "(id IN ( SELECT x.note FROM ( SELECT b.note FROM public.blocks b) x))",
]
NEGATIVE = [
    f"(NOT (EXISTS ( {READ})))",
    "(NOT (id IN ( SELECT b.note FROM public.blocks b)))",
    "(id <> ALL (ARRAY( SELECT b.note FROM public.blocks b)))",
    "(( SELECT count(*) AS count FROM public.blocks b) < 3)",
    f"((EXISTS ( {READ})) IS NOT TRUE)",
    f"((EXISTS ( {READ})) = false)",
    f"COALESCE((EXISTS ( {READ})), true)",
    f"CASE WHEN (EXISTS ( {READ})) THEN false ELSE true END",
    "(id IN ( SELECT 1 EXCEPT SELECT b.note FROM public.blocks b))",
    "(EXISTS ( SELECT 1 FROM (public.members m LEFT JOIN public.blocks b ON ((b.note = m.id))) WHERE (b.id IS NULL)))",
    "(EXISTS ( SELECT FROM (( SELECT notes.id) n(id) LEFT JOIN public.blocks b ON ((b.note = n.id))) WHERE (b.id IS NULL)))",
    f"(EXISTS ( SELECT FROM (( SELECT 1) x JOIN ( SELECT 1) y ON ((NOT (EXISTS ( {READ})))))))",
    f"(true IN ( SELECT (NOT (EXISTS ( {READ})))))",
    "(0 IN ( SELECT count(*) AS count FROM public.blocks b))",
    "(true IN ( SELECT every((b.note <> 1)) AS every FROM public.blocks b))",
    "(true IN ( SELECT app.all_true(b.active) AS all_true FROM public.blocks b))",
    "(id IN ( SELECT b.note FROM public.blocks b ORDER BY b.id LIMIT 1))",
    "(id IN ( SELECT b.note FROM public.blocks b ORDER BY b.id FETCH FIRST 1 ROW WITH TIES))",
    "(id IN ( SELECT DISTINCT ON (b.kind) b.note FROM public.blocks b ORDER BY b.kind, b.id DESC))",
    "(id IN ( SELECT b.note FROM public.blocks b GROUP BY b.note HAVING (count(*) < 2)))",
    "(EXISTS ( WITH c AS ( SELECT count(*) AS n FROM public.blocks) SELECT FROM c WHERE (c.n = 0)))",
    "(id IN ( SELECT x.note FROM ( SELECT b.note, row_number() OVER (ORDER BY b.id) AS r FROM public.blocks b) x WHERE (x.r = 1)))",
    "(( SELECT b.kind FROM public.blocks b WHERE (b.note = notes.id)) IS NULL)",
    "(id < ANY ( SELECT b.note FROM public.blocks b))",
    "(( SELECT b.note FROM public.blocks b) IN ( SELECT m.id FROM public.members m))",
    f"((EXISTS ( {READ})) IS DISTINCT FROM true)",
    f"(cardinality(ARRAY( {READ})) = 0)",
    "something ~~~ that (( can't select",
]


@pytest.mark.parametrize("condition", POSITIVE)
def test_positive_forms_pass(condition: str) -> None:
    """A row that is missing in them makes them admit less."""
    assert absence_in(condition, policies()) == ""


@pytest.mark.parametrize("condition", NEGATIVE)
def test_other_forms_are_told(condition: str) -> None:
    """And in a positive frame around them too."""
    assert absence_in(condition, policies())
    assert absence_in(f"((id = 1) OR {condition})", policies())
    assert absence_in(f"(EXISTS ( SELECT 1 FROM public.blocks z WHERE {condition}))", policies())


@pytest.mark.parametrize("condition", NEGATIVE[:-1])
def test_tables_that_clients_read_whole(condition: str) -> None:
    """Read as their persons, a missing row is missing for these too; by a rule, even of all rows, it may be the scope's."""
    whole = "".join(f"  public.{name}: {{clients: read_as_person}}\n" for name in ("blocks", "members"))
    assert absence_in(condition, policies(whole)) == ""
    assert absence_in(condition, policies("  public.blocks: {clients: [{who: helper, allow: select}]}\n"))


def test_the_token_and_tables_of_other_schemas() -> None:
    """Neither is a read of a narrowed table, nor is anything where there is no SELECT."""
    assert absence_in("id = 1 or status = token.client", policies()) == ""
    assert absence_in("tags ~~~ 'what only PostgreSQL reads'", policies()) == ""
    assert absence_in("exists (select from public.blocks b where b.note = token.person)", policies()) == ""
    assert absence_in("not exists (select from app.hidden h where h.note = token.person)", policies()) == ""


def test_only_rules_for_people_are_judged() -> None:
    """At the place of their SQL; a client's rule narrows what its person may, whatever it reads."""
    condition = "not exists (select from public.blocks b where b.note = notes.id)"
    rule = f'{{allow: select, sql: "{condition}"}}'
    people = f"  public.notes:\n    people:\n    - {rule}\n"
    diagnostics = Diagnostics()
    resolve(policies(people + CLOSED), None, diagnostics)
    (found,) = diagnostics.errors
    assert (found.code, found.span.line) == ("gain-by-absence", 11)
    diagnostics = Diagnostics()
    resolve(
        policies(f"  public.notes: {{clients: [{rule.replace('{', '{who: helper, ')}]}}\n" + CLOSED), None, diagnostics
    )
    assert diagnostics.errors == ()
