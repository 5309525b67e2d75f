"""Indexes that the rules of a file look up by: shown in a plan, made beside everybody's work, and used afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from mcp_rls.catalog import TableName
from mcp_rls.cli import main
from mcp_rls.compiler.policy import load_policies
from mcp_rls.database import indexes
from mcp_rls.database.apply import prepare
from mcp_rls.database.indexes import Failed, Index, create, missing
from mcp_rls.database.waiting import Refused
from mcp_rls.resources import bundled
from tests.postgres.scratch import Scratch, ann, policies

pytestmark = pytest.mark.postgres

FILE = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated]
identity: {direct: no_client}
classes: {helper: {match: {ids: [helper]}}}
tables:
  public.notes:
    people: [{allow: select, rows: "owner = token.person"}]
    clients: [{who: helper, allow: select, rows: "status = 'open'"}]
"""
NOTES = """
create table notes (id integer, owner uuid not null, status text);
insert into notes select n, ('00000000-0000-4000-8000-' || lpad(to_hex(n % 500), 12, '0'))::uuid, 'open'
  from generate_series(1, 5000) n;
analyze notes;
grant select, insert on notes to authenticated;
"""
TEMPLATES = sorted(path.parent.name for path in bundled("policy_templates").glob("*/policies.yaml"))
OWNER = Index(TableName("public", "notes"), ("owner",), "a rule for people", "policies.yaml:10")


@pytest.fixture
def notes(scratch: Scratch) -> Scratch:
    """Five thousand notes and no index."""
    scratch.run(NOTES)
    return scratch


@pytest.fixture
def command(notes: Scratch, tmp_path: Path) -> Callable[..., Result]:
    """A command with the file, against that database."""
    file = tmp_path / "policies.yaml"
    file.write_text(FILE, encoding="utf-8")

    def run(name: str, *arguments: str, code: int = 0) -> Result:
        asked = [name, str(file), "--database", notes.url, *arguments]
        result = CliRunner().invoke(main, asked, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    return run


def valid(scratch: Scratch) -> dict[str, bool]:
    """The indexes of all tables in the schema public, and whether each is valid."""
    query = """select c.relname::text, i.indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid
      where c.relnamespace = 'public'::regnamespace"""
    return dict(scratch.connection.execute(query.encode()).fetchall())


def made(scratch: Scratch, progress: Callable[[str], None] = lambda line: None) -> tuple[Failed, ...]:
    """What failed of making the indexes of FILE."""
    resolved = prepare(scratch.connection, policies(FILE)).resolved
    with psycopg.connect(scratch.url, autocommit=True) as watch:
        return create(scratch.connection, resolved, watch=watch, progress=progress)


def plan_of(scratch: Scratch) -> str:
    """How a person's query finds its rows."""
    return str(scratch.ask(ann(), "explain (costs off) select * from public.notes"))


def test_a_plan_shows_them_in_a_section_of_their_own(command: Callable[..., Result]) -> None:
    """With the lock and the statement; pending only where they are asked for."""
    shown = command("plan", "--create-indexes", "--sql", code=1).stdout
    section = shown[shown.index("Then, outside the transaction: indexes") :]
    assert "public.notes: index on owner, for a rule for people (policies.yaml:10)" in section
    assert "(SHARE UPDATE EXCLUSIVE)" in section
    assert OWNER.statement in section
    command("apply")
    advice = command("plan").stdout
    assert "Missing (--create-indexes)" in advice
    assert "nothing pending" in advice
    assert "→ 1 change pending" in command("plan", "--create-indexes", code=1).stdout


def test_a_plan_as_json_has_them(command: Callable[..., Result]) -> None:
    """Apart from the operations of the transaction."""
    command("apply")
    document = json.loads(command("plan", "--create-indexes", "--format", "json", code=1).stdout)
    assert (document["pending"], document["operations"]) == (True, [])
    assert [o["statements"] for o in document["indexes"]] == [[OWNER.statement]]
    assert command("plan", "--create-indexes", "--format", "github", code=1).stdout.count("index on owner") == 1


def test_apply_makes_them_and_the_policies_use_them(command: Callable[..., Result], notes: Scratch) -> None:
    """The equality is written anew so that the index serves; another run has nothing to do."""
    command("apply")
    assert "Seq Scan" in plan_of(notes)
    before = notes.ask(ann(), "select id from public.notes order by id")
    done = command("apply", "--create-indexes")
    assert f"index {OWNER.name}: done" in done.stderr
    assert valid(notes) == {OWNER.name: True}
    assert OWNER.name in plan_of(notes)
    assert before
    assert notes.ask(ann(), "select id from public.notes order by id") == before
    assert "nothing pending" in command("plan", "--create-indexes").stdout
    assert "nothing pending" in command("apply", "--create-indexes").stdout


def test_what_a_failed_try_left_is_made_again(notes: Scratch) -> None:
    """An index of the name that isn't valid is dropped, not taken for the one that is wanted."""
    with pytest.raises(psycopg.errors.UniqueViolation):
        notes.run(OWNER.statement.replace("create index", "create unique index"))
    assert valid(notes) == {OWNER.name: False}
    said: list[str] = []
    assert made(notes, said.append) == ()
    assert "is what a failed try left" in said[0]
    assert valid(notes) == {OWNER.name: True}


def test_a_failure_leaves_the_policies(command: Callable[..., Result], notes: Scratch) -> None:
    """Exit 2 says so; when the cause is gone, another run makes what is missing."""
    notes.run("""create function no_indexes() returns event_trigger language plpgsql as
      $$ begin raise exception 'no indexes today'; end $$;
      create event trigger no_indexes on ddl_command_start when tag in ('CREATE INDEX')
        execute function no_indexes()""")
    failed = command("apply", "--create-indexes", code=2)
    assert "the policies are applied, but indexes are missing" in failed.stderr
    assert "index on public.notes (owner): no indexes today" in failed.stderr
    assert "nothing pending" in command("plan").stdout
    notes.run("drop event trigger no_indexes")
    command("apply", "--create-indexes")
    assert valid(notes) == {OWNER.name: True}


def test_another_index_of_the_name_is_said(notes: Scratch) -> None:
    """It isn't ours to drop, and is never taken for what is wanted."""
    notes.run(f"create index {OWNER.name} on notes (status)")
    (failed,) = made(notes)
    assert (failed.index, failed.why) == (OWNER, f"there is an index {OWNER.name}, and it is another")
    assert valid(notes) == {OWNER.name: True}


def test_a_build_waits_and_nobody_waits_for_it(notes: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that wrote before is waited for, past every limit of time; meanwhile rows are read and written."""
    monkeypatch.setattr(indexes, "LOOK_AGAIN", 0.05)
    notes.run("set lock_timeout = '50ms'")
    insert = "insert into notes values (0, gen_random_uuid(), 'open')"
    with psycopg.connect(notes.url) as writer, psycopg.connect(notes.url, autocommit=True) as other:
        writer.execute(insert)
        pid, said = writer.info.backend_pid, list[str]()

        def progress(line: str) -> None:
            said.append(line)
            if f"for the transaction of process {pid}" in line:
                other.execute("set lock_timeout = '1s'")
                other.execute(insert)
                assert other.execute("select count(*) from notes").fetchone() == (5001,)
                writer.commit()

        assert made(notes, progress) == ()
    assert any("for the transaction of process" in line for line in said)
    assert valid(notes) == {OWNER.name: True}
    assert notes.value("show lock_timeout") == "50ms"


def test_two_runs_don_t_meet(notes: Scratch) -> None:
    """The second would take what the first has begun for a failed try; it goes away at once."""
    with psycopg.connect(notes.url, autocommit=True) as other:
        other.execute("select pg_advisory_lock(hashtext('mcp_rls.indexes'))")
        with pytest.raises(Refused, match="another run is making indexes"):
            made(notes)
    assert made(notes) == ()


def test_a_partitioned_table_has_them_leaf_by_leaf(notes: Scratch) -> None:
    """Those of the leaves are made beside everybody's work, and the whole takes them up."""
    notes.run("""alter table notes rename to old;
      create table notes (id integer, owner uuid not null, status text) partition by range (id);
      create table notes_low partition of notes for values from (0) to (100) partition by range (id);
      create table notes_lowest partition of notes_low for values from (0) to (50);
      create table notes_rest partition of notes default;
      insert into notes select * from old where id >= 100; analyze notes;
      drop table old""")
    resolved = prepare(notes.connection, policies(FILE)).resolved
    (wanted,) = missing(notes.connection, resolved)
    assert wanted.operation.lock == "SHARE UPDATE EXCLUSIVE on each partition, then SHARE for a moment"
    assert made(notes) == ()
    assert set(valid(notes)) >= {OWNER.name, "notes_lowest_owner_mcp_rls", "notes_rest_owner_mcp_rls"}
    assert len(valid(notes)) == 4
    assert all(valid(notes).values())


def test_a_partitioned_table_in_use_is_not_waited_for_long(notes: Scratch) -> None:
    """The whole's own index blocks writers, so it gives up as a change of policies does; those of its leaves stay."""
    notes.run("""drop table notes;
      create table notes (id integer, owner uuid not null, status text) partition by range (id);
      create table notes_all partition of notes default""")
    with psycopg.connect(notes.url) as other:
        other.execute("lock table only notes in row exclusive mode")
        (failed,) = made(notes)
    assert "lock timeout" in failed.why
    assert valid(notes) == {"notes_all_owner_mcp_rls": True}
    assert made(notes) == ()
    assert len(valid(notes)) == 2


def test_a_small_table_needs_none(notes: Scratch) -> None:
    """As of the last look at it; one that nobody looked at may be large."""
    resolved = prepare(notes.connection, policies(FILE)).resolved
    assert missing(notes.connection, resolved) == (OWNER,)
    notes.run("delete from notes where id > 10")
    notes.run("vacuum analyze notes")
    assert missing(notes.connection, resolved) == ()


def test_names_are_stable_and_short() -> None:
    """Two long ones never meet."""
    long = [Index(TableName("public", "t" * 60), (column,), "", "") for column in ("owner", "org_id")]
    assert {len(index.name) <= 63 for index in long} == {True}
    assert len({index.name for index in long}) == 2
    assert OWNER.name == "notes_owner_mcp_rls"


@pytest.mark.parametrize(
    "name", sorted(path.parent.name for path in bundled("policy_templates").glob("*/policies.yaml"))
)
def test_a_template_has_all_that_it_needs(name: str, scratch: Scratch) -> None:
    """Though nobody looked yet how large its tables are."""
    folder = bundled("policy_templates") / name
    scratch.run((folder / "schema.sql").read_text(encoding="utf-8"))
    found, _ = load_policies(folder / "policies.yaml")
    assert found is not None
    assert missing(scratch.connection, prepare(scratch.connection, found).resolved) == ()


def test_a_fleet_has_none_made(command: Callable[..., Result], tmp_path: Path) -> None:
    """One after the other in one database is what it is for: refused before anything is done."""
    fleet = tmp_path / "fleet.txt"
    fleet.write_text("postgresql://nobody@127.0.0.1:1/nowhere\n", encoding="utf-8")
    for name in ("plan", "apply"):
        file = str(tmp_path / "policies.yaml")
        asked = CliRunner().invoke(main, [name, file, "--fleet", str(fleet), "--create-indexes"])
        assert (asked.exit_code, "for one database" in asked.output) == (2, True)
    command("plan", code=1)
