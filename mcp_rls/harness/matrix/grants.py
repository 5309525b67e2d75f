"""The rows that make clients live: registrations and consents, and what takes that life away again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from mcp_rls import sql
from mcp_rls.catalog import Catalog, Table, TableName
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import ClientClass, Condition, PolicySet, Registry
from mcp_rls.harness import rows
from mcp_rls.harness.matrix import conditions as said
from mcp_rls.harness.matrix.language import Binding
from mcp_rls.harness.matrix.life import RowsLife
from mcp_rls.harness.matrix.maker import Choice, Dimension
from mcp_rls.harness.matrix.people import PEOPLE, PLACES
from mcp_rls.harness.matrix.principals import Change, Principal
from mcp_rls.harness.matrix.probe import Try
from mcp_rls.harness.matrix.values import candidates
from mcp_rls.harness.matrix.worlds import Builder


class NotMade(Exception):
    """Rows that a token needs and that could not be made; the message says why."""


def deciding_columns(
    policies: PolicySet, catalog: Catalog, registry: Registry | None, condition: Condition | None
) -> tuple[str, ...]:
    """The columns by which a registration (or, without a registry, a consent) lives or not."""
    source = registry or policies.consent
    table = catalog.tables.get(source.table) if source is not None else None
    if condition is None or table is None:
        return ()
    expr = said.read(policies, table, condition)
    if expr is not None and not isinstance(expr, e.Raw):
        return tuple(c.name for c in table.columns if c.name in e.columns(expr))
    words = set(re.findall(r"\w+", condition.text))
    return tuple(c.name for c in table.columns if c.name in words)


class Grants:
    """Registrations and consents of the clients of a matrix."""

    def __init__(self, builder: Builder, life: RowsLife) -> None:
        self.builder, self.life = builder, life
        self.policies, self.people, self.maker = builder.policies, builder.people, builder.maker
        self.trouble: dict[str, str] = {}  # by class

    def give(self) -> None:
        """Makes every client live, with every scope consented to."""
        for c in self.policies.classes.values():
            if c.name not in self.people.clients:
                self.trouble[c.name] = f'no client of the class "{c.name}" could be made up'
                continue
            try:
                self._register(c)
                if self.policies.consent_required(c.name):
                    for person in PEOPLE:
                        self._consent(c, person)
            except NotMade as problem:
                self.trouble[c.name] = str(problem)
        self.life.forget()

    def binding(self, class_name: str, person: str) -> Binding:
        place = next(place for place in PLACES if place.person == person)
        return self.people.binding(place, self.people.clients[class_name])

    # --- live rows ---

    def _register(self, c: ClientClass) -> None:
        binding = self.binding(c.name, PEOPLE[0])
        if c.registry is None or self.life.registered(c, binding):
            return
        fixed = {c.registry.id: sql.literal(self.people.clients[c.name])}
        self._live(c.registry.table, fixed, c.registry.where, binding)

    def _consent(self, c: ClientClass, person: str) -> None:
        consent, binding = self.policies.consent, self.binding(c.name, person)
        assert consent is not None, "a class that requires consent has a table of consents"
        if self.life.consented(binding) is not None:
            return
        table = self._table(consent.table)
        fixed = {
            consent.person: sql.literal(binding.person or ""),
            consent.client: sql.literal(binding.client or ""),
        }
        if consent.scopes is not None:
            fixed[consent.scopes] = scopes_literal(table, consent.scopes, tuple(self.policies.scopes))
        self._live(consent.table, fixed, consent.where, binding)

    def _table(self, name: TableName) -> Table:
        found = self.builder.catalog.tables.get(name)
        if found is None:
            raise NotMade(f'there is no table "{name}" in the database')
        return found

    def _live(self, name: TableName, fixed: Mapping[str, str], where: Condition | None, binding: Binding) -> None:
        """A row with the fixed values of which the condition is true."""
        table = self._table(name)
        dimensions: list[Dimension] = [[{column: value}] for column, value in fixed.items()]
        dimensions += [d for d in self.options(table, where) if not d[0].keys() & fixed.keys()]
        given = {column for d in dimensions for column in d[0]}
        text = f"({said.rule_text(self.policies, where, binding)}) is true"
        choices = [c for c in self.maker.choices(table, dimensions, [text]) if c.says != ("false",)]
        made = self.maker.insert(table, choices, self.builder.rest(table, given))
        if not made.ids and not (made.taken is not None and self._revive(table, fixed, choices)):
            why = made.trouble or "its condition holds for none"
            raise NotMade(f"no live row of {table.name} could be made: {why}")

    def _revive(self, table: Table, fixed: Mapping[str, str], choices: Sequence[Choice]) -> bool:
        """Makes the row live that is there already."""
        mine = " and ".join(f"{sql.ident(column)} = {value}" for column, value in fixed.items())
        for choice in choices:
            (kept,) = self.maker.probe.keep([f"{rows.update(table, choice.values, f' where {mine}')} returning 'row'"])
            if kept == "+row":
                return True
        return False

    def options(self, table: Table, where: Condition | None) -> Iterator[Dimension]:
        """What the columns of a condition may be."""
        wanted = self.builder.wanted(table)
        words = set(re.findall(r"\w+", where.text)) if where is not None else set()
        for column in table.columns:
            if column.name in words and not column.generated:
                yield [{column.name: value} for value in candidates(column, wanted, ())]

    # --- what takes life away ---

    def statements(self, principal: Principal) -> tuple[str, ...]:
        """What is to be run past row security before the token acts. Raises: NotMade."""
        change = principal.change
        if principal.person and principal.class_name in self.trouble:
            raise NotMade(self.trouble[principal.class_name])
        if change.kind == "dead registration":
            return (self._deadly(principal, change, self._registration(change.class_name)),)
        consent = self.policies.consent
        if consent is None or change == Change():
            return ()
        where, table = self._my_consent(principal), self._table(consent.table)
        if change.kind == "no consent":
            return (rows.delete(table, f" where {where}"),)
        if change.kind == "dead consent":
            return (self._deadly(principal, change, (table, where, consent.where)),)
        if consent.scopes is None:
            return ()
        words = {consent.scopes: scopes_literal(table, consent.scopes, change.words)}
        return (rows.update(table, words, f" where {where}"),)

    def touched(self, principal: Principal) -> TableName | None:
        """The table whose rows those statements change."""
        change = principal.change
        if change == Change():
            return None
        if change.kind == "dead registration":
            return self._registration(change.class_name)[0].name
        return self.policies.consent.table if self.policies.consent is not None else None

    def _registration(self, class_name: str) -> tuple[Table, str, Condition | None]:
        registry = self.policies.classes[class_name].registry
        assert registry is not None, "a registration can only die in a registry"
        mine = f"{sql.ident(registry.id)}::text = {sql.literal(self.people.clients[class_name])}"
        return self._table(registry.table), mine, registry.where

    def _my_consent(self, principal: Principal) -> str:
        consent, binding = self.policies.consent, self.binding(principal.change.class_name, principal.person)
        assert consent is not None, "there is a consent to change"
        person = f"{sql.ident(consent.person)}::text = {sql.literal(binding.person or '')}"
        return f"{person} and {sql.ident(consent.client)}::text = {sql.literal(binding.client or '')}"

    def _deadly(self, principal: Principal, change: Change, source: tuple[Table, str, Condition | None]) -> str:
        """An UPDATE of the change's column after which the condition doesn't hold."""
        table, mine, where = source
        binding = self.binding(change.class_name, principal.person)
        column = rows.column(table, change.column)
        values = candidates(column, self.builder.wanted(table), ())
        statements = [rows.update(table, {column.name: value}, f" where {mine}") for value in values]
        live = f"bool_or(({said.rule_text(self.policies, where, binding)}) is true)"
        look = f"select to_jsonb(coalesce({live}, false)) from {sql.table(table.name)} where {mine}"
        answers = self.maker.probe.rehearse("", [Try(statement, look) for statement in statements])
        for statement, answer in zip(statements, answers, strict=True):
            if answer.found is False:
                return statement
        raise NotMade(f"no value of {column.name} in {table.name} takes the life of {principal.name}")


def scopes_literal(table: Table, column: str, words: tuple[str, ...]) -> str:
    """Scope words as the column holds them: an array, or a text with blanks."""
    known = rows.column(table, column)
    return rows.literal(known, list(words) if known.type.endswith("[]") else " ".join(words))
