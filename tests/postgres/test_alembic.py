"""Plans as Alembic revisions, through Alembic's own commands: up, down, up again, offline, and beside other revisions."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import argparse
import ast
import importlib.util
import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from click.testing import CliRunner

from mcp_rls.alembic_plugin import NotAtHead, body, preamble, there_and_back, way_back, write_revision
from mcp_rls.cli import main
from mcp_rls.compiler import ledger
from mcp_rls.database.server import Server
from mcp_rls.plan import plan
from mcp_rls.resources import bundled
from mcp_rls.state import State
from tests.postgres.scratch import ANN, HEAD, NOTES, Scratch, ann, helper, scratch_on

pytestmark = pytest.mark.postgres

FILE = (
    HEAD
    + r"""
scopes: {"n:r": {text: t}, "100%s": {text: t}}
sets: {mine: {type: uuid, query: "select owner from public.notes where owner = token.person and ':a %s {x}' <> ''"}}
tables:
  public.notes:
    people:
      - {allow: [select, insert, update, delete], rows: "owner in mine"}
    clients:
      - {who: helper, allow: select, scope: "n:r", rows: "status in ('open', 'a:b', '100%s', '%(x)s', '{y}', 'back\\slash', '\"\"\"', '::z', '\\:q')"}
  public.alembic_version: {}
"""
)


ODD_NAME = """od:d %s {x} 'y' $1\n    \\ $policies$ \"\""""
ODD_STATUS = (
    "a:b", "::z", "\\:q", "100%s", "%(x)s", "{y}", "${z}", "$1", "$mcp_rls$", "back\\slash", "\\", "'", '"' * 3,
    "$policies$", "{changes}", "WHEN  (  x )", "a\tb", "a \nb", "a\n\n  b", "\n    a", "end ", "cr\r", "\u202ebidi", "\U0001f600", "\U000e0001",
)  # fmt: skip
ODD_LIST = ", ".join("'" + status.replace("'", "''") + "'" for status in ODD_STATUS)
ODD_COLUMN = r"""status = ':x' or "co:l %s \ x" = 1"""
ODD = (
    HEAD
    + f"""
scopes: {{"n:r": {{text: t}}}}
tables:
  {json.dumps(f'public."{ODD_NAME}"')}:
    people: existing
    clients:
      - {{who: helper, allow: select, scope: "n:r", rows: {json.dumps(ODD_COLUMN)}}}
  public.notes:
    people: existing
    clients:
      - who: helper
        allow: select
        scope: "n:r"
        rows: {json.dumps(f"status in ({ODD_LIST})", ensure_ascii=False)}
"""
)


REWRITTEN = (
    HEAD
    + """
class_roles: false
tables:
  public.notes:
    people: [{allow: select, rows: "owner = token.person"}]
    clients: [{who: helper, allow: select, rows: "status = 'open'"}]
  public.alembic_version: {}
"""
)


REWRITTEN_ROWS = (
    HEAD + "tables: {public.notes: {clients: [{who: helper, allow: select, rows: id = 1}]}, public.alembic_version: {}}"
)


class Revisions:
    """A copy of the shipped environment, and Alembic's commands on it."""

    def __init__(self, directory: Path) -> None:
        shutil.copytree(bundled("migrations"), directory, ignore=shutil.ignore_patterns("__pycache__"))
        self.ini = directory / "alembic.ini"

    def config(self, url: str, *x: str, out: io.StringIO | None = None) -> Config:
        config = Config(str(self.ini), stdout=io.StringIO(), output_buffer=out)
        config.cmd_opts = argparse.Namespace(x=[f"url={url}", *x])
        return config

    def up(self, url: str, to: str = "head") -> None:
        command.upgrade(self.config(url), to)

    def down(self, url: str, *x: str, to: str = "base") -> None:
        command.downgrade(self.config(url, *x), to)

    def offline(self, url: str, to: str = "head") -> str:
        out = io.StringIO()
        command.upgrade(self.config(url, out=out), to, sql=True)
        return out.getvalue()

    def write(self, scratch: Scratch, text: str, message: str = "rules", head: str = "head") -> Path:
        """A revision for what is pending in this database."""
        prepared = scratch.prepare(text)
        ways = there_and_back(prepared.actual, prepared.desired)
        return write_revision(self.ini, message, *ways, database=scratch.url, head=head)


OPEN = "mcp_rls_open=yes"

# With what there was before mcp_rls.change, a revision brings its own way to carry statements out.
OLDER = """drop function mcp_rls.change(text, text[], text[]);
create or replace function mcp_rls.record(entries jsonb) returns void language sql
set search_path = pg_catalog, pg_temp as $$
insert into mcp_rls.manifest (object, source, printed, tree, place, facts)
select e.object, e.source, coalesce(p.digest, ''), coalesce(p.tree, ''), e.place, e.facts
from jsonb_to_recordset(entries) e(object text, source text, place text, facts jsonb)
left join mcp_rls.printed(null) p on p.object = e.object
where p.object is not null or e.source in ('revoked', 'granted')
on conflict on constraint manifest_pkey do update set source = excluded.source, printed = excluded.printed,
  tree = excluded.tree, place = excluded.place, facts = coalesce(excluded.facts, manifest.facts) $$;
delete from mcp_rls.manifest where object like '%.change(%' or object like '%.record(%'"""
both_ways = pytest.mark.parametrize("older", ["", OLDER], ids=["by mcp_rls.change", "by its own block"])


@pytest.fixture
def revisions(tmp_path: Path) -> Revisions:
    return Revisions(tmp_path / "migrations")


@pytest.fixture
def scratch(scratch: Scratch) -> Scratch:
    scratch.run(NOTES)
    return scratch


def manifest(scratch: Scratch) -> list[tuple[Any, ...]]:
    return scratch.run("select object, source, printed, place from mcp_rls.manifest order by object")


def catalog_text(scratch: Scratch) -> list[tuple[Any, ...]]:
    return scratch.run(
        "select tablename, policyname, permissive, roles::text, cmd, qual, with_check from pg_policies union all"
        " select proname, pg_get_functiondef(oid), coalesce(proacl::text, ''), '', '', '', '' from pg_proc"
        " where pronamespace = 'mcp_rls'::regnamespace order by 1, 2"
    )


# --- the shipped revision


def test_the_shipped_revision_is_what_a_plan_makes(scratch, revisions):
    """After it no helper function is pending: its frozen text is that of the compiler."""
    revisions.up(scratch.url)
    prepared = scratch.prepare(HEAD + "tables: {}")
    made = [o.words for o in prepared.plan.operations if "function" in o.words or "schema" in o.words]
    assert made == ["make function mcp_rls.gate(name, jsonb)"]
    helpers = {f.signature: f for f in ledger.STATIC}
    assert set(prepared.actual.functions) == set(helpers)
    assert all(f.source == helpers[name].source for name, f in prepared.actual.functions.items())


def test_its_text_is_that_of_a_plan_too(revisions):
    """Its functions are word for word what a plan for the bare schema would be written as."""
    wanted = State(installed=True, functions={f.signature: f for f in ledger.STATIC})
    (file,) = bundled("migrations").glob("versions/0001*.py")
    text = file.read_text()
    ways = plan(State(), wanted), plan(wanted, State())
    up, down = (f"def {n}grade() -> None:\n    {body(w)}\n" for n, w in zip(("up", "down"), ways, strict=True))
    functions = f"{preamble(*ways)}\n\n\n{up}\n\n{down}"
    if os.environ.get("MCP_RLS_REWRITE"):
        file.write_text(text := text[: text.index("def ")] + functions)
    assert text.endswith(f"\n\n\n{functions}")


def test_the_shipped_revision_goes_and_leaves_nothing(scratch, revisions):
    """Down to base, without being told to open anything: it never had closed anything."""
    revisions.up(scratch.url)
    revisions.down(scratch.url)
    assert scratch.run("select from pg_namespace where nspname = 'mcp_rls'") == []
    assert scratch.run("select from pg_policy") == []


# --- a revision of one's own


def test_upgrading_leaves_nothing_to_do(scratch, revisions):
    """A revision does what the plan would do: nothing is pending after it, and the file is enforced."""
    revisions.up(scratch.url)
    revisions.write(scratch, FILE)
    assert scratch.sees(helper()) == [1, 2, 3]
    revisions.up(scratch.url)
    assert scratch.left(FILE) == []
    assert scratch.sees(ann()) == [1, 2]
    assert scratch.sees(helper(scope="n:r")) == [1]
    for status in ("a:b", "100%s", "%(x)s", "{y}", "back\\slash", '"""', "::z", "\\:q"):
        scratch.connection.execute("update notes set status = %s where id = 2", (status,))
        assert scratch.sees(helper(scope="n:r")) == [1, 2], status
    scratch.run("update notes set status = 'a b' where id = 2")
    assert scratch.sees(helper(scope="n:r")) == [1]


def test_a_direct_plan_makes_the_same(scratch, server, revisions):
    """Policies, functions and manifest are equal, whether a revision or `install` made them."""
    revisions.up(scratch.url)
    revisions.write(scratch, FILE)
    revisions.up(scratch.url)
    with scratch_on(server) as other:
        other.run(NOTES + "create table public.alembic_version (version_num varchar(32) primary key)")
        other.install(FILE)
        assert catalog_text(other) == catalog_text(scratch)
        assert manifest(other) == manifest(scratch)


def test_offline_sql_makes_the_same(each_server: Server, revisions):
    """`alembic upgrade --sql`, run as a script, leaves the same catalog and manifest as the upgrade itself."""
    with scratch_on(each_server) as online, scratch_on(each_server) as offline:
        for scratch in (online, offline):
            scratch.run(NOTES + "create table public.alembic_version (version_num varchar(32) primary key)")
        revisions.up(online.url)
        revisions.write(online, FILE)
        revisions.up(online.url)
        script = revisions.offline(offline.url)
        offline.run(re.sub(r"CREATE TABLE alembic_version .*?;\n", "", script, flags=re.DOTALL))
        assert catalog_text(offline) == catalog_text(online)
        assert manifest(offline) == manifest(online)
        assert offline.left(FILE) == []
        assert offline.sees(helper(scope="n:r")) == [1]


def test_a_change_of_one_rule_is_a_small_revision(scratch, revisions):
    """The whole file is under 40 lines, one ALTER POLICY each way, and nothing is pending after it.

    So is the one back, which closes again, and whose own way down is guarded.
    """
    first = re.sub(r"status in .*\)\"", "status in ('open', 'pending')\"", FILE)
    changed = first.replace("'pending'", "'pending', 'closed'")
    revisions.up(scratch.url)
    revisions.write(scratch, first)
    revisions.up(scratch.url)
    path = revisions.write(scratch, changed, "closed tickets too")
    text = path.read_text()
    assert text.count("alter policy") == 2
    assert "create policy" not in text
    assert len(text.splitlines()) < 40
    scratch.run("update notes set status = 'closed' where id = 2")
    assert scratch.sees(helper(scope="n:r")) == [1]
    revisions.up(scratch.url)
    assert scratch.left(changed) == []
    assert scratch.sees(helper(scope="n:r")) == [1, 2]
    guarded = revisions.write(scratch, first, "not any more").read_text()
    assert OPEN in guarded
    assert len(guarded.splitlines()) < 40
    revisions.up(scratch.url)
    assert scratch.left(first) == []
    revisions.down(scratch.url, OPEN, to="-2")
    assert scratch.left(first) == []
    assert scratch.sees(helper(scope="n:r")) == [1]


@both_ways
def test_no_text_is_lost_on_the_way(scratch, server, revisions, older):
    """Whatever a name or a constant holds (quotes, colons, percents, tabs, ends of lines), online, offline, up and down."""
    made = f'create table public."{ODD_NAME}" (id integer primary key, status text, "co:l %s \\ x" integer)'
    scratch.run(made)
    revisions.up(scratch.url)
    scratch.run(older)
    text = revisions.write(scratch, ODD).read_text()
    assert ("do $policies$" in text, "select mcp_rls.change(" in text) == (bool(older), not older)
    with scratch_on(server) as offline:
        offline.run(NOTES + made + "; create table public.alembic_version (version_num varchar(32) primary key)")
        script = revisions.offline(offline.url)
        offline.run(re.sub(r"CREATE TABLE alembic_version .*?;\n", "", script, flags=re.DOTALL))
        revisions.up(scratch.url)
        assert (catalog_text(offline), manifest(offline)) == (catalog_text(scratch), manifest(scratch))
    for _ in range(2):
        assert scratch.left(ODD) == []
        for status in ODD_STATUS:
            scratch.connection.execute("update notes set status = %s where id = 2", (status,))
            assert scratch.sees(helper(scope="n:r")) == [2], status
            scratch.connection.execute("update notes set status = %s where id = 2", (status + "x",))
            assert scratch.sees(helper(scope="n:r")) == [], status
        revisions.down(scratch.url, OPEN, to="-1")
        assert scratch.sees(helper()) == [1, 2, 3]
        revisions.up(scratch.url)


@both_ways
def test_a_revision_is_never_done_by_half(scratch, revisions, older):
    """In an autocommit block too: it is one statement, and an error at its end leaves nothing of it."""
    revisions.up(scratch.url)
    scratch.run(older)
    path = revisions.write(scratch, FILE)
    block = "    with op.get_context().autocommit_block():\n        op.execute("
    text = path.read_text().replace("    op.execute(", block)
    before = catalog_text(scratch), manifest(scratch)
    last, wrong = (
        ("perform mcp_rls.note(", "perform 1 / 0; ") if older else ("$$select mcp_rls.note(", "$$select 1 / 0$$, ")
    )
    path.write_text(text.replace(last, wrong + last))
    with pytest.raises(Exception, match="division by zero"):
        revisions.up(scratch.url)
    assert (catalog_text(scratch), manifest(scratch)) == before
    path.write_text(text)
    revisions.up(scratch.url)
    assert scratch.left(FILE) == []
    assert scratch.sees(helper(scope="n:r")) == [1]


def test_revisions_are_plain_and_finished(scratch, revisions):
    """They need nothing of ours at upgrade time, are numbered after the last, and say in words what they do."""
    revisions.up(scratch.url)
    path = revisions.write(scratch, FILE, "First rules")
    text = path.read_text()
    assert path.name == "0002_first_rules.py"
    tree = ast.parse(text)
    imports = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imports |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert imports <= {"alembic", "sqlalchemy"}
    assert "# closes: public.notes: a ceiling on what clients may select" in text
    assert "public.notes: drop policy 'mcp_rls: notes select'" in text
    assert "branch_labels" not in text


# --- down


def test_a_downgrade_that_opens_wants_to_be_told_so(scratch, revisions):
    """Without -x mcp_rls_open=yes it refuses before its first statement, names what it would open, and changes nothing."""
    revisions.up(scratch.url)
    revisions.write(scratch, FILE)
    revisions.up(scratch.url)
    before = catalog_text(scratch), manifest(scratch)
    for said in ((), ("mcp_rls_open=no",), ("mcp_rls_open",), ("mcp_rls_open=YES",)):
        with pytest.raises((CommandError, ValueError)) as raised:
            revisions.down(scratch.url, *said)
        assert "mcp_rls: notes select" in str(raised.value) or said == ("mcp_rls_open",)
        assert (catalog_text(scratch), manifest(scratch)) == before
        assert scratch.run("select version_num from alembic_version") == [("0002",)]
    assert scratch.sees(helper()) == []


def test_down_and_up_again(scratch, revisions):
    """Told so it goes down to base: row security stays on under `as before`, grants are back, and up it goes again."""
    scratch.run("grant all on notes to authenticated")
    privileges = "select array_agg(a::text order by a::text) from unnest((select relacl from pg_class where relname = 'notes')) a"
    before = scratch.run(privileges)
    revisions.up(scratch.url)
    revisions.write(scratch, FILE)
    for _ in range(2):
        revisions.up(scratch.url)
        assert scratch.left(FILE) == []
        assert scratch.sees(helper()) == []
        assert scratch.run(privileges) != before
        revisions.down(scratch.url, OPEN)
        assert scratch.run("select from pg_namespace where nspname = 'mcp_rls'") == []
        assert scratch.run(privileges) == before
        assert scratch.run("select relrowsecurity from pg_class where relname = 'notes'") == [(True,)]
        assert scratch.run("select policyname from pg_policies where tablename = 'notes'") == [
            ("mcp_rls: notes as before",)
        ]
        assert scratch.sees(helper()) == scratch.sees(ann()) == [1, 2, 3]


def test_a_downgrade_keeps_other_policies(scratch, revisions):
    """Where row security was on, the app's policies are all that is left."""
    scratch.run(f"alter table notes enable row level security; create policy own on notes using (owner = '{ANN}')")
    text = FILE.replace('    people:\n      - {allow: [select, insert, update, delete], rows: "owner in mine"}\n', "")
    revisions.up(scratch.url)
    revisions.write(scratch, text)
    revisions.up(scratch.url)
    assert scratch.sees(helper(scope="n:r")) == [1]
    revisions.down(scratch.url, OPEN)
    assert scratch.run("select policyname from pg_policies where tablename = 'notes'") == [("own",)]
    assert scratch.sees(helper()) == [1, 2]


@pytest.mark.parametrize("to", ["base", "-1"])
@pytest.mark.parametrize("class_roles", [False, True], ids=["shared roles", "class roles"])
@pytest.mark.parametrize("people", [True, False], ids=["rules for people", "the app's people"])
def test_a_revision_written_again_after_a_downgrade_is_the_same(scratch, server, revisions, people, class_roles, to):
    """To the letter, though a downgrade leaves row security and `as before`: a database that never had these gets them, too."""
    text = REWRITTEN.replace("class_roles: false", "class_roles: true") if class_roles else REWRITTEN
    text = text if people else re.sub("    people: .*", "    people: existing", text)
    role = "mcp_helper" if class_roles else "authenticated"
    sees = [1] if people else [1, 3]
    revisions.up(scratch.url)
    path = revisions.write(scratch, text)
    first = path.read_text()
    revisions.up(scratch.url)
    reached = catalog_text(scratch), manifest(scratch)
    revisions.down(scratch.url, OPEN, to=to)
    assert scratch.sees(helper()) == [1, 2, 3]
    path.unlink()
    revisions.up(scratch.url)
    again = revisions.write(scratch, text).read_text()
    assert re.sub("Create Date: .*", "", again) == re.sub("Create Date: .*", "", first)
    with scratch_on(server) as fresh:
        fresh.run(NOTES)
        for database in (scratch, fresh):
            revisions.up(database.url)
            assert (catalog_text(database), manifest(database)) == reached
            assert database.left(text) == []
            assert database.sees(helper(), role=role) == sees
            assert database.sees(ann(client_id="stranger")) == []


@pytest.mark.parametrize(
    ("keys", "role", "denied"),
    [
        ("", "authenticated", []),
        ("class_roles: true\n", "mcp_helper", "42501 permission denied for table notes"),
    ],
    ids=["shared roles", "class roles"],
)
def test_a_table_that_is_closed_to_clients_opens_nothing(keys, role, denied, scratch, revisions):
    """Its ceilings go while another holds as much, which nobody needs to be told; the way back says what it opens."""
    reading = f"{HEAD}{keys}tables: {{public.notes: {{clients: read_as_person}}}}"
    revisions.up(scratch.url)
    revisions.write(scratch, reading)
    revisions.up(scratch.url)
    assert scratch.sees(helper(), role=role) == [1, 2, 3]
    up, _, _ = (
        revisions.write(scratch, reading.replace("read_as_person", "none")).read_text().partition("def downgrade")
    )
    assert up.count('drop policy "mcp_rls: notes ') == 4
    assert ("# closes: public.notes: closed to clients" in up, "opens: " in up) == (True, False)
    revisions.up(scratch.url)
    assert scratch.sees(helper(), role=role) == denied
    with pytest.raises(
        CommandError, match=r"drop policy 'mcp_rls: notes closed.*': helper may select all that people may"
    ):
        revisions.down(scratch.url, to="-1")
    up, _, down = revisions.write(scratch, reading).read_text().partition("def downgrade")
    assert "helper may select all that people may" in up
    assert OPEN not in down
    revisions.up(scratch.url)
    assert scratch.sees(helper(), role=role) == [1, 2, 3]
    revisions.down(scratch.url, to="-1")
    assert scratch.sees(helper(), role=role) == denied


def test_a_downgrade_that_only_closes_needs_no_word(scratch, revisions):
    """Back from wider to narrower, closing a table again, isn't guarded... unless PostgreSQL can't prove it."""
    revisions.up(scratch.url)
    text = HEAD + "tables: {public.alembic_version: {}}"
    closed = scratch.prepare(text)
    back = way_back(closed.actual, closed.desired)
    assert back.opens
    assert "mcp_rls_open" in body(back, guarded=True)
    assert "mcp_rls_open" not in body(closed.plan, guarded=True)
    assert body(plan(closed.desired, closed.desired), guarded=True) == "pass"


@pytest.mark.parametrize("after_a_downgrade", [False, True])
def test_a_revision_takes_no_row_security_for_given(after_a_downgrade, scratch, server, revisions):
    """Written where the app has switched it on, it does so itself; and where the app's policies limit people, where
    they didn't when it was written, it gives people nothing more.
    """
    own = "alter table notes enable row level security; create policy own on notes using (id = 1)"
    with scratch_on(server) as fresh:
        fresh.run(NOTES)
        revisions.up(scratch.url)
        if after_a_downgrade:
            written = revisions.write(scratch, REWRITTEN_ROWS)
            revisions.up(scratch.url)
            revisions.down(scratch.url, OPEN, to="-1")
            written.unlink()
            fresh.run(own)
        scratch.run(own)
        before = fresh.sees(ann())
        revisions.write(scratch, REWRITTEN_ROWS)
        for database in (scratch, fresh):
            revisions.up(database.url)
            assert database.sees(helper(client_id="stranger")) == []
            assert database.value("select relrowsecurity from pg_class where oid = 'notes'::regclass")
        assert scratch.sees(helper()) == [1]
        assert (before, fresh.sees(ann())) == (([1], [1]) if after_a_downgrade else ([1, 2, 3], []))
        revisions.down(fresh.url, OPEN, to="-1")
        assert fresh.sees(ann()) == ([1] if after_a_downgrade else [])


# --- the surroundings


def test_a_database_that_is_not_at_the_head_is_refused(scratch, revisions):
    """A plan against it would be one against the wrong state; nothing is written."""
    versions = revisions.ini.parent / "versions"
    before = sorted(versions.glob("*.py"))
    with pytest.raises(NotAtHead, match="no revision"):
        revisions.write(scratch, HEAD)
    revisions.up(scratch.url)
    revisions.write(scratch, FILE)
    with pytest.raises(NotAtHead, match="0001"):
        revisions.write(scratch, FILE)
    assert len(sorted(versions.glob("*.py"))) == len(before) + 1
    revisions.up(scratch.url)
    revisions.write(scratch, FILE.replace("'open', ", "'open', 'closed', "))


def test_several_heads_want_one_to_be_named(scratch, revisions, tmp_path):
    """They are told, with their labels; a revision goes on from the one that is named, and both are upgraded."""
    revisions.up(scratch.url)
    command.revision(revisions.config(scratch.url), "app", head="base", splice=True, rev_id="0002", branch_label="app")
    with pytest.raises(CommandError, match=r"2 heads: 0001 \(mcp_rls\), 0002 \(app\)\n.*--head") as raised:
        revisions.write(scratch, FILE)
    assert "alembic merge heads" in str(raised.value)
    with pytest.raises(NotAtHead, match=r"is at 0001, the revisions end at 0001, 0002: run `alembic upgrade heads`"):
        revisions.write(scratch, FILE, head="mcp_rls@head")
    revisions.up(scratch.url, "heads")
    file = tmp_path / "policies.yaml"
    file.write_text(FILE)
    arguments = ["revision", str(file), "-m", "rules", "--database", scratch.url, "--config", str(revisions.ini)]
    assert "2 heads" in CliRunner().invoke(main, arguments).stderr
    written = CliRunner().invoke(main, [*arguments, "--head", "mcp_rls@head"])
    assert "down_revision = '0001'" in Path(written.stdout.strip()).read_text()
    revisions.up(scratch.url, "heads")
    assert scratch.left(FILE) == []
    assert sorted(scratch.run("select version_num from alembic_version")) == [("0002",), ("0003",)]


@pytest.mark.parametrize("instead", ["", "# imports", "## ${what} imports"])
def test_a_template_without_imports_is_refused(instead, scratch, revisions, tmp_path):
    """Before anything is written, with the line that it lacks; with that line the revision runs."""
    revisions.up(scratch.url)
    template = revisions.ini.parent / "script.py.mako"
    before, after = re.split(r"^\$\{.*imports.*\n", template.read_text(), flags=re.MULTILINE)
    op, line = "from alembic import op\n", '${imports if imports else ""}'
    template.write_text(f"{before}{op}{instead}\n{after}")
    (file := tmp_path / "policies.yaml").write_text(FILE)
    arguments = ["revision", str(file), "-m", "rules", "--database", scratch.url, "--config", str(revisions.ini)]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert f"{template}: a revision of policies needs" in refused.stderr
    assert line in refused.stderr
    assert len(list((revisions.ini.parent / "versions").glob("*.py"))) == 1
    template.write_text(f"{before}{op}{line}\n{after}")
    assert CliRunner().invoke(main, arguments).exit_code == 0
    revisions.up(scratch.url)
    assert scratch.left(FILE) == []


@both_ways
def test_settings_are_put_back(scratch, revisions, older):
    """A revision of the app's own that runs after ours in the same transaction finds search_path as it was."""
    revisions.up(scratch.url)
    scratch.run(older)
    path = revisions.write(scratch, FILE)
    after = path.with_name("0003_app.py")
    after.write_text(
        'from alembic import op\nrevision = "0003"\ndown_revision = "0002"\nbranch_labels = depends_on = None\n'
        "def upgrade():\n    op.execute(\"create table made_after as select current_setting('search_path') as path,"
        " current_setting('lock_timeout') as wait, current_setting('standard_conforming_strings') as strings\")\n"
        'def downgrade():\n    op.execute("drop table made_after")\n'
    )
    revisions.up(scratch.url)
    assert scratch.run("select * from public.made_after") == [('"$user", public', "0", "on")]


def test_messages_and_places_are_no_code(scratch, revisions):
    """A revision message with quotes and newlines is text in the file, which still compiles."""
    revisions.up(scratch.url)
    path = revisions.write(scratch, FILE, 'it\'s """ quoted \\ \n import os')
    spec = importlib.util.spec_from_file_location("written", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.down_revision == "0001"
    assert not hasattr(module, "os")


@both_ways
def test_a_lock_that_is_not_to_be_had_ends_the_upgrade(scratch, revisions, older):
    """When its patience ends, with nothing changed: readers never queue behind one of its tries for long."""
    import psycopg
    from sqlalchemy.exc import OperationalError

    revisions.up(scratch.url)
    scratch.run(older)
    path = revisions.write(scratch, FILE)
    patient = path.read_text()
    assert ("'30s'" in patient) is bool(older)
    path.write_text(patient.replace("'30s'", "'0.3s'"))
    if not older:
        scratch.run(ledger.CHANGE.definition.replace("'30s'", "'0.3s'"))
    before = catalog_text(scratch)
    with psycopg.connect(scratch.url) as other:
        other.execute("lock table notes in access share mode")
        with pytest.raises(OperationalError, match="lock timeout"):
            revisions.up(scratch.url)
    assert catalog_text(scratch) == before
    revisions.up(scratch.url)
    if not older:
        scratch.run(ledger.CHANGE.definition)
    assert scratch.left(FILE) == []


def test_an_older_schema_is_brought_up_to_date(scratch, revisions):
    """By a revision with its own block, both ways; the next one calls what that made."""
    revisions.up(scratch.url)
    scratch.run(OLDER)
    old = catalog_text(scratch)
    text = revisions.write(scratch, FILE).read_text()
    assert text.count("\n    policies(") == 2
    assert ['{"policies":' in way for way in text.split("def downgrade")] == [True, False]
    revisions.up(scratch.url)
    narrower = FILE.replace("'open', ", "")
    text = revisions.write(scratch, narrower).read_text()
    assert (text.count("op.execute("), text.count("policies(")) == (2, 0)
    revisions.up(scratch.url)
    assert scratch.left(narrower) == []
    assert scratch.sees(helper(scope="n:r")) == []
    revisions.down(scratch.url, OPEN, to="-1")
    assert scratch.left(FILE) == []
    assert scratch.sees(helper(scope="n:r")) == [1]
    revisions.down(scratch.url, OPEN, to="-1")
    scratch.run(
        'drop policy "mcp_rls: notes as before" on notes; drop policy "mcp_rls: alembic_version as before" on alembic_version'
    )
    assert catalog_text(scratch) == old


def test_a_revision_meets_a_function_that_is_not_ours(scratch, revisions):
    """Where mcp_rls.change was changed by hand, a revision doesn't call it, but puts it right."""
    revisions.up(scratch.url)
    scratch.run(
        "create or replace function mcp_rls.change(tables text, statements text[], parts text[] default null) returns void language sql as ''"
    )
    text = revisions.write(scratch, FILE).read_text()
    assert "select mcp_rls.change(" not in text
    revisions.up(scratch.url)
    assert scratch.left(FILE) == []
