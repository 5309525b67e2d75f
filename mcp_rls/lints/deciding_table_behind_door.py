"""Clients can write the registry or the consent table through a door.

## What

The registry says which clients are of a class, the consent table what a person has granted. A client that can write
there promotes itself. No rule may let it (the diagnostic `self-grant`); but a view that runs as its owner, a SECURITY
DEFINER function, such a trigger on what clients may write, or a rule (`create rule`), writes there all the same, past
the ceilings.

A line under `doors:` doesn't accept this: what a door shows can be harmless, but whoever can grant to himself has
everything.

## Fix

`revoke insert, update, delete on VIEW from ROLE`, or `alter view VIEW set (security_invoker = true)`;
`revoke execute on function NAME from public, ROLE`; let the consent screen use a role of its own that no token arrives
as.

## What it doesn't catch

Functions whose body can't be analysed: `definer-function-door` reports them. Foreign keys that delete rows there, which
only takes consent away. Whether the function asks enough before it writes: then accept the finding by its key, with the
reason.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.doors.functions import open_functions, remedy
from mcp_rls.inspection.doors.traces import Tracer, passes
from mcp_rls.inspection.facts import Relation
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR
_WRITES = ("insert", "update", "delete")


def find(world: World) -> Iterator[Found]:
    """The ways on which a client writes tables that decide who may do what."""
    if world.policies is None:
        return
    for name in sorted(_deciding(world.policies)):
        table = world.facts.tables.get(name)
        if table is not None:
            yield from _views(world, table)
            yield from _functions(world, table)
            yield from _triggers(world, world.policies, table)
            yield from _rules(world, table)


def _deciding(policies: PolicySet) -> set[TableName]:
    registries = {c.registry.table for c in policies.classes.values() if c.registry}
    return registries | ({policies.consent.table} if policies.consent else set())


def _views(world: World, table: Relation) -> Iterator[Found]:
    """Views that write as their owner; one that reads several relations can't be written without a trigger."""
    for view in world.facts.relations.values():
        writable = view.kind == "view" and not view.option("security_invoker") and len(view.reads) == 1
        if (
            writable
            and table in world.facts.below(view)
            and passes(world.facts, view.owner, table, world.roles, *_WRITES)
        ):
            roles = world.reaching(view, *map(str.upper, _WRITES))
            if roles:
                how = f"{', '.join(roles)} can write {table.name} through {view} as its owner, {view.owner}"
                yield _found(table, str(view), how, f"alter view {view.name} set (security_invoker = true)")


def _functions(world: World, table: Relation) -> Iterator[Found]:
    for door in open_functions(world.facts, world.roles, {table.name: table}, bound=world.roles):
        if table.name in door.writes:
            yield _found(table, str(door.function), f"{door.does}; {door.who}", *remedy(world.facts, door))


def _triggers(world: World, policies: PolicySet, table: Relation) -> Iterator[Found]:
    tracer = Tracer(world.facts)
    for source in world.facts.relations.values():
        names = [t.name for t in (source, *world.facts.ancestors(source))]
        written = {c for name in names for rule in policies.client_rules(name) for c in rule.commands}
        for trigger in source.triggers:
            function = world.facts.functions.get(trigger.function)
            if function is None or not trigger.enabled:
                continue
            bare = not world.covers(source) and world.setting_off(source, *trigger.events)
            if not (bare or trigger.events & written):
                continue
            touches = [t for t in tracer.trace(function).touches if t.table == table.name and t.command in _WRITES]
            if any(passes(world.facts, t.role, table, world.roles, t.command) for t in touches):
                name = f"trigger {source.name}.{trigger.name}"
                how = f"what clients may write to {source.name} makes {name} write to {table.name} by {function}"
                yield _found(table, name, how, "let the trigger write nothing there, or take the rule from clients")


def _rules(world: World, table: Relation) -> Iterator[Found]:
    tracer = Tracer(world.facts)
    for source in world.facts.relations.values():
        for rule in source.rules:
            touches = [t for t in tracer.ruled(source, rule).touches if t.table == table.name and t.command in _WRITES]
            roles = world.setting_off(source, rule.event)
            if roles and any(passes(world.facts, t.role, table, world.roles, t.command) for t in touches):
                how = f"{', '.join(roles)} can write {table.name} by rule {rule.name} of {source} as its owner"
                yield _found(
                    table,
                    f"rule {source.name}.{rule.name}",
                    how,
                    f"drop rule {sql.ident(rule.name)} on {sql.table(source.name)}",
                )


def _found(table: Relation, door: str, how: str, *hints: str) -> Found:
    return Found(f"table {table.name}", f"{how}; that table decides who may do what", hints, table.name, door)
