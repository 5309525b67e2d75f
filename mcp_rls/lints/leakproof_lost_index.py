"""A search reads the whole table under a policy, though there is an index for it.

## What

Under a policy an operator is used on rows before the policy was asked only if its function is leakproof, as PostgreSQL
has it marked. `=` and `<` of most types are; those of numeric and enums aren't, nor are `@@`, `@>`, `&&`, `like` and
`ilike`. So an index that serves them isn't used where a policy asks anything of a row, a ceiling for clients included.
Measured on a million rows: 150 to 550 times, because nothing else narrows the rows either.

## Fix

What each costs, against the same search without row security:

- a search function, `language sql stable security definer set search_path = pg_catalog, pg_temp`, with the policy's
  condition written into it: 1.2 to 1.5 times;
- `alter function ts_match_vq(tsvector, tsquery) leakproof`, by a superuser who knows that no error of it shows a value
  that it was given: 1.0 to 1.1 times;
- a role for which the condition is `true`: 0.95 to 1.05 times. An index on the column that the policies
  compare with the token makes it `leakproof-index-unused`, which costs little where a person has few rows.

## What it doesn't catch

Whether anybody searches so. Tables with a thousand rows or fewer as of the last ANALYZE. Comparisons of two types, such
as a date with a timestamp. People rules of a policy file that weren't applied yet.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.leakproof import lost
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Indexes that no role's search can use, on tables whose policies find rows by no index either."""
    for table in world.tables:
        asked = {role: world.binding(table, role, "select") for role in world.reaching(table, "SELECT")}
        for one in lost(world.facts, table, asked, ceilings=world.policies is not None):
            if not one.instead:
                message = f"{one}, and read all rows"
                yield Found(str(table), message, one.remedies, table.name, one.index.name)
