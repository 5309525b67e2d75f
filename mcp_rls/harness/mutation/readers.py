"""Which tables depend on what is seen of another one, by the app's own policies, functions and triggers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mcp_rls.catalog import Catalog, Table, TableName

_UNREAD = ("c", "internal")  # languages of functions whose text tells nothing


def readers(catalog: Catalog, tables: tuple[Table, ...]) -> Mapping[TableName, frozenset[TableName]]:
    """For each table those whose policies or triggers may depend on what is seen of it, or write to it."""
    direct = {table.name: _read_by(catalog, table, tables) for table in tables}
    found: dict[TableName, frozenset[TableName]] = {}
    for table in tables:
        reached = {table.name}
        while more := {name for name, reads in direct.items() if reads & reached} - reached:
            reached |= more
        found[table.name] = frozenset(reached - {table.name})
    return found


def _read_by(catalog: Catalog, table: Table, tables: tuple[Table, ...]) -> set[TableName]:
    """What the table's own policies and triggers read: as the catalog says, or as a function's text may say."""
    named = {name for policy in table.policies for name in policy.reads}
    called = {*(f for policy in table.policies for f in policy.functions), *(f for _, f in table.triggers)}
    for function in (overload for name in called for overload in catalog.functions.get(name, ())):
        unread = function.language in _UNREAD or re.search(r"\bexecute\b", function.body, re.IGNORECASE)
        named |= {t.name for t in tables if unread or re.search(rf"\b{re.escape(t.name.name)}\b", function.body)}
        named |= _called_in(catalog, function.body, tables)
    return named - {table.name}


def _called_in(catalog: Catalog, body: str, tables: tuple[Table, ...]) -> set[TableName]:
    """Every table, where a function calls another one of the database's own: its text is followed no further."""
    names = {name.partition(".")[2] for name in catalog.functions}
    calls = any(re.search(rf"\b{re.escape(name)}\b\"?\s*\(", body) for name in names)
    return {t.name for t in tables} if calls else set()
