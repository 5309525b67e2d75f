"""A foreign key deletes or changes rows of a table that is closed to the client that sets it off.

## What

`on delete cascade` and its like are carried out as the owner of the table that refers, and row security isn't asked. A
client that may delete a row thereby deletes every row which refers to it, or changes it, in tables where no rule of the
policy file lets it delete or change any; from there on as far as further keys lead.

A table counts as closed to a client if its class has no rule for that command, or only rules that need scopes which the
rule for the first table doesn't. A table of a schema that isn't covered counts as closed unless a token's role may do
that there itself; from one where it may, every client gets at the covered tables that refer to it.

## Fix

`on delete restrict` (or no action), so that a client's delete fails while rows refer to the one it wants gone. Or take
the delete rule from the class. Or, if clients may do that, give the class a rule for that command on the table that
refers. Or accept the key under `doors:` as `schema.table.constraint`, with the reason.

## What it doesn't catch

Which rows: where a rule lets the class delete some rows of the table that refers, the key deletes the others too. A
trigger that does what a foreign key would.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import PolicySet, Rule
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.facts import ForeignKey, Relation
from mcp_rls.inspection.words import listed
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR
_ACTIONS = ("cascade", "set null", "set default")


@dataclass(frozen=True)
class _Change:
    """Rows of a table change: `columns` of them, or (none) they are deleted."""

    table: TableName
    columns: frozenset[str] = frozenset()

    @property
    def command(self) -> str:
        return "update" if self.columns else "delete"


def find(world: World) -> Iterator[Found]:
    """Foreign keys by which a class of clients changes what is closed to it."""
    if world.policies is None:
        return
    named: dict[tuple[TableName, str], Found] = {}
    for start in _changes(world, world.policies):
        for change, table, key in _spread(world, start):
            name = f"{table.name}.{key.name}"
            classes = [] if _open(world, start, change) else _closed(world, world.policies, start, change)
            if classes and name not in world.doors:
                named.setdefault((table.name, key.name), _found(start, change, key, name, classes))
    yield from named.values()


def _found(start: _Change, change: _Change, key: ForeignKey, name: str, classes: list[str]) -> Found:
    action = key.on_update if start.columns and key.references == start.table else key.on_delete
    via = "" if key.references == start.table else f", through {key.references}"
    held = f"alter table {sql.table(change.table)} drop constraint {sql.ident(key.name)}, and add it with"
    return Found(
        f"foreign key {name}",
        f"{listed(classes)} may {start.command} rows of {start.table}{via}, and {key.name} ({action}) then"
        f" {change.command}s rows of {change.table}, which no rule lets it {change.command}",
        (
            f"{held} on delete restrict" if not start.columns else f"{held} on update restrict",
            f"or a line under `doors:` for {name}, with the reason",
        ),
        change.table,
    )


def _changes(world: World, policies: PolicySet) -> Iterator[_Change]:
    """What rules let some client change: rows deleted, or key columns set."""
    for table in world.tables:
        rules = policies.client_rules(table.name)
        if any("delete" in rule.commands for rule in rules):
            yield _Change(table.name)
        settable = frozenset(c.name for c in table.columns if _may_set(world, table, c.name))
        if settable and any("update" in rule.commands for rule in rules):
            yield _Change(table.name, settable)
    for table in world.facts.tables.values():
        if table.is_table and not world.covers(table):
            settable = frozenset(c.name for c in table.columns if _may_set(world, table, c.name))
            bare = (_Change(table.name), *([_Change(table.name, settable)] if settable else []))
            yield from (change for change in bare if _bare(world, change))


def _may_set(world: World, table: Relation, column: str) -> bool:
    grants = [g for g in table.grants if g.column in ("", column)]
    return any(world.facts.holds(role, grants, "UPDATE") for role in world.roles)


def _spread(world: World, start: _Change) -> Iterator[tuple[_Change, Relation, ForeignKey]]:
    """Every change that foreign keys make of one, with the key. A partition's keys are its parent's."""
    todo, seen = [start], {start}
    tables = [t for t in world.facts.relations.values() if t.is_table and not t.is_partition]
    while todo:
        change = todo.pop(0)
        for table in tables:
            for key in table.foreign_keys:
                following = _following(change, table, key)
                if following is not None:
                    yield following, table, key
                    if following not in seen:
                        seen.add(following)
                        todo.append(following)


def _following(change: _Change, table: Relation, key: ForeignKey) -> _Change | None:
    if key.references != change.table:
        return None
    if change.columns and not change.columns & set(key.referenced):
        return None
    action = key.on_update if change.columns else key.on_delete
    if action not in _ACTIONS:
        return None
    deletes = action == "cascade" and not change.columns
    return _Change(table.name) if deletes else _Change(table.name, frozenset(key.columns))


def _bare(world: World, change: _Change) -> bool:
    """Whether no ceiling stands before the table, and a token's role may change it so."""
    table = world.facts.tables[change.table]
    roles = () if world.covers(table) else world.reaching(table, change.command.upper())
    bound = [role for role in roles if table.row_security and world.facts.binds(role, table)]
    let_in = [role for role in bound if any(p.permissive for p in world.binding(table, role, change.command))]
    return len(roles) > len(bound) or bool(let_in)


def _open(world: World, start: _Change, change: _Change) -> bool:
    """Whether ceilings have nothing to say of the change."""
    covered = [world.covers(world.facts.tables[each.table]) for each in (start, change)]
    return not any(covered) or _bare(world, change)


def _closed(world: World, policies: PolicySet, start: _Change, change: _Change) -> list[str]:
    """The classes that may make the first change by a rule, and the other by none whose scopes they then have."""
    if _bare(world, start):
        return ["every client"]
    able = [r for r in policies.client_rules(start.table) if start.command in r.commands]
    then = [r for r in policies.client_rules(change.table) if change.command in r.commands]
    return sorted({name for rule in able for name in rule.who if not _allows(then, name, rule)})


def _allows(rules: list[Rule], name: str, first: Rule) -> bool:
    return any(name in rule.who and set(rule.scopes) <= set(first.scopes) for rule in rules)
