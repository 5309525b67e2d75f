"""What a function does to tables in the end, and as whom: through functions that it calls and views that it reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from mcp_rls.catalog import TableName
from mcp_rls.inspection.doors.scripts import script_of
from mcp_rls.inspection.doors.statement import Uses, uses
from mcp_rls.inspection.facts import Facts, Function, Relation, Rule, Shorthand
from mcp_rls.inspection.tree import statements

T = TypeVar("T")
Step = tuple[str, Function | Relation, str]  # as whom, what is called or used, the command
CALLER = ""  # the role of what runs with the rights of whoever calls


@dataclass(frozen=True, order=True)
class Touch:
    """What is done to a table, as whom."""

    table: TableName
    command: str  # 'select' | 'insert' | 'update' | 'delete' | 'truncate'
    role: str  # CALLER, or the owner of what does it


@dataclass(frozen=True)
class Trace:
    touches: frozenset[Touch] = frozenset()
    odd: frozenset[tuple[str, str]] = frozenset()  # (as whom, 'function public.f() runs SQL that it puts together')


class Tracer:
    """The functions of one database, each read once."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._direct: dict[int, Uses] = {}
        self._relations: dict[str, list[Relation]] = {}
        self._functions: dict[str, list[Function]] = {}
        self._aggregates: dict[str, list[Shorthand]] = {}
        for relation in facts.relations.values():
            self._relations.setdefault(relation.name.name, []).append(relation)
        for function in facts.functions.values():
            self._functions.setdefault(function.name, []).append(function)
        for aggregate in facts.own_aggregates.values():
            self._aggregates.setdefault(aggregate.name, []).append(aggregate)

    def trace(self, *functions: Function) -> Trace:
        """What calling these functions does."""
        return self._followed([(CALLER, function, "select") for function in functions])

    def through(self, view: Relation) -> Trace:
        """What reading a view does, but for its own tables: what the functions in it do."""
        return self.trace(*(f for v in (view, *self.facts.below(view)) for f in self._called(v.calls)))

    def ruled(self, relation: Relation, rule: Rule) -> Trace:
        """What a rule does to relations. The functions in it run as whoever sets it off, and are left out."""
        trace = self._followed(list(self._of_rule(relation, rule)))
        unread = [] if statements(rule.definition) else [(relation.owner, f"rule {rule.name} can't be read")]
        return Trace(trace.touches, trace.odd.union(unread))

    def _followed(self, todo: list[Step]) -> Trace:
        seen, touches, odd = set[tuple[str, int, str]](), set[Touch](), set[tuple[str, str]]()
        while todo:
            role, thing, command = todo.pop()
            acting = thing.owner if isinstance(thing, Function) and thing.definer else role
            if (acting, thing.oid, command) in seen:
                continue
            seen.add((acting, thing.oid, command))
            if isinstance(thing, Function):
                odd |= {(acting, f"{thing} {words}") for words in self._uses(thing).odd}
                todo += self._of_function(thing, acting)
            elif thing.kind in ("view", "materialized view"):
                todo += self._of_view(thing, acting, command)
            else:
                touches.add(Touch(thing.name, command, acting))
            if isinstance(thing, Relation):
                todo += [step for rule in thing.rules if rule.event == command for step in self._of_rule(thing, rule)]
        return Trace(frozenset(touches), frozenset(odd))

    def follow(self, role: str, thing: Function | Relation) -> Trace:
        """What calling a function, or reading a relation, does with the rights of that role."""
        return self._followed([(role, thing, "select")])

    def named(self, done: Uses, caller: Function | None) -> Iterator[tuple[Function | Relation, str]]:
        """What a text names, with the command; `caller` None: PostgreSQL printed it, and a bare name is its own."""
        for use in done.relations:
            relations = self._relations.get(use.name, [])
            for relation in _meant(caller, use.schema, relations, [r.name.schema for r in relations]):
                yield relation, use.command
        for schema, name in done.functions:
            yield from ((called, "select") for called in self._meant(caller, schema, name))

    def _of_function(self, function: Function, acting: str) -> Iterator[Step]:
        yield from ((acting, thing, command) for thing, command in self.named(self._uses(function), function))
        yield from ((acting, called, "select") for called in self._called(function.calls))

    def _of_rule(self, relation: Relation, rule: Rule) -> Iterator[Step]:
        made = statements(rule.definition) or ()
        done = uses(tuple(part for each in made for part in (each.actions, each.whereClause)))
        for thing, command in self.named(done, None):
            if isinstance(thing, Relation):
                yield relation.owner, thing, command

    def _of_view(self, view: Relation, acting: str, command: str) -> Iterator[Step]:
        """A view's tables are read as its owner; the functions in it run as whoever reads it."""
        role = acting if view.option("security_invoker") else view.owner
        for oid in view.reads & self.facts.relations.keys():
            yield role, self.facts.relations[oid], command
        yield from ((acting, function, "select") for function in self._called(view.calls))

    def _called(self, oids: frozenset[int]) -> list[Function]:
        """The functions, and those of the aggregates, among these."""
        return [self.facts.functions[oid] for oid in sorted(self.facts.run(oids)) if oid in self.facts.functions]

    def _meant(self, caller: Function | None, schema: str, name: str) -> Iterable[Function]:
        """The functions of that name, and those that its aggregates run."""
        functions, aggregates = self._functions.get(name, []), self._aggregates.get(name, [])
        summed = _meant(caller, schema, aggregates, [a.schema for a in aggregates])
        found = _meant(caller, schema, functions, [f.schema for f in functions])
        return [*found, *self._called(frozenset(a.oid for a in summed))]

    def _uses(self, function: Function) -> Uses:
        if function.oid not in self._direct:
            script = script_of(function)
            each = [uses(part) for part in script.parts]
            self._direct[function.oid] = Uses(
                frozenset(one for u in each for one in u.relations),
                frozenset(one for u in each for one in u.functions),
                tuple(sorted({*script.odd, *(one for u in each for one in u.odd)})),
            )
        return self._direct[function.oid]


def passes(facts: Facts, role: str, relation: Relation, bound: Iterable[str] | None, *commands: str) -> bool:
    """Whether the role reaches the table past row security or, given the roles that ceilings bind, past those;
    `commands`: only if it has the privilege for one of them, for else it reaches nothing.
    """
    if role == CALLER or (commands and not facts.able(role, relation, *map(str.upper, commands))):
        return False
    if not facts.binds(role, relation):
        return True
    return bound is not None and not facts.acts_as(role) & set(bound)


def sees_all(facts: Facts, role: str, relation: Relation) -> bool:
    """Whether no policy keeps rows of the table from the role."""
    if not relation.row_security or not facts.binds(role, relation):
        return True
    acting = facts.acts_as(role)
    asked = [p for p in relation.policies if p.is_for("select") and acting & set(p.roles)]
    return any(p.permissive and p.using == "true" for p in asked) and all(p.permissive for p in asked)


def search_path(function: Function) -> list[str] | None:
    """The schemas that a function's names are looked up in; None where its caller decides."""
    for setting in function.settings:
        name, _, value = setting.partition("=")
        if name == "search_path":
            return [part.strip().strip('"') for part in value.split(",")]
    return None


def _meant(function: Function | None, schema: str, things: list[T], schemas: list[str]) -> list[T]:
    """Those of one name that the function may mean by it; in what PostgreSQL printed, a bare name is its own."""
    path = [schema] if schema or function is None or function.sql_body else search_path(function)
    if path is None:
        return things
    for each in path:
        found = [thing for thing, theirs in zip(things, schemas, strict=True) if theirs == each]
        if found:
            return found
    return []
