"""Searches on a table lose their index, because a policy must be asked first.

## What

Under a policy an operator is used on rows before the policy was asked only if it is leakproof. `=` and `<` of most
types are; `@@`, `@>`, `&&`, `like`, `ilike` aren't, so that an index made for them isn't used: the table is read
through, or what the policy's own index finds. Measured on a million rows: 150 to 550 times. A policy that keeps few
rows by an index of its own hides it; `using (true)` for a role has no such price.

## Fix

Best: a search function, `language sql stable security definer set search_path = pg_catalog, pg_temp`, with the policy's
condition written into it. Or a role for which the condition is `true`; or, by a superuser who knows what it says,
`alter function ts_match_vq(tsvector, tsquery) leakproof`.

## What it doesn't catch

Whether anybody searches so. Indexes of types whose `=` isn't leakproof (numeric). Tables known to have few rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.facts import Index, Relation
from mcp_rls.inspection.reading import FEW, read
from mcp_rls.inspection.tree import always
from mcp_rls.lints import Found, World

SEVERITY = Severity.NOTE


def find(world: World) -> Iterator[Found]:
    """Tables with an index for searches, and a policy by hand for reading that isn't `true`."""
    for table in world.tables:
        texts = read(world.facts, ((table, p) for p in table.policies if not p.ours and p.is_for("select")))
        searching = [i for i in table.indexes if i.valid and _for_searches(i)]
        if searching and _policed(table) and any(t.using is not None and not always(t.using) for t in texts):
            yield Found(
                str(table),
                f"{table.name}: index {searching[0].name} isn't used where a policy must be asked first",
                ("a definer function that searches, with the policy's condition in it",),
                table.name,
            )


def _policed(table: Relation) -> bool:
    return table.row_security and not 0 <= table.rows <= FEW


def _for_searches(index: Index) -> bool:
    return index.method == "gin" or any("pattern_ops" in name or "trgm" in name for name in index.operators)
