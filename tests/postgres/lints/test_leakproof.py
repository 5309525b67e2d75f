"""The trap is PostgreSQL's own: what the lints say of an index is what the planner does with it."""

from __future__ import annotations

import pytest

from tests.postgres.lints.snippets import BASE, alter, policy
from tests.postgres.lints.world import subjects
from tests.postgres.scratch import Scratch, ann

pytestmark = pytest.mark.postgres

COLUMNS = """
create type mood as enum ('good', 'bad');
alter table notes add price numeric, add mood mood, add tags jsonb, add words tsvector, add labels text[], add day date;
"""
# an index, and a condition that it serves
LOST = {
    "full text": ("using gin (words)", "words @@ 'a'::tsquery"),
    "full text by GiST": ("using gist (words)", "words @@ 'a'::tsquery"),
    "a document": ("using gin (tags)", """tags @> '{"a": 1}'"""),
    "an array": ("using gin (labels)", "labels && '{a}'"),
    "a pattern": ("(title text_pattern_ops)", "title like 'a%'"),
    "a number": ("(price)", "price = 1"),
    "an enum": ("(mood)", "mood = 'good'"),
}
KEPT = {
    "a text": ("(title)", "title = 'a'"),
    "a date": ("(day)", "day = '2026-01-01'"),
    "an integer by its hash": ("using hash (org_id)", "org_id = 1"),
}


@pytest.fixture
def notes(scratch: Scratch) -> Scratch:
    """Notes of all types of columns, of which a policy shows the open ones, whosever they are."""
    scratch.run(BASE + COLUMNS + policy("open_ones", "status = 'open'"))
    return scratch


def used(scratch: Scratch, condition: str) -> bool:
    """Whether a person's search uses the index `search`, where the planner would rather do anything than read all."""
    query = f"explain (costs off) select from public.notes where {condition}"
    settings = ("set enable_seqscan = off", "set enable_indexonlyscan = off")
    return " search" in str(scratch.ask(ann(), *settings, query))


@pytest.mark.parametrize(("index", "condition"), LOST.values(), ids=LOST)
def test_an_index_that_is_lost(index: str, condition: str, notes: Scratch) -> None:
    """The planner doesn't use it under the policy, and does under `true`; the lint says so of the first alone."""
    notes.run(f"create index search on notes {index}")
    assert not used(notes, condition)
    assert subjects(notes, "leakproof-lost-index") == ["table public.notes"]
    notes.run(alter("open_ones", "true"))
    assert used(notes, condition)
    assert subjects(notes, "leakproof-lost-index") == []


@pytest.mark.parametrize(("index", "condition"), KEPT.values(), ids=KEPT)
def test_an_index_that_is_kept(index: str, condition: str, notes: Scratch) -> None:
    """The planner uses it before the policy was asked, and neither lint says anything."""
    notes.run(f"create index search on notes {index}")
    assert used(notes, condition)
    assert subjects(notes, "leakproof-lost-index") == subjects(notes, "leakproof-index-unused") == []


def test_a_ceiling_loses_it_for_people_too(notes: Scratch) -> None:
    """Where people see all rows: they share their role with clients, so the ceiling is asked first; known before."""
    file = "tables: {public.notes: {clients: [{who: helper, allow: select, rows: \"status = 'open'\"}]}}"
    index, condition = LOST["a pattern"]
    notes.run(f"create index search on notes {index};" + alter("open_ones", "true"))
    assert used(notes, condition)
    assert subjects(notes, "leakproof-lost-index", file) == ["table public.notes"]
    notes.install(file)
    assert not used(notes, condition)
    assert subjects(notes, "leakproof-lost-index", file) == ["table public.notes"]


def test_a_function_marked_leakproof_gives_it_back(notes: Scratch) -> None:
    """As the hint has it; the catalog decides, not a list of names."""
    index, condition = LOST["a pattern"]
    notes.run(f"create index search on notes {index}")
    notes.run("alter function textlike(text, text) leakproof")
    try:
        assert used(notes, condition)
        assert subjects(notes, "leakproof-lost-index") == []
    finally:
        notes.run("alter function textlike(text, text) not leakproof")


def test_a_search_function_gives_it_back(notes: Scratch) -> None:
    """A definer function with the policy's condition in it finds the same rows, by the index."""
    index, condition = LOST["a pattern"]
    notes.run(f"""create index search on notes {index};
      insert into notes select n, gen_random_uuid(), 1, case when n % 2 = 0 then 'open' else 'spam' end, 'a' || n
        from generate_series(1, 20) n;
      create function find() returns setof integer language plpgsql security definer
        set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$ declare line text; begin
          for line in explain (costs off) select id from public.notes where status = 'open' and title like 'a%' loop
            raise info '%', line; end loop;
          return query select id from public.notes where status = 'open' and title like 'a%'; end $$""")
    said: list[str] = []
    notes.connection.add_notice_handler(lambda diagnostic: said.append(diagnostic.message_primary or ""))
    found = notes.ask(ann(), "select find() order by 1")
    assert found == notes.ask(ann(), f"select id from notes where {condition} order by id") == list(range(2, 21, 2))
    assert any(" search" in line for line in said)
