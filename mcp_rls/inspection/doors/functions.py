"""SECURITY DEFINER functions that lead past row security, and how a token's role gets at them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.inspection.doors.traces import Trace, Tracer, passes
from mcp_rls.inspection.facts import Facts, Function, Relation, Shorthand
from mcp_rls.inspection.words import listed

_OURS = "mcp_rls"
_WRITES = ("insert", "update", "delete", "truncate")


@dataclass(frozen=True)
class Way:
    """How a function is called: directly, or `by` a view, an aggregate, another function.

    `summed`: the aggregate whose EXECUTE is asked for in place of the function's.
    """

    roles: tuple[str, ...]
    by: str = ""
    summed: Shorthand | None = None


@dataclass(frozen=True)
class _Caller:
    """What calls these functions for these roles, wherever they stand."""

    name: str
    roles: tuple[str, ...]
    functions: frozenset[int]  # oids
    summed: Shorthand | None = None


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
        way = ways.to(function)
        door = _door(facts, function, way, tracer.trace(function), tables, bound) if way else None
        if door is not None:
            yield door


def _door(
    facts: Facts, function: Function, way: Way, trace: Trace, tables: Mapping[TableName, Relation],
    bound: Collection[str] | None,
) -> Door | None:  # fmt: skip
    passed = [
        t for t in trace.touches if t.table in tables and passes(facts, t.role, tables[t.table], bound, t.command)
    ]
    reads = tuple(sorted({t.table for t in passed if t.command == "select"}))
    writes = tuple(sorted({t.table for t in passed if t.command in _WRITES}))
    free = {role for role, _ in trace.odd if any(passes(facts, role, t, bound) for t in tables.values())}
    odd = tuple(sorted(words.removeprefix(f"{function} ") for role, words in trace.odd if role in free))
    return Door(function, way, reads, writes, odd) if reads or writes or odd else None


class _Ways:
    """How roles get at functions."""

    def __init__(self, facts: Facts, roles: Collection[str]) -> None:
        self.facts, self.roles = facts, roles
        self._callers: list[_Caller] | None = None

    def to(self, function: Function) -> Way | None:
        """The function's own way if there is one, else one through what was made to call it: there the function was
        looked up when that was made, and nobody needs to enter its schema.
        """
        allowed = self._allowed(function)
        direct = tuple(r for r in allowed if self.facts.enters(r, function.schema))
        if direct:
            return Way(direct)
        if self._callers is None:
            self._callers = [*self._shorthands(), *self._stored()]
        for caller in self._callers:
            through = tuple(r for r in caller.roles if caller.summed or r in allowed)
            if through and function.oid in caller.functions:
                return Way(through, caller.name, caller.summed)
        return None

    def _shorthands(self) -> Iterator[_Caller]:
        """Aggregates, operators and casts that a query may use; a cast is found by its types, wherever they are."""
        for each in self.facts.shorthands:
            roles = tuple(r for r in self.roles if not each.schema or self.facts.enters(r, each.schema))
            if each.kind == "aggregate":
                yield _Caller(str(each), self._adding(each, roles), each.functions, each)
            else:
                yield _Caller(str(each), roles, each.functions)

    def _stored(self) -> Iterator[_Caller]:
        """Views, rules and functions that are stored as trees, with the aggregates in them."""
        for caller in (*self._views(), *self._rules(), *self._trees()):
            yield caller
            for oid in sorted(caller.functions & self.facts.own_aggregates.keys()):
                each = self.facts.own_aggregates[oid]
                yield _Caller(caller.name, self._adding(each, caller.roles), each.functions, each)

    def _views(self) -> Iterator[_Caller]:
        for view in self.facts.relations.values():
            if view.kind == "view":
                roles = tuple(r for r in self.roles if self.facts.uses(r, view, "SELECT"))
                yield _Caller(str(view), roles, _called(self.facts, view))

    def _rules(self) -> Iterator[_Caller]:
        for relation in self.facts.relations.values():
            for rule in relation.rules:
                roles = tuple(r for r in self.roles if self.facts.sets_off(r, relation, rule.event))
                yield _Caller(f"rule {relation.name}.{rule.name}", roles, rule.calls)

    def _trees(self) -> Iterator[_Caller]:
        for function in self.facts.functions.values():
            if function.calls and not function.definer and function.schema != _OURS:
                roles = tuple(r for r in self._allowed(function) if self.facts.enters(r, function.schema))
                yield _Caller(str(function), roles, function.calls)

    def _allowed(self, function: Function) -> tuple[str, ...]:
        return tuple(r for r in self.roles if self.facts.holds(r, function.execute, "EXECUTE"))

    def _adding(self, aggregate: Shorthand, roles: Collection[str]) -> tuple[str, ...]:
        """Those of the roles that may use the aggregate."""
        return tuple(r for r in roles if self.facts.holds(r, aggregate.execute, "EXECUTE"))


def _called(facts: Facts, view: Relation) -> frozenset[int]:
    return view.calls.union(*(below.calls for below in facts.below(view)))


def remedy(facts: Facts, door: Door) -> tuple[str, ...]:
    """What takes the function away from clients and leaves it to the policies that call it."""
    function, summed = door.function, door.way.summed
    if summed is not None:
        holders = facts.holders(door.way.roles, summed.execute, "EXECUTE")
        name = f"{sql.ident(summed.schema)}.{sql.ident(summed.name)}({summed.types})"
        return (f"revoke execute on function {name} from {sql.roles(holders)}",)
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
