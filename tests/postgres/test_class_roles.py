"""A database role for each class: the same verdicts as in shared roles, and roles that come and go with the file."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mcp_rls.compiler.policy import load_policies
from mcp_rls.database.apply import apply_by_table, install
from mcp_rls.harness.hostile import run_hostile
from mcp_rls.harness.matrix.result import Verdict
from mcp_rls.harness.matrix.run import run_matrix
from mcp_rls.harness.run import run_suite
from mcp_rls.harness.suite import load_suite
from mcp_rls.plan import plan
from mcp_rls.resources import bundled
from mcp_rls.ways import removed
from tests.postgres.project import NOTES_MODEL, Project
from tests.postgres.scratch import ANN, BOB, NOTES, Scratch, ann, helper, policies, scratch_on
from tests.postgres.test_alembic import OPEN, Revisions

pytestmark = pytest.mark.postgres

TEMPLATES = sorted(path.name for path in bundled("policy_templates").iterdir() if (path / "policies.yaml").exists())
OWN = '{allow: [select, insert, update, delete], rows: "owner = token.person"}'
ROLE = "select rolcanlogin, rolinherit, rolsuper, rolbypassrls from pg_roles where rolname = "
MEMBERS = f"""
create table public.members (person uuid primary key, level integer);
insert into public.members values ('{ANN}', 1);
grant select on public.members to authenticated;
alter table public.members enable row level security;
create policy own on public.members using (true);
alter table public.notes enable row level security;
create policy "of members" on public.notes using (exists (select from public.members m where m.person = owner))
"""


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


def test_what_policies_read_is_granted_and_shows_nothing(scratch: Scratch) -> None:
    """The app's policy reads a support table, as the class role: it may, under a ceiling of its own."""
    scratch.run(NOTES + MEMBERS)
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


def test_what_policies_read_is_no_more_than_columns_leave(scratch: Scratch) -> None:
    """A class that may read some columns of a table reads no others because a policy of another table does."""
    scratch.run(NOTES + MEMBERS)
    file = head("narrow") + "tables:\n  public.notes: {clients: [{who: narrow, allow: select}]}\n"
    file += "  public.members: {clients: [{who: narrow, allow: select, columns: [person]}]}\n"
    scratch.install(file)
    assert scratch.sees(helper(), role="mcp_narrow") == [1, 2]
    denied = "42501 permission denied for table members"
    assert scratch.ask(helper(), "select level from public.members", role="mcp_narrow") == denied
    assert scratch.left(file) == []


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
