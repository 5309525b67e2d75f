"""What emitted policies look rows up by."""

from __future__ import annotations

import pytest

from mcp_rls.compiler.policy import read_policies
from mcp_rls.compiler.resolve import resolve
from mcp_rls.compiler.searches import Search, searches
from mcp_rls.diagnostics import Diagnostics

HEAD = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated]
identity: {direct: no_client}
claims: {tenant: {claim: tenant, type: integer}}
classes: {helper: {match: {ids: [helper]}}}
"""


def of(text: str) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Table, columns and best index of each search of a file that is sound."""
    policies, diagnostics = read_policies("policies.yaml", HEAD + text)
    assert policies is not None, [str(d) for d in diagnostics]
    resolved = resolve(policies, None, Diagnostics())
    assert resolved is not None
    return [(str(s.table), s.columns, s.index) for s in searches(resolved)]


def rows(condition: str, allow: str = "select") -> list[tuple[str, ...]]:
    """The columns by which a rule for people looks up."""
    rule = f'{{allow: {allow}, rows: "{condition}"}}'
    text = f"tables: {{public.notes: {{people: [{rule}], clients: [{{who: helper, allow: select}}]}}}}"
    sets = 'sets: {mine: {type: integer, query: "select id from public.orgs where person = token.person"}}\n'
    found = of((sets if "mine" in condition else "") + text)
    return [columns for table, columns, _ in found if table == "public.notes"]


@pytest.mark.parametrize(
    ("condition", "columns"),
    [
        ("owner = token.person", [("owner",)]),
        ("token.person = owner", [("owner",)]),
        ("org in mine", [("org",)]),
        ("owner = token.person and org in mine", [("owner", "org")]),
        ("owner = token.person or org in mine", [("owner",), ("org",)]),
        ("tenant = token.tenant and status = 'open'", [("tenant",)]),
        ("status = 'open'", []),
        ("owner <> token.person", []),
        ("not owner = token.person", []),
        ("org < token.tenant", []),
    ],
)
def test_rules_for_people(condition: str, columns: list[tuple[str, ...]]) -> None:
    """One search for each arm, by every column in it that is the token's."""
    assert rows(condition) == columns


def test_an_insert_looks_nothing_up() -> None:
    """Its row is there; an update looks up."""
    assert rows("owner = token.person", "insert") == []
    assert rows("owner = token.person", "update") == [("owner",)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("select org from public.members where person = token.person", [("public.members", ("person",))]),
        (
            """select m.org from public.members m join public.orgs o on o.id = m.org
            where m.person = token.person and o.tenant = token.tenant""",
            [("public.members", ("person",)), ("public.orgs", ("tenant",))],
        ),
        (
            "select org from public.members where (person = token.person and tenant = token.tenant)",
            [("public.members", ("person", "tenant"))],
        ),
        (
            """select org from public.members where person = token.person
            union select id from public.orgs where owner = token.person""",
            [("public.members", ("person",)), ("public.orgs", ("owner",))],
        ),
        ("select org from public.members where person = token.person or open", []),
        ("select x from unnest(array[1, 2]) x where x = token.tenant", []),
    ],
)
def test_sets(query: str, found: list[tuple[str, tuple[str, ...]]]) -> None:
    """The columns of each table of the query that are the token's."""
    rule = "tables: {public.notes: {clients: [{who: helper, allow: select, rows: org in mine}]}}"
    asked = of(f'sets: {{mine: {{type: integer, query: "{query}"}}}}\n{rule}')
    assert sorted((table, columns) for table, columns, _ in asked) == found


def test_consents_and_registries() -> None:
    """A consent by its person, best with its client; a registry by its id."""
    text = HEAD.replace(
        "{match: {ids: [helper]}}", "{match: {registry: {table: public.apps, id: client}}, consent: required}"
    )
    policies, _ = read_policies("policies.yaml", text + """
consent: {table: public.grants, columns: {person: person, client: client}}
tables: {public.notes: {clients: [{who: helper, allow: select}]}}
""")  # fmt: skip
    assert policies is not None
    resolved = resolve(policies, None, Diagnostics())
    assert resolved is not None
    grants, apps = searches(resolved)
    assert (str(grants.table), grants.index, grants.span.line) == ("public.grants", ("person", "client"), 10)
    assert (str(apps.table), apps.index) == ("public.apps", ("client",))
    assert served(grants, ("person",), ("person", "since"), ("client", "person"), ("client", "person", "since"))
    assert not served(grants, ("client",))
    assert not served(grants, ())


def served(search: Search, *indexes: tuple[str, ...]) -> bool:
    """Whether each of these indexes alone serves."""
    return all(search.served([index]) for index in indexes)
