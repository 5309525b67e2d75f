"""SECURITY DEFINER functions that lead past row security, and how a token's role gets at them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.inspection.doors.traces import Trace, Tracer, passes
from mcp_rls.inspection.facts import Facts, Function, Relation
from mcp_rls.inspection.words import listed

_OURS = "mcp_rls"
_WRITES = ("insert", "update", "delete", "truncate")


@dataclass(frozen=True)
class Way:
    """How a function is called: directly, or `by` a view or another function."""

    roles: tuple[str, ...]
    by: str = ""


@dataclass(frozen=True)
class Door:
    """A function, the tables that it reads or writes past their policies, and why it can't be known if it can't."""

    function: Function
    way: Way
    reads: tuple[TableName, ...]
    writes: tuple[TableName, ...]
    odd: tuple[str, ...]

    @property
    def name(self) -> str:
        """As a policy file calls it."""
        return f"{self.function.schema}.{self.function.name}({self.function.types})"

    @property
    def tables(self) -> tuple[TableName, ...]:
        return tuple(sorted({*self.reads, *self.writes}))

    @property
    def does(self) -> str:
        """'public.f() reads public.notes as its owner, app'."""
        did = [f"reads {listed(self.reads)}"] if self.reads else []
        did += [f"writes {listed(self.writes)}"] if self.writes else []
        did += [] if did else ["may read or write anything"]
        why = f" ({self.odd[0]}, so it can't be analysed)" if self.odd else ""
        return f"{self.function} {' and '.join(did)}{why} as its owner, {self.function.owner}"

    @property
    def who(self) -> str:
        return f"{', '.join(self.way.roles)} can call it" + (f" through {self.way.by}" if self.way.by else "")


def open_functions(
    facts: Facts, roles: Collection[str], tables: Mapping[TableName, Relation], bound: Collection[str] | None
) -> Iterator[Door]:
    """Definer functions that one of the roles can call and that pass the policies of one of these tables: those of
    row security as such or, where ceilings bind the roles `bound`, those.
    """
    tracer, ways = Tracer(facts), _Ways(facts, roles)
    for function in facts.functions.values():
        if not function.definer or function.is_trigger or function.schema == _OURS or not tables:
            continue
        way = ways.to(function, tracer)
        door = _door(facts, function, way, tracer.trace(function), tables, bound) if way else None
        if door is not None:
            yield door


def _door(
    facts: Facts, function: Function, way: Way, trace: Trace, tables: Mapping[TableName, Relation],
    bound: Collection[str] | None,
) -> Door | None:  # fmt: skip
    passed = [t for t in trace.touches if t.table in tables and passes(facts, t.role, tables[t.table], bound)]
    reads = tuple(sorted({t.table for t in passed if t.command == "select"}))
    writes = tuple(sorted({t.table for t in passed if t.command in _WRITES}))
    free = {role for role, _ in trace.odd if any(passes(facts, role, t, bound) for t in tables.values())}
    odd = tuple(sorted(words.removeprefix(f"{function} ") for role, words in trace.odd if role in free))
    return Door(function, way, reads, writes, odd) if reads or writes or odd else None


class _Ways:
    """How roles get at functions."""

    def __init__(self, facts: Facts, roles: Collection[str]) -> None:
        self.facts, self.roles = facts, roles
        self._callers: list[tuple[str, tuple[str, ...], frozenset[int]]] | None = None

    def to(self, function: Function, tracer: Tracer) -> Way | None:
        """The function's own way if there is one, else one through a view or a function that is stored as a tree:
        there the function was looked up when those were made, and nobody needs to enter its schema.
        """
        allowed = [r for r in self.roles if self.facts.holds(r, function.execute, "EXECUTE")]
        direct = tuple(r for r in allowed if self.facts.enters(r, function.schema))
        if direct:
            return Way(direct)
        for name, roles, called in self._found(tracer):
            through = tuple(r for r in allowed if r in roles)
            if through and function.oid in called:
                return Way(through, name)
        return None

    def _found(self, tracer: Tracer) -> list[tuple[str, tuple[str, ...], frozenset[int]]]:
        if self._callers is None:
            facts = self.facts
            views = [v for v in facts.relations.values() if v.kind == "view"]
            trees = [f for f in facts.functions.values() if f.sql_body and not f.definer and f.schema != _OURS]
            self._callers = [(str(v), self._using(v), _called(facts, v)) for v in views]
            self._callers += [(str(f), self._calling(f), tracer.calls(f)) for f in trees]
        return self._callers

    def _using(self, view: Relation) -> tuple[str, ...]:
        facts = self.facts
        return tuple(
            r for r in self.roles if facts.enters(r, view.name.schema) and facts.holds(r, view.grants, "SELECT")
        )

    def _calling(self, function: Function) -> tuple[str, ...]:
        facts = self.facts
        return tuple(
            r for r in self.roles if facts.enters(r, function.schema) and facts.holds(r, function.execute, "EXECUTE")
        )


def _called(facts: Facts, view: Relation) -> frozenset[int]:
    return view.calls.union(*(below.calls for below in facts.below(view)))


def remedy(facts: Facts, door: Door) -> tuple[str, ...]:
    """What takes the function away from clients and leaves it to the policies that call it."""
    function = door.function
    name = f"{sql.ident(function.schema)}.{sql.ident(function.name)}({function.types})"
    kind = "function" if function.returns else "procedure"
    policies = [p for r in facts.relations.values() for p in r.policies if function.oid in p.functions]
    if policies and not door.way.by:
        moved = f"alter {kind} {name} set schema SCHEMA"
        return (f'policies call it ("{policies[0].name}"): {moved}, one that {listed(door.way.roles)} can\'t enter',)
    if policies:
        return (f"policies call it too: take it out of {door.way.by}",)
    holders = facts.holders(door.way.roles, function.execute, "EXECUTE")
    return (f"revoke execute on {kind} {name} from {sql.roles(holders)}",)
