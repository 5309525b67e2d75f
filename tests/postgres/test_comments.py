"""Comments on policies and triggers of ours: what changes them by hand is found, and put back."""

from __future__ import annotations

import psycopg
import pytest

from mcp_rls.database import apply, drift
from mcp_rls.database.drift import Kind
from tests.postgres.scratch import HEAD, NOTES, Scratch, policies

pytestmark = pytest.mark.postgres

FILE = """
tables:
  public.notes:
    clients:
      - {who: helper, allow: select, rows: id = 1}
      - {who: helper, allow: update, columns: [status]}
"""
POLICY, TRIGGER = "policy public.notes mcp_rls: notes select", "trigger public.notes  mcp_rls: notes columns"
COMMENTS = """
select p.polname::text, obj_description(p.oid, 'pg_policy') from pg_policy p
union all select t.tgname::text, obj_description(t.oid, 'pg_trigger') from pg_trigger t where not t.tgisinternal
order by 1
"""


@pytest.fixture
def applied(scratch: Scratch) -> Scratch:
    scratch.run(NOTES)
    scratch.install(HEAD + FILE)
    return scratch


def trigger(scratch: Scratch) -> str:
    return str(scratch.value("select tgname from pg_trigger where starts_with(tgname::text, ' mcp_rls: ')"))


def by_hand(scratch: Scratch, text: str) -> None:
    """Another comment on a policy, and on a trigger."""
    scratch.run(
        f'comment on policy "mcp_rls: notes select" on notes is {text};'
        f'comment on trigger "{trigger(scratch)}" on notes is {text}'
    )


@pytest.mark.parametrize("text", ["'x'", "null", "'mcp_rls'", "'mcp_rls, policies.yaml:1'"])
@pytest.mark.parametrize("how", ["at once", "by table"])
def test_another_comment_is_found_and_put_back(applied: Scratch, text: str, how: str):
    """By `drift`, without a lock on the table, and by a plan, that needs none which readers wait for."""
    before = applied.run(COMMENTS)
    assert drift.drift(applied.connection, policies(HEAD + FILE)).findings == ()
    by_hand(applied, text)
    with psycopg.connect(applied.url) as other:
        other.execute("lock table public.notes in access exclusive mode")
        found = drift.drift(applied.connection, policies(HEAD + FILE), lock_timeout="10ms")
    assert [f.kind for f in found.findings] == [Kind.DRIFT] * 2
    assert {f.object for f in found.findings} == {POLICY, f"trigger public.notes {trigger(applied)}"}
    assert all("policies.yaml:" in f.was and f.place for f in found.findings)
    wanted = applied.prepare(HEAD + FILE).plan
    assert [o.words.split(" the comment on ")[0] for o in wanted.operations] == ["public.notes: write"] * 2
    assert wanted.locked == ()
    with psycopg.connect(applied.url) as reader:
        reader.execute("select from public.notes")
        if how == "at once":
            apply.apply_plan(applied.connection, policies(HEAD + FILE), wanted, patience=0)
        else:
            assert apply.apply_by_table(applied.connection, policies(HEAD + FILE), patience=0) == 1
    assert applied.run(COMMENTS) == before
    assert applied.left(HEAD + FILE) == []
    assert drift.drift(applied.connection, policies(HEAD + FILE)).findings == ()


def test_a_comment_follows_its_rule(applied: Scratch):
    """A rule that changes and stands on another line takes its comment along; one that only moved is as it was."""
    moved = HEAD + "\n\n" + FILE.replace("id = 1", "id = 2")
    applied.install(moved)
    assert drift.drift(applied.connection, policies(moved)).findings == ()
    said = dict(applied.run(COMMENTS))
    rule = next(n for n, line in enumerate(moved.splitlines(), 1) if "id = 2" in line)
    assert said["mcp_rls: notes select"] == f"mcp_rls, policies.yaml:{rule}"


def test_what_is_not_ours_has_the_comment_that_it_has(applied: Scratch):
    """No policy of the app's is found, whatever is said of it."""
    applied.run("create policy own on notes using (true)")
    apply.take_note(applied.connection, policies(HEAD + FILE))
    applied.run("comment on policy own on notes is 'x'")
    assert drift.drift(applied.connection, policies(HEAD + FILE)).findings == ()
    assert applied.left(HEAD + FILE) == []


def test_a_changed_policy_gets_its_comment_back_too(applied: Scratch):
    """Whether it is altered for that or made again."""
    before = applied.run(COMMENTS)
    by_hand(applied, "'x'")
    applied.run(
        'alter policy "mcp_rls: notes select" on notes using (true); drop policy "mcp_rls: notes update" on notes'
    )
    apply.apply_by_table(applied.connection, policies(HEAD + FILE))
    assert applied.run(COMMENTS) == before
