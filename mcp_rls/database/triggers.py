"""Triggers of ours, as a database holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_rls.catalog import TableName
from mcp_rls.state import PREFIX, Trigger

# A partition's copy of a trigger, which can be switched off by itself, is the trigger's own matter.
OUR_TRIGGERS = f"""
select t.tgrelid as relation, t.tgname as name, pg_get_triggerdef(t.oid) as definition, not exists (
         with recursive copies as (
           select t.oid, t.tgenabled
           union all select c.oid, c.tgenabled from copies join pg_trigger c on c.tgparentid = copies.oid)
         select from copies where copies.tgenabled not in ('O', 'A')) as enabled
from pg_trigger t where starts_with(t.tgname::text, ' {PREFIX}') and t.tgparentid = 0
"""


def our_trigger(tables: Mapping[int, TableName], row: Mapping[str, Any]) -> Trigger:
    """The trigger in a row of that query; `tables` by their number."""
    return Trigger(tables[row["relation"]], row["name"], row["definition"], row["enabled"])
