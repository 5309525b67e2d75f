"""Keys as a cases file writes them, to keys as PostgreSQL prints them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import psycopg

from mcp_rls import sql
from mcp_rls.catalog import Table, TableName
from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.session import one_line
from mcp_rls.harness.stage import Stage
from mcp_rls.harness.suite import KeyValue, show_key

_INTEGERS = ("smallint", "integer", "bigint")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class KeyReader:
    """Reads keys, and asks the server about each spelling once."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._read: dict[tuple[TableName, str], Key | str] = {}
        self._lists: dict[tuple[TableName, tuple[int, ...]], tuple[Key, ...]] = {}

    def read(self, table: Table, values: tuple[KeyValue, ...]) -> tuple[Key, ...] | str:
        """The keys, or a sentence that says which of them is none."""
        if not all(type(value) is int for value in values):
            return self._each(table, values)
        # the usual case, asked for again and again
        known = self._lists.get((table.name, values))
        if known is None:
            found = self._each(table, values)
            if isinstance(found, str):
                return found
            known = self._lists[table.name, values] = found
        return known

    def _each(self, table: Table, values: tuple[KeyValue, ...]) -> tuple[Key, ...] | str:
        found: list[Key] = []
        for value in values:
            if isinstance(value, Mapping):
                keys = self._rows_with(table, value)
                if isinstance(keys, str):
                    return keys
                found += keys
                continue
            key = self._key(table, value if isinstance(value, tuple) else (value,))
            if isinstance(key, str):
                return key
            found.append(key)
        return tuple(dict.fromkeys(found))

    def _rows_with(self, table: Table, values: Mapping[str, object]) -> list[Key] | str:
        """The rows that a mapping of columns names; there must be one."""
        query = f"select {rows.key_expression(table)} from {sql.table(table.name)} t{rows.where(table, values)}"
        try:
            keys = [tuple(key) for (key,) in self._stage.ask(query)]
        except psycopg.Error as error:
            return f"{show_key(values)} can't name a row of {table.name}: {one_line(error)}"
        return keys or f"{show_key(values)} names no row of {table.name}"

    def _key(self, table: Table, parts: tuple[object, ...]) -> Key | str:
        plain = [_plain(rows.column(table, c).base_type, v) for c, v in zip(table.primary_key, parts, strict=True)]
        if None not in plain:
            return tuple(str(text) for text in plain)
        spelling = (table.name, repr(parts))
        if spelling not in self._read:
            self._read[spelling] = self._ask(table, parts)
        return self._read[spelling]

    def _ask(self, table: Table, parts: tuple[object, ...]) -> Key | str:
        columns = [rows.column(table, c) for c in table.primary_key]
        casts = ", ".join(f"{rows.literal(c, v)}::{c.type}::text" for c, v in zip(columns, parts, strict=True))
        try:
            return tuple(self._stage.ask(f"select array[{casts}]")[0][0])
        except psycopg.Error as error:
            return f"{show_key(parts)} is no key of {table.name}: {one_line(error)}"


def _plain(kind: str, value: object) -> str | None:
    """How PostgreSQL prints a value of a common type, or None where it has to be asked."""
    if kind in _INTEGERS and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if kind in ("text", "character varying") and isinstance(value, str):
        return value
    if kind == "uuid" and isinstance(value, str) and _UUID.fullmatch(value):
        return value.lower()
    return None
