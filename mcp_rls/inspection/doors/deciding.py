"""Which tables decide what a person may do: those whose rows policies and sets compare with who is asking."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pglast import ast, enums

from mcp_rls.catalog import TableName
from mcp_rls.inspection.doors.scripts import script_of
from mcp_rls.inspection.doors.statement import uses
from mcp_rls.inspection.doors.traces import Tracer
from mcp_rls.inspection.facts import Facts, Function, Policy, Relation
from mcp_rls.inspection.tree import (
    arms,
    called,
    column,
    conjuncts,
    constant,
    expression,
    is_true,
    operator,
    statements,
    walk,
)

Node = Any
NOBODY: frozenset[str] = frozenset()
_TOKEN = re.compile(r"\btoken\.(\w+)")


@dataclass(frozen=True)
class Decision:
    """A read that decides: rows of `table` whose `person` columns are who is asking, or who is asked about.

    `by`: the other columns that it compares or gives. `unique`: what it gives belongs to one row alone, so that a new
    row gives nothing that another has. `own`: the row asked about names this one by its key, as a child its parent, so
    that `by` only narrows what is the person's already.
    """

    table: TableName
    person: frozenset[str]
    by: frozenset[str]
    unique: bool = False
    own: bool = False


def tables_in(query: str) -> set[TableName]:
    """The tables that a set's query names with their schemas."""
    run = statements(_TOKEN.sub("null", query)) or ()
    return {TableName(u.schema, u.name) for part in run for u in uses(part).relations if u.schema}


def of_query(facts: Facts, query: str) -> list[Decision]:
    """What decides in a set's query."""
    run = statements(_TOKEN.sub(r"token('\1')", query)) or ()
    return [d for part in run for d in _decisions(facts, part, Asked()) if d.person]


def of_policy(facts: Facts, policy: Policy) -> list[Decision]:
    """What decides in a policy's expressions, and in the functions that they call."""
    found: list[Decision] = []
    nodes = [node for text in (policy.using, policy.check) if text and (node := expression(text)) is not None]
    # PostgreSQL prints the row's own columns without the table, but in sub-selects with it
    columns = [c.name for c in facts.tables[policy.table].columns]
    row = Asked(row=frozenset(columns) | {f"{policy.table.name}.{name}" for name in columns})
    for node in nodes:
        found += [d for d in _decisions(facts, node, row) if d.person]
    calls = [n for node in nodes for n in walk(node) if isinstance(n, ast.FuncCall)]
    for function in (facts.functions[oid] for oid in sorted(policy.functions) if oid in facts.functions):
        told = [_told(function, call) for call in calls if called(call) == f"{function.schema}.{function.name}"]
        asked = Asked(NOBODY.union(*(t.person for t in told)), NOBODY.union(*(t.row for t in told)))
        inside = [d for part in script_of(function).parts for d in _decisions(facts, part, asked)]
        found += [d for d in inside if d.person]
    return [d for d in found if d.table != policy.table]


@dataclass(frozen=True)
class Asked:
    """Names in a query of what comes from outside: who asks, and columns of the row that is asked about."""

    person: frozenset[str] = NOBODY
    row: frozenset[str] = NOBODY


def _told(function: Function, call: Node) -> Asked:
    """The parameters that a call gives a value of the session, and those that it gives a column, by name and as $1."""
    made: Node = statements(f"create function f({function.arguments}) returns int language sql as ''")
    names = [parameter.name or "" for parameter in (made[0].parameters if made else None) or ()]

    def given(fits: Callable[[Node], bool]) -> frozenset[str]:
        places = [place for place, argument in enumerate(call.args or ()) if fits(argument)]
        return frozenset([f"${p + 1}" for p in places] + [names[p] for p in places if p < len(names)])

    return Asked(given(_asks), given(lambda argument: column(argument) is not None))


# --- one query --------------------------------------------------------------------------------------------------------


@dataclass
class _Columns:
    person: set[str] = field(default_factory=set)
    by: set[str] = field(default_factory=set)
    row: set[str] = field(default_factory=set)  # that are equal to columns of the row that is asked about


def _decisions(facts: Facts, node: Node, asked: Asked) -> Iterator[Decision]:
    """A decision for each table that a query below compares with anything."""
    use = {id(n.subselect): _use(n, asked) for n in walk(node) if isinstance(n, ast.SubLink)}
    for select in walk(node):
        if isinstance(select, ast.SelectStmt):
            yield from _in_select(facts, select, use.get(id(select), ""), asked)


def _use(link: Node, asked: Asked) -> str:
    """What becomes of a sub-select's rows: 'tested' for being there, 'looked up' by a column of the row, else ''."""
    if link.subLinkType == enums.SubLinkType.EXISTS_SUBLINK:
        return "tested"
    listed = link.subLinkType == enums.SubLinkType.ANY_SUBLINK and _names_one(link.testexpr, asked.row)
    return "looked up" if listed else ""


def _in_select(facts: Facts, select: Node, use: str, asked: Asked) -> Iterator[Decision]:
    sources = dict(_sources(facts, select.fromClause or ()))
    found = {relation.name: _Columns() for relation in sources.values()}
    conditions = [select.whereClause, *(j.quals for j in _joins(select.fromClause or ()))]
    for condition in filter(None, conditions):
        for part in conjuncts(condition):
            _compared(sources, part, found, asked)
    if use != "tested":
        for name, given in _columns(sources, select.targetList or ()):
            found[name].by.add(given)
            found[name].row |= {given} if use == "looked up" else set()
    for relation in sources.values():
        columns = found[relation.name]
        if columns.person or columns.by:
            alone = {c for c in columns.by if _unique(relation, {c})}
            by, own = frozenset(columns.by - alone), _named(relation, columns.row)
            yield Decision(relation.name, frozenset(columns.person), by, bool(alone), own)


def _compared(sources: Mapping[str, Relation], part: Node, found: dict[TableName, _Columns], asked: Asked) -> None:
    """Notes the columns in one condition: `column = who is asking` names the person."""
    if isinstance(part, ast.A_Expr) and operator(part) == "=":
        for one, other in ((part.lexpr, part.rexpr), (part.rexpr, part.lexpr)):
            if column(one) is None or _names_one(one, asked.person):
                continue
            if _asks(other) or _names_one(other, asked.person):
                for name, plain in _columns(sources, one):
                    found[name].person.add(plain)
                return
            if _names_one(other, asked.row):
                for name, plain in _columns(sources, one):
                    found[name].row.add(plain)
    for name, plain in _columns(sources, part):
        found[name].by.add(plain)


def _sources(facts: Facts, clause: Iterable[Node]) -> Iterator[tuple[str, Relation]]:
    """The tables of a FROM by the name that they have there."""
    for item in clause:
        if isinstance(item, ast.JoinExpr):
            yield from _sources(facts, (item.larg, item.rarg))
        elif isinstance(item, ast.RangeVar):
            name = str(item.alias.aliasname if item.alias is not None else item.relname)
            for schema in [item.schemaname] if item.schemaname else facts.schemas:
                relation = facts.tables.get(TableName(schema, str(item.relname)))
                if relation is not None:
                    yield name, relation


def _joins(clause: Iterable[Node]) -> Iterator[Node]:
    for item in clause:
        if isinstance(item, ast.JoinExpr):
            yield item
            yield from _joins((item.larg, item.rarg))


def _columns(sources: Mapping[str, Relation], node: Node) -> Iterator[tuple[TableName, str]]:
    """The columns of these tables that stand in an expression, but for its sub-selects."""
    for each in walk(node, into_selects=False):
        parts = _names(each) if isinstance(each, ast.ColumnRef) else []
        for name, relation in sources.items() if parts else ():
            known = any(c.name == parts[-1] for c in relation.columns)
            if known and (len(parts) == 1 or parts[-2] == name):
                yield relation.name, parts[-1]


def _names(reference: Node) -> list[str]:
    return [str(part.sval) for part in reference.fields if isinstance(part, ast.String)]


def _names_one(node: Node, outer: frozenset[str]) -> bool:
    """Whether it is one of these parameters, or columns with their table."""
    while isinstance(node, ast.TypeCast | ast.CollateClause):
        node = node.arg
    if isinstance(node, ast.ColumnRef):
        return ".".join(_names(node)) in outer
    return isinstance(node, ast.ParamRef) and f"${node.number}" in outer


def _asks(node: Node) -> bool:
    """Whether it is a value of the session: a call or a role, with no column and no table in it."""
    below = list(walk(node))
    if any(isinstance(n, ast.ColumnRef | ast.RangeVar) for n in below):
        return False
    return any(isinstance(n, ast.FuncCall | ast.SQLValueFunction) for n in below)


def _named(relation: Relation, names: set[str]) -> bool:
    """Whether these columns name a row by a key of its own: not by one that is another table's, as an organisation's in
    a list of who runs it, where a new row has a key that others know already.
    """
    theirs = {c for key in relation.foreign_keys for c in key.columns}
    return any(key <= names and key - theirs for key in _keys(relation))


def _unique(relation: Relation, names: set[str]) -> bool:
    """Whether no two rows have the same values there."""
    return any(key <= names for key in _keys(relation))


def _keys(relation: Relation) -> list[set[str]]:
    return [set(i.columns) for i in relation.indexes if i.unique and i.valid and not i.partial]


# --- what a policy asks of a new row ----------------------------------------------------------------------------------


def unguarded(tracer: Tracer, policy: Policy, by: frozenset[str], roles: Iterable[str]) -> bool:
    """Whether the policy lets who is asking write what the columns `by` say of him: it asks for no more than that the
    row be his, or pins only some of them.
    """
    text = policy.check if policy.check is not None else policy.using
    node = expression(text) if text is not None else None
    if text is not None and node is None:
        return False
    return node is None or any(_open(tracer, arm, by, frozenset(roles)) for arm in arms(node))


def _open(tracer: Tracer, arm: Node, by: frozenset[str], roles: frozenset[str]) -> bool:
    pinned = set[str]()
    for part in conjuncts(arm):
        columns = _said(part) & by if _idle(tracer, part, roles) else _pins(part)
        if columns is None:
            return False
        pinned |= columns
    return not by or bool(by - pinned)


def _idle(tracer: Tracer, part: Node, roles: frozenset[str]) -> bool:
    """Whether it holds for whoever asks, or is only that a column is who asks."""
    if is_true(part):
        return True
    if isinstance(part, ast.NullTest):
        return part.nulltesttype == enums.NullTestType.IS_NOT_NULL and _claim(tracer, part.arg)
    if not isinstance(part, ast.A_Expr) or operator(part) != "=":
        return False
    pairs = ((part.lexpr, part.rexpr), (part.rexpr, part.lexpr))
    return any(_claim(tracer, a) and (column(b) is not None or constant(b) in roles) for a, b in pairs)


def _claim(tracer: Tracer, node: Node) -> bool:
    """A value of the session that no table has a part in."""
    if not _asks(node):
        return False
    names = {called(n) for n in walk(node) if isinstance(n, ast.FuncCall)}
    known = [f for f in tracer.facts.functions.values() if f"{f.schema}.{f.name}" in names]
    trace = tracer.trace(*known)
    return not trace.touches and not trace.odd


def _pins(part: Node) -> set[str] | None:
    """The columns that a comparison with constants fixes; None where it asks for anything else."""
    below = list(walk(part))
    if any(isinstance(n, ast.FuncCall | ast.SubLink | ast.SQLValueFunction) for n in below):
        return None
    return _said(part)


def _said(part: Node) -> set[str]:
    return {name for n in walk(part) if isinstance(n, ast.ColumnRef) and (name := column(n)) is not None}
