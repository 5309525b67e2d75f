"""A database role for each class: the same verdicts as in shared roles, and roles that come and go with the file."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mcp_rls.compiler.lower import lower
from mcp_rls.compiler.policy import load_policies, read_policies
from mcp_rls.compiler.resolve import resolve
from mcp_rls.database.apply import Refused, apply_by_table, apply_plan, install
from mcp_rls.database.drift import drift
from mcp_rls.database.server import Server
from mcp_rls.diagnostics import Diagnostics, Invalid
from mcp_rls.harness.hostile import run_hostile
from mcp_rls.harness.matrix.result import Verdict
from mcp_rls.harness.matrix.run import run_matrix
from mcp_rls.harness.run import run_suite
from mcp_rls.harness.suite import load_suite
from mcp_rls.plan import plan, removed, script
from mcp_rls.resources import bundled
from mcp_rls.state import State
from tests.postgres.project import NOTES_MODEL, Project
from tests.postgres.scratch import ANN, BOB, NOTES, Scratch, ann, helper, policies, scratch_on
from tests.postgres.test_alembic import OPEN, Revisions

pytestmark = pytest.mark.postgres

TEMPLATES = sorted(path.name for path in bundled("policy_templates").iterdir() if (path / "policies.yaml").exists())
OWN = '{allow: [select, insert, update, delete], rows: "owner = token.person"}'
ROLE = "select rolcanlogin, rolinherit, rolsuper, rolbypassrls from pg_roles where rolname = "


def head(name: str, more: str = "", keys: str = "true") -> str:
    """A file with one class of that name; roles belong to the whole server, so each test has names of its own."""
    return f"""
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated, anon]
anonymous: [anon]
class_roles: {keys}
classes: {{{name}: {{match: {{ids: [helper]}}}}{more}}}
scopes: {{"n:r": {{text: Read}}}}
"""


def notes(rules: str, people: str = f"[{OWN}]") -> str:
    return f"tables:\n  public.notes: {{people: {people}, clients: [{rules}]}}\n"


def with_class_roles(folder: Path, target: Path) -> Path:
    """The template's policy file, with a role for each class."""
    text = (folder / "policies.yaml").read_text()
    target.write_text(re.sub(r"^(roles: .*)$", r"\1\nclass_roles: true", text, flags=re.MULTILINE))
    return target


def for_everybody(schema: str) -> str:
    """The template's schema with the app's policies for PUBLIC: they must speak of claims alone."""
    return re.sub(r"(create policy[^;]*?) to (authenticated|web_user|web_anon)\b", r"\1", schema)


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_say_the_same_both_ways(name: str, server: Any, tmp_path: Path) -> None:
    """Every case of a template has one verdict in shared roles and in class roles; so has what the file's words say."""
    folder = bundled("policy_templates") / name
    verdicts = {}
    for way, path in {"shared": folder / "policies.yaml", "own": with_class_roles(folder, tmp_path / "p.yaml")}.items():
        ours, _ = load_policies(path)
        assert ours is not None
        assert bool(ours.class_roles) == (way == "own")
        suite, _ = load_suite(folder / "cases.yaml", ours)
        assert suite is not None
        with scratch_on(server) as scratch:
            scratch.run(for_everybody((folder / "schema.sql").read_text()))
            install(scratch.connection, ours)
            result = run_suite(scratch.connection, ours, suite)
            verdicts[way] = {r.check.case.title: r.verdict for r in result.cases if r.check.case}
            assert result.exit_code == 0, [f.message for f in result.failures[:3]]
            if way == "own":
                matrix = run_matrix(scratch.connection, ours)
                assert not matrix.findings
                assert Verdict.UNDECIDED not in {c.verdict for c in matrix.cells}
                assert {Verdict.ALLOWED, Verdict.DENIED} <= {c.verdict for c in matrix.cells}
                hostile = run_hostile(scratch.connection, ours, suite)
                assert hostile.variants > 100
                assert not hostile.findings
    assert verdicts["own"] == verdicts["shared"]


def test_a_class_role_is_the_class(scratch: Scratch) -> None:
    """A class that needs nothing else is known by its role; in a shared role its clients have nothing."""
    scratch.run(NOTES)
    scratch.install(head("known") + notes("{who: known, allow: select, rows: \"status = 'open'\"}"))
    assert scratch.sees(helper(), role="mcp_known") == [1]
    assert scratch.sees({"sub": BOB, "client_id": "helper"}, role="mcp_known") == [3]
    assert scratch.sees({"client_id": "helper"}, role="mcp_known") == []  # nobody's rows
    assert scratch.sees(helper()) == []
    assert scratch.sees(ann()) == [1, 2]
    condition = scratch.value(
        "select pg_get_expr(polqual, polrelid) from pg_policy where polname = 'mcp_rls: notes select by known'"
    )
    assert "gate" not in condition


def test_scopes_are_asked_for_and_the_token_must_agree(scratch: Scratch) -> None:
    """Where a rule needs a scope, the token's client must be of the class whose role it has."""
    scratch.run(NOTES)
    rules = '{who: scoped, allow: select, scope: "n:r"}'
    scratch.install(head("scoped", ", other_scoped: {match: {ids: [other]}}") + notes(rules))
    assert scratch.sees(helper(scope="n:r"), role="mcp_scoped") == [1, 2]
    for claims in (helper(), helper(scope="n:rr"), ann(scope="n:r"), ann(client_id="other", scope="n:r"), None, "{"):
        assert scratch.sees(claims, role="mcp_scoped") == []
    assert scratch.sees(helper(scope="n:r"), role="mcp_other_scoped") == "42501 permission denied for table notes"


def test_grants_are_what_the_rules_need(scratch: Scratch) -> None:
    """Table, schema and sequence privileges; nothing on other commands, even where PUBLIC holds some."""
    scratch.run(
        NOTES
        + "create schema far; create table far.logs (id serial primary key, owner uuid); grant all on far.logs, far.logs_id_seq to authenticated; grant usage on schema far to authenticated"
    )
    file = head("granted").replace("[public]", "[public, far]")
    rules = '\n  far.logs: {people: [{allow: [select, insert], rows: "owner = token.person"}], clients: [{who: granted, allow: insert}]}\n'
    scratch.install(file + notes("{who: granted, allow: select}") + rules)
    made = f"insert into far.logs (owner) values ('{ANN}')"
    assert scratch.ask(helper(), made, role="mcp_granted") == 1
    assert scratch.ask(helper(), made.replace(ANN, BOB), role="mcp_granted").startswith("42501 new row violates")  # type: ignore[union-attr]
    assert scratch.ask(helper(), made + " returning id", role="mcp_granted") == "42501 permission denied for table logs"
    assert (
        scratch.ask(helper(), "delete from public.notes", role="mcp_granted")
        == "42501 permission denied for table notes"
    )
    scratch.run("grant delete on public.notes to public")
    assert scratch.ask(helper(), "delete from public.notes", role="mcp_granted") == 0
    held = scratch.run(
        "select relname, privilege_type from pg_class cross join aclexplode(relacl) where grantee = 'mcp_granted'::regrole order by 1"
    )
    assert held == [("logs", "INSERT"), ("logs_id_seq", "USAGE"), ("notes", "SELECT")]
    assert scratch.left(file + notes("{who: granted, allow: select}") + rules) == []


def test_a_class_is_granted_no_more_than_people_have(scratch: Scratch) -> None:
    """Neither a command nor a column nor a schema that people's own sessions can't use; they keep what they had."""
    scratch.run(
        NOTES
        + """revoke all on public.notes from authenticated; grant select (id, status), update (status) on public.notes to authenticated;
        create schema far; create table far.logs (id integer primary key); insert into far.logs values (1); grant select on far.logs to authenticated"""
    )
    file = head("meagre").replace("[public]", "[public, far]")
    rules = "tables:\n  public.notes: {people: [{allow: [select, update, delete], rows: id < 3}], clients: [{who: meagre, allow: [select, update, delete]}]}\n"
    file += rules + "  far.logs: {people: [{allow: select}], clients: [{who: meagre, allow: select}]}\n"
    scratch.install(file)
    for claims, role in ((ann(), "authenticated"), (helper(), "mcp_meagre")):
        assert scratch.ask(claims, "select id, status from public.notes", role=role) == [(1, "open"), (2, "closed")]
        assert scratch.ask(claims, "update public.notes set status = 'x' where id = 1", role=role) == 1
        for refused in ("select owner from public.notes", "update public.notes set id = 9", "delete from public.notes"):
            assert scratch.ask(claims, refused, role=role) == "42501 permission denied for table notes"
        assert scratch.ask(claims, "select * from far.logs", role=role) == "42501 permission denied for schema far"
    scratch.run("grant usage on schema far to authenticated")
    assert scratch.left(file) == ["mcp_meagre may use the schema far", "note in the manifest what changed"]


def test_a_class_takes_numbers_where_people_do(scratch: Scratch) -> None:
    """A default that counts is for a class's client only where its person may count, too."""
    scratch.run(
        "create table public.logs (id serial primary key, owner uuid); grant all on public.logs to authenticated"
    )
    rules = '[{allow: insert, rows: "owner = token.person"}], clients: [{who: counts, allow: insert}]'
    file = head("counts") + f"tables: {{public.logs: {{people: {rules}}}}}"
    made = f"insert into public.logs (owner) values ('{ANN}')"
    scratch.install(file)
    for claims, role in ((ann(), "authenticated"), (helper(), "mcp_counts")):
        assert scratch.ask(claims, made, role=role) == "42501 permission denied for sequence logs_id_seq"
    scratch.run("grant usage on public.logs_id_seq to authenticated")
    scratch.install(file)
    for claims, role in ((ann(), "authenticated"), (helper(), "mcp_counts")):
        assert scratch.ask(claims, made, role=role) == 1
    assert scratch.left(file) == []


def test_people_and_classes_get_and_lose_together(scratch: Scratch) -> None:
    """A command that rules for people begin or cease to allow is the class's at once: nothing is left for later."""
    scratch.run(NOTES)
    rules = "{who: together, allow: [select, update]}"
    some = head("together") + notes(rules, people='[{allow: select, rows: "owner = token.person"}]')
    more = head("together") + notes(rules)
    change = "update public.notes set status = 'x'"
    for file in (some, more, some):
        scratch.install(file)
        assert scratch.left(file) == []
        denied = "42501 permission denied for table notes"
        for claims, role in ((ann(), "authenticated"), (helper(), "mcp_together")):
            assert scratch.ask(claims, change, role=role) == (2 if file is more else denied)


def offline(scratch: Scratch, file: str) -> None:
    """Carries out what `compile` writes for this file without a database."""
    resolved = resolve(policies(file), None, Diagnostics())
    assert resolved is not None
    for statement in script(lower(resolved, State())):
        scratch.connection.execute(statement.encode())


def test_without_a_database_the_grant_asks_it(scratch: Scratch) -> None:
    """What `compile` writes grants a class role what people turn out to have, and `drift` sees nothing in that."""
    scratch.run(NOTES + "revoke update on public.notes from authenticated")
    file = head("offline") + notes("{who: offline, allow: [select, update]}")
    offline(scratch, file)
    assert scratch.sees(helper(), role="mcp_offline") == [1, 2]
    assert (
        scratch.ask(helper(), "update public.notes set status = 'x'", role="mcp_offline")
        == "42501 permission denied for table notes"
    )
    held = [o for o in scratch.left(file) if "gets" in o or "mcp_offline" in o]
    assert held == []
    assert [f for f in drift(scratch.connection, policies(file)).findings if "mcp_offline" in f.now] == []


def test_without_a_database_nothing_is_wider(scratch: Scratch) -> None:
    """A class role gets into no schema that people don't get into, and keeps nothing that it had before."""
    scratch.run(
        NOTES
        + """create role mcp_wide nologin; grant truncate, update (status) on public.notes to mcp_wide;
        create schema far; create table far.logs (id integer primary key); grant select on far.logs to authenticated"""
    )
    file = head("wide").replace("[public]", "[public, far]") + notes("{who: wide, allow: select}")
    file += "  far.logs: {people: [{allow: select}], clients: [{who: wide, allow: select}]}\n"
    offline(scratch, file)
    for claims, role in ((ann(), "authenticated"), (helper(), "mcp_wide")):
        assert scratch.sees(claims, role=role) == [1, 2]
        assert scratch.ask(claims, "select from far.logs", role=role) == "42501 permission denied for schema far"
    for refused_ in ("truncate public.notes", "update public.notes set status = 'x'"):
        denied = "42501 permission denied for table notes"
        assert scratch.ask(helper(), refused_, role="mcp_wide") == denied
    assert [o for o in scratch.left(file) if "mcp_wide" in o] == []
    scratch.run("drop owned by mcp_wide; drop role mcp_wide")


def test_a_plan_for_another_server_meets_an_unfit_role(scratch: Scratch) -> None:
    """What is written without looking stops where the role can do more than a class may; others are taken."""
    scratch.run(NOTES + "create role mcp_elsewhere nologin bypassrls")
    file = head("elsewhere") + notes("{who: elsewhere, allow: select}")
    with pytest.raises(psycopg.errors.RaiseException, match="mcp_elsewhere is there already"):
        offline(scratch, file)
    assert (
        scratch.ask(helper(), "select from public.notes", role="mcp_elsewhere")
        == "42501 permission denied for table notes"
    )
    scratch.run("alter role mcp_elsewhere nobypassrls")
    offline(scratch, file)
    assert scratch.sees(helper(), role="mcp_elsewhere") == [1, 2]
    scratch.run("drop owned by mcp_elsewhere; drop role mcp_elsewhere")


def test_what_policies_read_is_granted_and_shows_nothing(scratch: Scratch) -> None:
    """The app's policy reads a support table, as the class role: it may, under a ceiling of its own."""
    scratch.run(f"""{NOTES}
        create table public.members (person uuid primary key, level integer);
        insert into public.members values ('{ANN}', 1);
        grant select on public.members to authenticated;
        alter table public.members enable row level security;
        create policy own on public.members using (true);
        alter table public.notes enable row level security;
        create policy "of members" on public.notes using (exists (select from public.members m where m.person = owner))""")
    file = (
        head("reads")
        + "tables:\n  public.notes: {clients: [{who: reads, allow: select}]}\n  public.members: {clients: MEMBERS}\n"
    )
    scratch.install(file.replace("MEMBERS", "none"))
    assert scratch.sees(helper(), role="mcp_reads") == []
    assert scratch.ask(helper(), "select level from public.members", role="mcp_reads") == []
    scratch.install(file.replace("MEMBERS", "read_as_person"))
    assert scratch.sees(helper(), role="mcp_reads") == [1, 2]
    assert scratch.ask(helper(), "select level from public.members", role="mcp_reads") == [1]


def test_roles_come_and_go_with_the_file(scratch: Scratch) -> None:
    """Made once, noted, planned no more; gone with the class, unless something depends on it."""
    scratch.run(NOTES)
    file = head("fleeting", ", staying: {match: {ids: [other]}}") + notes("{who: [fleeting, staying], allow: select}")
    scratch.install(file)
    assert scratch.run(ROLE + "'mcp_fleeting'") == [(False, False, False, False)]
    assert scratch.left(file) == []
    scratch.run("create schema far; create table far.apart (id integer); grant select on far.apart to mcp_staying")
    gone = file.replace("class_roles: true", "class_roles: false")
    assert {"drop the role mcp_fleeting, unless something depends on it"} <= set(scratch.left(gone))
    scratch.install(gone)
    assert scratch.run(ROLE + "'mcp_fleeting'") == []
    assert scratch.run(ROLE + "'mcp_staying'") != []
    assert scratch.left(gone) == []
    assert scratch.sees(helper()) == [1, 2]
    scratch.run("drop table far.apart; drop role mcp_staying")


def test_a_role_that_others_made_stays(scratch: Scratch) -> None:
    """A role of that name is taken as it is, and left when the class goes; one that isn't fit is an error."""
    scratch.run(
        NOTES + "create role mcp_foreign nologin; create role mcp_unfit noinherit; grant authenticated to mcp_unfit"
    )
    file = head("foreign") + notes("{who: foreign, allow: select}")
    scratch.install(file)
    assert scratch.sees(helper(), role="mcp_foreign") == [1, 2]
    scratch.install(file.replace("class_roles: true", "class_roles: false"))
    assert scratch.run(ROLE + "'mcp_foreign'") != []
    with pytest.raises(Invalid) as refused:
        scratch.install(head("unfit") + notes("{who: unfit, allow: select}"))
    (error,) = [d for d in refused.value.diagnostics if d.severity.label == "error"]
    assert (error.code, error.span.line) == ("class-role-unfit", 8)
    assert error.message == 'the role "mcp_unfit" of class "unfit" is a member of authenticated'
    scratch.run("drop role mcp_unfit; drop role mcp_foreign")


@pytest.mark.parametrize("fault", ["has CREATEROLE", "owns schema apart"])
def test_a_role_that_can_do_more_is_unfit(scratch: Scratch, fault: str) -> None:
    """Who owns a schema may drop its tables, and who makes roles may become any."""
    more = {
        "has CREATEROLE": "alter role mcp_more createrole",
        "owns schema apart": "create schema apart authorization mcp_more",
    }
    less = {"has CREATEROLE": "alter role mcp_more nocreaterole", "owns schema apart": "drop schema apart"}
    scratch.run(NOTES + "create role mcp_more nologin;" + more[fault])
    file = head("more") + notes("{who: more, allow: select}")
    with pytest.raises(Invalid) as refused:
        scratch.install(file)
    assert f'the role "mcp_more" of class "more" {fault}' in [d.message for d in refused.value.diagnostics]
    scratch.run(less[fault])
    scratch.install(file)
    assert scratch.sees(helper(), role="mcp_more") == [1, 2]
    scratch.run("drop owned by mcp_more; drop role mcp_more")


def test_a_role_that_others_gave_something_is_left_with_what_it_needs(scratch: Scratch) -> None:
    """Grants on schemas, sequences and tables, also such as it may pass on: all that no rule needs goes at once."""
    scratch.run(
        NOTES
        + """create role mcp_given nologin; create schema far; create sequence far.numbers; grant usage on schema far to mcp_given;
        grant usage on far.numbers to mcp_given; grant all on public.notes to mcp_given with grant option"""
    )
    file = head("given") + notes("{who: given, allow: select}")
    scratch.install(file)
    assert scratch.left(file) == []
    assert scratch.sees(helper(), role="mcp_given") == [1, 2]
    assert (
        scratch.ask(helper(), "select nextval('far.numbers')", role="mcp_given")
        == "42501 permission denied for schema far"
    )
    assert scratch.value("select has_table_privilege('mcp_given', 'public.notes', 'select with grant option')") is False
    scratch.run("drop owned by mcp_given; drop role mcp_given")


def test_two_databases_share_a_role(server: Any) -> None:
    """The role is dropped with the last database that needs it."""
    file = head("shared") + notes("{who: shared, allow: select}")
    gone = file.replace("class_roles: true", "class_roles: false")
    with scratch_on(server) as one, scratch_on(server) as other:
        for scratch in (one, other):
            scratch.run(NOTES)
            scratch.install(file)
        one.install(gone)
        assert one.left(gone) == []
        assert other.left(file) == []
        assert other.sees(helper(), role="mcp_shared") == [1, 2]
        other.install(gone)
        assert other.run(ROLE + "'mcp_shared'") == []


def test_who_may_take_a_role(scratch: Scratch) -> None:
    """`taken_by` may become each class role, and has none of its privileges before; what others gave is left alone."""
    scratch.run(NOTES + "create role taker login noinherit; create role friend nologin")
    file = head("taken", keys="{taken_by: [taker]}") + notes("{who: taken, allow: select}")
    scratch.install(file)
    scratch.run("grant mcp_taken to friend")
    with scratch.connection.transaction(force_rollback=True):
        scratch.run("set session authorization taker")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), scratch.connection.transaction():
            scratch.run("select from public.notes")
        scratch.run("set local role mcp_taken")
        assert scratch.value("select current_user") == "mcp_taken"
    assert scratch.left(file) == []
    nobody = file.replace("{taken_by: [taker]}", "true")
    assert scratch.left(nobody) == ["taker may no longer become mcp_taken", "note in the manifest what changed"]
    scratch.install(nobody)
    members = "select member::regrole::text from pg_auth_members where roleid = 'mcp_taken'::regrole and member <> 10"
    assert scratch.run(members) == [("friend",)]
    scratch.install(file.replace("class_roles: {taken_by: [taker]}", "class_roles: false"))
    scratch.run("drop role taker; drop role friend")


def test_a_class_role_takes_no_other(scratch: Scratch) -> None:
    """It is a member of nothing, whatever the file says."""
    _, diagnostics = read_policies(
        "policies.yaml", head("ring", keys="{taken_by: [mcp_ring]}") + notes("{who: ring, allow: select}")
    )
    (error,) = [d for d in diagnostics if d.severity.label == "error"]
    assert (error.code, error.message) == (
        "bad-value",
        '"mcp_ring" is a class\'s own role, which is a member of no other',
    )
    assert policies(head("ring", keys="{taken_by: [mcp_rings]}") + notes("{who: ring, allow: select}")).taken_by == (
        "mcp_rings",
    )


@contextmanager
def as_user(scratch: Scratch, name: str, attributes: str) -> Iterator[None]:
    """The connection as a role that is no superuser, with a schema `app` of its own in which the notes are."""
    scratch.run(f"create role {name} nologin {attributes}; create schema app authorization {name}")
    scratch.run(f"do $$ begin execute format('grant create on database %I to {name}', current_database()); end $$")
    scratch.run(f"set session authorization {name}")
    try:
        scratch.run(NOTES.replace("public.", "app.") + "grant usage on schema app to authenticated")
        yield
    finally:
        scratch.run(f"reset session authorization; drop owned by {name} cascade; drop role {name}")


def in_app(file: str) -> str:
    return file.replace("[public]", "[app]").replace("public.", "app.")


def test_whoever_makes_roles_makes_these(each_server: Server) -> None:
    """CREATEROLE is enough; without it and without the roles nothing is done, and roles made beforehand will do."""
    with scratch_on(each_server) as scratch:
        scratch.run("create role sluice nologin noinherit")
        file = in_app(head("humble", keys="{taken_by: [sluice]}") + notes("{who: humble, allow: select}"))
        with as_user(scratch, "maker", "createrole"):
            scratch.install(file)
            assert scratch.left(file) == []
            gone = file.replace("{taken_by: [sluice]}", "false")
            scratch.install(gone)
            assert scratch.run(ROLE + "'mcp_humble'") == []
        with as_user(scratch, "taker_of_roles", ""):
            with pytest.raises(Refused, match="permission denied to create role"):
                scratch.install(file)
            assert scratch.run("select from pg_policy") == []
            scratch.run(
                "reset session authorization; create role mcp_humble nologin; set session authorization taker_of_roles"
            )
            with pytest.raises(Refused, match='role "mcp_humble"'):
                scratch.install(file)
            scratch.run(
                "reset session authorization; grant mcp_humble to sluice; set session authorization taker_of_roles"
            )
            scratch.install(file)
            assert scratch.left(file) == []
        scratch.run("drop role mcp_humble; drop role sluice")


def test_a_role_that_somebody_else_made_stays(server: Server) -> None:
    """Whoever may not drop it gets on without: it has nothing left here."""
    file = head("lent") + notes("{who: lent, allow: select}")
    with scratch_on(server) as one, scratch_on(server) as other:
        one.run(NOTES)
        one.install(file)
        with as_user(other, "borrower", "createrole"):
            other.install(in_app(file))
            one.install(file.replace("class_roles: true", "class_roles: false"))
            gone = in_app(file).replace("class_roles: true", "class_roles: false")
            other.install(gone)
            assert other.left(gone) == []
        assert one.run(ROLE + "'mcp_lent'") != []
        assert one.run("select from pg_shdepend where refobjid = 'mcp_lent'::regrole") == []
        one.run("drop role mcp_lent")


def test_a_role_that_another_database_drops_at_that_moment(scratch: Scratch) -> None:
    """To try again makes it."""
    scratch.run(NOTES + "create role mcp_passing nologin")
    file = head("passing") + notes("{who: passing, allow: select}")
    expected = scratch.prepare(file).plan
    told: list[str] = []
    waiting = "select count(*) from pg_locks where locktype = 'object' and not granted"
    with psycopg.connect(scratch.url) as other, psycopg.connect(scratch.url, autocommit=True) as looking:
        other.execute("drop role mcp_passing")
        arguments = {"lock_timeout": "20s", "waiting": told.append}
        applying = threading.Thread(
            target=apply_plan, args=(scratch.connection, policies(file), expected), kwargs=arguments
        )
        applying.start()
        while applying.is_alive() and looking.execute(waiting).fetchone() == (0,):
            time.sleep(0.01)
        other.commit()
        applying.join()
    assert len(told) == 1
    assert "concurrently dropped" in told[0]
    assert scratch.sees(helper(), role="mcp_passing") == [1, 2]


def test_policies_of_the_app_that_name_a_role(scratch: Scratch) -> None:
    """A policy for the shared role alone would leave the class's person without it: an error, mended by PUBLIC."""
    scratch.run(
        NOTES
        + f"alter table public.notes enable row level security; create policy own on public.notes to authenticated using (owner = '{ANN}')"
    )
    file = head("bound") + "tables: {public.notes: {clients: [{who: bound, allow: select}]}}"
    with pytest.raises(Invalid) as refused:
        scratch.install(file)
    (error,) = [d for d in refused.value.diagnostics if d.severity.label == "error"]
    assert (error.code, error.span.line) == ("class-role-people", 10)
    scratch.run(f"alter policy own on public.notes to public using (owner = '{ANN}' and current_user <> 'x')")
    with pytest.raises(Invalid):
        scratch.install(file)
    scratch.run(f"alter policy own on public.notes using (owner = '{ANN}')")
    scratch.install(file)
    assert scratch.sees(helper(), role="mcp_bound") == [1, 2]
    scratch.run("alter policy own on public.notes to authenticated, mcp_bound")
    assert scratch.left(file) == []
    assert scratch.sees(helper(), role="mcp_bound") == [1, 2]


def refused(scratch: Scratch, file: str) -> list[str]:
    """The messages of `class-role-people` and `people-wider`, for which a file isn't installed; none if it is."""
    try:
        scratch.install(file)
    except Invalid as invalid:
        return [d.message for d in invalid.diagnostics if d.code in ("class-role-people", "people-wider")]
    return []


EXISTING = "tables: {{public.notes: {{clients: [{{who: {0}, allow: select}}]}}}}"


def test_a_policy_for_the_class_role_alone(scratch: Scratch) -> None:
    """One that admits more than people's is an error, beside rules for people too; one that narrows is not."""
    scratch.run(
        NOTES
        + f"""create role mcp_alone nologin; alter table public.notes enable row level security;
        create policy own on public.notes using (owner = '{ANN}'); create policy wide on public.notes to mcp_alone using (true)"""
    )
    existing, rules = head("alone") + EXISTING.format("alone"), head("alone") + notes("{who: alone, allow: select}")
    (message,) = refused(scratch, existing)
    assert message.startswith('policy "wide" of table "public.notes" is for mcp_alone: a session in a class role')
    scratch.run("drop policy own on public.notes")
    assert refused(scratch, rules) == ['policy "wide" of table "public.notes" would add its rows to these rules']
    scratch.run(
        f"create policy own on public.notes using (owner = '{ANN}'); drop policy wide on public.notes;"
        "create policy less on public.notes as restrictive to mcp_alone using (id < 2)"
    )
    assert refused(scratch, existing) == []
    assert scratch.sees(ann()) == [1, 2]
    assert scratch.sees(helper(), role="mcp_alone") == [1]
    scratch.run("drop owned by mcp_alone; drop role mcp_alone")


def test_a_policy_for_a_role_that_people_inherit(scratch: Scratch) -> None:
    """It binds people and not the class role, which is a member of nothing: an error until it is for that too."""
    scratch.run(
        NOTES
        + f"""create role everyone nologin; grant everyone to authenticated; alter table public.notes enable row level security;
        create policy own on public.notes using (true); create policy less on public.notes as restrictive to everyone using (owner = '{ANN}')"""
    )
    file = head("heir") + EXISTING.format("heir")
    (message,) = refused(scratch, file)
    assert message.startswith('policy "less" of table "public.notes" is for everyone:')
    scratch.run("create role mcp_heir nologin; alter policy less on public.notes to everyone, mcp_heir")
    assert refused(scratch, file) == []
    assert scratch.sees(ann()) == scratch.sees(helper(), role="mcp_heir") == [1, 2]
    scratch.run("drop owned by mcp_heir, everyone; drop role mcp_heir, everyone")


def test_a_policy_that_asks_for_the_role_in_a_function(scratch: Scratch) -> None:
    """What the function reads counts, also through another; one that reads claims is fine."""
    scratch.run(
        NOTES
        + f"""create function public.web() returns boolean language sql stable as $$ select current_user = 'authenticated' $$;
        create function public.bound() returns boolean language plpgsql stable as $$ begin return public.web(); end $$;
        alter table public.notes enable row level security;
        create policy own on public.notes using (not public.bound() or owner = '{ANN}')"""
    )
    file = head("asked") + EXISTING.format("asked")
    (message,) = refused(scratch, file)
    assert message.startswith('policy "own" of table "public.notes" reads current_user in public.web():')
    scratch.run(
        "create or replace function public.web() returns boolean language sql stable as"
        " $$ select current_setting('request.jwt.claims', true) <> '' $$"
    )
    assert refused(scratch, file) == []
    assert scratch.sees(ann()) == scratch.sees(helper(), role="mcp_asked") == [1, 2]


def test_a_policy_of_a_table_that_is_not_covered(scratch: Scratch) -> None:
    """What a policy reads there must be the same rows for the class: fewer could admit more."""
    scratch.run(
        NOTES
        + f"""create schema far; create table far.blocks (owner uuid); insert into far.blocks values ('{BOB}');
        grant usage on schema far to public; grant select on far.blocks to public; alter table far.blocks enable row level security;
        create policy web on far.blocks to authenticated using (true); alter table public.notes enable row level security;
        create policy own on public.notes using (not exists (select from far.blocks b where b.owner = notes.owner))"""
    )
    file = head("away") + EXISTING.format("away")
    (message,) = refused(scratch, file)
    assert message.startswith('policy "web" of table "far.blocks" is for authenticated:')
    scratch.run("alter policy web on far.blocks to public")
    assert refused(scratch, file) == []
    assert scratch.sees(ann()) == scratch.sees(helper(), role="mcp_away") == [1, 2]


def test_a_rule_for_people_in_sql_that_asks_for_the_role(scratch: Scratch) -> None:
    """It is for the class role too, and would say another thing there."""
    scratch.run(NOTES)
    rule = "[{allow: select, sql: \"owner = mcp_rls.person() or current_user <> 'authenticated'\"}]"
    file = head("sqlrole") + notes("{who: sqlrole, allow: select}", people=rule)
    (message,) = refused(scratch, file)
    assert message.startswith("this reads current_user:")
    assert refused(scratch, file.replace("owner = mcp_rls.person() or current_user <> 'authenticated'", "id < 2")) == []
    assert scratch.sees(ann()) == scratch.sees(helper(), role="mcp_sqlrole") == [1]


def test_a_trigger_that_asks_for_the_role(scratch: Scratch) -> None:
    """A warning: it may limit people and not the class. In a function that runs as its owner the role is the owner."""
    trigger = """create or replace function public.stop() returns trigger language plpgsql {0} as
        $$ begin if current_user = 'authenticated' then raise exception 'no'; end if; return new; end $$;"""
    scratch.run(
        NOTES
        + trigger.format("")
        + "create trigger t before update on public.notes for each row execute function public.stop()"
    )
    file = head("fired") + notes("{who: fired, allow: [select, update]}")

    def warned() -> list[str]:
        return [d.message for d in scratch.prepare(file).diagnostics if d.code == "class-role-trigger"]

    assert warned() == [
        'trigger "t" of table "public.notes" reads current_user in public.stop(): in a class role that is another'
    ]
    scratch.run(trigger.format("security definer"))
    assert warned() == []


def test_table_by_table_and_back(scratch: Scratch) -> None:
    """The steps of --per-table end where one transaction does; without anything of ours the role is gone too."""
    scratch.run(NOTES)
    file = head("stepwise") + notes("{who: stepwise, allow: [select, update], rows: \"status = 'open'\"}")
    assert apply_by_table(scratch.connection, policies(file)) > 2
    assert scratch.left(file) == []
    assert scratch.sees(helper(), role="mcp_stepwise") == [1]
    actual = scratch.prepare(file).actual
    with scratch.connection.transaction():
        for statement in plan(actual, removed(actual)).statements:
            scratch.connection.execute(statement.encode())
    assert scratch.run(ROLE + "'mcp_stepwise'") == []
    assert scratch.run("select from pg_policy where polname <> 'mcp_rls: notes as before'") == []


def test_a_revision_makes_and_unmakes_them(scratch: Scratch, tmp_path: Path) -> None:
    """Up makes the role with its policies and grants, down takes all of it away."""
    scratch.run(NOTES)
    file = head("revised") + notes("{who: revised, allow: select}")
    revisions = Revisions(tmp_path / "migrations")
    revisions.up(scratch.url)
    revisions.write(scratch, file)
    revisions.up(scratch.url)
    assert scratch.left(file) == []
    assert scratch.sees(helper(), role="mcp_revised") == [1, 2]
    revisions.down(scratch.url, OPEN)
    assert scratch.run(ROLE + "'mcp_revised'") == []
    assert scratch.sees(ann()) == [1, 2, 3]  # `as before`


def test_autogenerate_writes_them_beside_a_new_table(scratch: Scratch, tmp_path: Path) -> None:
    """One revision makes the table, its policies, the role and its privileges, and takes those away again."""
    project = Project(tmp_path, scratch)
    file = head("generated") + notes("{who: generated, allow: [select, insert], rows: \"status = 'open'\"}")
    scratch.run(
        "alter default privileges in schema public grant select, insert, update, delete on tables to authenticated"
    )
    project.write(models=NOTES_MODEL, policies=file)
    project.revision()
    project.up()
    project.check()
    assert scratch.left(file) == []
    scratch.run(f"insert into public.notes values (1, '{ANN}', 'open'), (2, '{ANN}', 'closed')")
    assert scratch.sees(helper(), role="mcp_generated") == [1]
    project.down("-1", OPEN)
    # it stood in policies of the table until that was dropped, and so stays, with nothing in its hands
    depend = "select from pg_shdepend where refclassid = 'pg_authid'::regclass and refobjid = 'mcp_generated'::regrole"
    assert scratch.run(depend) == []


def test_columns_of_select_and_insert_are_grants(scratch: Scratch) -> None:
    """What a rule leaves out can't be read, nor given to a new row; the matrix and the class's own rows agree."""
    scratch.run(NOTES + "alter table public.notes add secret text default 'none'")
    rules = "{who: narrow, allow: select, columns: {except: [secret]}}, {who: narrow, allow: insert, columns: [id, owner, status]}"
    file = head("narrow") + notes(rules)
    scratch.install(file)
    role = "mcp_narrow"
    assert scratch.sees(helper(), role=role) == [1, 2]
    for refused in (
        "select secret from public.notes",
        "select * from public.notes",
        "select 1 from public.notes n where n.secret = 'none'",
    ):
        assert scratch.ask(helper(), refused, role=role) == "42501 permission denied for table notes"
    assert scratch.ask(ann(), "select secret from public.notes") == ["none", "none"]
    made = f"insert into public.notes (id, owner, status) values (9, '{ANN}', 'open')"
    assert scratch.ask(helper(), made, role=role) == 1
    assert (
        scratch.ask(helper(), made.replace("status", "secret"), role=role) == "42501 permission denied for table notes"
    )
    assert scratch.ask(ann(), made.replace("status", "secret")) == 1
    matrix = run_matrix(scratch.connection, policies(file))
    assert not matrix.findings
    assert Verdict.UNDECIDED not in {c.verdict for c in matrix.cells}
    scratch.install(head("narrow") + notes("{who: narrow, allow: [select, insert]}"))
    assert scratch.ask(helper(), "select secret from public.notes", role=role) == ["none", "none"]
    scratch.install(file)
    assert (
        scratch.ask(helper(), "select secret from public.notes", role=role) == "42501 permission denied for table notes"
    )
    assert scratch.left(file) == []
