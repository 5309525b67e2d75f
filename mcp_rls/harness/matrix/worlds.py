"""Rows for a matrix: in every table, for each place (two of Ann's, one of Bob's), rows that tell the conditions apart.

Keys lead to rows of the same place, columns that hold a person hold that place's, and what conditions compare takes
the values that matter. Which combinations are worth a row PostgreSQL says, by evaluating the conditions on each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mcp_rls import sql
from mcp_rls.catalog import Catalog, Column, ForeignKey, Table, TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.harness import rows
from mcp_rls.harness.matrix import conditions as said
from mcp_rls.harness.matrix.language import members, sets_in
from mcp_rls.harness.matrix.layout import (
    claim_columns,
    noted_conditions,
    person_columns,
    tables_in,
    tables_needed,
)
from mcp_rls.harness.matrix.maker import Choice, Constraints, Dimension, Fragment, Made, Maker
from mcp_rls.harness.matrix.people import BYSTANDER, PLACES, Cast, Place
from mcp_rls.harness.matrix.values import NUMBERS, Wanted, candidates, plain


@dataclass
class World:
    """What was made: rows by table and place, the one to refer to first; and what could not be made, and why."""

    rows: dict[tuple[TableName, int], list[rows.StoredRow]] = field(default_factory=dict)
    trouble: dict[TableName, str] = field(default_factory=dict)


class Builder:
    """Builds the world of one matrix."""

    def __init__(self, policies: PolicySet, catalog: Catalog, people: Cast, maker: Maker, limits: Constraints) -> None:
        self.policies, self.catalog, self.people, self.maker, self.limits = policies, catalog, people, maker, limits
        self.world = World()
        self.tables = tables_needed(policies, catalog)
        self._persons = person_columns(policies, catalog, self.tables)
        self._claims = claim_columns(policies, self.tables)
        self._numbers: dict[TableName, int] = {}

    def build(self) -> World:
        for table in self.tables:
            if table.kind == "partition" and any(parent in self.catalog.tables for parent in table.parents):
                continue  # what its parent has in it
            for place in (*PLACES, *(PLACES if self._reads_own_rows(table) else ())):
                self._place(table, place)
        return self.world

    def _reads_own_rows(self, table: Table) -> bool:
        """Whether a condition looks into a set that is made of the table itself: it has members only afterwards."""
        sets = {s for c in said.conditions(self.policies, table) for s in sets_in(self.policies, c.text)}
        return any(table.name in tables_in(self.catalog, self.policies.sets[s].query) for s in sets)

    def wanted(self, table: Table) -> Wanted:
        """What the policy file, the app's own policies and the table's constraints say about its columns."""
        wanted = noted_conditions(self.policies, table)
        for policy in table.policies:
            for text in filter(None, (policy.using, policy.check)):
                wanted.read_text(text, table, vary=True)
        for text in self.limits.checks.get(table.name, ()):
            wanted.read_text(text, table, vary=False)
        return wanted

    # --- one table, one place ---

    def _place(self, table: Table, place: Place) -> None:
        wanted = self.wanted(table)
        dimensions = list(self._dimensions(table, place, wanted))
        texts = [*self._texts(table, place), *self._hinted(table, wanted)]
        made = self._insert(table, dimensions, texts)
        if made.taken is not None:
            mine = [p for p in PLACES if p.person == place.person and p.number < place.number]
            earlier = [row for p in mine for row in self.world.rows.get((table.name, p.number), [])]
            self.world.rows[table.name, place.number] = earlier or self.maker.there(table, made.taken)
        elif made.trouble:
            self.world.trouble.setdefault(table.name, made.trouble)
        if made.ids:
            earlier = self.world.rows.get((table.name, place.number), [])
            found = {row.version.rpartition(":")[0].replace(":", ""): row for row in self.maker.rows(table).values()}
            ordered = sorted(made.ids, key=lambda one: -_score(one[1]))
            self.world.rows[table.name, place.number] = [*earlier, *(found[i] for i, _ in ordered if i in found)]

    def _insert(self, table: Table, dimensions: Sequence[Dimension], texts: Sequence[str]) -> Made:
        given = {column for dimension in dimensions for fragment in dimension for column in fragment}
        return self.maker.insert(table, self.maker.choices(table, dimensions, texts), self.rest(table, given))

    def _texts(self, table: Table, place: Place) -> Iterator[str]:
        """The conditions and their atoms for tokens of this place."""
        for condition in said.conditions(self.policies, table):
            clients = [None, *self.people.clients.values()] if "client" in condition.text else [None]
            for client in clients:
                binding = self.people.binding(place, client)
                yield f"({said.rule_text(self.policies, condition, binding)}) is true"
                for atom in said.atoms(self.policies, table, condition):
                    yield said.atom_text(self.policies, atom, binding)

    def _hinted(self, table: Table, wanted: Wanted) -> list[str]:
        """Columns of which only the app's policies speak, and keys to what these read: each value is worth a row."""
        own = {c for condition in said.conditions(self.policies, table) for c in re.findall(r"\w+", condition.text)}
        fixed = self._fixed(table)
        keys = [c for key in self._keys(table) if self._reads(table, key) for c in key.columns]
        return [sql.ident(c) for c in dict.fromkeys([*keys, *(c for c in wanted.varied if c not in own | fixed)])][:4]

    def _reads(self, table: Table, key: ForeignKey) -> bool:
        """Whether a policy of the table looks at what the key refers to."""
        return any(key.references in policy.reads for policy in table.policies)

    # --- what a column may be ---

    def _fixed(self, table: Table) -> set[str]:
        """Columns whose value follows from the place."""
        keys = {c for key in self._keys(table) for c in key.columns}
        return keys | self._persons.get(table.name, set()) | self._claims.get(table.name, {}).keys()

    def _keys(self, table: Table) -> list[ForeignKey]:
        """Foreign keys to other tables that rows are made in."""
        known = {t.name for t in self.tables}
        return [k for k in table.foreign_keys if k.references in known and k.references != table.name]

    def _dimensions(self, table: Table, place: Place, wanted: Wanted) -> Iterator[Dimension]:
        done: set[str] = set()
        for key in self._keys(table):
            if not done & set(key.columns) and (found := self._referring(table, place, key)):
                done |= set(key.columns)
                yield found
        for column in table.columns:
            if column.name in done or column.generated:
                continue
            options = tuple(dict.fromkeys(self._options(table, place, column, wanted)))
            if options:
                yield [{column.name: option} for option in options]

    def _referring(self, table: Table, place: Place, key: ForeignKey) -> Dimension:
        """The row of this place to refer to; and the least open one, where a policy of the table looks at it."""
        parents = self.world.rows.get((key.references, place.number), [])
        read = self._reads(table, key) and len(parents) > 1
        picked = [parents[0], parents[-1]] if read else parents[:1]
        pairs = list(zip(key.columns, key.referenced_columns, strict=True))
        return [rows.stored_literals({c: row.data[r] for c, r in pairs}, key.columns) for row in picked]

    def _options(self, table: Table, place: Place, column: Column, wanted: Wanted) -> Iterator[str]:
        """SQL for each value; none where the column is left to its default."""
        decides = self._deciding(table, column.name)
        if decides is not None:
            yield decides
        elif column.name in self._persons.get(table.name, ()):
            yield sql.literal(self.people.subjects[place.person])
        elif column.name in self._claims.get(table.name, {}):
            name = self._claims[table.name][column.name]
            yield self._claim(place, name)
        elif column.name in wanted.varied and not self._is_number(table, column):
            yield from candidates(column, wanted, self._known(place, column, wanted))

    def _deciding(self, table: Table, column: str) -> str | None:
        """The client of rows in a table that decides about clients: nobody's token."""
        kind = rows.column(table, column).base_type
        consent = self.policies.consent
        if consent is not None and table.name == consent.table and column == consent.client:
            return sql.literal(BYSTANDER) if kind not in (*NUMBERS, "uuid") else None
        return None

    def _claim(self, place: Place, name: str) -> str:
        value = dict(self.people.claims[place.number])[name]
        return "null" if value is None else sql.literal(value)

    def _known(self, place: Place, column: Column, wanted: Wanted) -> list[str]:
        """Values that only tokens, sets or an enumeration know."""
        kind = column.base_type or column.type
        found: list[str] = list(self.limits.labels.get(kind, ()))[:6]
        if kind == self.policies.identity.person.type == "uuid":
            found.append(self.people.subjects[place.person])
        for name in wanted.tokens.get(column.name, ()):
            if name == "client":
                found += self.people.clients.values()
            elif name == "person":
                found += [self.people.subjects[place.person], *self.people.subjects.values()]
            else:
                found += [value for p in PLACES for n, value in self.people.claims[p.number] if n == name and value]
        for name in wanted.sets.get(column.name, ()):
            found += self._members(name)
        return list(dict.fromkeys(found))

    def _members(self, name: str) -> list[str]:
        """A member of the set for each place, as text."""
        queries = [
            f"select to_jsonb(min(m.v::text)) from {members(self.policies, name, self.people.binding(p))} m(v)"
            for p in PLACES
        ]
        return [str(answer.found) for answer in self.maker.probe.look(queries) if answer.found is not None]

    def _is_number(self, table: Table, column: Column) -> bool:
        """Whether it numbers the rows of its table, so that it can't take the same values twice."""
        return table.primary_key == (column.name,)

    def rest(self, table: Table, given: set[str]) -> Iterator[Fragment]:
        """Values for the other columns that need one, for one row after another."""
        left = [c for c in table.columns if c.name not in given and not c.generated]
        left = [c for c in left if c.name in table.primary_key or (c.not_null and not c.has_default)]
        while True:
            number = self._numbers[table.name] = self._numbers.get(table.name, 0) + 1
            yield {c.name: self._fresh(table, c, number) for c in left}

    def _fresh(self, table: Table, column: Column, number: int) -> str:
        kind = column.base_type or column.type
        if kind in NUMBERS and column.name in table.primary_key:
            return f"(select coalesce(max({sql.ident(column.name)}), 0) + 1 from {sql.table(table.name)})"
        legal = self._legal(table, column)
        return legal or plain(column, number, self.limits.labels.get(kind, ()))

    def _legal(self, table: Table, column: Column) -> str | None:
        """A value that a CHECK constraint names, for a column that nothing else is known of."""
        noted = Wanted()
        for text in self.limits.checks.get(table.name, ()):
            if re.search(rf"\b{re.escape(column.name)}\b", text) and "ANY (ARRAY[" in text:
                noted.read_text(text, table, vary=False)
        constants = noted.constants.get(column.name)
        return sql.literal(constants[0]) if constants else None


def _score(choice: Choice) -> int:
    """How open a row is: how much of what conditions say of it is true."""
    return sum(text == "true" for text in choice.says)
