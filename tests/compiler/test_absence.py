"""Which reads of narrowed tables are positive, told from what PostgreSQL prints; no server."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

from collections.abc import Iterable

import pytest

from mcp_rls.catalog import Catalog, Column, ForeignPolicy, Function, Table, TableName
from mcp_rls.compiler.absence import absence_in, gain_by_absence, whole
from mcp_rls.compiler.policy import read_policies
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
NAMES = tuple(
    TableName(s, n) for s, n in (("public", "notes"), ("public", "blocks"), ("public", "members"), ("app", "hidden"))
)
NOTES, BLOCKS, MEMBERS, HIDDEN = NAMES
COLUMNS = tuple(Column(n, "integer") for n in ("id", "note", "kind"))


def policy(
    table: TableName, using: str | None, *reads: TableName, check: str | None = None, functions: Iterable[str] = ()
) -> ForeignPolicy:
    return ForeignPolicy(table, "theirs", True, "all", ("public",), using, check, frozenset(reads), tuple(functions))


def catalog(*policies: ForeignPolicy, functions: Iterable[Function] = (), views: Iterable[TableName] = ()) -> Catalog:
    tables = {
        n: Table(n, "table", "owner", COLUMNS, policies=tuple(p for p in policies if p.table == n)) for n in NAMES
    }
    tables |= {n: Table(n, "view", "owner", COLUMNS) for n in views}
    known: dict[str, tuple[Function, ...]] = {}
    for f in functions:
        known[f"{f.schema}.{f.name}"] = (*known.get(f"{f.schema}.{f.name}", ()), f)
    return Catalog(180000, "owner", tables, functions=known, schemas=frozenset({"public", "app"}))


def found(facts: Catalog, tables: str = "  public.blocks: {clients: none}\n") -> list[str]:
    policies, diagnostics = read_policies("policies.yaml", HEAD + tables)
    assert policies is not None, [str(d) for d in diagnostics]
    reported = Diagnostics()
    gain_by_absence(policies, facts, reported)
    assert {d.code for d in reported} <= {"gain-by-absence"}
    return [d.message for d in reported]


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
    f"(EXISTS ( SELECT FROM (( SELECT 1) x JOIN ( SELECT 1) y ON ((NOT (EXISTS ( {READ}))))))",
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
    "something ~~~ that (( can't be read",
]


@pytest.mark.parametrize("condition", POSITIVE)
def test_positive_forms_pass(condition):
    """A row that is missing in them makes them admit less."""
    assert found(catalog(policy(NOTES, condition, BLOCKS))) == []
    assert found(catalog(policy(NOTES, None, BLOCKS, check=condition))) == []


@pytest.mark.parametrize("condition", NEGATIVE)
def test_other_forms_are_reported(condition):
    """Naming policy and table; and in a positive frame around them too."""
    (message,) = found(catalog(policy(NOTES, condition, BLOCKS)))
    assert 'policy "theirs" of table "public.notes"' in message
    assert found(catalog(policy(NOTES, None, BLOCKS, check=condition)))
    if not condition.startswith("something"):
        assert found(catalog(policy(NOTES, f"((id = 1) OR {condition})", BLOCKS)))
        assert found(catalog(policy(NOTES, f"(EXISTS ( SELECT 1 FROM public.blocks z WHERE {condition}))", BLOCKS)))


@pytest.mark.parametrize("condition", NEGATIVE[:-1])
def test_read_as_person_makes_a_table_whole(condition):
    """Read whole by clients, a missing row is missing for its person too."""
    facts = catalog(policy(NOTES, condition, BLOCKS))
    assert (
        found(facts, "  public.blocks: {clients: read_as_person}\n  public.members: {clients: read_as_person}\n") == []
    )
    narrowed = "  public.blocks: {clients: [{who: helper, allow: select}]}\n"
    assert found(facts, narrowed)


def test_whole_is_transitive():
    """read_as_person doesn't help a table whose own policies read a narrowed one, at any distance."""
    positive = POSITIVE[0]
    far = catalog(
        policy(NOTES, NEGATIVE[0].replace("blocks", "members"), MEMBERS),
        policy(
            MEMBERS,
            positive.replace("notes.id", "members.id")
            .replace("blocks", "hidden")
            .replace("public.hidden", "app.hidden"),
            HIDDEN,
        ),
        policy(HIDDEN, positive.replace("notes.id", "hidden.note"), BLOCKS),
    )
    reading = "  public.members: {clients: read_as_person}\n"
    assert found(far, reading + "  public.blocks: {clients: none}\n")
    assert found(far, reading + "  public.blocks: {clients: read_as_person}\n") == []
    policies, _ = read_policies("p.yaml", HEAD + reading)
    assert policies is not None
    assert whole(policies, far) == set()
    assert whole(policies, catalog()) == {MEMBERS, HIDDEN}


def test_uncovered_tables_may_be_read_in_any_way():
    """As long as they aren't narrowed by what they read."""
    condition = NEGATIVE[0].replace("public.blocks", "app.hidden")
    assert found(catalog(policy(NOTES, condition, HIDDEN))) == []


def test_views_are_not_seen_through():
    """Even EXISTS of one is reported: what it hides isn't known."""
    view = TableName("app", "seen")
    facts = catalog(policy(NOTES, POSITIVE[0].replace("public.blocks", "app.seen"), view, BLOCKS), views=[view])
    assert "view" in found(facts)[0]


# --- functions


def function(name: str, body: str, language: str = "sql", *, past: bool = False) -> Function:
    return Function("app", name, "owner", language, past, "stable", past, body)


READS = [
    function("f", "select exists (select from public.blocks)"),
    function("f", "begin return (select count(*) from public.blocks); end", "plpgsql"),
    function("f", "begin return exists (table public.blocks); end", "plpgsql"),
    function("f", "declare blocked boolean := app.helper(); begin return not blocked; end", "plpgsql"),
    function("f", "declare c cursor for select 1 from public.blocks; begin open c; end", "plpgsql"),
    function("f", "begin execute 'sel' || 'ect 1 fr' || 'om public.blocks'; end", "plpgsql"),
    function("f", "select not app.helper()"),
    function("f", "SELECT NOT APP.HELPER()"),
    function("f", 'select not "app"."helper"()'),
    function("f", "select query_to_xml('select 1', true, true, '') is null"),
    function("f", "return plv8.execute('...').length", "plv8"),
    function("f", "return 1", "plpython3u"),
    function("f", "begin for r in select * from public.blocks loop end loop; end", "plpgsql"),
    function("f", "begin perform 1 from public.blocks; return found; end", "plpgsql"),
    function("f", "begin call app.helper(); end", "plpgsql"),
]
HELPER = function("helper", "select exists (select from public.blocks)")


@pytest.mark.parametrize("called", READS, ids=lambda f: f.body)
def test_functions_that_may_read_are_reported(called):
    """By themselves, through others, through text, or in a language that can't be read."""
    using = policy(NOTES, "app.f()", functions=["app.f"])
    assert "app.f()" in found(catalog(using, functions=[called, HELPER]))[0]
    harmless = function("f", "select $1 > 0")
    assert found(catalog(using, functions=[harmless, HELPER])) == []
    assert found(catalog(using, functions=[harmless, called, HELPER])), "any overload counts"


@pytest.mark.parametrize(
    "called",
    [
        function("f", READS[0].body, past=True),
        function("f", "anything", "c"),
        function("f", "anything", "internal"),
        function("f", "select app.definer($1)"),
        function("f", "select $1 = current_setting('a')::integer"),
        function("f", "begin return $1 > 0; end", "plpgsql"),
        function("f", "select app.f($1 - 1)"),
    ],
    ids=lambda f: f"{f.language}: {f.body}",
)
def test_functions_that_read_past_row_security_or_nothing_pass(called):
    """A definer function sees the same rows for a client as for its person."""
    definer = function("definer", "select exists (select from public.blocks)", past=True)
    assert found(catalog(policy(NOTES, "app.f()", functions=["app.f"]), functions=[called, definer])) == []


# --- SQL in person rules


def test_raw_person_rules_are_read_alike():
    """`sql:` of a people rule, with the token in it."""
    policies, _ = read_policies("p.yaml", HEAD + "  public.blocks: {clients: none}\n")
    assert policies is not None
    facts = catalog(functions=[HELPER])
    assert absence_in("exists (select from public.blocks b where b.note = token.person)", policies, facts) == ""
    assert absence_in("id = 1 or status = token.client", policies, facts) == ""
    for text in (
        "not exists (select from public.blocks b where b.note = token.person)",
        "not app.helper()",
        "(select count(*) from public.blocks) < 3",
    ):
        assert absence_in(text, policies, facts) != "", text


def test_policies_of_uncovered_tables_count_too():
    """A table outside the covered schemas that gains rows by absence hands them on to whatever reads it."""
    negative = policy(HIDDEN, NEGATIVE[0].replace("notes.id", "hidden.note"), BLOCKS)
    positive = policy(NOTES, POSITIVE[0].replace("public.blocks", "app.hidden"), HIDDEN)
    assert 'table "app.hidden"' in found(catalog(negative, positive))[0]
    assert found(catalog(positive)) == []
