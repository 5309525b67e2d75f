"""What is found in functions' bodies: every table, with what is done to it, and everything that can't be known."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_rls.catalog import TableName
from mcp_rls.inspection.doors.scripts import script_of
from mcp_rls.inspection.doors.statement import uses
from mcp_rls.inspection.doors.traces import Touch, Tracer
from mcp_rls.inspection.facts import Facts, Function, Relation


def function(body: str, language: str = "plpgsql", **known: Any) -> Function:
    """A function `public.f` with that body."""
    facts: dict[str, Any] = {
        "oid": 1, "schema": "public", "name": "f", "arguments": "", "returns": "void", "owner": "keeper",
        "definer": True, "volatility": "volatile", "parallel": "unsafe", "leakproof": False, "settings": (),
        "sql_body": "", "execute": frozenset(), "is_trigger": False,
    }  # fmt: skip
    return Function(**{**facts, "language": language, "body": body, **known})


def touched(made: Function) -> set[str]:
    """'members select', ..."""
    return {f"{u.name} {u.command}" for part in script_of(made).parts for u in uses(part).relations}


def odd(made: Function) -> set[str]:
    script = script_of(made)
    return {*script.odd, *(words for part in script.parts for words in uses(part).odd)}


def block(statements: str, declared: str = "n int; r record; c refcursor; a int[];", **known: Any) -> Function:
    return function(f"declare {declared} begin {statements} end", **known)


SQL = [
    ("select * from members", {"members select"}),
    ("select 1 where exists (select from members for update of members)", {"members select"}),
    ("with members as (select 1) select * from members", set()),
    ("with members as (select * from members) select * from members", {"members select"}),
    ("with recursive members as (select 1 union select * from members) select * from members", set()),
    ("with a as (select * from b), b as (select 1) select * from a, b", {"b select"}),
    ("with gone as (delete from members returning *) select * from gone", {"members delete"}),
    ("with public as (select 1) select * from public.members", {"members select"}),
    ("insert into members select * from people", {"members insert", "people select"}),
    ("insert into members values (1) on conflict (id) do nothing", {"members insert"}),
    ("insert into members values (1) on conflict (id) do update set a = 1", {"members insert", "members update"}),
    ("update members set a = p.a from people p", {"members update", "people select"}),
    ("delete from members using people", {"members delete", "people select"}),
    ("truncate members, people", {"members truncate", "people truncate"}),
    (
        "merge into members m using people p on true when matched then delete when not matched then insert values (1)",
        {"members delete", "members insert", "people select"},
    ),
    ("create temp table t as select * from members", {"members select"}),
    ("select * from members; table people", {"members select", "people select"}),
    ("select * from (members m join people using (id)) x, lateral (select from teams)", {"members select",
     "people select", "teams select"}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), SQL)
def test_sql_is_read_whole(body: str, expected: set[str]) -> None:
    """Each table by its real name, and none that is a WITH query's."""
    assert (touched(function(body, "sql")), odd(function(body, "sql"))) == (expected, set())


PLPGSQL = [
    "n := (select 1 from members);",
    "n = (select 1 from members);",
    "a[1] := (select 1 from members);",
    "r.x := (select 1 from members);",
    "select 1 into n from members;",
    "perform from members;",
    "if exists (select from members) then null; end if;",
    "if n > 1 then null; elsif exists (select from members) then null; end if;",
    "if n > 1 then null; else perform from members; end if;",
    "case n when (select 1 from members) then null; else null; end case;",
    "case when n = 1 then perform from members; else null; end case;",
    "while exists (select from members) loop null; end loop;",
    "loop exit when exists (select from members); end loop;",
    "loop continue when exists (select from members); end loop;",
    "for n in 1 .. (select 2 from members) loop null; end loop;",
    "for n in 1 .. 2 loop perform from members; end loop;",
    "for r in select * from members loop null; end loop;",
    "foreach n in array array(select 1 from members) loop null; end loop;",
    "for r in execute 'select * from members' loop null; end loop;",
    "execute 'select * from members';",
    "execute 'select $1' using (select 1 from members);",
    "open c for select * from members;",
    "open c for execute 'select * from members';",
    "return (select 1 from members);",
    "return query select * from members;",
    "return query execute 'select * from members';",
    "return next (select 1 from members);",
    "raise exception '%', (select 1 from members);",
    "raise 'x' using detail = (select 1 from members);",
    "assert (select true from members), 'no';",
    "call p((select 1 from members));",
    "begin perform from members; exception when others then null; end;",
    "begin null; exception when others then perform from members; end;",
    "declare m int := (select 1 from members); begin null; end;",
    "declare k cursor for select * from members; begin open k; end;",
    "declare k cursor (x int) for select 1; begin open k((select 1 from members)); end;",
    "declare k cursor for select * from members; begin for r in k loop null; end loop; end;",
    "declare m public.people; begin m.id := (select 1 from members); end;",
    "declare m people%rowtype; begin m.id = (select 1 from members); end;",
]


@pytest.mark.parametrize("statement", PLPGSQL)
def test_every_plpgsql_statement_is_looked_into(statement: str) -> None:
    """Wherever SQL can stand in a body, the table in it is found."""
    result = "setof integer" if statement.startswith("return ") and not statement.startswith("return (") else "integer"
    made = block(statement, returns=result)
    assert (touched(made), odd(made)) == ({"members select"}, set())


UNKNOWN = [
    function("", "c"),
    function("def", "plpython3u"),
    function("this is nothing", "plpgsql"),
    function("select from", "sql"),
    block("execute 'select ' || n;"),
    block("execute format('select * from %I', n);"),
    block("for r in execute n::text loop null; end loop;"),
    block("open c for execute n::text;"),
    block("return query execute n::text;", returns="setof integer"),
    block("create table t (id int);"),
    block("grant select on members to people;"),
    block("perform query_to_xml('select 1', true, true, '');"),
    function("select * from dblink('', 'select 1') t(a int)", "sql"),
    function("copy members to '/tmp/members'", "sql"),
    function("do $$ begin null; end $$", "sql"),
    function("select * into t from members", "sql"),
]


@pytest.mark.parametrize("made", UNKNOWN, ids=lambda made: made.body or made.language)
def test_what_cannot_be_known_is_said(made: Function) -> None:
    """Other languages, text that is put together, statements that change more than rows."""
    assert odd(made)


def test_names_are_looked_up_in_the_function_s_path() -> None:
    """With a path the first schema that has the name; without one every table of that name."""

    def reads(**known: Any) -> set[TableName]:
        facts = Facts(180000, {r.oid: r for r in (table(10, "a"), table(11, "b"))}, {}, {}, {}, {})
        return {t.table for t in Tracer(facts).trace(function("select * from t", "sql", **known)).touches}

    assert reads() == {TableName("a", "t"), TableName("b", "t")}
    assert reads(settings=("search_path=pg_catalog, b, a",)) == {TableName("b", "t")}
    assert reads(settings=('search_path=""',)) == set()


def test_a_caller_s_rights_and_an_owner_s() -> None:
    """A definer function acts as its owner, and so does what it calls; an invoker function as whoever calls it."""
    inner = function("select * from a.t", "sql", oid=2, name="inner_one", definer=False)
    asking = function("select public.inner_one()", "sql", oid=3, name="asking", definer=False)
    owning = function("select public.inner_one()", "sql", oid=4, name="owning")
    facts = Facts(180000, {10: table(10, "a")}, {f.oid: f for f in (inner, asking, owning)}, {}, {}, {})
    tracer = Tracer(facts)
    assert tracer.trace(asking).touches == {Touch(TableName("a", "t"), "select", "")}
    assert tracer.trace(owning).touches == {Touch(TableName("a", "t"), "select", "keeper")}


def table(oid: int, schema: str) -> Relation:
    name = TableName(schema, "t")
    none: frozenset[int] = frozenset()
    return Relation(
        oid, name, "table", "keeper", False, False, {}, frozenset(), (), (), (), (), (), (), False, "", none, none, 0
    )
