"""Whose rows decide which rows of a table one sees: the tables that its policies read, at either end of a plan.

Told from texts, for a policy that is still to be made has nothing but that: what a text names, constants included (they
may be queries, or arguments of what makes one), counts as read, and so does what views and functions name in turn. So
there may be too many, and none is missing but what is named nowhere.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import psycopg

from mcp_rls import sql
from mcp_rls.catalog import Catalog, TableName
from mcp_rls.compiler.resolve import COVERED_KINDS
from mcp_rls.state import SCHEMA, Function, State
from mcp_rls.ways import Reads

# What a view's query depends on, without printing it, for that takes a lock.
_VIEWS = """
select n.nspname as schema, c.relname as name, array_agg(distinct coalesce(t.relname, f.proname)::text) as names
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_rewrite r on r.ev_class = c.oid
join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
left join pg_operator o on d.refclassid = 'pg_operator'::regclass and o.oid = d.refobjid
left join pg_cast k on d.refclassid = 'pg_cast'::regclass and k.oid = d.refobjid
left join pg_class t on d.refclassid = 'pg_class'::regclass and t.oid = d.refobjid and t.oid <> c.oid
left join pg_proc f on f.oid = case d.refclassid
  when 'pg_proc'::regclass then d.refobjid else coalesce(o.oprcode, k.castfunc) end
where c.relkind = 'v' and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'mcp_rls')
  and (t.oid is not null or f.oid is not null)
group by 1, 2
"""
_WORD = re.compile(r"[\w$]+")
# Whom a gate lets through is said in a constant that names classes and scopes, and no table.
_GATE = re.compile(rf"{SCHEMA}\.gate\(current_user, '(?:[^']|'')*'", re.IGNORECASE)


def reads(conn: psycopg.Connection[Any], catalog: Catalog, actual: State, desired: State) -> Reads:
    """For each table with policies the others that these read, through others' policies, views and functions too."""
    return _Texts(catalog, actual, desired, conn.execute(_VIEWS.encode()).fetchall()).reads()


class _Texts:
    """What names what. A node is a table, a view, or a function, by its name alone or as 'mcp_rls.name('."""

    def __init__(self, catalog: Catalog, actual: State, desired: State, views: Iterable[Any]) -> None:
        self.texts: dict[TableName | str, list[str]] = defaultdict(list)
        self.bound: set[TableName] = set()  # that even their owner's functions read under policies, or may
        self._tables(catalog)
        for schema, name, names in views:
            self.texts[TableName(schema, name)] += names
            self.bound.add(TableName(schema, name))
        for name, overloads in catalog.functions.items():
            self.texts[name.partition(".")[2]] += [f.body for f in overloads]
        for state in (actual, desired):
            self._state(state)
        self.named: dict[str, set[TableName | str]] = defaultdict(set)
        for node in self.texts:
            self.named[(node.name if isinstance(node, TableName) else node).lower()].add(node)
        self.odd = [name for name in self.named if not _WORD.fullmatch(name)]

    def _tables(self, catalog: Catalog) -> None:
        for name, table in catalog.tables.items():
            if table.kind in COVERED_KINDS:
                self.texts[name] += [text for p in table.policies for text in (p.using, p.check) if text]
                self.texts[name] += [f.partition(".")[2] for p in table.policies for f in p.functions]
                self.texts[name] += [read.name for p in table.policies for read in p.reads if read != name]

    def _state(self, state: State) -> None:
        for policy in state.policies.values():
            self.texts[policy.table] += [text for text in (policy.using, policy.check) if text]
        for function in state.functions.values():
            self.texts[_called(function)].append(function.definition)
        self.bound |= {table for table, switches in state.switches.items() if switches.force}

    def reads(self) -> Reads:
        direct = {node: frozenset(self._named_in(node)) for node in self.texts}
        return {node: _reached(node, direct) for node in self.texts if isinstance(node, TableName)}

    def _named_in(self, node: TableName | str) -> Iterator[TableName | str]:
        past = isinstance(node, str) and node.startswith(f"{SCHEMA}.") and all(map(_as_owner, self.texts[node]))
        for text in self.texts[node]:
            for name in self._names(text):
                # what reads as the tables' owner reads past their policies
                yield from (n for n in self.named[name] if not (past and isinstance(n, TableName)) or n in self.bound)

    def _names(self, text: str) -> set[str]:
        whole = _GATE.sub(f"{SCHEMA}.gate(", text).lower()
        unquoted = whole.replace('""', '"').replace("''", "'")
        plain = set(_WORD.findall(whole.replace(f"{SCHEMA}.", f"{SCHEMA}$"))) & self.named.keys()
        return plain | {name for name in self.odd if name in unquoted}


def _called(function: Function) -> str:
    """How a text calls it."""
    return f"{SCHEMA}.{sql.ident(function.name)}("


def _as_owner(definition: str) -> bool:
    return "security definer" in definition.lower()


def _reached(start: TableName, direct: Mapping[TableName | str, frozenset[TableName | str]]) -> frozenset[TableName]:
    found: set[TableName | str] = set()
    todo: list[TableName | str] = [start]
    while todo:
        new = direct[todo.pop()] - found
        found |= new
        todo += new
    return frozenset(node for node in found if isinstance(node, TableName) and node != start)
