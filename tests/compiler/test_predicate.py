"""Conditions: what is let in means what PostgreSQL reads in it, what isn't is refused with its place."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from mcp_rls.catalog import Column, Table, TableName
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import Condition
from mcp_rls.compiler.predicate import parse
from mcp_rls.compiler.raw import Names, parse_raw, split_tokens
from mcp_rls.database.server import open_server
from mcp_rls.diagnostics import Diagnostics, Span

PERSON = "00000000-0000-4000-8000-00000000000a"
TYPES = {
    "id": "integer", "a": "integer", "b": "integer", "s": "smallint", "n": "bigint", "t": "text", "u": "text",
    "v": "character varying(9)",
    "f": "boolean", "g": "boolean", "d": "date", "at": "timestamp with time zone", "ts": "timestamp without time zone",
    "m": "numeric",
    "x": "double precision", "owner": "uuid", "tags": "text[]", "nums": "integer[]", "i": "interval", "user": "text",
    "Odd one": "text", "ä": "text",
}  # fmt: skip
TABLE = Table(TableName("public", "things"), "table", "owner", tuple(Column(n, t) for n, t in TYPES.items()))
NAMES = Names(frozenset({"tenant", "org"}), frozenset({"mine", "friends"}), TABLE)
VALUES = {
    "person": f"'{PERSON}'::uuid", "client": "'helper'::text", "tenant": "1::integer", "org": "null::integer",
    "mine": "array[1, 2]::integer[]",
    "friends": "'{}'::text[]",
}  # fmt: skip


def read(text: str, names: Names = NAMES, span: Span = Span("p.yaml", 3, 10)) -> tuple[e.Expr | None, Diagnostics]:
    diagnostics = Diagnostics()
    return parse(Condition(text, span), names, diagnostics), diagnostics


def spell(node: e.Token | e.SetValues) -> str:
    return VALUES[node.name]


# --- what is let in

ALLOWED = r"""
true ;; false ;; null ;; f ;; not f ;; not not f ;; f and g ;; f or g ;; f and g or f ;; f or g and f
(f or g) and f ;; not f and g ;; not (f and g)
a = 1 ;; a <> 1 ;; a != 1 ;; a < b ;; a <= b ;; a > b ;; a >= b ;; 1 = a ;; a = b ;; a = -1 ;; a = - -1 ;; a=-b
a = +1 ;; a = 1.0 ;; a = 1e0 ;; a = .5 * 2 ;; a < 1.5 ;; s = 1 ;; n = 1
a + b = 2 ;; a - b - 1 = 0 ;; a - (b - 1) = 0 ;; a + b * 2 = 3 ;; (a + b) * 2 = 4 ;; a / 2 * 2 = a ;; a % 2 = 1
- a + b = 0 ;; a + 1 < b or a = b
a is null ;; a is not null ;; not a is null ;; not a is not null ;; a isnull ;; a notnull ;; f is true
f is not true ;; f is false ;; f is not false ;; f is unknown ;; f is not unknown
(a = b) is null ;; (a = b) is not true ;; a = b is null ;; (a is null) is true ;; not (a = b) is true
a is distinct from b ;; a is not distinct from b
not a is distinct from b ;; a is distinct from 1 and f ;; a is distinct from null ;; a in (1) ;; a in (1, 2)
a in (1, null) ;; a not in (1, 2) ;; a not in (1, null)
not a in (1, 2) ;; not (a in (1)) ;; a in (b, 2) ;; a in (token.tenant, 2) ;; a not in (b) ;; t in ('x', 'X', '')
lower(t) in ('x') ;; (a in (1)) = f ;; f = (a in (1))
a between 1 and 2 ;; a not between 1 and 2 ;; not a between 1 and 2 ;; a between 1 and 2 and f
a between b and b + 1 or g ;; a + 1 between 1 and 2 ;; d between '2020-01-01' and '2020-12-31'
t = 'x' ;; t = '' ;; t = 'it''s' ;; t = 'x\y' ;; t = 'x\' ;; t = '"' ;; t = 'ünï' ;; t = '%' ;; t = ':a' ;; t = '{}'
t = '$1' ;; t <> 'X' ;; t < u ;; t || u = 'xy' ;; t || u || t = 'xyx' ;; t || 'y' = u
t like 'x%' ;; t not like 'x%' ;; t ilike 'X%' ;; t not ilike 'x%' ;; t like '_' ;; t like u ;; t like 'x' || '%'
t like '\%' ;; t || u like 'x%' ;; not t like 'x%' ;; t like lower('X%')
t ~ '^x' ;; t !~ '^x' ;; t ~* '^X' ;; t !~* 'X' ;; t ~~ 'x%' ;; t !~~ 'x%' ;; t ~~* 'X%' ;; t !~~* 'x%' ;; not t ~ 'x'
t ~ '\d' ;; starts_with(t, 'x') ;; t ^@ 'x'
t like any (array['x%', 'y%']) ;; t ilike any (array['X%']) ;; not (t like any (array['x%'])) ;; a = any (array[1, 2])
a <> any (array[1, 2]) ;; a < any (array[1, 5]) ;; t = any (tags) ;; a = any (nums)
a = any ('{1,2}') ;; not a = any (array[1]) ;; 'x' = any (tags) ;; a in mine ;; a not in mine ;; not a in mine
not (a in mine) ;; t in friends ;; t not in friends ;; a in mine or t in friends
owner = token.person ;; token.person = owner ;; owner <> token.person ;; owner is distinct from token.person
owner::text = token.person::text ;; token.client = 'helper'
a = token.tenant ;; a <> token.tenant ;; token.org is null ;; a = token.org ;; a is not distinct from token.org
a = token.tenant and f ;; TOKEN.Tenant = a ;; token."person" = owner
lower(t) = 'x' ;; upper(t) = 'X' ;; length(t) = 1 ;; char_length(t) = 1 ;; coalesce(t, u, '') = ''
coalesce(a, 0) = 0 ;; nullif(a, 1) is null ;; abs(a) = 1 ;; greatest(a, b) = 2 ;; least(a, b, 0) = 0
floor(m) = 1 ;; ceil(m) = 2 ;; ceiling(m) = 2 ;; round(m) = 2 ;; round(m, 1) = 1.5 ;; btrim(t) = 'x'
btrim(t, 'x') = '' ;; trim(t) = 'x' ;; trim('x' from t) = '' ;; cardinality(tags) = 2 ;; cardinality(nums) > 0
at < now() ;; at > now() - interval '30 days' ;; at + interval '1 day' > now() ;; d = current_date
d < current_date - 7 ;; at < current_timestamp ;; at < '2021-01-01' ;; d = '2020-02-29'
date_trunc('day', at) = at ;; date_trunc('month', ts) = '2020-02-01' ;; d = date '2020-02-29'
ts = timestamp '2020-02-29 12:00' ;; at = timestamptz '2020-02-29 12:00+00' ;; i = interval '1 day'
i = interval '1' day ;; i > interval '-1 hour' ;; i = interval '1 day 2 hours' ;; i = '1 day'
ts - ts = interval '0' ;; interval '1 day' * 2 > i ;; at - interval '1' hour < now()
a::text = '1' ;; t::varchar = 'x' ;; cast(a as bigint) = 1 ;; a::int8 = 1 ;; a::int2 = 1 ;; m::int = 2
m::numeric = 1.5 ;; x::float = 1.5 ;; x::double precision = 1.5 ;; t::text = 'x' ;; f::int = 1
d::text = '2020-02-29'
at::date = d ;; ts::timestamp with time zone = at ;; d::timestamp = ts ;; (a + b)::text = '2' ;; owner::text like '0%'
'1'::int = a ;; true::text = 'true' ;; 'true'::boolean = f
t <> 'x' and owner = '00000000-0000-4000-8000-00000000000a'::uuid ;; i::text = '1 day'
tags @> array['x'] ;; tags && array['x', 'q'] ;; nums && array[1] ;; nums @> array[1, 2] ;; tags = array['x', 'y']
array[a, b] = array[1, 1] ;; nums <> array[1]
"Odd one" = 'x' ;; "user" = 'x' ;; ä = 'x' ;; "ä" = 'x' ;; A = 1 ;; "a" = 1 ;; things.a = 1 ;; THINGS.a = 1 ;; x = 1.5
m > 1 ;; m = 1.50 ;; 1 < 2 ;; 'a' < 'b' ;; 1 + 1 = 2 ;; not (f or g) or a = 1 and not f
f = g ;; f <> g ;; a = b is distinct from f ;; f is true = g ;; a is null = f ;; a is distinct from b
(a = 1) = (b = 1) ;; (a = 1) <> f ;; f = true ;; f = (b is null) ;; f and (g or a = 1 and (b = 2 or not f))
((a)) = ((1)) ;; (((f)))
"""
ALLOWED_TEXTS = [text.strip() for line in ALLOWED.strip().splitlines() for text in line.split(" ;; ")]

ROWS = (
    """
select row_number() over () as id, * from (values
  (1, 1, 'x', 'xy', true, false), (1, 2, 'X', 'x', false, false), (2, 1, '', 'X', null, true),
  (null, 1, null, 'y', true, null),
  (1, null, 'xyx', null, null, null), (null, null, 'it''s', '', false, true), (-1, 0, '%', 'x%', true, true),
  (0, -1, 'x\\y', 'x', false, null),
  (2, 2, 'ünï', 'ünï', true, true), (5, 3, '12', '\\x', false, true), (1, 1, '"', ':a', true, true),
  (3, 7, 'x\\', '{}', null, false)
) v(a, b, t, u, f, g) cross join (values
  (null::date, null::timestamptz, null::timestamp, null::numeric, null::float8, null::uuid, null::text[], null::integer[], null::interval),
  ('2020-02-29', '2020-02-29 12:00+00', '2020-02-29 12:00', 1.5, 1.5, '"""
    + PERSON
    + """', '{x,y}', '{1,2}', '1 day'),
  (current_date, now() + interval '1 hour', '2020-02-01', 2, 0, '00000000-0000-4000-8000-00000000000b', '{}', '{1,null}', '2 hours')
) w(d, at, ts, m, x, owner, tags, nums, i)
"""
)


@pytest.fixture(scope="module")
def things() -> Iterator[psycopg.Connection[Any]]:
    with (
        open_server() as server,
        server.scratch_database() as url,
        psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection,
    ):
        columns = ", ".join(f'"{name}" {kind}' for name, kind in TYPES.items())
        connection.execute(f"set client_min_messages = 'error'; create table things ({columns})".encode())
        same = "id, a, b, t, u, f, g, d, at, ts, m, x, owner, tags, nums, i"
        more = 's, n, v, "user", "Odd one", "ä"'
        connection.execute(
            f"insert into things ({same}, {more}) select {same}, a, b, t, t, u, t from ({ROWS}) r".encode()
        )
        yield connection


def original(text: str) -> str:
    """The author's text as PostgreSQL can read it: the token's values and sets written out."""
    text = re.sub(r"\btoken\.\"?(\w+)\"?", lambda m: f"({VALUES[m[1].lower()]})", text, flags=re.IGNORECASE)
    for name in NAMES.sets:
        text = re.sub(rf"\bnot in {name}\b", f"<> all ({VALUES[name]})", text)
        text = re.sub(rf"not (\w+) in {name}\b", rf"not (\1 = any ({VALUES[name]}))", text)
        text = re.sub(rf"\bin {name}\b", f"= any ({VALUES[name]})", text)
    return text


def answers(connection: psycopg.Connection[Any], condition: str) -> list[bool | None] | str:
    """The condition's value for each row: true, false or NULL; the SQLSTATE where PostgreSQL doesn't take it."""
    try:
        found = connection.execute(f"select ({condition})::boolean from things order by id".encode()).fetchall()
    except psycopg.Error as error:
        return str(error.sqlstate)
    return [value for (value,) in found]


@pytest.mark.postgres
@pytest.mark.parametrize("text", ALLOWED_TEXTS)
def test_a_condition_means_what_postgres_reads_in_it(text, things):
    """For every row, NULLs among them, what is emitted gives what the author's own text gives."""
    expr, diagnostics = read(text)
    assert expr is not None, list(map(str, diagnostics))
    assert not diagnostics.has_errors
    written = answers(things, original(text))
    assert isinstance(written, list), written
    assert answers(things, e.render(expr, spell)) == written
    qualified = e.render(expr, spell, "things.")
    assert answers(things, qualified) == written


@pytest.mark.postgres
@pytest.mark.parametrize("text", ALLOWED_TEXTS)
def test_its_hard_form_admits_the_same_rows(text, things):
    """Hardened for indexed and for other columns; also where NOT or another operator stands above it."""
    expr, _ = read(text)
    assert expr is not None
    for outer in (expr, e.Prefix("not", expr), e.Test(expr, "is null"), e.disjunction((expr, e.Col("g")))):
        wanted = [value is True for value in answers(things, e.render(outer, spell))]
        for indexed in (None, frozenset(), frozenset({"a", "owner", "f"})):
            hard = answers(things, e.render(e.harden(outer, indexed), spell))
            assert [value is True for value in hard] == wanted, (indexed, e.render(e.harden(outer, indexed), spell))


def test_there_are_enough_conditions():
    """Every comparison, arithmetic operator, cast, function and test of the language occurs above."""
    from mcp_rls.compiler import predicate

    assert len(ALLOWED_TEXTS) > 250
    nodes = [n for text in ALLOWED_TEXTS if (expr := read(text)[0]) is not None for n in expr.walk()]
    assert {n.name for n in nodes if isinstance(n, e.Call)} | {"char_length", "now"} >= predicate.FUNCTIONS - {
        "char_length"
    }
    assert {n.type for n in nodes if isinstance(n, e.Cast)} >= set(predicate.TYPES.values())
    operators = {n.op for n in nodes if isinstance(n, e.Op)}
    assert operators >= set(predicate._COMPARISONS.values()) | set(predicate._ARITHMETIC.values())


# --- random conditions

_ATOMS = {
    "f": ["f", "g", "true", "a = 1", "a < b", "t = 'x'", "t like 'x%'", "a in (1, 2)", "a is null", "b between 0 and 1", "null", "a = any (nums)"],
    "n": ["a", "b", "1", "-1", "2", "m", "length(t)", "-a", "coalesce(a, 0)", "abs(b)", "- - b", "a::bigint", "null"],
    "t": ["t", "u", "'x'", "''", "lower(t)", "a::text", "'y'", "v"],
}  # fmt: skip


def _random(chance: random.Random, kind: str, depth: int) -> str:
    """A condition (f), number (n) or text (t) in which operators of every rank meet, mostly without parentheses."""
    if depth <= 0:
        return chance.choice(_ATOMS[kind])

    def sub(of: str) -> str:
        inner = _random(chance, of, depth - chance.choice([1, 1, 2]))
        return f"({inner})" if chance.random() < 0.15 else inner

    if kind == "n":
        return f"{sub('n')} {chance.choice(['+', '-', '*', '+', '-'])} {sub('n')}"
    if kind == "t":
        return f"{sub('t')} || {sub('t')}"
    return chance.choice(
        [
            lambda: f"{sub('f')} and {sub('f')}", lambda: f"{sub('f')} or {sub('f')}", lambda: f"not {sub('f')}",
            lambda: f"{sub('n')} {chance.choice(['=', '<', '>=', '<>'])} {sub('n')}",
            lambda: f"{sub('t')} {chance.choice(['=', '<', '<>', '~', '~~', '!~', 'like', 'not like', 'ilike'])} {sub('t')}",
            lambda: f"{sub('f')} is {chance.choice(['true', 'not true', 'null', 'not null', 'unknown', 'not false'])}",
            lambda: f"{sub('n')} is {chance.choice(['', 'not '])}distinct from {sub('n')}", lambda: f"{sub('n')} is {chance.choice(['', 'not '])}null",
            lambda: f"{sub('n')} {chance.choice(['', 'not '])}in ({sub('n')}, {sub('n')})",
            lambda: f"{sub('n')} {chance.choice(['', 'not '])}between {sub('n')} and {sub('n')}", lambda: f"{sub('f')} = {sub('f')}",
        ]
    )()  # fmt: skip


def disagreements(connection: psycopg.Connection[Any], chance: random.Random, count: int) -> tuple[list[str], int]:
    """Random conditions that are let in and mean something else than to PostgreSQL; and how many were let in."""
    found, let_in = [], 0
    for _ in range(count):
        text = _random(chance, "f", chance.choice([1, 2, 3]))
        expr, _ = read(text)
        written = answers(connection, text) if expr is not None else ""
        if expr is None or not isinstance(written, list):
            continue  # refused by us, or no condition to PostgreSQL either
        let_in += 1
        if answers(connection, e.render(expr, spell)) != written:
            found.append(text)
    return found, let_in


@pytest.mark.postgres
def test_random_conditions_mean_the_same(things):
    """Whatever of it is let in, with operators of every rank side by side and few parentheses."""
    found, let_in = disagreements(things, random.Random(4), 600)
    assert found == []
    assert let_in > 150


# --- what is refused

SMUGGLED = [
    "a = 1; drop table things", "; select 1", "a = 1) or (1 = 1", "a = 1 union select 1", "a = 1 limit 1",
    "a = 1 from things",
    "a = 1 group by a", "a = 1 order by a", "a, b", "a as b", "*", "things.*", "a = 1 and", "(a = 1", "a = 1)", "",
    "   ", "()", "a = '", "a = 'x' 'y'",
    "delete from things", "select 1", "drop table things", "set role postgres", "copy things to stdout",
    "do $$ begin end $$", "call f()",
    "a = 1 returning a", "with x as (select 1) select 1", "values (1)", "a = 1 for update", "a := 1",
    "explain select 1", "show all", "lock things",
]  # fmt: skip
SUB_SELECTS = [
    "(select true)", "exists (select 1)", "not exists (select 1)", "a in (select 1)", "a not in (select 1)",
    "a = any (select 1)", "a = (select 1)",
    "a = all (select 1)", "a = any (array(select 1))", "coalesce((select 1), a) = 1", "(select 1) = 1",
    "a between (select 1) and 2", "a in ((select 1))",
    "array(select 1) = nums", "a = 1 or exists (table things)", "(table things) is null", "(values (true))",
    "lower((select 'x')) = t", "(select f)::boolean",
    "a in (with x as (select 1) select * from x)", "f is true and (select true)",
]  # fmt: skip
FUNCTIONS = [
    "pg_sleep(1) is null", "count(*) = 1", "max(a) = 1", "current_setting('x') = 't'",
    "set_config('a', 'b', true) = 't'", "version() = t", "f(a) = 1",
    "public.lower(t) = 'x'", "pg_catalog.lower(t) = 'x'", '"lower"(t) = \'x\' and "pg_sleep"(1) is null',
    "random() < 0.5", "clock_timestamp() > at",
    "statement_timestamp() > at", "pg_read_file('x') = t", "dblink('x') = t",
    "query_to_xml('select 1', true, true, '') is null", "lo_import('x') = 1",
    "nextval('s') = 1", "txid_current() = 1", "row_number() over () = 1", "sum(a) filter (where f) = 1",
    "lower(distinct t) = 'x'", "string_agg(t, ',') = 'x'",
    "generate_series(1, 2) = a", "unnest(nums) = a", "substring(t from 1) = 'x'", "position('x' in t) = 1",
    "overlay(t placing 'x' from 1) = t", "to_char(at, 'D') = t",
    "extract(year from d) = 2020", "case when f then true else false end", "case a when 1 then f end",
    "ltrim(t) = 'x'", "rtrim(t) = 'x'",
    "trim(leading 'x' from t) = ''", "trim(trailing from t) = ''", "ltrim(t, 'x') = ''", "concat(t, u) = 'x'",
    "format('%s', t) = 'x'", "md5(t) = 'x'",
    "decode(t, 'hex') = ''", "encode('x', 'hex') = t", "replace(t, 'x', 'y') = t", "split_part(t, 'x', 1) = ''",
    "left(t, 1) = 'x'", "to_date(t, 'x') = d",
    "array_length(nums, 1) = 1", "array_position(nums, 1) = 1", "age(at) > i", "jsonb_build_object('a', a) is null",
    "xmlparse(document t) is null",
    "has_table_privilege('x', 'select')", "pg_has_role('x', 'usage')", "user_defined(token.person)",
    "any_value(a) = 1", "every(f)", "bool_and(f)",
]  # fmt: skip
STRINGS = [
    "t = E'x'", "t = e'\\'x'", r"t = E'\x27'", "t = U&'\\0061'", "t = u&'x' uescape '!'", "t = N'x'", "t = B'101'",
    "t = X'1F'", "t = $$x$$", "t = $q$x$q$",
    "t = _utf8'x'", "a = 0x1F", "a = 0b1", "a = 0o7", "a = 1_000", 't = U&"x"', "t = 'x\x00'",
]  # fmt: skip
COMMENTS = [
    "a = 1 -- x",
    "a = 1 --",
    "-- x",
    "a = 1 /* x */",
    "/* x */ a = 1",
    "a /* /* */ */ = 1",
    "a = /**/ 1",
    "{# x #} a = 1",
    "a = 1 -- x\nor true",
]
AMBIGUOUS = [
    "a = b = f", "a < b < f", "a in (1) is true", "a between 1 and 2 is true", "a is null is true", "a = 1 in (f)",
    "f = a in (1)",
    "f = a between 1 and 2", "a like b = f", "t like u like 'x'", "f = not g", "f = t like 'x'",
]  # fmt: skip
OTHER = [
    "a[1] = 2", "(a).b = 1", "s.things.a = 1", "other.a = 1", "x.token.person = owner", "(token).person = owner",
    "token.person.x = 1", "row(a, b) = row(1, 2)",
    "(a, b) = (1, 2)", "(a, b) in ((1, 2))", "a overlaps b", "t collate \"C\" = 'x'", "at at time zone 'utc' = ts",
    "t similar to 'x'", "t like 'x' escape '!'",
    "t not like any (array['x%'])", "t not ilike any (array['x%'])", "a = all (nums)", "a <> all (nums)",
    "a = some (nums)", "a between symmetric 2 and 1", "a & 1 = 1",
    "a | 1 = 1", "a # 1 = 1", "~ a = 1", "a << 1 = 2", "a ^ 2 = 1", "|/ a = 1", "@ a = 1",
    "a operator(pg_catalog.=) 1", "t -> 'x' = u", "t ->> 'x' = u", "t #>> '{x}' = u",
    "t ? 'x'", "t @@ u", "t <-> u < 1", ":a = 1", "$1 = a", "? = a", "@a = 1", "%(a)s = 1", "%s = 1",
    "a is of (integer)", "t is document", "t is json", "t is normalized",
    "a::numeric(3, 1) = 1", "t::char = 'x'", "t::char(1) = 'x'", "t::varchar(3) = 'x'", "t::name = 'x'",
    "t::\"char\" = 'x'", "a::oid = 1", "t::regclass is null", "t::json is null",
    "t::jsonb is null", "t::xml is null", "t::bytea = ''", "t::public.mood = 'x'", "t::text[] = tags",
    "nums::text = 'x' and a::integer[] = nums", "at::timestamp(0) = ts", "at::time = '1:00'", "a::bit = '1'",
    "a::money = '1'", "interval(3) '5.1234' = i", "interval '1 12:30' day to minute = i", "interval a day = i",
    "date_trunc('day', at, 'utc') = at",
    "date_trunc(t, at) = at", "date_trunc('nonsense', at) = at", "date_trunc('isoyear', at) = at",
    "current_timestamp(0) = at", "now(1) = at", "localtimestamp = ts", "user = 'x'",
    "current_user = 'x'", "session_user = 'x'", "current_role = 'x'", "current_catalog = 'x'", "current_schema = 'x'",
    "default", "try_cast(a as text) = '1'", "a div b = 1", "f xor g",
]  # fmt: skip


@pytest.mark.parametrize("text", [*SMUGGLED, *SUB_SELECTS, *FUNCTIONS, *STRINGS, *COMMENTS, *AMBIGUOUS, *OTHER])
def test_what_is_not_in_the_language_is_refused(text):
    """With an error at the condition's place and never an exception; nothing of it is handed on."""
    expr, diagnostics = read(text)
    assert expr is None
    (error,) = diagnostics.errors
    assert error.code in ("bad-condition", "unknown-function", "unknown-set")
    assert error.message
    assert (error.span.path, error.span.line) == ("p.yaml", 3)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 2000 + "f" + ")" * 2000,
        "not " * 5000 + "f",
        "f and " * 5000 + "f",
        "a" + " + a" * 5000 + " = 1",
        "(" * 100_000,
    ],
)
def test_deep_nesting_ends_in_a_condition_or_an_error(text):
    """Never in an exception."""
    expr, diagnostics = read(text)
    if expr is None:
        assert [d.code for d in diagnostics.errors] == ["bad-condition"]
    else:
        e.render(e.harden(expr, None), spell)


@pytest.mark.parametrize(
    "code",
    [
        "\u2019x\u2019 = t",
        "t = \u201cx\u201d",
        "a \uff1d 1",
        "a = \u0661",
        "t = 'x' \u037e drop",
        "a\u200b = 1",
        "\ufefff",
    ],
)
def test_look_alike_characters_never_become_sql(code):
    """Refused, or read as a name of a column that isn't there: an error either way."""
    _, diagnostics = read(code)
    assert diagnostics.has_errors


# --- names and places


@pytest.mark.parametrize(
    ("text", "code", "column", "hint"),
    [
        ("ownr = token.person", "unknown-column", 10, '"owner"'),
        ("a = 1 and ownr is null", "unknown-column", 20, '"owner"'),
        ("mine = 1", "unknown-column", 10, "column in mine"),
        ("a in mines", "unknown-set", 10, '"mine"'),
        ("a = token.tenat", "unknown-claim", 20, '"tenant"'),
        ("lowr(t) = 'x'", "unknown-function", 10, '"lower"'),
        ('"Owner" = token.person', "unknown-column", 10, '"owner"'),
    ],
)
def test_a_wrong_name_is_shown_where_it_stands(text, code, column, hint):
    """With the nearest right name."""
    _, diagnostics = read(text)
    (error,) = diagnostics.errors
    assert (error.code, error.span) == (code, Span("p.yaml", 3, column))
    assert hint in " ".join(error.hints)


def test_several_wrong_names_are_all_shown():
    """In one run, each with its own place; on a later line, that line."""
    _, diagnostics = read("ownr = 1 and\n  stats = 2 or token.nobody = 3")
    found = sorted((d.span.line, d.code) for d in diagnostics.errors)
    assert found == [(3, "unknown-column"), (4, "unknown-claim"), (4, "unknown-column")]


def test_without_a_catalog_any_column_will_do():
    """What can't be checked isn't; the token's claims still are."""
    blind = Names(frozenset({"tenant"}), frozenset({"mine"}), None)
    assert read("anything = 1 and other in mine", blind)[0] is not None
    assert [d.code for d in read("anything = token.nope", blind)[1]] == ["unknown-claim"]


def test_a_set_and_a_column_of_one_name_keep_apart():
    """After IN without parentheses it is the set, within them the column."""
    names = Names(frozenset(), frozenset({"a"}), TABLE)
    assert read("b in a", names)[0] == e.Any(e.Col("b"), "=", e.SetValues("a"))
    assert read("b in (a)", names)[0] == e.In(e.Col("b"), (e.Col("a"),))


# --- SQL given as it is


def raw(text: str) -> tuple[e.Expr | None, list[str]]:
    diagnostics = Diagnostics()
    expr = parse_raw(Condition(text, Span("p.yaml", 1, 1), raw=True), NAMES, diagnostics)
    return expr, [d.code for d in diagnostics.errors]


def test_raw_sql_is_cut_where_it_names_the_token():
    """And is otherwise verbatim: in strings, as a column of another table's alias or quoted it isn't the token."""
    expr, codes = raw("owner = token.person and t <> 'token.person' and Token.tenant > 0")
    assert codes == []
    assert expr == e.Raw(("owner = ", e.Token("person"), " and t <> 'token.person' and ", e.Token("tenant"), " > 0"))
    assert raw("exists (select from x where x.y = token.client)")[1] == []


@pytest.mark.parametrize(
    "text",
    ["true) or (true", "a = 1; drop table x", "a = 1 -- x", "/* x */ true", "(a = 1", "a = 1)", "", "  ", "a = '", "t = 'x\\'", "f) --", "a = $$", "')('", "show = 1) or (true",
     "lock = 1) or (true", "fetch = 1) or (true", "call = 1) or (true", "execute = 1) or (true"],
)  # fmt: skip
def test_raw_sql_is_one_balanced_piece(text):
    """No statement, comment or parenthesis escapes the pair that is put round it."""
    if text == "')('":
        assert raw(text)[1] == []  # a string: balanced
        return
    assert raw(text) == (None, ["bad-condition"])


@pytest.mark.parametrize(
    "column",
    ["show", "lock", "call", "do", "rename", "reset", "refresh", "explain", "declare", "prepare", "comment", "begin"],
)
def test_raw_sql_may_begin_with_any_column(column):
    """Also with one whose name begins a command: the token's value in it is still found."""
    expr, codes = raw(f"{column} = token.tenant or f")
    assert codes == []
    assert isinstance(expr, e.Raw)
    assert e.Token("tenant") in expr.parts


def test_unknown_claims_in_raw_sql_are_errors():
    """At their place."""
    diagnostics = Diagnostics()
    split_tokens("a = token.nope", NAMES, Span("p.yaml", 1, 1), diagnostics)
    assert [(d.code, d.span.column) for d in diagnostics.errors] == [("unknown-claim", 11)]
