"""Which expressions read tables of which their caller sees less, by themselves or through views and functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from pglast import ast

from mcp_rls.catalog import TableName
from mcp_rls.inspection.doors.statement import uses
from mcp_rls.inspection.doors.traces import CALLER, Tracer, passes
from mcp_rls.inspection.facts import Facts, Function, Relation
from mcp_rls.inspection.tree import Node, called, walk


@dataclass(frozen=True)
class Fault:
    """What stands against an expression, in words; `table`: what it reads, None where that can't be analysed."""

    words: str
    table: TableName | None = None


@dataclass(frozen=True)
class Read:
    """A table of which the caller sees less; None, and why, where it isn't known what is read."""

    table: TableName | None
    why: str = ""

    def fault(self, form: str) -> Fault:
        """'it reads public.blocks in CASE'."""
        return Fault(f"it reads {self.table} {form}", self.table) if self.table is not None else Fault(self.why)


@dataclass(frozen=True)
class Scope:
    """Where an expression stands: in whose text, with whose rights, and the queries of WITH around it."""

    caller: Function | None = None  # None: PostgreSQL printed it, names with their schema
    role: str = CALLER
    calls: frozenset[int] | None = None  # all functions that it calls, where PostgreSQL knows them
    queries: Mapping[str, tuple[Node, Scope] | None] = field(default_factory=dict)  # None: the one it stands in

    def within(self, clause: Node) -> Scope:
        """The scope of what stands beside a WITH clause: its queries see those before them."""
        inner = self
        for query in clause.ctes if clause is not None else ():
            itself = {query.ctename: None} if clause.recursive else {}
            seen = replace(inner, queries={**inner.queries, **itself})
            inner = replace(inner, queries={**inner.queries, query.ctename: (query.ctequery, seen)})
        return inner


class Reads:
    """Of one database. `short`: the tables of which clients see less than their persons; `bound`: the roles that
    ceilings bind.
    """

    def __init__(self, facts: Facts, tracer: Tracer, short: frozenset[TableName], bound: tuple[str, ...]) -> None:
        self.facts, self.tracer, self.short, self.bound = facts, tracer, short, bound
        self._known: dict[tuple[str, int], Read | None] = {}

    def below(self, node: Node, at: Scope) -> Read | None:
        """What an expression or a query reads that is short, or may read; None for nothing."""
        done = uses(node)
        found = [self.of(thing, at.role) for thing, command in self._named(node, at) if command == "select"]
        found += [Read(None, f"it {words}") for words in done.odd]
        found += [self.below(*query) for query in self._queries(node, at)]
        return next((r for r in found if r and r.table), next(filter(None, found), None))

    def of(self, thing: Function | Relation, role: str) -> Read | None:
        """What calling a function or reading a relation reads that is short."""
        key = (role, thing.oid)
        if key not in self._known:
            self._known[key] = self._traced(thing, role)
        return self._known[key]

    def functions(self, call: Node, at: Scope) -> list[Function]:
        """The functions that a FuncCall may mean, but for those that it passes arguments to."""
        bare = ast.FuncCall(funcname=call.funcname)
        return [thing for thing, _ in self._named(bare, at) if isinstance(thing, Function)]

    def aggregate(self, call: Node) -> bool:
        """Whether a FuncCall may mean an aggregate that isn't PostgreSQL's own."""
        schema, _, name = called(call).rpartition(".")
        return any(a.name == name and schema in ("", a.schema) for a in self.facts.own_aggregates.values())

    def relation(self, item: Node, at: Scope) -> list[Relation]:
        """The relations that a RangeVar may mean."""
        return [thing for thing, _ in self._named(item, at) if isinstance(thing, Relation)]

    def passing(self, role: str, table: TableName) -> bool:
        """Whether that role sees the same of the table whoever the client is."""
        return table not in self.short or passes(self.facts, role, self.facts.tables[table], self.bound)

    def unnamed(self, at: Scope, *nodes: Node) -> Iterator[tuple[Function, Read]]:
        """The functions that a text calls by an operator or a cast, and what they read."""
        named = {thing.oid for node in nodes for thing, _ in self._named(node, at) if isinstance(thing, Function)}
        for oid in sorted((at.calls or frozenset()) - named):
            function = self.facts.functions.get(oid)
            read = self.of(function, at.role) if function is not None else None
            if function is not None and read is not None:
                yield function, read

    def _named(self, node: Node, at: Scope) -> Iterator[tuple[Function | Relation, str]]:
        for thing, command in self.tracer.named(uses(node), at.caller):
            if at.calls is None or isinstance(thing, Relation) or thing.oid in at.calls:
                yield thing, command

    def _queries(self, node: Node, at: Scope) -> Iterator[tuple[Node, Scope]]:
        """The queries of a WITH around it that it names."""
        if at.queries:
            named = {str(part.relname) for part in walk(node) if isinstance(part, ast.RangeVar) and not part.schemaname}
            yield from (query for name in sorted(named & at.queries.keys()) if (query := at.queries[name]) is not None)

    def _traced(self, thing: Function | Relation, role: str) -> Read | None:
        trace = self.tracer.follow(role, thing)
        for touch in sorted(trace.touches):
            if touch.command == "select" and not self.passing(touch.role, touch.table):
                return Read(touch.table)
        for acting, words in sorted(trace.odd):
            if not all(self.passing(acting, table) for table in self.short):
                return Read(None, words)
        return None
