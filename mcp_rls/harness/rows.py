"""Rows of a table as text: SQL that reads, writes and names them, and what a look past row security saw."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_rls import sql
from mcp_rls.catalog import Column, Table
from mcp_rls.harness.observe import Key
from mcp_rls.harness.suite import Values, show_value

Data = Mapping[str, str | None]  # column -> value as PostgreSQL prints it
_JSON = ("json", "jsonb")
_SHOWN = 7  # columns in a message


@dataclass(frozen=True)
class StoredRow:
    """A row that really is in the table. `version` changes whenever the row is written."""

    key: Key
    version: str
    data: Data


Snapshot = Mapping[Key, StoredRow]


def look(table: Table, where: str = "") -> str:
    """The statement that reads every row with its version."""
    key, columns = key_expression(table), ", ".join(f"t.{sql.ident(c.name)}::text" for c in table.columns)
    version = "t.tableoid::text || ':' || t.ctid::text || ':' || t.xmin::text"
    order = ", ".join(f"t.{sql.ident(c)}" for c in table.primary_key) or "t.tableoid, t.ctid"
    return f"select {key}, {version}, array[{columns}]::text[] from {sql.table(table.name)} t{where} order by {order}"


def snapshot(table: Table, rows: Sequence[tuple[Any, ...]]) -> Snapshot:
    """What `look` brought."""
    names = [c.name for c in table.columns]
    return {
        tuple(key): StoredRow(tuple(key), version, dict(zip(names, data, strict=True))) for key, version, data in rows
    }


def changed(before: Snapshot, after: Snapshot) -> tuple[Key, ...]:
    """The keys of rows that were written or went away."""
    return tuple(k for k, row in before.items() if k not in after or after[k].version != row.version)


def key_expression(table: Table) -> str:
    if not table.primary_key:
        return "array[t.tableoid::regclass::text, t.ctid::text]"
    return f"array[{', '.join(f't.{sql.ident(c)}::text' for c in table.primary_key)}]"


def by_key(table: Table, key: Key, prefix: str = "") -> str:
    """A condition that is true of the row with `key` alone."""
    if not table.primary_key:
        return f"{prefix}tableoid = {sql.literal(key[0])}::regclass and {prefix}ctid = {sql.literal(key[1])}::tid"
    pairs = zip(table.primary_key, key, strict=True)
    return " and ".join(f"{prefix}{sql.ident(c)} = {sql.literal(v)}" for c, v in pairs)


def any_key(table: Table) -> str:
    """A condition that reads the key and is true of every row."""
    return f"{sql.ident(table.primary_key[0]) if table.primary_key else 'ctid'} is not null"


def where(table: Table, values: Values) -> str:
    """' where a = '1' and b is null', or '' when `values` is empty."""
    conditions = []
    for name, value in values.items():
        constant = literal(column(table, name), value)
        conditions.append(f"{sql.ident(name)} " + ("is null" if value is None else f"= {constant}"))
    return f" where {' and '.join(conditions)}" if conditions else ""


def insert(table: Table, values: Mapping[str, str], *, overriding: bool = False) -> str:
    """An INSERT of SQL expressions by column."""
    target = sql.table(table.name)
    if not values:
        return f"insert into {target} default values"
    columns = ", ".join(map(sql.ident, values))
    system = " overriding system value" if overriding else ""
    return f"insert into {target} ({columns}){system} values ({', '.join(values.values())})"


def update(table: Table, values: Mapping[str, str], where_clause: str = "") -> str:
    sets = ", ".join(f"{sql.ident(name)} = {expression}" for name, expression in values.items())
    return f"update {sql.table(table.name)} set {sets}{where_clause}"


def delete(table: Table, where_clause: str = "") -> str:
    return f"delete from {sql.table(table.name)}{where_clause}"


def column(table: Table, name: str) -> Column:
    """The column, or one of unknown type when there is none: PostgreSQL will say so."""
    return table.column(name) or Column(name, "text")


def literals(table: Table, values: Values) -> dict[str, str]:
    return {name: literal(column(table, name), value) for name, value in values.items()}


def stored_literals(data: Data, names: Sequence[str]) -> dict[str, str]:
    """Constants for values that PostgreSQL printed."""
    return {name: "null" if (text := data[name]) is None else sql.literal(text) for name in names}


def literal(target: Column, value: Any) -> str:
    """A constant for a plain YAML value, untyped so that it takes the column's type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"'{str(value).lower()}'"
    if (target.base_type or target.type) in _JSON:
        return sql.literal(_json(value))
    if isinstance(value, list | tuple):
        return sql.literal(_array(value))
    return sql.literal(json.dumps(value) if isinstance(value, Mapping) else str(value))


def _json(value: Any) -> str:
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return json.dumps(value)
        return value
    return json.dumps(value)


def _array(values: Sequence[Any]) -> str:
    """'{"a",NULL,{"b"}}', PostgreSQL's own form."""
    parts = []
    for value in values:
        if value is None:
            parts.append("NULL")
        elif isinstance(value, list | tuple):
            parts.append(_array(value))
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            text = json.dumps(value) if isinstance(value, Mapping) else text
            escaped = text.replace("\\", "\\\\").replace('"', '\\"')
            parts.append(f'"{escaped}"')
    return "{" + ",".join(parts) + "}"


def show(key: Key, table: Table) -> str:
    """The key as a cases file would write it."""
    if not table.primary_key:
        return f"the row at {key[1]}"
    return key[0] if len(key) == 1 else f"[{', '.join(key)}]"


def show_row(row: StoredRow, table: Table) -> str:
    """'3: org_id=1 status=spam', the key first."""
    text = show_data({n: v for n, v in row.data.items() if n not in table.primary_key})
    return f"{show(row.key, table)}: {text}" if text else show(row.key, table)


def show_data(data: Data) -> str:
    """The first columns: 'org_id=1 status=spam'."""
    return " ".join(f"{name}={show_value(value)}" for name, value in list(data.items())[:_SHOWN])
