"""A suite against the catalog of the database it will run in: tables, columns and keys that don't exist there."""

from __future__ import annotations

from collections.abc import Mapping

from mcp_rls.catalog import Catalog, Table, TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.diagnostics import Diagnostics, nearest
from mcp_rls.harness.suite import Suite, places

TESTED_KINDS = ("table", "partitioned", "partition")


def covered_tables(policies: PolicySet, catalog: Catalog) -> tuple[Table, ...]:
    """Every table that row security can guard in a covered schema, by name."""
    return tuple(t for s in policies.schemas for t in catalog.in_schema(s) if t.kind in TESTED_KINDS)


def check_suite(suite: Suite, catalog: Catalog) -> Diagnostics:
    """An error for each table, column or key of the suite that this database doesn't have."""
    diagnostics = Diagnostics()
    known: set[TableName] = set()
    for name, path in _tables(suite):
        if name in catalog.tables:
            known.add(name)
            continue
        hint = nearest(str(name), map(str, catalog.tables))
        span = suite.span(*path) if path[-1] == "select" else suite.key_span(*path)
        diagnostics.error("unknown-table", f'there is no table "{name}" in the database', span, hint)
    for name, path, values in places(suite):
        if name in known:
            for column in values:
                _column(suite, catalog.tables[name], column, (*path, column), diagnostics)
    for case in suite.cases:
        if case.table in known:
            for index, key in enumerate(case.expect.keys):
                path = ("cases", case.number - 1, case.expect.kind, index)
                _key(suite, catalog.tables[case.table], key, path, diagnostics)
    return diagnostics


def _tables(suite: Suite) -> list[tuple[TableName, tuple[str | int, ...]]]:
    found: list[tuple[TableName, tuple[str | int, ...]]] = [(t, ("fixtures", str(t))) for t in suite.fixtures]
    for case in suite.cases:
        path: tuple[str | int, ...] = ("cases", case.number - 1, case.command)
        found.append((case.table, path if case.command == "select" else (*path, str(case.table))))
    return found


def _column(suite: Suite, table: Table, column: str, path: tuple[str | int, ...], diagnostics: Diagnostics) -> None:
    if table.column(column) is None:
        hint = nearest(column, (c.name for c in table.columns))
        message = f'table "{table.name}" has no column "{column}"'
        diagnostics.error("unknown-column", message, suite.key_span(*path), hint)


def _key(suite: Suite, table: Table, key: object, path: tuple[str | int, ...], diagnostics: Diagnostics) -> None:
    if isinstance(key, Mapping):
        for column in key:
            _column(suite, table, column, (*path, column), diagnostics)
        return
    columns = table.primary_key
    given = len(key) if isinstance(key, tuple) else 1
    if given == len(columns):
        return
    if columns:
        message = f'a key of "{table.name}" is ({", ".join(columns)}); found {given} value{"s"[: given != 1]}'
        hint = f"write [{', '.join(columns)}]" if len(columns) > 1 else ""
    else:
        message = f'table "{table.name}" has no primary key'
        hint = "name the row by its columns: {name: value}"
    diagnostics.error("wrong-key", message, suite.span(*path), hint)
