"""Table by table: what one table shows by the rows of others is at no moment more than both ends show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_rls.catalog import TableName
from mcp_rls.database import apply
from mcp_rls.database.reads import reads
from mcp_rls.database.waiting import Refused
from tests.postgres.scratch import HEAD, Scratch, helper, policies

pytestmark = pytest.mark.postgres

NAMES = ("papers", "left", "right", "other")
TABLES = "".join(
    f'create table public."{name}" (id integer); insert into public."{name}" values (1), (2);'
    f'grant select on public."{name}" to authenticated;'
    for name in NAMES
)
BOTH = 'select 1 from public."left" l join public."right" r using (id) where l.id = {0}'
DYNAMIC = """
begin
  execute format('select exists (select from public.%I l where l.id = $1)', name) into there using wanted;
end
"""
# How the app's policy on papers reads the rows of both others; {} is the condition
FUNCTION = f"""
create function public.in_both(wanted integer) returns boolean stable language sql as $$
  select exists ({BOTH.format("wanted")})
$$;
"""
VIEW = f"""
create view public.joined with (security_invoker) as {BOTH.format("l.id").replace("1", "l.id", 1)};
grant select on public.joined to authenticated;
"""
BY_NAME = f"""
create function public.there(name text, wanted integer, out there boolean) stable language plpgsql as $${DYNAMIC}$$;
"""
CHAIN = """
alter table public."left" enable row level security;
create policy app on public."left" using (exists (select from public."right" r where r.id = "left".id));
"""
OPERATOR = "create operator public.@@@ (function = public.in_both, rightarg = integer);"
WAYS = {
    "itself": ("", f"exists ({BOTH.format('papers.id')})"),
    "through a view": (VIEW, "exists (select from public.joined j where j.id = papers.id)"),
    "through a function": (FUNCTION, "public.in_both(papers.id)"),
    "through an operator": (FUNCTION + OPERATOR, "operator(public.@@@) papers.id"),
    "by names that it is given": (BY_NAME, "public.there('left', papers.id) and public.there('right', papers.id)"),
    "one through the other": (CHAIN, 'exists (select from public."left" l where l.id = papers.id)'),
}


def file(left: str, right: str, *, papers: str = "", sets: str = "{}") -> str:
    """A policy file whose client reads these rows of the two."""
    rows = {"papers": papers, "left": left, "right": right, "other": left}
    rules = "".join(
        f"  public.{name}: {{clients: [{{who: helper, allow: select, {text or 'rows: id > 0'}}}]}}\n"
        for name, text in rows.items()
    )
    accepted = 'accepted: {"gain-by-absence policy public.papers app": no row of papers is in both}'
    return f"{HEAD}\n{accepted}\nsets: {sets}\ntables:\n{rules}"


ONE, TWO = file("rows: id = 1", "rows: id = 2"), file("rows: id = 2", "rows: id = 1")


def by_table(scratch: Scratch, text: str) -> list[tuple[str, Any]]:
    """Each step, and what the client sees of papers after it."""
    seen: list[tuple[str, Any]] = []
    apply.apply_by_table(
        scratch.connection,
        policies(text),
        progress=lambda step: seen.append((step, scratch.sees(helper(), "public.papers"))),
    )
    return seen


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_tables_that_another_reads_change_at_once(scratch: Scratch, way: tuple[str, str]):
    """No row of papers is in both at either end, and none at any step; where the two show the same, it is seen."""
    made, condition = way
    scratch.run(
        f"{TABLES} {made} alter table public.papers enable row level security;"
        f"create policy app on public.papers using ({condition})"
    )
    scratch.install(ONE)
    assert scratch.sees(helper(), "public.papers") == []
    steps = by_table(scratch, TWO)
    assert [seen for _, seen in steps] == [[]] * len(steps)
    assert any("public.left and public.right, in one step" in step for step, _ in steps)
    assert any(step.endswith(" public.other") for step, _ in steps)
    assert scratch.left(TWO) == []
    by_table(scratch, file("rows: id = 2", "rows: id = 2"))
    assert scratch.sees(helper(), "public.papers") == [2]


def test_a_rule_of_the_file_reads_them(scratch: Scratch):
    """Also one that reads them at the other end alone."""
    scratch.run(TABLES)
    condition = json.dumps(f"exists ({BOTH.format('papers.id')})")
    scratch.install(file("rows: id = 1", "rows: id = 2", papers="rows: id > 2"))
    steps = by_table(scratch, file("rows: id = 2", "rows: id = 1", papers=f"sql: {condition}"))
    assert [seen for _, seen in steps] == [[]] * len(steps)
    assert any("public.left, public.papers and public.right, in one step" in step for step, _ in steps)


SET = """{both: {type: integer, query: 'select l.id from public."left" l join public."right" r using (id)'}}"""


@pytest.mark.parametrize("force", [False, True])
def test_what_a_set_reads(scratch: Scratch, *, force: bool):
    """Past the policies of tables, so that they needn't change at once; unless those bind their owner too."""
    scratch.run(TABLES)
    texts = [file(f"rows: id = {n}", f"rows: id = {n}", papers="rows: id in both", sets=SET) for n in (1, 2)]
    texts = [text.replace("right: {", "right: {force: true, ") if force else text for text in texts]
    scratch.install(texts[0])
    prepared = scratch.prepare(texts[1])
    read = reads(scratch.connection, prepared.catalog, prepared.actual, prepared.desired)
    assert read[TableName("public", "papers")] == ({TableName("public", "right")} if force else set())
    assert [len(step.split(" and ")) for step, _ in by_table(scratch, texts[1])] == [1, 1, 1]


SCOPES = """
scopes: {"n:r": {text: t}, "n:w": {text: t%s}}
tables:
  public.left: {clients: [{who: helper, allow: select, scope: "n:r"}]}
  public.papers: {clients: [{who: helper, allow: select, scope: "n:w", %s}]}
"""


def test_who_is_recognised_and_what_reads_by_it_take_one_transaction(scratch: Scratch):
    """A scope that implies less takes rows of one table away, and a rule for another may admit more for that."""
    scratch.run(TABLES)
    absent = json.dumps('not exists (select from public."left" l where l.id = papers.id)')
    before = HEAD + SCOPES % (', implies: ["n:r"]', f"sql: {absent}")
    scratch.install(before)
    assert scratch.sees(helper(scope="n:w"), "public.papers") == []
    after = HEAD + SCOPES % ("", "rows: id > 2")
    with pytest.raises(Refused, match="takes one transaction"):
        by_table(scratch, after)
    assert scratch.left(before) == []
    scratch.install(after)
    assert scratch.sees(helper(scope="n:w"), "public.papers") == []
