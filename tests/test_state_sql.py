"""Names, constants and statements as SQL text, and states as values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.database.server import open_server
from mcp_rls.state import PREFIX, Function, Policy, Privilege, State, Switches, digest, policy_name

T = TableName("public", "t")
ODD = (
    "plain", "Mixed", "two words", 'quo"te', "apos'trophe", "back\\slash", "dol$lar", "$$", "$mcp_rls$", "per%cent",
    "%s", ":colon", "::", "{brace}",
    "semi;colon", "--", "/*", "a.b", "ünïcödé", "日本", "🔒", "tab\there", "new\nline", "select", "user", "between",
    "values", "1st", "_x", "x_", "é", "a" * 63, "\\'", "E'",
)  # fmt: skip


@pytest.fixture(scope="module")
def connection() -> Iterator[psycopg.Connection[Any]]:
    with (
        open_server() as server,
        server.scratch_database() as url,
        psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection,
    ):
        yield connection


# --- quoting


@pytest.mark.postgres
@pytest.mark.parametrize("name", ODD)
def test_a_name_is_read_as_itself(name, connection):
    """As table, column, alias and policy, in every place where a name may stand bare."""
    quoted = sql.ident(name)
    with connection.transaction(force_rollback=True):
        connection.execute(f"create table public.{quoted} ({quoted} integer)".encode())
        found = connection.execute(
            f"select {quoted} from {sql.table(TableName('public', name))} where ({quoted} = 1)".encode()
        )
        assert found.description is not None
        assert found.description[0].name == name
        assert connection.execute("select relname from pg_class where relname = %s", (name,)).fetchone() == (name,)


@pytest.mark.postgres
@pytest.mark.parametrize("conforming", ["on", "off"])
@pytest.mark.parametrize(
    "text", [*ODD, "", "\\", "\\\\", "'", "''", "\\''", "'; drop table x; --", "$x$ ' $x$", "\r\n", "\x01\x7f"]
)
def test_a_constant_is_read_as_itself(text, conforming, connection):
    """Whatever standard_conforming_strings says; as an element of an array and in dollar quotes too."""
    with connection.transaction(force_rollback=True):
        connection.execute(
            f"set local standard_conforming_strings = {conforming}; set local escape_string_warning = off".encode()
        )
        query = f"select {sql.literal(text)}, {sql.array((text, 'x'))}, {sql.dollar(text)}"
        assert connection.execute(query.encode()).fetchone() == (text, [text, "x"], text)


def test_a_keyword_is_quoted_and_a_plain_name_is_not():
    """So that text stays readable where it can."""
    assert [sql.ident(n) for n in ("notes", "user", "Notes", 'a"b', "a b", "1a", "")] == [
        "notes",
        '"user"',
        '"Notes"',
        '"a""b"',
        '"a b"',
        '"1a"',
        '""',
    ]
    assert sql.roles(("public", "Public", "anon")) == 'public, "Public", anon'


@pytest.mark.postgres
def test_every_reserved_word_of_the_server_is_quoted(connection):
    """PostgreSQL's own list: what can't stand bare as a column or table never does."""
    words = connection.execute("select word from pg_get_keywords() where catcode in ('R', 'T')").fetchall()
    assert len(words) > 80
    assert [w for (w,) in words if sql.ident(w) == w] == []


def test_dollar_quotes_never_end_early():
    """The tag doesn't occur in the body."""
    for body in ("x", "$mcp_rls$", "$mcp_rls1$ $mcp_rls$", "$$"):
        quoted = sql.dollar(body)
        tag = re.match(r"\$\w+\$", quoted)
        assert tag is not None
        assert tag[0] not in body
        assert quoted == tag[0] + body + tag[0]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("public.notes", ("public", "notes")), ('"My Schema"."a.b"', ("My Schema", "a.b")),
        ('public."a""b"', ("public", 'a"b')), ("a.B", ("a", "B")),
        ("notes", None), ("a.b.c", None), ("", None), (".", None), ("a.", None), ('"a.b"', None), ('"a"b.c', None),
        ('a."b', None),
    ],
)  # fmt: skip
def test_table_names_are_read(text, name):
    """schema.table, either part in double quotes; anything else is none."""
    assert TableName.parse(text) == (None if name is None else TableName(*name))


@pytest.mark.parametrize("schema", ["public", "a b", 'q"s', "S"])
@pytest.mark.parametrize("table", ["notes", "a.b", 'q"t', "T", "x'y"])
def test_a_table_name_survives_its_sql(schema, table):
    """Written as SQL and read again it is the same."""
    name = TableName(schema, table)
    assert TableName.parse(sql.table(name)) == name


# --- statements


POLICY = Policy(T, "mcp_rls: t select", False, "select", ("anon", "user"), "(a = 1)", None)


def test_policy_statements():
    """Name, table, kind, command, roles and what expressions there are."""
    assert sql.create_policy(POLICY) == (
        'create policy "mcp_rls: t select" on public.t as restrictive for select to anon, "user"\n  using ((a = 1))'
    )
    both = replace(POLICY, command="update", check="b", roles=("public",), permissive=True)
    assert sql.create_policy(both).endswith("as permissive for update to public\n  using ((a = 1))\n  with check (b)")
    assert (
        sql.alter_policy(both)
        == 'alter policy "mcp_rls: t select" on public.t to public\n  using ((a = 1))\n  with check (b)'
    )
    assert sql.drop_policy(POLICY) == 'drop policy "mcp_rls: t select" on public.t'
    assert sql.comment_on_policy(POLICY, "it's") == "comment on policy \"mcp_rls: t select\" on public.t is 'it''s'"


@pytest.mark.parametrize(
    ("before", "after", "statement"),
    [
        ((False, False), (True, False), "alter table public.t enable row level security"),
        ((False, False), (True, True), "alter table public.t enable row level security, force row level security"),
        ((True, True), (True, False), "alter table public.t no force row level security"),
        ((True, True), (False, True), "alter table public.t disable row level security"),
        ((True, True), (True, True), None),
    ],
)
def test_switch_statements(before, after, statement):
    """One ALTER TABLE for what differs, so that several changes share one lock."""
    assert sql.set_switches(Switches(T, *before), Switches(T, *after)) == ((statement,) if statement else ())


def test_a_function_is_made_for_just_the_roles_that_need_it():
    """PUBLIC's default is taken away in the same breath."""
    made = Function("f", "text", "integer", "create or replace function ...", ("anon", "Other"))
    assert sql.create_function(made) == (
        "create or replace function ...",
        "revoke all on function mcp_rls.f(text) from public",
        'grant execute on function mcp_rls.f(text) to anon, "Other"',
    )
    assert len(sql.create_function(replace(made, execute=()))) == 2


@pytest.mark.postgres
@pytest.mark.parametrize("name", ["Odd %s role", "r$$x", "r'x", "back\\slash"])
def test_privileges_are_revoked_where_there_are_any(name, connection):
    """On every version, MAINTAIN included where it exists."""
    with connection.transaction(force_rollback=True):
        held = sql.ident(name)
        connection.execute(f"create role {held}; create table public.t (); grant all on t to {held}, public".encode())
        for statement in sql.revoke_blind(T, ("public", name)):
            connection.execute(statement.encode())
        left = connection.execute(
            "select distinct privilege_type from pg_class, aclexplode(relacl)"
            " where relname = 't' and grantee <> relowner order by 1"
        ).fetchall()
        assert [p for (p,) in left] == ["DELETE", "INSERT", "SELECT", "UPDATE"]


# --- values


def test_a_digest_tells_parts_apart():
    """32 hexadecimal digits, the same for the same parts and for nothing else."""
    assert re.fullmatch("[0-9a-f]{32}", digest("a", 1))
    made = [
        digest("ab"),
        digest("a", "b"),
        digest("b", "a"),
        digest(("a", "b")),
        digest("a", None),
        digest("a", "None"),
        digest("1"),
        digest(1),
        digest("a\x1fb"),
        digest(),
    ]
    assert len(set(made)) == len(made)
    assert digest("a", ("b", 1)) == digest("a", ("b", 1))


def test_a_policys_source_says_all_that_it_is():
    """Each of kind, command, roles and expressions changes it; the place in the file doesn't."""
    known = POLICY.sealed().source
    changes: list[dict[str, Any]] = [
        {"permissive": True},
        {"command": "all"},
        {"roles": ("anon",)},
        {"using": "(a = 2)"},
        {"using": None},
        {"check": "true"},
    ]
    assert len({known, *(replace(POLICY, **c).sealed().source for c in changes)}) == len(changes) + 1
    assert replace(POLICY, place="x:1").sealed().source == known


def test_names_of_policies_are_told_apart():
    """Within 63 bytes as they are; longer ones end in a digest of the whole, whatever the script."""
    assert policy_name("t select") == PREFIX + "t select"
    exact = policy_name("t" * (63 - len(PREFIX)))
    assert (len(exact), "~" in exact) == (63, False)
    names = [policy_name(c * 70 + end) for c in ("t", "ü", "日", "🔒") for end in (" select", " update")]
    assert len(set(names)) == len(names)
    assert all(len(n.encode()) <= 63 and re.search("~[0-9a-f]{8}$", n) for n in names)


def test_a_state_is_ordered_and_closed():
    """However it is made, its objects stand in order and can't be exchanged; the fingerprint follows what it holds."""
    first, second = POLICY.sealed(), replace(POLICY, name="mcp_rls: a").sealed()
    one = State(policies={(p.table, p.name): p for p in (first, second)})
    other = State(policies={(p.table, p.name): p for p in (second, first)})
    assert list(one.policies) == list(other.policies)
    assert one.fingerprint == other.fingerprint
    with pytest.raises(TypeError):
        one.policies[T, "x"] = first  # type: ignore[index]


def test_each_part_of_a_state_is_in_its_fingerprint():
    """A plan made for one state is refused for another that differs anywhere."""
    made = Function("f", "", "integer", "text", ("anon",), "source")
    held = frozenset({Privilege(T, "anon", "SELECT")})
    states = [
        State(),
        State(installed=True),
        State(functions={"f": made}),
        State(functions={"f": replace(made, execute=())}),
        State(functions={"f": replace(made, definition="other")}),
        State(policies={(T, "x"): POLICY}),
        State(policies={(T, "x"): replace(POLICY, using="b")}),
        State(policies={(T, "x"): replace(POLICY, roles=("anon",))}),
        State(switches={T: Switches(T, True, False)}),
        State(switches={T: Switches(T, True, True)}),
        State(privileges=held),
        State(revoked=held),
    ]
    assert len({s.fingerprint for s in states}) == len(states)


@pytest.mark.parametrize(
    "table", [T, TableName("a.b", "c of d"), TableName('q"s', "t on u"), TableName("ünï", "x'y\\z")]
)
@pytest.mark.parametrize("role", ["anon", "a of b", "of", 'q"r', "public", "x on y of z"])
def test_a_privilege_is_known_by_its_name(table, role):
    """The manifest keeps names; each is read as the privilege that it names."""
    held = Privilege(table, role, "TRUNCATE")
    assert Privilege.named(held.object) == held
