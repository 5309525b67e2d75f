"""What a catalog and a policy file tell about where rows belong: tables in order, and columns that hold a person."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from mcp_rls.catalog import Catalog, ForeignKey, ForeignPolicy, Table, TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.harness.check import TESTED_KINDS, covered_tables
from mcp_rls.harness.matrix import conditions as said
from mcp_rls.harness.matrix.language import sets_in
from mcp_rls.harness.matrix.values import Wanted

Columns = Mapping[TableName, frozenset[str]]

# A column that equals what a function without arguments says, or the subject of the claims: as PostgreSQL prints it.
_CALL = r"\(?\s?(?:SELECT )?[\w\"]+\.[\w\"]+\(\)"
_PERSONAL = (
    re.compile(rf"(?:\w+\.)?(\w+) = {_CALL}"),
    re.compile(rf"{_CALL}(?: AS \w+\))? = (?:\w+\.)?(\w+)"),
    re.compile(r"(?:\w+\.)?(\w+) = [^=]{0,120}'sub'"),
)
_IN_SETS = (
    re.compile(r"(?:\w+\.)?(\w+)\s*=\s*token\.person", re.IGNORECASE),
    re.compile(r"token\.person\s*=\s*(?:\w+\.)?(\w+)", re.IGNORECASE),
)


def tables_needed(policies: PolicySet, catalog: Catalog) -> tuple[Table, ...]:
    """Covered tables, those that policies, sets and keys look into, and what those refer to; referred ones first."""
    listed = [query_table for s in policies.sets.values() for query_table in tables_in(catalog, s.query)]
    todo = [t.name for t in covered_tables(policies, catalog)] + listed
    found: dict[TableName, Table] = {}
    while todo:
        table = catalog.tables.get(todo.pop())
        if table is None or table.name in found or table.kind not in TESTED_KINDS:
            continue
        found[table.name] = table
        todo += [key.references for key in table.foreign_keys]
        todo += [name for policy in table.policies for name in policy.reads]
    return tuple(_ordered(policies, catalog, found))


def tables_in(catalog: Catalog, query: str) -> list[TableName]:
    """The tables that a query names with their schema."""
    text = query.replace('"', "")
    return [
        name for name in catalog.tables if re.search(rf"(?<![\w.]){re.escape(str(name))}(?!\w)", text, re.IGNORECASE)
    ]


def _ordered(policies: PolicySet, catalog: Catalog, tables: Mapping[TableName, Table]) -> Iterator[Table]:
    """Each table after those that it refers to, as far as they don't go in circles."""
    before = {name: _before(policies, catalog, table) & tables.keys() - {name} for name, table in tables.items()}
    left = sorted(tables)
    while left:
        name = min(left, key=lambda n: (len(before[n] & set(left)), n))
        left.remove(name)
        yield tables[name]


def _before(policies: PolicySet, catalog: Catalog, table: Table) -> set[TableName]:
    """What should have rows before the table gets any: what its keys and the sets of its conditions look into."""
    sets = {s for c in said.conditions(policies, table) for s in sets_in(policies, c.text)}
    read = {name for s in sets for name in tables_in(catalog, policies.sets[s].query)}
    keys = {key.references for key in table.foreign_keys}
    return keys | {name for name in read if not _refers(catalog, name, table.name)}


def _refers(catalog: Catalog, table: TableName, other: TableName) -> bool:
    return any(key.references == other for key in catalog.tables[table].foreign_keys)


# --- columns that hold a person ---------------------------------------------------------------------------------------


def person_columns(policies: PolicySet, catalog: Catalog, tables: Sequence[Table]) -> Columns:
    """For each table the columns that hold a person, as rules, sets and policies compare them; some are guessed."""
    found: dict[TableName, set[str]] = {table.name: set() for table in tables}
    known = {table.name: table for table in tables}
    for table in tables:
        found[table.name] |= _by_rules(policies, table) | _guessed(policies, known, table)
        for policy in table.policies:
            for name in {table.name, *policy.reads} & known.keys():
                found[name] |= _personal(known[name], policy)
    for definition in policies.sets.values():
        names = {match[1] for pattern in _IN_SETS for match in pattern.finditer(definition.query)}
        for name in known.keys() & set(tables_in(catalog, definition.query)):
            found[name] |= names & {column.name for column in known[name].columns}
    return _climbed(known, {name: frozenset(_fitting(policies, known[name], some)) for name, some in found.items()})


def _by_rules(policies: PolicySet, table: Table) -> set[str]:
    noted = noted_conditions(policies, table)
    mine = {column for column, tokens in noted.tokens.items() if "person" in tokens}
    consent = policies.consent
    return mine | ({consent.person} if consent is not None and consent.table == table.name else set())


def noted_conditions(policies: PolicySet, table: Table) -> Wanted:
    """What the conditions of the file say about the table's columns."""
    noted = Wanted()
    for condition in said.conditions(policies, table):
        expr = said.read(policies, table, condition)
        if expr is not None:
            noted.read(expr, table)
    return noted


def _personal(table: Table, policy: ForeignPolicy) -> set[str]:
    """The table's columns that the policy compares with whoever acts."""
    texts = [text for text in (policy.using, policy.check) if text]
    names = {match[1] for pattern in _PERSONAL for text in texts for match in pattern.finditer(text)}
    return names & {column.name for column in table.columns}


def _guessed(policies: PolicySet, known: Mapping[TableName, Table], table: Table) -> set[str]:
    """With uuids for persons: the uuid columns that are no key and refer to no table that rows are made in."""
    if policies.identity.person.type != "uuid":
        return set()
    noted = noted_conditions(policies, table)
    other = {column for column in noted.varied if noted.tokens.get(column) != ["person"]} | noted.sets.keys()
    keys = {c for key in table.foreign_keys if key.references in known for c in key.columns} | set(table.primary_key)
    return {c.name for c in table.columns if (c.base_type or c.type) == "uuid"} - keys - other


def _fitting(policies: PolicySet, table: Table, names: set[str]) -> set[str]:
    """Those of the columns whose type can hold a person."""
    kinds = {"uuid": ("uuid", "text", "character varying"), "text": ("text", "character varying", "citext")}
    allowed = kinds.get(policies.identity.person.type, (policies.identity.person.type, "bigint", "numeric", "text"))
    return {c.name for c in table.columns if c.name in names and (c.base_type or c.type) in allowed}


def _climbed(known: Mapping[TableName, Table], columns: Columns) -> Columns:
    """With what those columns refer to."""
    found = {name: set(some) for name, some in columns.items()}
    for name in known:
        for column in columns[name]:
            root, above = climb(known, name, column)
            found[root].add(above)
    return {name: frozenset(some) for name, some in found.items()}


def climb(known: Mapping[TableName, Table], name: TableName, column: str) -> tuple[TableName, str]:
    """The table and column that foreign keys lead to in the end."""
    seen = {(name, column)}
    while (step := _step(known[name].foreign_keys, column)) and step[0] in known and step not in seen:
        seen.add(step)
        name, column = step
    return name, column


def _step(keys: Sequence[ForeignKey], column: str) -> tuple[TableName, str] | None:
    for key in keys:
        if column in key.columns:
            return key.references, key.referenced_columns[key.columns.index(column)]
    return None


# --- columns that hold a claim ----------------------------------------------------------------------------------------


def claim_columns(policies: PolicySet, tables: Sequence[Table]) -> Mapping[TableName, Mapping[str, str]]:
    """For each table the keys whose value a claim names: what rows are compared with it, followed up to its home."""
    known = {table.name: table for table in tables}
    found: dict[TableName, dict[str, str]] = {}
    for table in tables:
        for column, tokens in noted_conditions(policies, table).tokens.items():
            claim = next((name for name in tokens if name in policies.claims), None)
            if claim is None:
                continue
            root, above = climb(known, table.name, column)
            if (root, above) != (table.name, column) or table.primary_key == (column,):
                found.setdefault(root, {}).setdefault(above, claim)
    return found
