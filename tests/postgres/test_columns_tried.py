"""Columns of update rules as suites, the matrix and mutants meet them: a missing guard never passes."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mcp_rls.database.introspect import read_catalog
from mcp_rls.harness.api import Rls
from mcp_rls.harness.matrix import Matrix, Options, Verdict, run_matrix
from mcp_rls.harness.mutation.mutant import Kind
from mcp_rls.harness.mutation.score import Fate, Score, mutation_score
from mcp_rls.harness.run import run_suite
from mcp_rls.harness.stage import open_stage
from mcp_rls.harness.suite import Suite, read_suite
from mcp_rls.harness.verdict import SuiteResult
from tests.postgres.scratch import ANN, HEAD, NOTES, Scratch, policies

pytestmark = pytest.mark.postgres

FILE = """
tables:
  public.notes:
    people:
      - {allow: [select, insert, delete], rows: "owner = token.person"}
      - {allow: update, rows: "owner = token.person", columns: {except: [id]}}
    clients:
      - {who: helper, allow: select, rows: "status <> 'secret'"}
      - {who: helper, allow: update, rows: "status = 'open'", check: "status <> 'secret'", columns: [status, title]}
"""
SCHEMA = NOTES + "alter table public.notes add column title text; alter table public.notes alter status set not null;"
TOKENS = f"""
people: {{ann: {{sub: {ANN}}}}}
tokens:
  ann: {{person: ann}}
  ann-helper: {{person: ann, class: helper}}
"""
SUITE = f"""{TOKENS}
cases:
  - {{as: ann, update: {{public.notes: {{where: {{id: 1}}, set: {{title: x, owner: {ANN}}}}}}}, changes: [1]}}
  - {{as: ann, update: {{public.notes: {{where: {{id: 1}}, set: {{id: 9}}}}}}, refused: policy}}
  - {{as: ann-helper, select: public.notes, sees: [1, 2]}}
  - {{as: ann-helper, update: {{public.notes: {{where: {{id: 1}}, set: {{title: x}}}}}}, changes: [1]}}
  - {{as: ann-helper, update: {{public.notes: {{where: {{id: 1}}, set: {{title: x, owner: {ANN}}}}}}}, refused: policy}}
  - {{as: ann-helper, update: {{public.notes: {{where: {{id: 3}}, set: {{owner: {ANN}}}}}}}, changes: []}}
"""
OF_HELPER = [f'drop trigger " mcp_rls: notes columns{new}, helper" on public.notes' for new in ("", " new")]
OF_PEOPLE = 'drop trigger " mcp_rls: notes people columns" on public.notes'


@pytest.fixture
def db(scratch: Scratch) -> Scratch:
    scratch.run(SCHEMA)
    scratch.install(FILE)
    return scratch


def suite_of(text: str) -> Suite:
    suite, diagnostics = read_suite("cases.yaml", text, policies(FILE))
    assert suite is not None, list(map(str, diagnostics))
    return suite


def tried(db: Scratch, text: str = SUITE) -> SuiteResult:
    return run_suite(db.connection, policies(FILE), suite_of(text))


@contextmanager
def without(db: Scratch, *statements: str) -> Iterator[None]:
    with db.connection.transaction(force_rollback=True):
        for statement in statements:
            db.run(statement)
        yield


def test_a_suite_says_what_may_be_set(db: Scratch):
    """`refused: policy` is met by the guard, of clients and of people, and nothing else is left open."""
    result = tried(db)
    assert [r.message for r in result.failures] == []
    refused = [r.observation for r in result.cases if r.check.case and r.check.case.expect.reason == "policy"]
    assert [str(o) for o in refused] == [
        'refused by policy "mcp_rls: notes people columns"',
        'refused by policy "mcp_rls: notes columns, helper"',
    ]


def test_a_missing_guard_fails_its_cases(db: Scratch):
    """The update goes through, and says so."""
    with without(db, *OF_HELPER):
        found = {r.check.title: r.headline for r in tried(db).failures}
    assert found == {
        "ann-helper update public.notes where id=1 set title=x: changes [1]": "LEAK: ann-helper updates public.notes by the same statement with owner, which its rule leaves out",
        f"ann-helper update public.notes where id=1 set title=x owner={ANN}: refused: policy": "LEAK: ann-helper updates rows of public.notes, which must be refused",
    }


def test_a_case_that_changes_rows_tries_the_columns_left_out(db: Scratch):
    """Nobody wrote a case for `owner`, which one guard has forgotten: the case's statement with it tells."""
    (only, *_) = (line for line in SUITE.splitlines() if "ann-helper, update" in line and "changes: [1]" in line)
    sees = next(line for line in SUITE.splitlines() if "ann-helper, select" in line)
    text = f"{TOKENS}\ncases:\n{sees}\n{only}\n"
    assert tried(db, text).passed
    forgetful = db.value(
        "select pg_get_triggerdef(oid) from pg_trigger where tgname = ' mcp_rls: notes columns, helper'"
    )
    with without(db, *OF_HELPER, forgetful.replace("OF id, owner ", "OF id ")):
        (failure,) = tried(db, text).failures
    assert failure.headline.endswith("updates public.notes by the same statement with owner, which its rule leaves out")
    assert "columns only status, title" in failure.message


def test_a_row_that_is_denied_is_tried_with_a_column_of_the_rule(db: Scratch):
    """A guard's refusal must not hide that the row's own policy is open."""
    with without(db, 'alter policy "mcp_rls: notes update" on public.notes using (true) with check (true)'):
        found = {r.check.title: r.headline for r in tried(db).failures}
    assert "ann-helper update public.notes: nothing else" in found
    assert "LEAK" in found["ann-helper update public.notes: nothing else"]


@pytest.fixture
def rls(db: Scratch) -> Iterator[Rls]:
    """Assertions about a further table, whose trigger writes to the one that is guarded."""
    text = FILE + "  public.log:\n    clients:\n      - {who: helper, allow: [select, update]}\n"
    db.run("create table public.log (id integer primary key); insert into public.log values (1)")
    db.run("grant select, update on public.log to authenticated")
    db.install(text)
    db.run("""create function public.touch() returns trigger language plpgsql as 'begin update public.notes set owner = owner; return new; end';
              create trigger touch before update on public.log for each row execute function public.touch()""")
    found = policies(text)
    with open_stage(db.connection, found, read_catalog(db.connection), frozenset(found.roles)) as stage:
        yield Rls(stage, {"ann": ANN})


def test_assertions_meet_the_guard(rls: Rls):
    """Refused by policy where it is this table's guard; an error where it is another table's, met on the way."""
    ann, helper = rls.token(person="ann"), rls.token(person="ann", class_="helper")
    assert helper.update("public.notes", {"id": 1}, {"title": "x"}).keys == [1]
    refused = helper.update("public.notes", {"id": 1}, {"owner": ANN})
    assert (refused.refused_by_policy, refused.observation.policy) == (True, "mcp_rls: notes columns, helper")
    assert ann.update("public.notes", {"id": 1}, {"owner": ANN}).keys == [1]
    beyond = helper.update("public.log", {"id": 1}, {"id": 1})
    assert beyond.errored
    assert "mcp_rls: notes columns, helper" in beyond.observation.error
    assert ann.update("public.log", {"id": 1}, {"id": 1}).keys == [1]


def test_an_assertion_tries_the_columns_left_out(rls: Rls):
    """What may be set is asserted, and holds; once the guard is gone, it is told that more may."""
    helper = rls.token(person="ann", class_="helper")
    helper.update("public.notes", {"id": 1}, {"title": "x"}).changes(1)
    with rls._stage.altered(*OF_HELPER):
        attempt = helper.update("public.notes", {"id": 1}, {"title": "x"})
        with pytest.raises(AssertionError, match="by the same statement with owner, which its rule leaves out"):
            attempt.changes(1)


# --- the matrix


def matrix(db: Scratch, **options: bool) -> Matrix:
    return run_matrix(db.connection, policies(FILE), Options(**options))


@pytest.mark.parametrize("options", [{}, {"full": True}, {"hostile": True}, {"full": True, "hostile": True}])
def test_the_matrix_is_as_the_file_says(db: Scratch, options: dict[str, bool]):
    """UPDATE is conditional on the columns, of people too; every form of it, and hostile tokens, are as they should be."""
    found = matrix(db, **options)
    assert [f.sentence for f in found.findings] == []
    assert found.hostile is None or not found.hostile.findings
    updates = {found.principals[c.principal].name: c for c in found.cells if c.command == "update"}
    helper = next(c for name, c in updates.items() if name.startswith("ann, helper"))
    assert helper.verdict is Verdict.CONDITIONAL
    assert [r.columns for r in helper.rules] == ["only status, title"]


@pytest.mark.parametrize(("statements", "who"), [(OF_HELPER, "ann, helper"), ([OF_PEOPLE], "ann, the app itself")])
def test_the_matrix_finds_a_missing_guard(db: Scratch, statements: list[str], who: str):
    """LEAK, with the rule that leaves the column out."""
    with without(db, *statements):
        found = [f for f in matrix(db).findings if f.token.startswith(who)]
    assert found
    assert {f.kind for f in found} == {"LEAK"}
    assert "of public.notes" in found[0].sentence


# --- mutants


def score(db: Scratch, text: str, *, search: bool = False) -> Score:
    return mutation_score(db.connection, policies(FILE), suite_of(text), search=search)


def test_the_cases_notice_every_mutant_of_a_guard(db: Scratch):
    """No guard, and one that lets one more column be set, each column in turn."""
    found = score(db, SUITE)
    told = {t.mutant.sentence: t.fate for t in found.trials if t.mutant.kind in (Kind.GUARD_DROPPED, Kind.COLUMN_ADDED)}
    assert told == {
        "people updating public.notes may set any column": Fate.KILLED,
        "helper updating public.notes may set any column": Fate.KILLED,
        "helper updating public.notes may set id too": Fate.EQUIVALENT,  # its person may not
        "helper updating public.notes may set owner too": Fate.KILLED,
    }
    assert found.count(Fate.BROKEN) == 0
    lines = {t.mutant.span.line for t in found.trials if t.mutant.kind is Kind.COLUMN_ADDED}
    assert lines == {HEAD.count("\n") + 9}


def test_a_survivor_is_told_what_would_kill_it(db: Scratch):
    """A suite without a client: a token of one, and a case that sets the column, is what it lacks."""
    text = TOKENS.replace("  ann-helper: {person: ann, class: helper}\n", "")
    text += "cases:\n  - {as: ann, select: public.notes, sees: [1, 2]}\n"
    found = score(db, text, search=True)
    (trial,) = (t for t in found.trials if t.mutant.sentence == "helper updating public.notes may set owner too")
    assert trial.fate is Fate.SURVIVED
    assert trial.suggestion is not None
    assert trial.suggestion.command == "update"
    assert trial.suggestion.whole
    assert "changes: [1]" in str(trial.suggestion.lines)  # with which the columns that are left out are tried
