"""What an emitted policy looks rows up by, so that a database can be asked for the index that serves it.

A ceiling looks nothing up: it is asked of rows that a people's policy or the query found. What does look up is a rule
for people that compares a column with the token or a set, a set's own query, and the consents and registries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from mcp_rls.catalog import TableName
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import NamedSet, PolicySet
from mcp_rls.compiler.resolve import ResolvedPolicies, ResolvedRule
from mcp_rls.diagnostics import Span

_SEARCHING = {"select", "update", "delete"}


@dataclass(frozen=True)
class Search:
    """Rows of `table` are asked for by `columns`: an index that begins with one of them serves, `index` is the best."""

    table: TableName
    columns: tuple[str, ...]
    index: tuple[str, ...]
    what: str  # that searches, in words
    span: Span

    def served(self, indexes: Iterable[tuple[str, ...]]) -> bool:
        """Whether one of these indexes, by its columns in order, finds the rows."""
        return any(i[:1] and (i[0] in self.columns or set(i[: len(self.index)]) == set(self.index)) for i in indexes)


def searches(resolved: ResolvedPolicies) -> tuple[Search, ...]:
    """Each search once, in the order of the file's parts: consents, registries, sets, rules for people."""
    found: dict[tuple[TableName, tuple[str, ...]], Search] = {}
    for search in (*_of_life(resolved.policies), *_of_sets(resolved), *_of_people(resolved)):
        found.setdefault((search.table, search.columns), search)
    return tuple(found.values())


def unserved(resolved: ResolvedPolicies, indexes: Mapping[TableName, Iterable[tuple[str, ...]]]) -> tuple[Search, ...]:
    """The searches that no index serves, on tables that are in `indexes`; one for each index that is to be made."""
    found: dict[tuple[TableName, tuple[str, ...]], Search] = {}
    for search in searches(resolved):
        if search.table in indexes and not search.served(indexes[search.table]):
            found.setdefault((search.table, search.index), search)
    return tuple(found.values())


def _of_life(policies: PolicySet) -> Iterator[Search]:
    consent = policies.consent
    if consent is not None:
        pair = (consent.person, consent.client)
        yield Search(consent.table, pair[:1], pair, "consents", consent.span)
    for c in policies.classes.values():
        if c.registry is not None:
            column = (c.registry.id,)
            yield Search(c.registry.table, column, column, f"the registry of {c.name}", c.registry.span)


# --- sets


def _of_sets(resolved: ResolvedPolicies) -> Iterator[Search]:
    for name in resolved.set_queries:
        named = resolved.policies.sets[name]
        try:
            query = sqlglot.parse_one(named.query, read="postgres")
        except SqlglotError:
            continue  # an index is advice, and PostgreSQL has the last word on the query
        for select in query.find_all(exp.Select):
            yield from _of_select(select, named)


def _of_select(select: exp.Select, named: NamedSet) -> Iterator[Search]:
    """The columns of each of its tables that its WHERE compares with the token."""
    joined = [j.this for j in select.args.get("joins") or ()]
    source = select.args.get("from_") or select.args.get("from")
    tables = {t.alias_or_name: t for t in (source.this if source else None, *joined) if isinstance(t, exp.Table)}
    where = select.args.get("where")
    found: dict[str, list[str]] = {}
    for part in _conjuncts(where.this) if where is not None else ():
        for column in _told(part):
            alias = column.table or (next(iter(tables)) if len(tables) == 1 else "")
            found.setdefault(alias, []).append(column.name)
    for alias, columns in found.items():
        if alias in tables and tables[alias].db:
            name = TableName(tables[alias].db, tables[alias].name)
            yield Search(name, tuple(columns), (columns[0],), f"the set {named.name}", named.span)


def _conjuncts(condition: exp.Expr) -> Iterator[exp.Expr]:
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        yield from _conjuncts(condition.left)
        yield from _conjuncts(condition.right)
    else:
        yield condition


def _told(part: exp.Expr) -> Iterator[exp.Column]:
    """The column that one condition says is a claim of the token's."""
    if isinstance(part, exp.EQ):
        for side, other in ((part.left, part.right), (part.right, part.left)):
            claim = isinstance(other, exp.Column) and other.table.lower() == "token"
            if claim and isinstance(side, exp.Column) and side.table.lower() != "token":
                yield side


# --- rules for people


def _of_people(resolved: ResolvedPolicies) -> Iterator[Search]:
    for table in resolved.tables:
        for rule in table.people or ():
            for columns in _arms(rule):
                what = "a rule for people"
                yield Search(table.table, columns, columns[:1], what, rule.span)


def _arms(rule: ResolvedRule) -> Iterator[tuple[str, ...]]:
    """The columns of each arm of its OR that it says are the token's."""
    if rule.commands & _SEARCHING:
        for arm in _split(rule.rows, "or"):
            columns = tuple(name for part in _split(arm, "and") for name in _compared(part))
            if columns:
                yield columns


def _split(expr: e.Expr, op: str) -> tuple[e.Expr, ...]:
    match expr:
        case e.Logic(own, operands) if own == op:
            return tuple(inner for operand in operands for inner in _split(operand, op))
    return (expr,)


def _compared(part: e.Expr) -> Iterator[str]:
    """The column that one condition compares for equality with what the session carries."""
    match part:
        case e.Op("=", e.Col(name), other) | e.Op("=", other, e.Col(name)) | e.Any(e.Col(name), "=", other, "any"):
            if e.constant_over_rows(other) and any(isinstance(n, e.Token | e.SetValues) for n in other.walk()):
                yield name
