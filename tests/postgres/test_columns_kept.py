"""Guards of columns over time: plans and what they open, drift, suspended tables, revisions."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import psycopg
import pytest

from mcp_rls.alembic_plugin.revision import way_back
from mcp_rls.catalog import TableName
from mcp_rls.compiler.lower import lower
from mcp_rls.compiler.resolve import resolve
from mcp_rls.database.drift import Finding, Kind, drift
from mcp_rls.diagnostics import Diagnostics
from mcp_rls.effect import Effect
from mcp_rls.operation import Plan
from mcp_rls.plan import plan
from mcp_rls.state import State
from mcp_rls.ways import by_table, removed, script
from tests.postgres.scratch import NOTES, Scratch, ann, helper, policies

pytestmark = pytest.mark.postgres

OPENS, CLOSES, NEITHER = Effect.OPENS, Effect.CLOSES, Effect.NEITHER
FILE = """
tables:
  public.notes:
    clients:
      - {who: helper, allow: select}
      - {who: helper, allow: update, columns: [status]}
"""
FREE = FILE.replace(", columns: [status]", "")
GUARD, NEW = '" mcp_rls: notes columns, helper"', '" mcp_rls: notes columns new, helper"'
OBJECT = "trigger public.notes  mcp_rls: notes columns, helper"
SETS, SETS_MORE = "update public.notes set status = 'x'", "update public.notes set owner = owner"
REFUSED = "42501 mcp_rls: notes columns, helper: an update may set only status"


@pytest.fixture
def db(each_scratch: Scratch) -> Scratch:
    each_scratch.run(NOTES)
    each_scratch.install(FILE)
    assert holds(each_scratch)
    return each_scratch


def holds(db: Scratch) -> bool:
    """Whether the client is held, and may do what it may."""
    assert db.ask(ann(), SETS_MORE) == 3
    return db.ask(helper(), SETS) == 3 and db.ask(helper(), SETS_MORE) == REFUSED


def told(found: Plan) -> list[tuple[Effect, str]]:
    """What a plan does to triggers and policies, and what it says of that."""
    return [(o.effect, o.words) for o in found.operations if o.subject.startswith(("trigger ", "policy "))]


def said(words: str, name: str = "columns, helper", verb: str = "change") -> str:
    return f"public.notes: {verb} trigger 'mcp_rls: notes {name}'\n  {words}"


# --- plans


def test_nothing_is_left_to_do(db: Scratch):
    """A second plan is empty, and the objects carry their place in the file."""
    assert db.left(FILE) == []
    comments = "select obj_description(oid, 'pg_trigger') from pg_trigger where tgname like ' mcp_rls%'"
    assert db.run(comments) == [("mcp_rls, policies.yaml:14",)] * 2


@pytest.mark.parametrize(
    ("columns", "effect", "words"),
    [
        ("[status, owner]", OPENS, "helper may set only owner, status; before: only status"),
        ("[owner]", OPENS, "helper may set only owner; before: only status"),
        ("{except: [owner]}", OPENS, "helper may set all columns but owner; before: only status"),
    ],
)
def test_more_columns_open(db: Scratch, columns: str, effect: Effect, words: str):
    """What a class gains is said with what it had."""
    changed = db.prepare(FILE.replace("[status]", columns)).plan
    assert (effect, said(words)) in told(changed)
    assert changed.opens


@pytest.mark.parametrize("before", ["[status, owner]", "{except: [owner]}"])
def test_fewer_columns_close(each_scratch: Scratch, before: str):
    """No operation opens anything."""
    each_scratch.run(NOTES)
    each_scratch.install(FILE.replace("[status]", before))
    changed = each_scratch.prepare(FILE).plan
    assert not changed.opens
    assert {effect for effect, _ in told(changed)} == {CLOSES}
    each_scratch.install(FILE)
    assert holds(each_scratch)


def test_a_guard_comes_before_what_it_holds_and_goes_after_it(scratch: Scratch):
    """The rule that is wider but for its columns opens when they are held; on the way back it is narrow first."""
    scratch.run(NOTES)
    narrow = FREE.replace("allow: update", "allow: update, rows: \"status = 'open'\"")
    scratch.install(narrow)
    there, wide = scratch.prepare(narrow).desired, scratch.prepare(FILE).desired
    up, down = ([o.subject for o in plan(*ends).operations] for ends in ((there, wide), (wide, there)))
    policy = "policy public.notes mcp_rls: notes update"
    assert up.index(OBJECT) < up.index(policy)
    assert down.index(policy) < down.index(OBJECT) < down.index("function mcp_rls.guard_columns()")


def test_the_way_back_restores_what_was(db: Scratch):
    """Without the guard, which opens; then with it again, and the client is held as before."""
    held, free = db.prepare(FILE).desired, db.prepare(FREE).desired
    gone = plan(held, free)
    assert (OPENS, said("helper may set any column; before: only status", verb="drop")) in told(gone)
    for statement in gone.statements:
        db.run(statement)
    assert db.ask(helper(), SETS_MORE) == 3
    assert db.run("select from pg_proc where proname = 'guard_columns'") == []
    back = way_back(held, free)
    assert (CLOSES, said("helper may set only status; before: any column", verb="make")) in told(back)
    for statement in back.statements:
        db.run(statement)
    assert holds(db)


def test_a_class_that_updates_no_more_opens_nothing(db: Scratch):
    """The trigger goes with the rule."""
    changed = db.prepare("\n".join(FILE.splitlines()[:-1])).plan
    assert changed
    assert not changed.opens


def test_everything_can_be_taken_away(db: Scratch):
    """Triggers before the function that they call."""
    actual = db.prepare(FILE).actual
    for statement in plan(actual, removed(actual)).statements:
        db.run(statement)
    assert db.run("select from pg_trigger where tgname like ' mcp_rls%'") == []
    assert db.run("select from pg_namespace where nspname = 'mcp_rls'") == []


def test_table_by_table(each_scratch: Scratch):
    """The function first, and at the end; the guards with their table."""
    each_scratch.run(NOTES)
    each_scratch.install(FREE)
    for text in (FILE, FREE):
        prepared = each_scratch.prepare(text)
        steps = by_table(prepared.actual, prepared.desired, {})
        assert steps is not None
        for _, step in steps:
            for statement in step.statements:
                each_scratch.run(statement)
        assert each_scratch.left(text) == []
        assert each_scratch.ask(helper(), SETS_MORE) == (REFUSED if text is FILE else 3)


@pytest.mark.parametrize("columns", ["[status]", "{except: [owner, id]}"])
def test_a_script_asks_the_database_for_its_columns(each_scratch: Scratch, columns: str):
    """Compiled without a database the guard is the same there; a plan afterwards opens nothing."""
    each_scratch.run(NOTES)
    text = FILE.replace("[status]", columns)
    resolved = resolve(policies(text), None, Diagnostics())
    assert resolved is not None
    for statement in script(lower(resolved, State())):
        each_scratch.run(statement)
    assert each_scratch.ask(helper(), SETS) == 3
    assert str(each_scratch.ask(helper(), SETS_MORE)).startswith("42501 mcp_rls: notes columns, helper: ")
    assert not each_scratch.prepare(text).plan.opens


def test_what_is_switched_off_or_gone_comes_back(db: Scratch):
    """ALTER TABLE ... DISABLE TRIGGER, DROP TRIGGER, another trigger of its name: a plan says so and makes it again."""
    other = f"create trigger {GUARD} before update of id on public.notes for each row execute function mcp_rls.guard_columns('{{}}', 'only')"
    for by_hand, effect, words in (
        (f"alter table public.notes disable trigger {GUARD}", CLOSES, said("it was disabled")),
        (f"alter table public.notes enable replica trigger {GUARD}", CLOSES, said("it was disabled")),
        (f"drop trigger {GUARD} on public.notes", NEITHER, None),
        (
            f"drop trigger {GUARD} on public.notes; {other}",
            OPENS,
            said(
                "put back as the file says; it was altered by hand\n"
                "  which of the two lets more through can't be told from that: it counts as opening"
            ),
        ),
    ):
        db.run(by_hand)
        for statement in (SETS, SETS_MORE):  # the one that is left closes
            assert db.ask(helper(), statement) == REFUSED.replace("columns,", "columns new,"), by_hand
        changed = db.prepare(FILE).plan
        (found,) = (o for o in changed.operations if o.subject == OBJECT)
        assert found.effect is effect
        assert words in (None, found.words)
        db.install(FILE)
        assert holds(db)
        assert db.left(FILE) == []


# --- drift


def drifted(db: Scratch, text: str = FILE) -> list[Finding]:
    with psycopg.connect(db.url, autocommit=True) as conn:
        return list(drift(conn, policies(text)).findings)


def only(found: list[Finding], kind: Kind, object_: str, effect: Effect, words: str) -> None:
    assert [(f.kind, f.object, f.effect) for f in found] == [(kind, object_, effect)], found
    assert words in found[0].words


def test_a_database_as_it_was_applied_has_no_drift(db: Scratch):
    assert drifted(db) == []


@pytest.mark.parametrize(
    ("by_hand", "object_", "effect", "words"),
    [
        (f"alter table public.notes disable trigger {GUARD}", OBJECT, OPENS, "disabled; helper may set any column; before: only status"),
        (f"drop trigger {GUARD} on public.notes", OBJECT, OPENS, "gone; helper may set any column; before: only status; `mcp-rls apply` puts it back (policies.yaml:14)"),
        (f"drop trigger {NEW} on public.notes", OBJECT.replace("columns", "columns new"), OPENS, "gone"),
        (f"drop trigger {GUARD} on public.notes; create trigger {GUARD} before update of id on public.notes for each row execute function mcp_rls.guard_columns('{{}}', 'only')", OBJECT, OPENS, "changed"),
        ("create trigger \" mcp_rls: more\" before update on public.notes for each row execute function mcp_rls.guard_columns('{}', 'only')", "trigger public.notes  mcp_rls: more", CLOSES, "new; it may refuse"),
        ("create or replace function mcp_rls.guard_columns() returns trigger language plpgsql as 'begin return new; end'", "function mcp_rls.guard_columns()", OPENS, "replaced by another text"),
    ],
)  # fmt: skip
def test_a_guard_that_is_not_as_applied_is_drift(db: Scratch, by_hand: str, object_: str, effect: Effect, words: str):
    """Switched off, dropped, made otherwise, one more, or the function behind it: what it is and what comes of it."""
    db.run(by_hand)
    only(drifted(db), Kind.DRIFT, object_, effect, words)
    db.install(FILE)
    assert drifted(db) == []


def test_a_guard_made_again_with_its_own_text_is_a_note(db: Scratch):
    """As by a dump and restore: its text is compared; while its table is locked that can't be told."""
    made = db.value(f"select pg_get_triggerdef(oid) from pg_trigger where tgname = {GUARD.replace(chr(34), chr(39))}")
    db.run("create or replace function public.gone() returns trigger language plpgsql as 'begin return new; end'")
    db.run(
        f"alter table public.notes add column passing text; alter table public.notes drop column passing; drop trigger {GUARD} on public.notes; {made}"
    )
    db.run("alter table public.notes rename column owner to o; alter table public.notes add column owner uuid")
    db.run("update public.notes set owner = o; alter table public.notes drop column o cascade")
    db.run(made)
    only(drifted(db), Kind.NOTE, OBJECT, NEITHER, "made anew with the text that was applied")
    with psycopg.connect(db.url) as other:
        other.execute("lock table public.notes")
        only([f for f in drifted(db) if f.object == OBJECT], Kind.UNKNOWN, OBJECT, NEITHER, "its table is locked")


def test_a_partition_whose_guard_is_off_is_drift(each_scratch: Scratch):
    """Each partition has a copy of the trigger, which can be switched off there alone."""
    each_scratch.run(
        "create table public.parts (id integer, kind text) partition by list (kind); create table public.parts_a partition of public.parts for values in ('a')"
    )
    each_scratch.run("insert into public.parts values (1, 'a'); grant select, update on public.parts to authenticated")
    text = FILE.replace("notes", "parts").replace("status", "kind")
    each_scratch.install(text)
    sets_id = "update public.parts set id = 2"
    assert str(each_scratch.ask(helper(), sets_id)).startswith("42501 mcp_rls: parts columns, helper")
    each_scratch.run('alter table public.parts_a disable trigger " mcp_rls: parts columns, helper"')
    assert each_scratch.ask(helper(), sets_id) == 1
    only(drifted(each_scratch, text), Kind.DRIFT, OBJECT.replace("notes", "parts"), OPENS, "disabled")
    each_scratch.install(text)
    assert str(each_scratch.ask(helper(), sets_id)).startswith("42501 mcp_rls: parts columns, helper")
    assert drifted(each_scratch, text) == []


def test_a_renamed_table_keeps_its_guard(db: Scratch):
    """No drift of triggers: the table is told as renamed."""
    db.run("alter table public.notes rename to memos")
    found = drifted(db)
    assert [f.object for f in found if f.kind is not Kind.PENDING] == ["table public.memos"]
    assert found[-1].now.startswith("renamed")


def test_what_the_file_asks_for_is_pending(db: Scratch):
    """More columns, fewer, none: the file's doing, told as that, and a column that is new since."""
    words = {
        FILE.replace("[status]", "[status, owner]"): "helper may set only owner, status; before: only status",
        FREE: "`mcp-rls apply` would drop it",
    }
    for text, said_of_it in words.items():
        (found,) = (f for f in drifted(db, text) if f.object == OBJECT)
        assert (found.kind, found.effect) == (Kind.PENDING, OPENS)
        assert said_of_it in found.words
    db.install(FREE)
    (found,) = (f for f in drifted(db) if f.object == OBJECT)
    assert (found.kind, found.effect) == (Kind.PENDING, CLOSES)
    db.install(FILE)
    db.run("alter table public.notes add column later text")
    only(drifted(db), Kind.PENDING, OBJECT, NEITHER, "`mcp-rls apply` would change it")


# --- columns that change under a guard


def test_a_suspended_table_gets_its_guard_back(db: Scratch):
    """Another type of a column that it watches, one dropped, one added: nobody passes meanwhile; then it is as before."""
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        db.run("alter table public.notes alter column owner type text")
    db.run("alter table public.notes add column spare text")
    db.install(FILE)
    db.run("select mcp_rls.suspend('public.notes')")
    assert db.ask(helper(), SETS) == 0
    db.run(
        "alter table public.notes alter column owner type text; alter table public.notes drop column spare; alter table public.notes alter column status type varchar(20)"
    )
    db.run("select mcp_rls.resume()")
    assert holds(db)
    assert db.value("select count(*) from pg_trigger where tgname like ' mcp_rls%' and tgenabled = 'O'") == 2
    assert [f for f in drifted(db) if f.kind is Kind.DRIFT] == []
    assert {effect for effect, _ in told(db.prepare(FILE).plan)} <= {NEITHER}
    db.install(FILE)
    assert db.left(FILE) == []


def test_a_guard_of_columns_that_are_all_gone_stays_away(db: Scratch):
    """Nothing to watch: resume leaves it out, and a plan has nothing to make of it."""
    db.run("alter table public.notes disable row level security; select mcp_rls.suspend('public.notes')")
    db.run(
        "alter table public.notes drop column owner; alter table public.notes drop column id; alter table public.notes enable row level security"
    )
    db.run("select mcp_rls.resume()")
    assert db.ask(helper(), SETS) == 3
    db.install(FILE)
    assert db.left(FILE) == []
    names = db.run("select tgname from pg_trigger where tgname like ' mcp_rls%'")
    assert names == [(" mcp_rls: notes columns new, helper",)]


def test_a_long_name_is_cut_and_stays_apart(scratch: Scratch):
    """PostgreSQL keeps 63 bytes of a name; two classes with long names have two guards."""
    long = "a" * 60
    scratch.run(NOTES)
    text = f"""
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated, anon]
classes: {{{long}: {{match: {{ids: [one]}}}}, {long}b: {{match: {{ids: [two]}}}}}}
tables:
  public.notes:
    clients:
      - {{who: [{long}, {long}b], allow: select}}
      - {{who: {long}, allow: update, columns: [status]}}
      - {{who: {long}b, allow: update, columns: [owner]}}
"""
    scratch.install(text)
    assert scratch.left(text) == []
    assert [
        len(key[1].encode()) for key in scratch.prepare(text).actual.triggers if key[0] == TableName("public", "notes")
    ] == [63] * 4
    assert scratch.ask(helper(client_id="one"), SETS) == 3
    assert str(scratch.ask(helper(client_id="two"), SETS)).startswith("42501 ")


def test_a_guard_that_goes_with_its_table_opens(db: Scratch):
    """Where the schema isn't covered any more, whoever was held may set any column; no rule of ours is left there."""
    db.run("create schema other")
    text = "mcp_rls: 1\nplatform: postgres\nschemas: [other]\nroles: [authenticated, anon]\nanonymous: [anon]\n"
    left = text + "identity: {direct: no_client}\nclasses: {helper: {match: {ids: [helper]}}}\ntables: {}\n"
    gone = told(db.prepare(left).plan)
    assert (OPENS, said("helper may set any column; before: only status", verb="drop")) in gone
    assert not any("says the same" in words for _, words in gone)


def test_a_guard_goes_for_a_grant(db: Scratch):
    """With class roles the columns are held by a grant: neither way does anybody may set more by the trigger."""
    turned = "class_roles: true\n" + FILE
    (words,) = [w for _, w in told(db.prepare(turned).plan) if "columns, helper" in w]
    assert words == said("nobody may set other columns by that", verb="drop")
    db.install(turned)
    (back,) = [(e, w) for e, w in told(db.prepare(FILE).plan) if "columns, helper" in w]
    assert back == (NEITHER, said("nobody may set other columns by that", verb="make"))
