"""A search finds rows by the policy's index, and not by its own.

## What

Under a policy an operator is used on rows before the policy was asked only if its function is leakproof, as PostgreSQL
has it marked. `=` and `<` of most types are; those of numeric and enums aren't, nor are `@@`, `@>`, `&&`, `like` and
`ilike`. So an index that serves them isn't used where a policy asks anything of a row, a ceiling for clients included.
The index that the policies find a person's rows by is used instead: 0.4 to 1.4 times, where those are few. Who has
most of the rows reads most of the table.

## Fix

What each costs, against the same search without row security:

- a search function, `language sql stable security definer set search_path = pg_catalog, pg_temp`, with the policy's
  condition written into it: 1.2 to 1.5 times;
- `alter function ts_match_vq(tsvector, tsquery) leakproof`, by a superuser who knows that no error of it shows a value
  that it was given: 1.0 to 1.1 times;
- a role for which the condition is `true`: 0.95 to 1.05 times. Or nothing, where every person has few rows. For a
  person with many a btree index that begins with the policy's column, and goes on with the searched one.

## What it doesn't catch

Whether anybody searches so. Tables with a thousand rows or fewer as of the last ANALYZE. Comparisons of two types, such
as a date with a timestamp. How many rows a person has.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.leakproof import lost
from mcp_rls.lints import Found, World

SEVERITY = Severity.NOTE


def find(world: World) -> Iterator[Found]:
    """Indexes that no role's search can use, on tables whose policies find rows by an index of their own."""
    for table in world.tables:
        asked = {role: world.binding(table, role, "select") for role in world.reaching(table, "SELECT")}
        for one in lost(world.facts, table, asked, ceilings=world.policies is not None):
            if one.instead:
                message = f"{one}: rows are found by {one.instead[0]}"
                yield Found(str(table), message, one.remedies, table.name, one.index.name)
