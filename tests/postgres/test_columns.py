"""`columns` of update rules: what a statement may name in SET, whoever it is of and in whatever form it comes."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from mcp_rls.compiler.lower import lower
from mcp_rls.compiler.resolve import resolve
from mcp_rls.diagnostics import Diagnostics, Invalid
from mcp_rls.state import State
from mcp_rls.ways import script
from tests.postgres.scratch import ANN, BOB, HEAD, NOTES, Scratch, ann, make_roles, policies

pytestmark = pytest.mark.postgres

SCHEMA = f"""
create table public.teams (id integer primary key);
create table public.tickets (
  id integer primary key, owner uuid, team integer references public.teams on update cascade, status text, title text,
  secret text, spot point, raw json, words text generated always as (lower(title)) stored, number integer generated always as identity);
insert into public.teams values (1), (2);
insert into public.tickets (id, owner, team, status, title, secret, spot, raw) values
  (1, '{ANN}', 1, 'open', 'One', 's', '(0,0)', '{{"a": 1}}'), (2, '{ANN}', 1, 'open', 'Two', null, null, null),
  (3, '{BOB}', 2, 'open', 'Three', 's', null, null);
alter table public.tickets enable row level security;
create policy "own rows" on public.tickets to public
  using (owner::text = nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub' or current_user = 'anon');
grant select, insert, update, delete on public.tickets, public.teams to authenticated, anon;
"""
FILE = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated, anon]
anonymous: [anon]
classes:
  helper: {match: {ids: [helper]}}
  twin: {match: {ids: [twin]}}
  writer: {match: {ids: [writer]}}
  sparing: {match: {ids: [sparing]}}
  free: {match: {ids: [free]}}
scopes: {more: {text: More}}
tables:
  public.teams:
    clients:
      - {who: [helper, free], allow: [select, update]}
  public.tickets:
    clients:
      - {who: [helper, twin, writer, sparing, free], allow: select}
      - {who: free, allow: insert}
      - {who: [helper, twin], allow: update, rows: "status = 'open'", check: "true", columns: [status, title]}
      - {who: helper, allow: update, scope: more, rows: "status = 'closed'", check: "true", columns: [title, status]}
      - {who: writer, allow: update, columns: [title]}
      - {who: sparing, allow: update, columns: {except: [secret, id]}}
      - {who: free, allow: update}
"""


def of(client: str, **claims: Any) -> dict[str, Any]:
    return ann(client_id=client, **claims)


def refused(answer: object, who: str, may: str) -> bool:
    return answer == f"42501 mcp_rls: tickets columns, {who}: an update may set {may}"


@pytest.fixture
def db(each_scratch: Scratch) -> Scratch:
    each_scratch.run(SCHEMA)
    each_scratch.install(FILE)
    return each_scratch


HELPERS, HELD = "helper, twin", "only status, title"


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("update tickets set status = 'closed'", 2),
        ("update tickets set status = 'closed', title = 'x' where id = 1", 1),
        ("update tickets set title = null", 2),
        ("update tickets set secret = 'mine'", None),
        ("update tickets set secret = 'mine' where id = 1", None),
        ("update tickets set status = 'closed', secret = 'mine'", None),
        ("update tickets set (title, secret) = ('x', 'mine')", None),
        ("update tickets set owner = owner", None),
        ("update tickets set id = id", None),
        ("update tickets set team = 2", None),
        ("update tickets set spot = '(1,1)'", None),
        ("update tickets set raw = null", None),
        ("update tickets set number = default", None),
        ("update tickets set secret = 'mine' from teams where teams.id = team", None),
    ],
)
def test_an_update_sets_what_its_rule_names(each_scratch: Scratch, statement: str, allowed: int | None):
    """The columns of the rule, whether or not the value is another, whatever its type; nothing beside them."""
    each_scratch.run(SCHEMA)
    each_scratch.install(FILE)
    statement = statement.replace("update tickets", "update public.tickets").replace("from teams", "from public.teams")
    assert each_scratch.ask(of("free"), statement) == (1 if "where id" in statement else 2)
    answer = each_scratch.ask(of("helper"), statement)
    assert answer == allowed if allowed is not None else refused(answer, HELPERS, HELD)


def test_forms_of_update_are_held_alike(db: Scratch):
    """MERGE and upserts, met or not, through a view, and in a query with another update, before it or after it."""
    db.run("create schema v; grant usage on schema v to authenticated; create view v.t with (security_invoker) as"
           " select id, status as state, secret as hidden from public.tickets; grant all on v.t to authenticated")  # fmt: skip
    merge = "merge into public.tickets t using (select 1) one on t.id = 1 when matched then update set {} = 'x'"
    both = "with first as (update public.tickets set {} = 'x' where id = 1 returning 1) update public.tickets set {} = 'y' where id = 2"
    for form, given in (
        ("update v.t set {} = 'x' where id = 1", ("state", "hidden")),
        *([(merge, ("status", "secret"))] if db.connection.info.server_version >= 150000 else []),
    ):
        assert db.ask(of("helper"), form.format(given[0])) == 1
        assert refused(db.ask(of("helper"), form.format(given[1])), HELPERS, HELD)
        assert db.ask(of("free"), form.format(given[1])) == 1
    assert db.ask(of("helper"), both.format("status", "title")) == 1
    for pair in (("secret", "status"), ("status", "secret")):
        assert refused(db.ask(of("helper"), both.format(*pair)), HELPERS, HELD)
        assert db.ask(of("free"), both.format(*pair)) == 1


def test_an_upsert_is_held_to_the_columns(each_scratch: Scratch):
    """What ON CONFLICT DO UPDATE sets is what an UPDATE sets; who may insert as well meets it."""
    each_scratch.run(SCHEMA)
    each_scratch.install(FILE.replace("who: free, allow: insert", "who: [free, helper], allow: insert"))
    upsert = f"insert into public.tickets (id, owner, status) values (1, '{ANN}', 'x') on conflict (id) do update set {{}} = 'x'"
    assert each_scratch.ask(of("helper"), upsert.format("status")) == 1
    assert refused(each_scratch.ask(of("helper"), upsert.format("secret")), HELPERS, HELD)
    assert each_scratch.ask(of("free"), upsert.format("secret")) == 1


def test_each_class_has_its_own_columns(db: Scratch):
    """Two classes with one list, one with another, one with all but some, one with all: for each what is its own."""
    may = {
        column: {who for who in ("helper", "twin", "writer", "sparing", "free") if db.ask(of(who), f"update public.tickets set {column} = {column}") == 2}
        for column in ("status", "title", "owner", "secret", "id")
    }  # fmt: skip
    assert may == {
        "status": {"helper", "twin", "sparing", "free"},
        "title": {"helper", "twin", "writer", "sparing", "free"},
        "owner": {"sparing", "free"},
        "secret": {"free"},
        "id": {"free"},
    }
    assert refused(db.ask(of("writer"), "update public.tickets set status = 'x'"), "writer", "only title")
    assert refused(db.ask(of("sparing"), "update public.tickets set id = 9"), "sparing", "all columns but id, secret")


def test_more_scopes_give_more_rows_and_no_more_columns(db: Scratch):
    """All update rules of a class share their columns, so a token's scopes don't matter."""
    db.run("update public.tickets set status = 'closed' where id = 2")
    assert db.ask(of("helper", scope="more"), "update public.tickets set title = 'x'") == 2
    assert refused(db.ask(of("helper", scope="more"), "update public.tickets set secret = 'x'"), HELPERS, HELD)


def test_rows_out_of_reach_tell_nothing(db: Scratch):
    """No row of the statement may be updated: no error, as without a guard; and the row is there."""
    for statement in (
        "update public.tickets set secret = 'x' where id = 3",
        "update public.tickets set secret = 'x' where id = 33",
    ):
        assert db.ask(of("helper"), statement) == 0
    assert db.value("select secret from public.tickets where id = 3") == "s"


def test_others_are_let_be(db: Scratch):
    """People's own sessions, visitors, who isn't a token role, owners and roles past row security set what they did."""
    make_roles(db.connection, "columns_clerk", "columns_owner", "columns_passer")
    db.run(
        "alter role columns_passer bypassrls; grant authenticated to columns_passer, columns_owner; grant all on public.tickets to columns_clerk"
    )
    db.run("create policy clerks on public.tickets to columns_clerk using (true)")
    db.run(
        "alter table public.tickets owner to columns_owner; grant update, select on public.tickets to authenticated, anon"
    )
    statement = "update public.tickets set secret = 'x', number = default"
    assert db.ask(ann(), statement) == 2
    assert db.ask(None, statement, role="anon") == 3
    for role in ("columns_clerk", "columns_owner", "columns_passer"):
        for claims in (None, ann(), of("helper")):
            assert db.ask(claims, statement, role=role) == 3
    assert db.ask(of("helper"), "update public.tickets set title = 'x'") == 2
    assert refused(db.ask(of("helper"), statement), HELPERS, HELD)


def test_a_role_that_inherits_a_token_role_is_held(db: Scratch):
    """As by the policies TO it: membership counts."""
    make_roles(db.connection, "columns_heir")
    db.run("grant authenticated to columns_heir")
    assert db.ask(of("helper"), "update public.tickets set title = 'x'", role="columns_heir") == 2
    assert refused(db.ask(of("helper"), "update public.tickets set secret = 'x'", role="columns_heir"), HELPERS, HELD)


def test_a_client_is_one_however_its_claims_are_written(db: Scratch):
    """A key in JSON escapes is the key; and a person's claims may have the key's letters in a value."""
    escaped = json.dumps({"sub": ANN}).replace("}", r', "\u0063lient_id": "helper"}')
    assert db.ask(escaped, "update public.tickets set title = 'x'") == 2
    assert refused(db.ask(escaped, "update public.tickets set secret = 'x'"), HELPERS, HELD)
    for odd in ({"note": "client_id"}, {"note": "back\\slash"}):
        assert db.ask(ann(**odd), "update public.tickets set secret = 'x'") == 2


def test_what_other_triggers_do_is_not_the_clients(db: Scratch):
    """A trigger of the app may set what the client may not, before or after the guard; a guard isn't got round so."""
    db.run("""create function public.stamp() returns trigger language plpgsql as 'begin new.secret := ''stamped''; return new; end';
           create trigger "  first" before update on public.tickets for each row execute function public.stamp();
           create trigger zz before update on public.tickets for each row execute function public.stamp()""")  # fmt: skip
    with db.token(of("helper")) as session:
        session.execute(b"update public.tickets set title = 'x'")
        assert session.execute(b"select distinct secret from public.tickets").fetchall() == [("stamped",)]
    assert refused(db.ask(of("helper"), "update public.tickets set secret = 'x'"), HELPERS, HELD)


def test_a_column_that_is_computed_follows(db: Scratch):
    """What is generated from a column that may be set changes with it."""
    with db.token(of("helper")) as session:
        session.execute(b"update public.tickets set title = 'LOUD'")
        assert session.execute(b"select distinct words from public.tickets").fetchall() == [("loud",)]


def test_an_action_of_a_foreign_key_passes(db: Scratch):
    """It runs as the table's owner, whom neither policies nor grants bind: the client changed the other table."""
    with db.token(of("helper")) as session:
        assert session.execute(b"update public.teams set id = 7 where id = 1").rowcount == 1
        assert session.execute(b"select distinct team from public.tickets").fetchall() == [(7,)]
    assert refused(db.ask(of("helper"), "update public.tickets set team = 2"), HELPERS, HELD)


def test_partitions_are_held_with_their_table(each_scratch: Scratch):
    """Rows that stay or move, partitions of two levels, and one that is attached later."""
    each_scratch.run(f"""
        create table public.parts (id integer, kind text, owner uuid, secret text) partition by list (kind);
        create table public.parts_a (secret text, owner uuid, id integer, kind text);
        alter table public.parts attach partition public.parts_a for values in ('a');
        create table public.parts_b partition of public.parts for values in ('b') partition by range (id);
        create table public.parts_b1 partition of public.parts_b for values from (0) to (9);
        insert into public.parts values (1, 'a', '{ANN}', 's'), (2, 'b', '{ANN}', 's');
        grant select, insert, update on public.parts to authenticated""")
    each_scratch.install("""
tables:
  public.parts:
    clients:
      - {who: helper, allow: select}
      - {who: helper, allow: update, columns: [kind]}
""")
    each_scratch.run(
        f"create table public.parts_c partition of public.parts for values in ('c'); insert into public.parts values (3, 'c', '{ANN}', 's')"
    )
    for key, kind in ((1, "a"), (1, "b"), (2, "b"), (3, "c"), (3, "a")):
        where = f"where id = {key}"
        assert each_scratch.ask(of("helper"), f"update public.parts set kind = '{kind}' {where}") == 1
        assert each_scratch.ask(ann(), f"update public.parts set kind = '{kind}', secret = 'x' {where}") == 1
        answer = each_scratch.ask(of("helper"), f"update public.parts set kind = '{kind}', secret = 'x' {where}")
        assert answer == "42501 mcp_rls: parts columns, helper: an update may set only kind"


def test_a_session_that_reads_strings_the_old_way_is_held(db: Scratch):
    """Nothing in the guard depends on the settings of the session that fires it."""
    old = "set local standard_conforming_strings = off", "set local transform_null_equals = on"
    assert db.ask(of("helper"), *old, "update public.tickets set title = 'x'") == 2
    assert refused(db.ask(of("helper"), *old, "update public.tickets set secret = 'x'"), HELPERS, HELD)


# --- people


PEOPLE = """
tables:
  public.notes:
    people:
      - {allow: [select, insert], rows: "owner = token.person"}
      - {allow: update, rows: "owner = token.person", columns: {except: [owner]}}
    clients:
      - {who: helper, allow: select}
      - {who: helper, allow: update, columns: [status, owner]}
"""


def test_a_class_may_be_called_people(scratch: Scratch):
    """Its guard and that of people themselves stand side by side."""
    scratch.run(NOTES)
    text = PEOPLE.replace("who: helper", "who: people").replace("{except: [owner]}", "[status, id]")
    scratch.install(HEAD.replace("classes: {helper:", "classes: {people:") + text)
    may = {
        c: [scratch.ask(claims, f"update public.notes set {c} = {c}") == 2 for claims in (ann(), of("helper"))]
        for c in ("status", "owner", "id")
    }
    assert may == {"status": [True, True], "owner": [False, False], "id": [True, False]}


def test_people_are_held_to_their_own_columns(each_scratch: Scratch):
    """A rule for people holds their sessions and, as a client never gets more, their clients."""
    each_scratch.run(
        f"create table public.notes (id integer primary key, owner uuid, status text); insert into public.notes values (1, '{ANN}', 'open'); grant all on public.notes to authenticated"
    )
    each_scratch.install(PEOPLE)

    def answers(column: str) -> list[object]:
        return [each_scratch.ask(claims, f"update public.notes set {column} = {column}") for claims in (ann(), of("helper"))]  # fmt: skip

    of_people = "42501 mcp_rls: notes people columns: an update may set all columns but owner"
    assert answers("status") == [1, 1]
    assert answers("owner") == [of_people, of_people]
    assert answers("id") == [1, "42501 mcp_rls: notes columns, helper: an update may set only owner, status"]


# --- columns that come later


def test_a_column_that_comes_later_is_closed_until_policies_are_applied(db: Scratch):
    """Who is held to a list updates nothing then; who may set all but some, or isn't held, sets the new one too."""
    db.run("alter table public.tickets add column later text")
    closed = "42501 mcp_rls: tickets columns new, helper, twin: an update may set only status, title"
    assert db.ask(of("helper"), "update public.tickets set status = 'closed'") == closed
    assert db.ask(of("helper"), "update public.tickets set later = 'x'") == closed
    for claims in (ann(), of("free"), of("sparing")):
        assert db.ask(claims, "update public.tickets set later = 'x', title = 'x'") == 2
    assert db.ask(None, "update public.tickets set later = 'x'", role="anon") == 3
    db.install(FILE)
    assert db.ask(of("helper"), "update public.tickets set status = 'closed'") == 2
    assert refused(db.ask(of("helper"), "update public.tickets set later = 'x'"), HELPERS, HELD)


def test_another_name_changes_nothing(db: Scratch):
    """Triggers follow their columns and tables, as policies do."""
    db.run("alter table public.tickets rename secret to hidden; alter table public.tickets rename to issues")
    assert db.ask(of("helper"), "update public.issues set status = 'closed'") == 2
    assert str(db.ask(of("helper"), "update public.issues set hidden = 'x'")).startswith(
        "42501 mcp_rls: tickets columns, "
    )


# --- what the database says of a file


@pytest.mark.parametrize(
    ("columns", "code", "words"),
    [
        ("[statsu]", "unknown-column", 'table "public.tickets" has no column "statsu"'),
        ("{except: [secrets]}", "unknown-column", 'table "public.tickets" has no column "secrets"'),
        ("[title, words]", "generated-column", 'column "words" of table "public.tickets" is generated: no update sets it'),
        ("[title, number]", "generated-column", 'column "number" of table "public.tickets" is generated: no update sets it'),
        ("{except: [words]}", "generated-column", 'column "words" of table "public.tickets" is generated: no update sets it'),
        ("{except: [id, owner, team, status, title, secret, spot, raw]}", "never-holds", 'this leaves an update of "public.tickets" no column to set'),
    ],
)  # fmt: skip
def test_columns_are_checked_against_the_table(scratch: Scratch, columns: str, code: str, words: str):
    """A column that isn't there, one that no update sets, or none left: an error at the line, with the nearest name."""
    scratch.run(SCHEMA)
    text = FILE.replace("columns: [title]}", f"columns: {columns}}}")
    with pytest.raises(Invalid) as caught:
        scratch.prepare(text)
    (error,) = caught.value.diagnostics.errors
    assert (error.code, error.message) == (code, words)
    assert text.splitlines()[error.span.line - 1][error.span.column - 1 :].startswith("columns:")
    assert ("status" in " ".join(error.hints)) is (columns == "[statsu]")


def test_a_number_of_the_tables_own_can_be_kept(scratch: Scratch):
    """GENERATED ALWAYS AS IDENTITY can be set to DEFAULT, the next number: `except` may name it."""
    scratch.run(SCHEMA)
    scratch.install(FILE.replace("columns: [title]}", "columns: {except: [number]}}"))
    assert scratch.ask(of("writer"), "update public.tickets set secret = 'x'") == 2
    assert refused(
        scratch.ask(of("writer"), "update public.tickets set number = default"), "writer", "all columns but number"
    )


def test_a_role_without_execute_has_no_way_to_the_guard(db: Scratch):
    """Nobody is given EXECUTE on it, and PostgreSQL asks for it only when a trigger is made."""
    assert db.value(
        "select proacl::text like '%=X%' and array_length(proacl, 1) = 1 from pg_proc where proname = 'guard_columns'"
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege), db.token(of("helper")) as session:
        session.execute(b"select mcp_rls.guard_columns()")


def test_a_file_without_columns_makes_no_trigger(scratch: Scratch):
    """No trigger unless `columns:` asks for one, nor the function."""
    scratch.run(SCHEMA)
    assert not policies(FILE).held_to(next(iter(policies(FILE).tables)), "nobody")
    plan = scratch.install(FILE[: FILE.index("      - {who: [helper, twin]")] + "      - {who: free, allow: update}\n")
    assert not [s for s in plan.statements if "create trigger" in s or "guard_columns" in s]
    assert scratch.value("select count(*) from pg_trigger where not tgisinternal") == 0


# --- class roles


CLASS_ROLES = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated, anon]
class_roles: true
classes:
  columns_helper: {match: {ids: [helper]}}
  columns_sparing: {match: {ids: [sparing]}}
tables:
  public.notes:
    people:
      - {allow: select, rows: "owner = token.person"}
      - {allow: update, rows: "owner = token.person", columns: {except: [id]}}
    clients:
      - {who: [columns_helper, columns_sparing], allow: select}
      - {who: columns_helper, allow: update, columns: [status, id]}
      - {who: columns_sparing, allow: update, columns: {except: [owner]}}
"""


def test_a_class_role_is_granted_its_columns(each_scratch: Scratch):
    """No trigger for clients: a grant says it, whatever the claims; what holds people holds them too."""
    each_scratch.run(NOTES)
    each_scratch.install(CLASS_ROLES)
    assert each_scratch.left(CLASS_ROLES) == []
    made = [name for (name,) in each_scratch.run("select tgname from pg_trigger where tgname like ' mcp_rls%'")]
    assert made == [" mcp_rls: notes people columns"]

    def answers(column: str) -> list[object]:
        statement = f"update public.notes set {column} = {column}"
        found = [each_scratch.ask(of(c), statement, role=f"mcp_columns_{c}") for c in ("helper", "sparing")]
        return [each_scratch.ask(ann(), statement), *found]

    denied = "42501 permission denied for table notes"
    of_people = "42501 mcp_rls: notes people columns: an update may set all columns but id"
    assert answers("status") == [2, 2, 2]
    assert answers("owner") == [2, denied, denied]
    assert answers("id") == [of_people, of_people, of_people]
    each_scratch.run("alter table public.notes add column later text")
    assert answers("later") == [2, denied, denied]
    each_scratch.install(CLASS_ROLES)
    assert answers("later") == [2, denied, 2]


def test_a_whole_privilege_that_a_class_role_was_given_by_hand_goes_again(scratch: Scratch):
    """REVOKE on the table takes its columns along; they are granted again in the same plan."""
    scratch.run(NOTES)
    scratch.install(CLASS_ROLES)
    scratch.run("grant update on public.notes to mcp_columns_helper")
    assert scratch.ask(of("helper"), "update public.notes set owner = owner", role="mcp_columns_helper") == 2
    scratch.install(CLASS_ROLES)
    assert scratch.ask(of("helper"), "update public.notes set status = 'x'", role="mcp_columns_helper") == 2
    answer = scratch.ask(of("helper"), "update public.notes set owner = owner", role="mcp_columns_helper")
    assert answer == "42501 permission denied for table notes"


def test_a_script_grants_columns_too(scratch: Scratch):
    """Compiled without a database: a list is granted; what all but some are is for a plan to say, and closed till then."""
    scratch.run(NOTES)
    resolved = resolve(policies(CLASS_ROLES), None, Diagnostics())
    assert resolved is not None
    for statement in script(lower(resolved, State())):
        scratch.run(statement)

    def may(client: str) -> list[str]:
        role = f"mcp_columns_{client}"
        return [
            c
            for c in ("status", "owner")
            if scratch.ask(of(client), f"update public.notes set {c} = {c}", role=role) == 2
        ]

    assert (may("helper"), may("sparing")) == (["status"], [])
    scratch.install(CLASS_ROLES)
    assert (may("helper"), may("sparing")) == (["status"], ["status"])
