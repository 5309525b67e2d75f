"""Guards of columns in Alembic revisions: columns that come, go and change their type, and tables that go."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.util import CommandError

from mcp_rls.database.introspect import read_state
from tests.postgres.project import NOTES_MODEL, Project
from tests.postgres.scratch import HEAD, NOTES, Scratch, ann, helper

pytestmark = pytest.mark.postgres

OPEN = "mcp_rls_open=yes"
HELD = f"""{HEAD}
tables:
  public.notes:
    clients:
      - {{who: helper, allow: select}}
      - {{who: helper, allow: update, columns: [status]}}
"""
FREE = HELD.replace(", columns: [status]", "")
CLOSED = HELD[: HELD.index("      - {who: helper, allow: update")]
MORE_MODEL = NOTES_MODEL.replace("sa.Text)", 'sa.Text), sa.Column("more", sa.Text)')
RETYPED_MODEL = MORE_MODEL.replace('"more", sa.Text', '"more", sa.String(20)')
SETS, SETS_MORE = "update public.notes set status = 'x'", "update public.notes set {} = {}"
REFUSED = "42501 mcp_rls: notes columns, helper: an update may set only status"


def holds(scratch: Scratch, *columns: str) -> bool:
    """Whether the client is held to the list, and none of these columns is on it; and its person isn't."""
    for column in ("owner", *columns):
        statement = SETS_MORE.format(column, column)
        if scratch.ask(ann(), statement) != 3 or scratch.ask(helper(), statement) != REFUSED:
            return False
    return scratch.ask(helper(), SETS) == 3


def fingerprint(scratch: Scratch) -> str:
    return read_state(scratch.connection, ["public"], ["authenticated", "anon"]).fingerprint


@pytest.fixture
def project(tmp_path: Path, scratch: Scratch) -> Project:
    scratch.run(NOTES)
    made = Project(tmp_path, scratch)
    made.write(models=NOTES_MODEL, policies=HELD)
    made.revision("first")
    made.up()
    assert holds(scratch)
    return made


def test_a_guard_goes_and_comes(project: Project, scratch: Scratch) -> None:
    """Up to no columns and down again; what opens asks for the word where it is the way down."""
    held = fingerprint(scratch)
    project.write(policies=FREE)
    text = project.revision()
    assert "# opens: public.notes: drop trigger 'mcp_rls: notes columns, helper'" in text
    project.up()
    project.check()
    assert scratch.ask(helper(), SETS_MORE.format("owner", "owner")) == 3
    project.down()
    assert holds(scratch)
    assert fingerprint(scratch) == held
    project.up()
    project.write(policies=HELD)
    project.revision()
    project.up()
    assert holds(scratch)
    with pytest.raises(CommandError, match="mcp_rls_open"):
        project.down()
    assert holds(scratch)
    project.down("-1", OPEN)
    assert scratch.ask(helper(), SETS_MORE.format("owner", "owner")) == 3


def test_a_new_column_comes_with_its_guard(project: Project, scratch: Scratch) -> None:
    """In the revision that adds it, so the class is never stopped; the way down lets go of it before it is dropped."""
    project.write(models=MORE_MODEL)
    project.revision()
    for _ in range(2):
        project.up()
        project.check()
        assert holds(scratch, "more")
        assert scratch.left(HELD) == []
        project.down()
        assert holds(scratch)
        assert scratch.left(HELD) == []


def test_a_column_that_is_watched_goes_and_comes_back(project: Project, scratch: Scratch) -> None:
    """The guard lets go of it first; back, it is watched again."""
    project.write(models=MORE_MODEL)
    project.revision()
    project.up()
    full = fingerprint(scratch)
    project.write(models=NOTES_MODEL)
    text = project.revision()
    assert text.index("drop trigger") < text.index("drop_column")
    for _ in range(2):
        project.up()
        project.check()
        assert holds(scratch)
        assert scratch.left(HELD) == []
        project.down("-1", OPEN)
        assert holds(scratch, "more")
        assert fingerprint(scratch) == full


def test_a_column_changes_its_type_under_its_guard(project: Project, scratch: Scratch) -> None:
    """The class updates nothing for that moment; afterwards it is held as before, and no way is said to open."""
    project.write(models=MORE_MODEL)
    project.revision()
    project.up()
    full = fingerprint(scratch)
    project.write(models=RETYPED_MODEL)
    text = project.revision()
    up = text[text.index("def upgrade") : text.index("def downgrade")]
    closed = up.index('alter policy "mcp_rls: notes update" on public.notes to anon, authenticated using (false)')
    assert max(closed, up.index("drop trigger")) < up.index("alter_column") < up.index("create trigger")
    assert "mcp_rls_open" not in text
    for _ in range(2):
        project.up()
        project.check()
        assert holds(scratch, "more")
        assert scratch.left(HELD) == []
        project.down()
        assert holds(scratch, "more")
        assert fingerprint(scratch) == full


def test_a_table_goes_with_its_guard(project: Project, scratch: Scratch) -> None:
    """The last one, so that the function goes too, before the table does; and back."""
    full = fingerprint(scratch)
    project.write(models=NOTES_MODEL[: NOTES_MODEL.index("notes =")], policies=HEAD + "tables: {}\n")
    text = project.revision()
    assert text.index("drop trigger") < text.index("drop function mcp_rls.guard_columns()") < text.index("drop_table")
    project.up()
    project.check()
    assert scratch.run("select from pg_proc where proname = 'guard_columns'") == []
    project.down("-1", OPEN)
    assert fingerprint(scratch) == full
    scratch.run(NOTES[NOTES.index("insert into") :])
    assert holds(scratch)


def test_a_rule_for_update_comes_with_its_columns(project: Project, scratch: Scratch) -> None:
    """From no update at all: the guard stands before the ceiling opens."""
    project.write(policies=CLOSED)
    project.revision()
    project.up()
    assert scratch.ask(helper(), SETS) == 0
    project.write(policies=HELD)
    text = project.revision()
    assert text.index("create trigger") < text.index('alter policy "mcp_rls: notes update"')
    project.up()
    assert holds(scratch)
    project.down("-1", OPEN)
    assert scratch.ask(helper(), SETS) == 0
