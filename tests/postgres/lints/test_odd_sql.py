"""SQL that nobody expects in a policy stops no lint, and what is wrong in it is found all the same."""

from __future__ import annotations

import pytest

from mcp_rls.lints import run
from tests.postgres.lints.snippets import BASE, MEMBERS, SCOPE, policy
from tests.postgres.lints.world import subjects, world_of
from tests.postgres.scratch import Scratch

pytestmark = pytest.mark.postgres

CONDITIONS = {
    "rows": "(owner, org_id) = (app.me(), 1) and (id, org_id) in (select m.org_id, m.org_id from members m)",
    "values_of": "org_id in (values (1), (2)) and status in (select v.w from (values ('a'), ('b')) v(w))",
    "windows": "id in (select first_value(n.org_id) over (partition by n.user_id) from members n)",
    "grouped": "org_id in (select m.org_id from members m group by m.org_id having count(*) > 1 limit 3)",
    "unions": "org_id in (select 1 union select m.org_id from members m except select 2)",
    "recursive": "org_id in (with recursive r(n) as (select 1 union all select n + 1 from r where n < 3) table r)",
    "lateral_one": "exists (select from members m, lateral (select m.org_id as o) l where l.o = notes.org_id)",
    "sampled": "exists (select from members tablesample bernoulli (10))",
    "from_json": "exists (select from jsonb_to_recordset(app.claims() -> 'orgs') as r(id int) where r.id = org_id)",
    "functions": "exists (select from rows from (generate_series(1, 2), unnest(array['a'])) r(n, t) where r.n = id)",
    "ordinal": "exists (select from unnest(string_to_array(status, ',')) with ordinality as w(word, n) where w.n = 1)",
    "simple_case": "case status when 'open' then true when null then false else owner = (select app.me()) end",
    "subscripts": "((select app.claims())['org'] ->> 0) = status and (string_to_array(status, ','))[1:2] <> '{}'",
    "between_two": "id between symmetric 1 and 5 and status similar to 'o%' and status !~~* 'x'",
    "time_of": "now() at time zone 'utc' > current_timestamp - interval '1 day' and extract(year from now()) > 1",
    "extremes": "greatest(id, 1) > least(id, 2)",
    "whole_row": "notes is not null and row(notes.*) is distinct from null and to_jsonb(notes) ? 'id'",
    "collated": "status collate \"C\" < 'z' and id operator(pg_catalog.=) 1",
    "array_all": "id = all (array(select m.org_id from members m)) and not (org_id = any ('{1,2}'))",
    "filtered": "(select count(*) filter (where m.org_id > 1) from members m) >= 0",
}
FUNCTIONS = """
create function app.loops(a integer, variadic b text[]) returns boolean language plpgsql stable as $$
<<outermost>>
declare
  found_one members%rowtype; total integer := 0; names text[] := '{}'; c cursor for select * from public.members;
begin
  for found_one in select * from public.members loop total := total + 1; end loop;
  for n in 1 .. 3 loop continue when n = 2; total := total + n; end loop;
  foreach total in array array[1, 2] loop exit; end loop;
  while total > 0 loop total := total - 1; end loop;
  case when total = 0 then null; else perform 1; end case;
  names[1] := b[1];
  get diagnostics total = row_count;
  if total > 1 then return false; elsif total < 0 then raise exception 'no %', total; else null; end if;
  begin total := 1 / a; exception when division_by_zero then total := 0; end;
  return total >= 0;
end $$;
create function app.calls_itself(a integer) returns boolean language plpgsql stable as $$
begin if a < 1 then return true; end if; return app.calls_itself(a - 1) and app.calls_itself(a - 2); end $$;
create function app.grows(a text) returns text language plpgsql stable as $$
declare v text := a; begin v := v || 'x'; v := v || v; return v; end $$;
create function app.several(a integer) returns setof integer language sql stable
  begin atomic select 1; select m.org_id from public.members m; end;
create function app.named(wanted text default 'open', out given text) language sql stable return wanted;
create function app.dynamic(a text) returns boolean language plpgsql stable as $$
declare r boolean; begin execute format('select %L is null', a) into strict r; return r; end $$;
"""
CALLS = """
app.loops(id, 'a', 'b') and app.calls_itself(2) and app.grows(status) <> '' and org_id in (select app.several(1))
and app.named(wanted => status) = status and app.named() = 'open' and app.dynamic(status)
"""


def test_odd_conditions_are_read(scratch: Scratch) -> None:
    """Beside each, a fault in the same condition is found."""
    scratch.run(BASE + MEMBERS)
    for name, condition in CONDITIONS.items():
        scratch.run(policy(name, f"({condition}) and ({SCOPE}) like '%read%'"))
    run(world_of(scratch))
    assert subjects(scratch, "scope-by-substring") == sorted(f"policy public.notes {name}" for name in CONDITIONS)


def test_odd_functions_are_read(scratch: Scratch) -> None:
    """Loops, cursors, handlers, functions that call themselves: none stops the others from being judged."""
    scratch.run(BASE + MEMBERS + FUNCTIONS + policy("calls", CALLS))
    run(world_of(scratch))
    found = {subject.partition("(")[0] for subject in subjects(scratch, "helper-parallel-unsafe")}
    assert found == {f"function app.{name}" for name in ("calls_itself", "grows", "several", "named")}
