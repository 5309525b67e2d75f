"""What the columns of a database can hold, as far as its constraints say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mcp_rls.catalog import Column, Table, TableName
from mcp_rls.harness.mutation.proof import Domain
from mcp_rls.harness.session import Connection, run

_INTEGERS = ("smallint", "integer", "bigint")
# Two spellings are two values only under a collation that tells all apart; 'char' would pad with blanks.
_FACTS = """
select n.nspname, c.relname, a.attname,
       coalesce(l.collisdeterministic, true) and t.typname not in ('bpchar', 'citext'),
       case when t.typtype = 'e' then array(select e.enumlabel::text from pg_enum e where e.enumtypid = t.oid
                                            order by e.enumsortorder) end,
       array(select pg_get_constraintdef(k.oid) from pg_constraint k
             where k.conrelid = c.oid and k.contype = 'c' and k.convalidated and k.conkey = array[a.attnum])
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
join pg_type t on t.oid = a.atttypid left join pg_collation l on l.oid = a.attcollation
where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p') and n.nspname !~ '^pg_'
"""
_LISTED = re.compile(r"CHECK \(\(+[\w\"]+\)?(?:::text)? = ANY \(+ARRAY\[(?P<items>[^\]]*)\]\)?(?:::text\[\])?\)+")
_ITEM = re.compile(r"\(?'((?:[^']|'')*)'::[a-z ]+\)?(?:::text)?(?:, |\Z)")

AllDomains = Mapping[TableName, Mapping[str, Domain]]


def read_domains(conn: Connection, tables: Iterable[Table]) -> AllDomains:
    """The domains of the tables' columns; a column of another type than text, number, boolean or enum has none."""
    known = {t.name: t for t in tables}
    found: dict[TableName, dict[str, Domain]] = {name: {} for name in known}
    for schema, relation, name, distinct, labels, checks in run(conn, _FACTS)[0]:
        table = known.get(TableName(schema, relation))
        column = table.column(name) if table else None
        if table is None or column is None:
            continue
        values = tuple(labels) if labels else next((v for check in checks if (v := _listed(check))), None)
        domain = _domain(column, values, enum=bool(labels))
        if domain is not None and distinct:
            found[table.name][name] = domain
    return found


def _domain(column: Column, values: tuple[str, ...] | None, *, enum: bool) -> Domain | None:
    kind, nullable = column.base_type or column.type, not column.not_null
    if kind == "boolean":
        return Domain("boolean", ("true", "false"), nullable)
    if kind in _INTEGERS:
        return Domain("number", None, nullable)
    if enum or kind in ("text", "character varying"):
        return Domain("text", values, nullable)
    return None


def _listed(definition: str) -> tuple[str, ...] | None:
    """The values of a CHECK that does nothing but list them, as PostgreSQL prints it."""
    match = _LISTED.fullmatch(definition)
    if match is None:
        return None
    items = list(_ITEM.finditer(match["items"]))
    whole = "".join(item[0] for item in items) == match["items"]
    return tuple(item[1].replace("''", "'") for item in items) if whole and items else None
