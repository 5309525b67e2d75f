"""What was altered by hand and a plan puts back: told as that, with its text, and the direction where it is sure."""

from __future__ import annotations

import pytest

from mcp_rls.effect import Effect
from mcp_rls.operation import Operation
from tests.postgres.scratch import HEAD, NOTES, Scratch, ann, helper

pytestmark = pytest.mark.postgres

FILE = HEAD + """tables:
  public.notes:
    people: [{allow: [select, update], rows: owner = token.person}]
    clients:
      - {who: helper, allow: select, rows: status = 'open'}
      - {who: helper, allow: update, rows: status = 'open', check: "status in ('open', 'closed')"}
"""  # fmt: skip
CEILING, PEOPLE, UPDATE = (
    f'alter policy "mcp_rls: notes {name}" on public.notes' for name in ("select", "people select", "update")
)
OPENS, CLOSES = Effect.OPENS, Effect.CLOSES
UNTOLD = "it counts as opening"

# What somebody does, what putting it back does, what is shown of it.
BY_HAND = [
    (f"{CEILING} using (true)", CLOSES, ": using (true)"),
    (f"{CEILING} using (false)", OPENS, ": using (false)"),
    (f"{CEILING} using (id < 7)", OPENS, ": using ((id < 7))"),
    (f"{PEOPLE} using (true)", CLOSES, ": using (true)"),
    (f"{PEOPLE} using (false)", OPENS, ": using (false)"),
    (f"{PEOPLE} using (id < 7)", OPENS, ": using ((id < 7))"),
    (f"{UPDATE} using (true)", CLOSES, ": using (true)"),
    (f"{UPDATE} with check (true)", CLOSES, ": with check (true)"),
    (f"{UPDATE} using (true) with check (id < 7)", OPENS, ": using (true) with check ((id < 7))"),
    (f"{CEILING} to public", OPENS, "to anon, authenticated; before: public"),
    (f"{CEILING} to anon", CLOSES, "to anon, authenticated; before: anon"),
    (f"{PEOPLE} to public", CLOSES, "to anon, authenticated; before: public"),
]


@pytest.fixture
def applied(scratch: Scratch) -> Scratch:
    scratch.run(NOTES)
    scratch.install(FILE)
    return scratch


def policies_changed(scratch: Scratch, text: str) -> list[Operation]:
    return [o for o in scratch.prepare(text).plan.operations if o.subject.startswith("policy ")]


@pytest.mark.parametrize(("change", "effect", "shown"), BY_HAND, ids=[change[21:] for change, *_ in BY_HAND])
def test_it_is_told_with_its_text_and_direction(applied: Scratch, change: str, effect: Effect, shown: str):
    """Where the direction isn't sure it is said to count as opening; afterwards all is as it was."""
    applied.run(change)
    (told,) = policies_changed(applied, FILE)
    assert "\n  put back as the file says; it was altered by hand" in told.words
    assert shown in told.words
    assert told.effect is effect
    assert (UNTOLD in told.words) is ("id < 7" in change)
    applied.install(FILE)
    assert not policies_changed(applied, FILE)
    assert (applied.sees(helper()), applied.sees(ann())) == ([1], [1, 2])


def test_it_closes_as_it_says(applied: Scratch):
    """What the hand-made text let through is there, was seen, and is hidden again."""
    applied.run(f"{CEILING} using (true); {PEOPLE} using (true)")
    assert (applied.sees(helper()), applied.sees(ann())) == ([1, 2, 3], [1, 2, 3])
    assert {o.effect for o in policies_changed(applied, FILE)} == {CLOSES}
    applied.install(FILE)
    assert (applied.sees(helper()), applied.sees(ann())) == ([1], [1, 2])


def test_a_file_that_moved_on_puts_nothing_back(applied: Scratch):
    """It is written as the file says by now; a text that nobody touched then says something else too."""
    moved = FILE.replace("('open', 'closed')", "('open', 'shut')")
    applied.run(f"{UPDATE} using (true)")
    (told,) = [o for o in policies_changed(applied, moved) if "notes update" in o.words]
    assert "written as the file says; it was altered by hand: using (true) with check (" in told.words
    assert (told.effect, UNTOLD in told.words) == (OPENS, True)


def test_a_function_by_hand_is_told_too(applied: Scratch):
    """What it computed isn't known, so it counts as opening."""
    gate = "mcp_rls.gate(acting name, rules jsonb)"
    applied.run(f"create or replace function {gate} returns integer language sql as 'select -1'")
    (told,) = [o for o in applied.prepare(FILE).plan.operations if o.words.startswith("replace function mcp_rls.gate")]
    assert "\n  put back as the file says; it was altered by hand" in told.words
    assert (told.effect, UNTOLD in told.words) == (OPENS, True)
