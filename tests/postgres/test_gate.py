"""What a token opens: class, life, scopes, direct sessions and nobody; malformed claims close and never raise."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from mcp_rls.database.server import Server
from tests.postgres.gate_cases import CASES, WORLDS
from tests.postgres.scratch import ANN, HEAD, NOTES, Scratch, ann, helper, make_roles, scratch_on

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def worlds(server: Server) -> Iterator[dict[str, Scratch]]:
    """Each world, installed."""
    with ExitStack() as stack:
        made = {}
        for name, world in WORLDS.items():
            scratch = made[name] = stack.enter_context(scratch_on(server))
            make_roles(scratch.connection, "visitor")
            scratch.run("grant anon to visitor")
            scratch.run(world.schema)
            scratch.install(world.policies)
        yield made


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_token_sees_what_its_claims_open(case, worlds):
    """Just those rows, and no error; the table below says why."""
    assert worlds[case.world].sees(case.claims, role=case.role) == list(case.sees)


def test_every_denial_has_an_allowed_twin():
    """In each world something is seen in every role and by every class, so a denial isn't for want of rows."""
    seen: dict[str, set[int]] = defaultdict(set)
    for case in CASES:
        seen[case.world].update(case.sees)
    assert {world for world, rows in seen.items() if rows} == set(WORLDS)
    assert seen["claims"] == set(range(1, 10))


def test_a_session_that_never_had_claims_is_nobody(worlds):
    """The setting is NULL then and not ''; closed, but in an anonymous role."""
    with psycopg.connect(worlds["claims"].url) as connection:
        for role, count in (("anon", 9), ("authenticated", 0)):
            connection.execute(f"set local role {role}".encode())
            assert connection.execute("select count(*) from public.notes").fetchone() == (count,)


# --- writes


@pytest.fixture(scope="module")
def writes(server: Server) -> Iterator[Scratch]:
    with scratch_on(server) as scratch:
        scratch.run(NOTES)
        scratch.install(
            HEAD
            + """
scopes: {"n:r": {text: t}, "n:w": {text: t, implies: ["n:r"]}}
tables:
  public.notes:
    clients:
      - {who: helper, allow: select, scope: "n:r", rows: "status = 'open'"}
      - {who: helper, allow: insert, scope: "n:w", check: "status = 'open' and owner = token.person"}
      - {who: helper, allow: update, scope: "n:w", rows: "owner = token.person", check: "status in ('open', 'closed')"}
      - {who: helper, allow: delete, scope: "n:w", rows: "id < 3"}
"""
        )
        yield scratch


BLOCKED = "42501 new row violates row-level security policy"


@pytest.mark.parametrize(
    ("statement", "direct", "client"),
    [
        (f"insert into notes values (9, '{ANN}', 'open')", 1, 1),
        (f"insert into notes values (9, '{ANN}', 'closed')", 1, BLOCKED),
        ("insert into notes values (9, null, 'open')", 1, BLOCKED),
        ("delete from notes", 3, 1),
        ("delete from notes where id = 2", 1, 0),
        ("delete from notes where id = 3", 1, 0),
        ("update notes set status = 'open'", 3, 1),
        ("update notes set owner = null where id = 1", 1, 1),
        ("update notes set status = 'closed'", 3, BLOCKED),
        ("update notes set status = 'spam' where id = 1", 1, BLOCKED),
        ("update notes set status = 'open' where id = 3", 1, 0),
        ("insert into notes values (1, null, 'open') on conflict (id) do update set status = 'open'", 1, BLOCKED),
        (f"insert into notes values (1, '{ANN}', 'open') on conflict (id) do update set status = 'open'", 1, 1),
        (f"insert into notes values (2, '{ANN}', 'open') on conflict (id) do update set status = 'open'", 1, BLOCKED),
        ("merge into notes t using (select 1 as n) s on t.id = s.n when matched then delete", 1, 1),
        ("merge into notes t using (select 2 as n) s on t.id = s.n when matched then delete", 1, 0),
    ],
)
def test_a_client_writes_within_its_ceiling(statement, direct, client, writes):
    """UPDATE and DELETE reach rows that it sees and its rule admits, new rows meet check and S; its person does it all.

    Also by a statement that reads no column, for which PostgreSQL skips SELECT policies.
    """
    assert writes.ask(ann(), statement) == direct
    answer = writes.ask(helper(scope="n:w"), statement)
    assert answer == client or (isinstance(answer, str) and isinstance(client, str) and answer.startswith(client))
    assert str(writes.ask(helper(scope="n:r"), statement)).startswith(("0", "42501 "))


def test_the_refusal_names_the_ceiling(writes):
    """PostgreSQL's error says which policy of ours refused."""
    answer = writes.ask(helper(scope="n:w"), "insert into notes values (9, null, 'open')")
    assert answer == BLOCKED + ' "mcp_rls: notes insert" for table "notes"'


def test_unlisted_and_closed_tables_are_for_direct_sessions(scratch):
    """`clients: none` and a table that the file doesn't list are closed to every client, open to their person."""
    scratch.run(
        NOTES
        + "create table listed (id integer); create table unlisted (id integer); insert into listed values (1);"
        + "insert into unlisted values (1); grant all on listed, unlisted to authenticated"
    )
    scratch.install(HEAD + "tables: {public.notes: {clients: [{who: helper, allow: select}]}, public.listed: {}}")
    assert scratch.sees(helper()) == [1, 2, 3]
    for table in ("listed", "unlisted"):
        assert scratch.sees(ann(), table) == [1]
        assert scratch.sees(helper(), table) == []
        assert str(scratch.ask(helper(), f"insert into {table} values (2)")).startswith(BLOCKED)
        assert scratch.ask(ann(), f"insert into {table} values (2)") == 1
        assert scratch.ask(helper(), f"delete from {table}") == 0
        assert scratch.ask(ann(), f"delete from {table}") == 1


def test_read_as_person_shows_what_the_person_sees(scratch):
    """To every known class, whatever its scopes; no writes, and nothing to unknown clients."""
    scratch.run(
        NOTES + "alter table notes enable row level security;"
        "create policy mine on notes using (owner = (current_setting('request.jwt.claims')::jsonb ->> 'sub')::uuid)"
    )
    scratch.install(HEAD + "tables: {public.notes: {clients: read_as_person}}")
    assert scratch.sees(ann()) == scratch.sees(helper()) == scratch.sees(helper(scope="x")) == [1, 2]
    assert scratch.sees(ann(client_id="stranger")) == []
    assert scratch.ask(ann(), "delete from notes") == 2
    assert scratch.ask(helper(), "delete from notes") == 0


# --- the order of classes


OVERLAP = """
classes:
  first: {match: {ids: [both, first]}}
  second: {match: {ids: [both, second]}}
tables:
  public.notes:
    clients: [{who: first, allow: select, rows: "id = 1"}, {who: second, allow: select, rows: "id = 2"}]
"""


def test_the_first_class_with_the_id_wins(scratch):
    """An id that two classes list belongs to the one that stands first."""
    scratch.run(NOTES)
    scratch.install(HEAD.replace("classes: {helper: {match: {ids: [helper]}}}", "") + OVERLAP)
    assert scratch.sees(ann(client_id="first")) == [1]
    assert scratch.sees(ann(client_id="second")) == [2]
    assert scratch.sees(ann(client_id="both")) == [1]


def test_keys_of_a_match_are_anded_and_the_next_class_is_tried(scratch):
    """A listed id that isn't registered doesn't match a class that asks for both; a later class may have it."""
    scratch.run(NOTES + "create table apps (id text); insert into apps values ('known')")
    scratch.install(
        HEAD.replace("classes: {helper: {match: {ids: [helper]}}}", "")
        + """
classes:
  both: {match: {ids: [known, unknown], registry: {table: public.apps, id: id}}}
  alone: {match: {ids: [known, unknown]}}
tables:
  public.notes:
    clients: [{who: both, allow: select, rows: "id = 1"}, {who: alone, allow: select, rows: "id = 2"}]
"""
    )
    assert scratch.sees(ann(client_id="known")) == [1]
    assert scratch.sees(ann(client_id="unknown")) == [2]


# --- revocation is at the next statement


def test_what_ends_ends_at_the_next_statement(scratch):
    """A consent revoked or a partner disabled within the client's own transaction hides every row at once."""
    scratch.run(
        NOTES + "create table apps (id text, ok boolean); insert into apps values ('helper', true);"
        f"create table grants (person uuid, app text, off boolean); insert into grants values ('{ANN}', 'helper', false)"
    )
    scratch.install(
        HEAD.replace("{ids: [helper]}}", "{registry: {table: public.apps, id: id, where: ok}}, consent: required}")
        + """
consent: {table: public.grants, columns: {person: person, client: app}, where: "not off"}
tables: {public.notes: {clients: [{who: helper, allow: select}]}, public.apps: {}, public.grants: {}}
"""
    )
    count = b"select count(*) from notes"
    for ending in (
        "update grants set off = true",
        "delete from grants",
        "update apps set ok = null",
        "delete from apps",
    ):
        with scratch.token(helper()) as session:
            assert session.execute(count).fetchone() == (3,)
            session.execute("set local role none")
            session.execute(ending.encode())
            session.execute("set local role authenticated")
            assert session.execute(count).fetchone() == (0,), ending


# --- names that meet our own, and settings of a hostile session

OURS = """document rules acting path kind v_client v_class v_case v_listed v_asked v_consented v_standing v_words word listed
member value raw g r c found gate person client row array""".split()


@pytest.mark.parametrize("where", ["consent", "registry", "set"])
def test_columns_may_be_named_like_our_variables(where, scratch):
    """A consent table, a registry or a set's table whose columns have the names that our functions use inside."""
    named = ", ".join(f'"{name}" text' for name in OURS)
    unset = " and ".join(f'"{name}" is null' for name in OURS)
    scratch.run(
        NOTES + f"create table apps (id text, {named}); insert into apps (id) values ('partner');"
        f"create table grants (user_id uuid, app text, words text, {named});"
        f"insert into grants (user_id, app, words) values ('{ANN}', 'helper', 'n:r');"
        f"create table texts (owner uuid, text text, {named}); insert into texts values ('{ANN}', 'open')"
    )
    consent = f"""consent: {{table: public.grants, columns: {{person: user_id, client: app, scopes: words}}, where: {unset!r}}}
scopes: {{"n:r": {{text: t}}}}
"""
    parts = {
        "consent": (consent, "helper: {match: {ids: [helper]}, consent: required}", 'scope: "n:r"', ""),
        "registry": ("", f"helper: {{match: {{registry: {{table: public.apps, id: id, where: {unset!r}}}}}}}", "", ""),
        "set": (
            f"sets: {{texts: {{type: text, query: 'select text from public.texts where owner = token.person and {unset}'}}}}\n",
            "helper: {match: {ids: [partner, helper]}}", 'rows: "status in texts"', "",
        ),
    }[where]  # fmt: skip
    rule = ", ".join(filter(None, ("who: helper, allow: select", parts[2])))
    scratch.install(
        HEAD.replace("classes: {helper: {match: {ids: [helper]}}}", f"classes: {{{parts[1]}}}")
        + parts[0]
        + f"tables: {{public.notes: {{clients: [{{{rule}}}]}}}}"
    )
    client = "partner" if where == "registry" else "helper"
    assert scratch.sees(ann(client_id=client, scope="n:r")) == ([1, 3] if where == "set" else [1, 2, 3])
    assert scratch.sees(ann(client_id="other", scope="n:r")) == []


@pytest.mark.parametrize(
    "setting",
    [
        "standard_conforming_strings = off", "transform_null_equals = on", "array_nulls = off", "backslash_quote = on",
        "escape_string_warning = off", "plpgsql.extra_errors = 'all'", "plpgsql.extra_warnings = 'all'",
        "row_security = on",
        "search_path = pg_temp, public", "xmloption = document", "datestyle = 'SQL, DMY'", "client_encoding = 'LATIN1'",
        "extra_float_digits = -15", "bytea_output = 'escape'", "intervalstyle = iso_8601", "work_mem = '64kB'",
        "plan_cache_mode = force_generic_plan", "constraint_exclusion = on",
    ],
)  # fmt: skip
def test_no_setting_changes_what_the_functions_mean(setting, server):
    """In a new session, where the functions' bodies are parsed under the settings that the session made first."""
    with scratch_on(server) as scratch:
        scratch.run(
            NOTES + "create table apps (id text, off_at text, path text);"
            "insert into apps values ('partner', null, 'a_b'), ('wrong', 'x', 'aXb')"
        )
        scratch.install(
            HEAD.replace(
                "classes: {helper: {match: {ids: [helper]}}}",
                'classes: {urls: {match: {client_id_url_prefix: "https://x.example/"}},'
                " partners: {match: {registry: {table: public.apps, id: id, where: \"off_at is null and path like 'a%'\"}}}}",
            )
            + r"""
sets: {wild: {type: text, query: "select id from public.apps where path like E'a\\\\_b' and token.person is not null"}}
tables:
  public.notes:
    people: [{allow: select, rows: "id = 1 or 'wrong' in wild"}]
    clients: [{who: [urls, partners], allow: select}]
"""
        )
        for claims, rows in (
            (ann(), [1]), (ann(client_id="https://x.example/a"), [1]), (ann(client_id="https://x.example/../a"), []),
            (ann(client_id="https://x.example/a\\b"), []), (ann(client_id="partner"), [1]),
            (ann(client_id="wrong"), []),
        ):  # fmt: skip
            with psycopg.connect(scratch.url, autocommit=True) as connection:
                fresh = Scratch(scratch.url, connection)
                assert fresh.ask(claims, f"set local {setting}", "select id from public.notes") == rows, claims


def test_temporary_objects_change_nothing(scratch):
    """A type, table or function of the caller's own in pg_temp is never what our functions or policies mean."""
    scratch.run(NOTES + "create table apps (id text, ok boolean); insert into apps values ('off', false), ('on', true)")
    scratch.install(
        HEAD.replace("{ids: [helper]}", "{registry: {table: public.apps, id: id, where: ok}}")
        + """
sets: {mine: {type: uuid, query: "select owner from public.notes where owner = token.person"}}
tables:
  public.notes: {people: [{allow: select, rows: "owner in mine"}], clients: [{who: helper, allow: select}]}
"""
    )
    traps = (
        "create temp table apps (id text, ok boolean)",
        "insert into pg_temp.apps values ('off', true)",
        f"create temp table notes as select 1 as id, '{ANN}'::uuid as owner, '' as status",
        "create function pg_temp.current_setting(text, boolean) returns text language sql as 'select null'",
        "create function pg_temp.sha256(bytea) returns bytea language sql as 'select null::bytea'",
        "create domain pg_temp.jsonb as text",
        "create domain pg_temp.text as int",
        "create domain pg_temp.uuid as int",
        "create domain pg_temp.integer as int",
        "set local search_path = pg_temp, pg_catalog, public",
    )
    scratch.run("grant temporary on database " + scratch.value("select quote_ident(current_database())") + " to public")
    for claims, rows in ((ann(client_id="on"), [1, 2]), (ann(client_id="off"), []), (ann(), [1, 2])):
        assert scratch.ask(claims, *traps, "select id from public.notes order by id") == rows


def test_a_token_role_cannot_use_the_schema(scratch):
    """Its policies work, yet it can call nothing there and read nothing, by name."""
    scratch.run(NOTES)
    scratch.install("tables: {public.notes: {clients: [{who: helper, allow: select}]}}")
    assert scratch.sees(helper()) == [1, 2, 3]
    for statement in (
        "select mcp_rls.gate('authenticated', '{}')",
        "select * from mcp_rls.manifest",
        "create table mcp_rls.x()",
    ):
        assert str(scratch.ask(ann(), statement)).startswith("42501 permission denied for schema mcp_rls")


def test_no_client_id_stands_in_what_any_role_can_read(scratch):
    """Neither in a function's text nor in a policy."""
    scratch.run(NOTES)
    ids = HEAD.replace("ids: [helper]", "ids: [secret-app]")
    scratch.install(ids + "tables: {public.notes: {clients: [{who: helper, allow: select}]}}")
    assert scratch.sees(ann(client_id="secret-app")) == [1, 2, 3]
    readable = scratch.value(
        "select string_agg(t, ' ') from (select prosrc from pg_proc where pronamespace = 'mcp_rls'::regnamespace union all"
        " select concat(qual, with_check) from pg_policies) x(t)"
    )
    assert "secret-app" not in readable
