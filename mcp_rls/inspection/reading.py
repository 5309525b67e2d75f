"""The policies of a database taken apart, each once for all lints that ask."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pglast import ast
from pglast.enums import SubLinkType

from mcp_rls.catalog import FEW
from mcp_rls.inspection.claims import PLATFORM, Claims, Origin, taken
from mcp_rls.inspection.comparisons import Comparison, Side, comparisons
from mcp_rls.inspection.effects import Doings, Effects
from mcp_rls.inspection.facts import PUBLIC, Facts, Function, Policy, Relation
from mcp_rls.inspection.frames import Frame, Names, Place, fields, policy_frame
from mcp_rls.inspection.occurrences import Occurrence, Walk
from mcp_rls.inspection.tree import Node, expression, walk
from mcp_rls.sql import ident
from mcp_rls.sql import table as sql_table

COMMANDS = ("select", "insert", "update", "delete")


class Reader:
    """One database's names, claims and functions."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.names = Names(facts)
        self.claims = Claims(self.names)
        self.walk = Walk(self.claims)
        self.doings = Doings(self.names)
        self._texts: dict[tuple[int, str], PolicyText] = {}
        self._compared: dict[int, tuple[Occurrence, tuple[Comparison, ...]]] = {}

    def text(self, table: Relation, policy: Policy) -> PolicyText:
        """A policy taken apart."""
        key = (table.oid, policy.name)
        if key not in self._texts:
            self._texts[key] = PolicyText(table, policy, policy_frame(table, policy), self)
        return self._texts[key]

    def effects(self, function: Function) -> Effects:
        return self.doings.of(function)

    def compared(self, at: Occurrence) -> tuple[Comparison, ...]:
        """What is compared in an occurrence itself; those of a function's text are many policies'."""
        if id(at) not in self._compared:
            self._compared[id(at)] = (at, tuple(comparisons(at, self.claims)))  # kept alive, for its id
        return self._compared[id(at)][1]

    def selected(self, side: Side) -> Place | None:
        """The column of a table that a sub-select gives."""
        select = side.node.subselect if isinstance(side.node, ast.SubLink) else side.node
        targets = select.targetList if isinstance(select, ast.SelectStmt) else None
        value = targets[0].val if targets else None
        inside = self.names.inside(select, side.frame) if isinstance(value, ast.ColumnRef) else None
        return inside.place(fields(value)) if inside is not None and fields(value) else None


@dataclass(frozen=True, eq=False)
class Call:
    """A call that is computed for every row."""

    node: Node
    effects: Effects  # of the function itself
    columns: frozenset[str]  # of the row, in its arguments


@dataclass(frozen=True, eq=False)
class PolicyText:
    """A policy's conditions as trees, and what they and the functions that they call compare."""

    table: Relation
    policy: Policy
    frame: Frame
    reader: Reader = field(repr=False)
    # by the node's id, with the node, which keeps it
    _columns: dict[int, tuple[Node, frozenset[str]]] = field(default_factory=dict, repr=False)
    _effects: dict[int, tuple[Node, Effects]] = field(default_factory=dict, repr=False)

    @property
    def subject(self) -> str:
        return self.frame.subject

    @cached_property
    def using(self) -> Node | None:
        return expression(self.policy.using) if self.policy.using else None

    @cached_property
    def check(self) -> Node | None:
        """What new rows are held to where it was written down; an UPDATE without one takes USING."""
        return expression(self.policy.check) if self.policy.check else None

    @property
    def conditions(self) -> tuple[Node, ...]:
        return tuple(node for node in (self.using, self.check) if node is not None)

    @cached_property
    def occurrences(self) -> tuple[Occurrence, ...]:
        """Every part of both conditions, and of the functions that they call."""
        through = self.reader.walk.through
        return tuple(found for node in self.conditions for found in through(node, self.frame))

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        return tuple(c for at in self.occurrences for c in self.reader.compared(at))

    def of(self, node: Node) -> tuple[Comparison, ...]:
        """What one part of it compares."""
        return tuple(c for at in self.reader.walk.through(node, self.frame) for c in self.reader.compared(at))

    @cached_property
    def origins(self) -> Mapping[tuple[str, Origin], None]:
        """The claims, headers and settings in it, each with the policy or function that it stands in."""
        claims, places = self.reader.claims, (at for at in self.occurrences if taken(at.node))
        pairs = ((at.frame.subject, o) for at in places for o in claims.origins(at.node, at.frame))
        return dict.fromkeys(pairs)

    @cached_property
    def opaque(self) -> bool:
        """Whether it calls a function whose text can't be read."""
        return not all(self.effects(node).known for node in self.conditions)

    def everyone(self, node: Node) -> bool:
        """Whether a part of it asks only whether somebody is signed in, and nothing of the row."""
        found = self.of(node)
        effects = self.effects(node)
        plain = bool(found) and effects.known and not effects.tables and not self.columns(node)
        return plain and all(map(_signed_in, found))

    def columns(self, node: Node) -> frozenset[str]:
        """The columns of the policy's own row that a part of it reads."""
        if id(node) not in self._columns:
            places = (p for at in self.reader.walk.alone(node, self.frame) if (p := place(at)) is not None)
            self._columns[id(node)] = (node, frozenset(p.name for p in places if p.own))
        return self._columns[id(node)][1]

    def effects(self, node: Node) -> Effects:
        """What a part of it reads, the functions that it calls included."""
        if id(node) not in self._effects:
            self._effects[id(node)] = (node, self.reader.doings.below(node, self.frame))
        return self._effects[id(node)][1]

    @property
    def altered(self) -> str:
        """How the statement begins that changes it."""
        return f"alter policy {ident(self.policy.name)} on {sql_table(self.table.name)}"

    @cached_property
    def bare_calls(self) -> tuple[Call, ...]:
        """The calls in USING, outside every sub-select, of what reads claims or tables."""
        nodes = walk(self.using, into_selects=False) if self.using is not None else ()
        calls = (n for n in nodes if isinstance(n, ast.FuncCall) and not self._folded(n))
        found = ((n, self.reader.doings.call(n, self.frame)) for n in calls)
        return tuple(
            Call(node, effects, frozenset().union(*(self.columns(a) for a in node.args or ())))
            for node, effects in found
            if effects.settings or effects.tables
        )

    def _folded(self, node: Node) -> bool:
        """Whether a call is computed when planning: wrong or right, it isn't computed for each row."""
        function = self.reader.names.function(node, self.frame)
        return function is not None and function.volatility == "immutable"

    @cached_property
    def membership(self) -> str:
        """The column of the own row that USING looks for in a sub-select that reads a claim; '' for none."""
        nodes = walk(self.using, into_selects=False) if self.using is not None else ()
        for node in nodes:
            if not isinstance(node, ast.SubLink) or not self.effects(node.subselect).settings:
                continue
            inside = self.columns(node.subselect)
            if node.subLinkType == SubLinkType.ANY_SUBLINK and not inside and self.columns(node.testexpr):
                return min(self.columns(node.testexpr))
            if node.subLinkType == SubLinkType.EXISTS_SUBLINK and inside:
                return min(inside)
        return ""

    @property
    def commands(self) -> tuple[str, ...]:
        return COMMANDS if self.policy.command == "all" else (self.policy.command,)

    @property
    def small(self) -> bool:
        """Whether its table is known to have few rows."""
        return 0 <= self.table.rows <= FEW

    def beside(self, *, permissive: bool) -> Iterator[PolicyText]:
        """Other policies of its table, for one of its commands and one of its roles."""
        for other in self.table.policies:
            if other.name != self.policy.name and other.permissive == permissive:
                text = self.reader.text(self.table, other)
                if set(text.commands) & set(self.commands) and self.meets(other):
                    yield text

    def meets(self, other: Policy) -> bool:
        """Whether one role can have both."""
        facts, mine, theirs = self.reader.facts, set(self.policy.roles), set(other.roles)
        return any(facts.acts_as(role) & theirs for role in mine) or any(facts.acts_as(role) & mine for role in theirs)


def _signed_in(comparison: Comparison) -> bool:
    """`auth.uid() is not null`, `auth.role() = 'authenticated'`, and the like."""
    if comparison.kind == "null":
        return comparison.positive is False and bool(comparison.about(frozenset({"sub", "role"})))
    named = comparison.kind == "equal" and comparison.positive is True and comparison.about(frozenset({"role", "aud"}))
    return bool(named) and any("authenticated" in side.constants for side, _ in comparison.sides)


def place(at: Occurrence) -> Place | None:
    """The column that an occurrence is."""
    name = fields(at.node) if isinstance(at.node, ast.ColumnRef) else ()
    return at.frame.place(name) if name else None


def reader(facts: Facts) -> Reader:
    """The one reader of these facts."""
    made: Reader = facts.derived.setdefault("reader", None) or Reader(facts)
    facts.derived["reader"] = made
    return made


def read(facts: Facts, policies: Iterable[tuple[Relation, Policy]]) -> list[PolicyText]:
    """Policies taken apart."""
    one = reader(facts)
    return [one.text(table, policy) for table, policy in policies]


def helpers(facts: Facts, policies: Iterable[tuple[Relation, Policy]]) -> Mapping[Function, Relation]:
    """The functions that policies call, by themselves or through others, with a table whose policy does; not those of
    an extension, of the platform, or ours.
    """
    doings, found, queue = reader(facts).doings, dict[Function, Relation](), list[tuple[Function, Relation]]()
    for table, policy in policies:
        queue += [(facts.functions[oid], table) for oid in sorted(policy.functions) if oid in facts.functions]
    while queue:
        function, table = queue.pop(0)
        if function not in found and not _platforms(function):
            found[function] = table
            queue += [(f, table) for f in doings.called_by(function)]
    return found


def _platforms(function: Function) -> bool:
    """Whether it is ours, or Supabase's, which its user can't change."""
    theirs = re.fullmatch(r"supabase_\w+_admin", function.owner) is not None
    return theirs or function.schema == "mcp_rls" or f"{function.schema}.{function.name}" in PLATFORM


def alter(function: Function) -> str:
    """How the statement begins that changes a function."""
    return f"alter function {ident(function.schema)}.{ident(function.name)}({function.arguments})"


def shared_roles(facts: Facts, policies: Iterable[tuple[Relation, Policy]]) -> frozenset[str]:
    """The roles in which many persons meet: PUBLIC, and those that some policy asks for a claim."""
    held = {PUBLIC, "anon", "authenticated"}
    for text in read(facts, policies):
        if any(text.effects(node).settings for node in text.conditions):
            held |= set(text.policy.roles)
    return frozenset(held)
