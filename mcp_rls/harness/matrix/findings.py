"""Differences between what was expected and what was seen, as findings that a person can act on.

A client that got less than its rules say may only be narrowed by what it sees of another table, which a policy of this
one reads: the design wants that. Whether it is so is tried: with the ceilings of those other tables away for a moment,
it must get what it lacked. Whatever it still lacks then is TOO STRICT.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mcp_rls import sql
from mcp_rls.catalog import Catalog, Table, TableName
from mcp_rls.compiler.model import Command
from mcp_rls.harness.matrix.arena import Arena, Sight
from mcp_rls.harness.matrix.compare import Judged
from mcp_rls.harness.matrix.explain import explained, of_no_use
from mcp_rls.harness.matrix.field import Item, Move
from mcp_rls.harness.matrix.judge import Holder
from mcp_rls.harness.matrix.principals import Principal
from mcp_rls.harness.matrix.result import Cell, Finding

OURS = "mcp_rls: "
_MOST_ALONE = 20  # tables that are looked into one by one


class Token(Protocol):
    """A token that was tried."""

    principal: Principal
    holder: Holder
    sight: Sight
    moves: dict[TableName, tuple[Move, ...]]


class Layers(Protocol):
    """What brings a token's rows for the time of a block."""

    def again(self, token: Token, name: TableName, without: Iterable[str]) -> Sight:
        """What the token does with one table after some statements of the login role."""


@dataclass(frozen=True)
class _Doubt:
    number: int
    token: Token
    name: TableName
    command: Command
    items: tuple[Item, ...]


class Findings:
    """Collects what wasn't as expected, and settles it."""

    def __init__(self, arena: Arena, layers: Layers) -> None:
        self._arena = arena
        self._layers = layers
        self._found: list[Finding] = []
        self._doubts: list[_Doubt] = []

    def add(self, number: int, token: Token, name: TableName, judged: Judged) -> None:
        """Takes up what was wrong with one token, table and command."""
        for items in _by_form(judged.leaks):
            self._found.append(explained(self._arena, token, name, "LEAK", items))
        if judged.strict and not self._narrowed_by_the_app(token, name, judged):
            self._doubts.append(_Doubt(number, token, name, judged.command, tuple(judged.strict)))

    def _narrowed_by_the_app(self, token: Token, name: TableName, judged: Judged) -> bool:
        """Whether rules for people meet a restrictive policy of the app's own, which narrows people too."""
        meaning = self._arena.meanings[name]
        by_rules = meaning.has_people_rules if token.holder.unlimited else meaning.people_name_the_client
        updates = any(form in ("lock", "upsert") for form, _ in judged.strict)
        commands: tuple[Command, ...] = (judged.command, "select", *(("update",) if updates else ()))
        facts = self._arena.facts(token.principal.role)
        binding = [policy for one in commands for policy in facts.binding(name, one)]
        return by_rules and any(not p.permissive and not p.name.startswith(OURS) for p in binding)

    def useless(self, token: Token, name: TableName, command: Command, why: str) -> None:
        """Takes up rules that give nothing, since nobody may do such a thing at all."""
        self._found.append(of_no_use(self._arena, token, name, command, why))

    def settled(self, cells: Sequence[Cell]) -> tuple[tuple[Finding, ...], list[Cell]]:
        """All findings, and the cells with what they are narrowed through."""
        through: dict[tuple[int, TableName, Command], tuple[TableName, ...]] = {}
        for doubt in self._doubts:
            narrowing, left = self._narrowed(doubt)
            if narrowing:
                through[doubt.number, doubt.name, doubt.command] = narrowing
            for items in _by_form(left):
                self._found.append(explained(self._arena, doubt.token, doubt.name, "TOO STRICT", items))
        settled = [replace(c, through=through.get((c.principal, c.table, c.command), ())) for c in cells]
        return tuple(self._found), settled

    def _narrowed(self, doubt: _Doubt) -> tuple[tuple[TableName, ...], tuple[Item, ...]]:
        """The other tables through which the token is narrowed, and what it lacks for another reason."""
        read, hidden = _read_by(self._arena.stage.catalog, self._arena.fields[doubt.name].table)
        left = self._left(doubt, read)
        if left and hidden:
            read = hidden
            left = self._left(doubt, read)
        if len(left) == len(doubt.items):
            return (), left
        asked = read if len(read) <= _MOST_ALONE else ()
        alone = tuple(name for name in asked if len(self._left(doubt, [name])) < len(doubt.items))
        return alone or read, left

    def _left(self, doubt: _Doubt, read: Sequence[TableName]) -> tuple[Item, ...]:
        """What the token lacks even when the tables that this one's policies read are open to it."""
        if not read:
            return doubt.items
        drops = list(ceilings_away(self._arena, doubt.token.principal.role, read))
        seen = self._layers.again(doubt.token, doubt.name, drops)[doubt.name]
        return tuple(item for item in doubt.items if item not in seen or not seen[item].allowed)


def ceilings_away(arena: Arena, role: str, tables: Iterable[TableName]) -> Iterator[str]:
    """Statements that drop the ceilings of tables, for a layer that is rolled back."""
    for name in tables:
        for policy in arena.facts(role).policies.get(name, ()):
            if policy.name.startswith(OURS) and not policy.permissive:
                yield f"drop policy {sql.ident(policy.name)} on {sql.table(name)}"


def _read_by(catalog: Catalog, table: Table) -> tuple[tuple[TableName, ...], tuple[TableName, ...]]:
    """The other tables that policies of the table read, and those of them in turn; and all, if functions hide some."""
    found, hidden = set[TableName](), False
    todo = [table.name]
    while todo:
        known = catalog.tables.get(todo.pop())
        for policy in known.policies if known is not None else ():
            hidden = hidden or bool(policy.functions)
            todo += [name for name in policy.reads if name not in found]
            found |= policy.reads
    others = sorted(catalog.tables.keys() - {table.name})
    return tuple(name for name in others if name in found), tuple(others) if hidden else ()


def _by_form(items: Sequence[Item]) -> Iterator[tuple[Item, ...]]:
    """The items of each form. What a blind statement did too, and what became of rows then, needs no second word."""
    forms = dict.fromkeys(form for form, _ in items)
    for form in forms:
        if form.endswith(" blind") and form.removesuffix(" blind") in forms:
            continue
        if form.startswith("move") and {"update", "update blind"} & forms.keys():
            continue
        yield tuple(item for item in items if item[0] == form)
