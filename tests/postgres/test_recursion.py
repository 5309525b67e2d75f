"""Tables whose app policies read themselves, and how often what our policies ask is asked."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

from typing import Any

import pytest

from tests.postgres.scratch import ANN, HEAD, NOTES, Scratch, ann, helper

pytestmark = pytest.mark.postgres

ACCEPT = frozenset({"gain-by-absence"})
OPEN = "alter table notes enable row level security; create policy all_rows on notes for select using (true);"
INSERT = f"insert into notes values (9, '{ANN}', 'open')"
TABLES = "tables: {public.notes: {clients: [{who: helper, allow: [select, insert], rows: \"status = 'open'\"}]}}"


def quota(limit: int) -> str:
    return f"create policy quota on notes for insert with check ((select count(*) from notes n where n.owner = notes.owner) < {limit});"


def test_a_quota_goes_on_working(each_scratch):
    """An INSERT policy that counts the table's own rows: people below the quota insert, above it they are refused, and
    no statement ends in 42P17.
    """
    each_scratch.run(NOTES + OPEN + quota(3))
    assert each_scratch.ask(ann(), INSERT) == 1
    each_scratch.install(TABLES, ACCEPT)
    assert each_scratch.left(TABLES, ACCEPT) == []
    assert each_scratch.ask(ann(), INSERT) == 1
    assert str(each_scratch.ask(ann(), INSERT, INSERT.replace("9", "10"))).startswith("42501 new row violates")
    assert each_scratch.sees(ann()) == [1, 2, 3]
    assert each_scratch.ask(ann(), "update notes set status = 'open'") == 0
    assert each_scratch.ask(ann(), "delete from notes") == 0


def test_clients_stay_within_their_ceiling_there(each_scratch):
    """The policies of such a table ask the gate row by row, and mean the same."""
    each_scratch.run(
        NOTES
        + OPEN
        + quota(9)
        + "create policy w on notes for update using (true); create policy d on notes for delete using (true)"
    )
    each_scratch.install(TABLES, ACCEPT)
    assert each_scratch.sees(helper()) == [1, 3]
    assert each_scratch.sees(ann(client_id="stranger")) == []
    assert each_scratch.ask(helper(), INSERT) == 1
    assert str(each_scratch.ask(helper(), INSERT.replace("open", "closed"))).startswith("42501 new row violates")
    assert each_scratch.ask(ann(), INSERT.replace("open", "closed")) == 1
    for statement in ("update notes set status = 'x'", "delete from notes"):
        assert each_scratch.ask(helper(), statement) == 0
        assert each_scratch.ask(ann(), statement) == 3


# The reader's own SELECT policy is read by what it reads: in a circle of two tables, and through a view.
CIRCLES = {
    "two tables": """
create policy i on notes for insert with check (exists (select from tags t where t.note = notes.id));
create policy t on tags using (exists (select from notes n where n.id = tags.note));
""",
    "a view": """
create view seen with (security_invoker) as select * from notes;
grant select on seen to authenticated;
create policy i on notes for insert with check ((select count(*) from seen) < 9);
create policy t on tags using (true);
""",
}


@pytest.mark.parametrize("app", CIRCLES.values(), ids=CIRCLES)
def test_a_circle_through_others_goes_on_working(app, scratch):
    """Policies that lead back to their table by way of another one don't recurse after the installation either."""
    scratch.run(
        NOTES + OPEN + "create table tags (id integer, note integer); insert into tags values (1, 1), (9, 9);"
        "grant select on tags to authenticated; alter table tags enable row level security;" + app
    )
    statements = ("select id from notes", "select id from tags", INSERT)
    before = [scratch.ask(ann(), s) for s in statements]
    text = 'tables: {public.notes: {clients: [{who: helper, allow: select, rows: "id < 3"}]}, public.tags: {clients: read_as_person}}'
    scratch.install(text, ACCEPT)
    assert [scratch.ask(ann(), s) for s in statements] == before
    assert scratch.sees(helper()) == [1, 2]
    assert scratch.sees(helper(), "tags") == ([1] if "exists" in app else [1, 9])


def test_a_set_may_read_the_table_it_guards(each_scratch):
    """It is computed past row security, so nothing recurses, and rows of its own making count."""
    each_scratch.run(NOTES)
    text = (
        HEAD
        + """
sets: {mine: {type: text, query: "select status from public.notes where owner = token.person"}}
tables:
  public.notes:
    people: [{allow: [select, insert, update, delete], rows: "status in mine"}]
    clients: [{who: helper, allow: [select, insert, update, delete], rows: "status in mine and id <> 2"}]
"""
    )
    each_scratch.run("insert into notes values (4, null, 'spam')")
    each_scratch.install(text)
    assert each_scratch.sees(ann()) == [1, 2, 3]
    assert each_scratch.sees(helper()) == [1, 3]
    assert each_scratch.ask(ann(), "update notes set status = 'closed'") == 3


def test_a_policy_made_later_that_reads_its_table_is_pending(scratch):
    """The plan then takes the sub-selects out of that table's policies."""
    scratch.run(NOTES + OPEN)
    scratch.install(TABLES)
    assert scratch.left(TABLES) == []
    scratch.run(quota(9))
    assert "42P17" in str(scratch.ask(ann(), INSERT))
    assert any("notes select" in words for words in scratch.left(TABLES, ACCEPT))
    scratch.install(TABLES, ACCEPT)
    assert scratch.ask(ann(), INSERT) == 1


# --- how often

MANY = (
    HEAD
    + """
claims: {tenant: {claim: tenant, type: integer}}
scopes: {"n:r": {text: t}, "n:w": {text: t, implies: ["n:r"]}}
sets:
  mine: {type: integer, query: "select id from public.notes where owner = token.person"}
  others: {type: integer, query: "select id from public.notes where owner <> token.person"}
tables:
  public.notes:
    people:
      - {allow: [select, insert, update, delete], rows: "owner = token.person and status <> 'spam'"}
      - {allow: select, rows: "id in mine or id = token.tenant"}
    clients:
      - {who: helper, allow: select, scope: "n:r", rows: "id in mine and status = 'open'"}
      - {who: helper, allow: select, scope: "n:w", rows: "id in others or owner = token.person"}
      - {who: helper, allow: [insert, update, delete], scope: "n:w", rows: "owner = token.person or id = token.tenant"}
"""
)


def sub_plans(node: dict[str, Any]) -> list[dict[str, Any]]:
    inner = [p for child in node.get("Plans", ()) for p in sub_plans(child)]
    return [node, *inner] if "Subplan Name" in node else inner


def explained(scratch: Scratch, claims: dict[str, Any], statement: str) -> list[dict[str, Any]]:
    answer = scratch.ask(claims, f"explain (analyze, timing off, costs off, format json) {statement}")
    assert isinstance(answer, list), answer
    return sub_plans(answer[0][0]["Plan"])


@pytest.mark.parametrize(
    "statement",
    [
        "select * from notes",
        "select * from notes n join notes m using (owner)",
        "select (select count(*) from notes m where m.id < n.id) from notes n",
        "delete from notes",
        "update notes set status = 'open' where id > 0",
        f"insert into notes select n, '{ANN}', 'open' from generate_series(5000, 5500) n returning id",
        "select * from notes for update",
    ],
)
def test_what_does_not_depend_on_the_row_is_asked_once(statement, each_scratch):
    """Every sub-plan of our policies runs at most once a statement, whatever the number of rows: the gate, the token's
    values, the sets.
    """
    each_scratch.run(
        NOTES + f"insert into notes select n, '{ANN}', 'open' from generate_series(10, 200) n; analyze notes"
    )
    each_scratch.install(MANY)
    for claims in (ann(), helper(scope="n:r"), helper(scope="n:w", tenant=7), ann(client_id="stranger")):
        if "insert" in statement and claims.get("client_id") and claims.get("scope") != "n:w":
            continue  # refused
        found = [p for p in explained(each_scratch, claims, statement) if p["Node Type"] == "Result"]
        assert found, "the policies stand in the plan"
        own = [p for p in found if p["Parent Relationship"] == "InitPlan"]
        assert own == found
        assert max(p["Actual Loops"] for p in found) <= 1, found


def test_a_closed_session_computes_no_set(scratch):
    """What a token doesn't open is never executed: its sets aren't computed."""
    scratch.run(NOTES)
    scratch.install(
        'sets: {mine: {type: integer, query: "select 1 / (id - id) from public.notes where owner = token.person"}}\n'
        'tables: {public.notes: {clients: [{who: helper, allow: select, rows: "id in mine"}]}}'
    )
    assert scratch.sees(ann()) == [1, 2, 3]
    assert scratch.sees(ann(client_id="stranger")) == []
    assert "22012" in str(scratch.sees(helper()))
