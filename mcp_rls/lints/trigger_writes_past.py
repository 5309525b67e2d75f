"""A trigger writes where the client whose write sets it off may not.

## What

A trigger whose function is SECURITY DEFINER, or calls one, acts with the rights of that function's owner. What a client
may write to one table then writes to another where no rule lets it: the rows are of its making, or it chooses which
ones change. For an audit log that is the point; for a balance or a list of members it may be a way round.

Each class needs a rule for that command on the other table, for scopes that it then has and without a condition on
rows or columns: a trigger that goes past policies keeps to none. No ceiling stands before a view, nor before a table of
another schema: what sets off a trigger there, `instead of` among them, any client may do whose role has the privilege,
and all that the trigger writes is closed to some. What a trigger of a view reads counts too: the row that it gives back
can show it.

## Fix

Make the function `security invoker` if clients have rules for what it does. See that it writes nothing but what its
author decides, no value that comes from the client's row unchecked. Then accept the finding by its key, or the trigger
under `doors:` as `schema.table.trigger`, with the reason.

## What it doesn't catch

Triggers on the table that is written to, in turn. What a trigger of a table reads, and shows in the row that it gives
back. Rules (`create rule`): `rule-past-ceilings` reports them. What a function in another language than SQL and
PL/pgSQL does, or one that runs SQL which it puts together, isn't known; it is reported.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import Rule
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.doors.traces import Tracer, passes
from mcp_rls.inspection.facts import Function, Relation
from mcp_rls.inspection.words import listed
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR
_WRITES = ("insert", "update", "delete", "truncate")


def find(world: World) -> Iterator[Found]:
    """Triggers that write for a client what it may not."""
    if world.policies is None:
        return
    tracer = Tracer(world.facts)
    for table in world.facts.relations.values():
        for trigger in table.triggers:
            function, name = world.facts.functions.get(trigger.function), f"{table.name}.{trigger.name}"
            if function is None or not trigger.enabled or name in world.doors:
                continue
            rules = _setting_off(world, table, trigger.events)
            anybody = () if world.covers(table) else world.setting_off(table, *trigger.events)
            written = _written(world, tracer, table, function, rules, bool(anybody))
            if written:
                classes = listed(sorted({c for rule in rules for c in rule.who}))
                who = f"every client, as {', '.join(anybody)}," if anybody else classes
                yield Found(
                    f"trigger {name}",
                    f"{who} may write to {table.name}, and its trigger {trigger.name} then {written},"
                    f" past what rules allow there",
                    (f"alter function {function.schema}.{function.name}({function.types}) security invoker",),
                    table.name,
                )


def _setting_off(world: World, table: Relation, events: frozenset[str]) -> list[Rule]:
    """The rules by which a class may do such a thing to the table, or to one that it is a part of."""
    assert world.policies is not None
    names = [t.name for t in (table, *world.facts.ancestors(table))]
    return [r for name in names for r in world.policies.client_rules(name) if r.commands & events]


def _written(
    world: World, tracer: Tracer, table: Relation, function: Function, rules: list[Rule], anybody: bool
) -> str:
    """What it does to other covered tables that whoever has one of these rules, or any client, may not, in words; ''
    for nothing.
    """
    if not (rules or anybody):
        return ""
    covered = {t.name: t for t in world.tables if t.name != table.name}
    commands = _WRITES if table.kind != "view" else ("select", *_WRITES)
    trace = tracer.trace(function)
    done = sorted(
        f"{'read' if t.command == 'select' else t.command}s rows of {t.table}" for t in trace.touches
        if t.table in covered and t.command in commands
        and passes(world.facts, t.role, covered[t.table], world.roles, t.command)
        if anybody or any(not _may(world, name, rule, t.command, t.table) for rule in rules for name in rule.who)
    )  # fmt: skip
    free = {r for r, _ in trace.odd if any(passes(world.facts, r, t, world.roles) for t in covered.values())}
    odd = sorted(words for role, words in trace.odd if role in free)
    return listed(done) or (f"may write anything ({odd[0]})" if odd else "")


def _may(world: World, name: str, first: Rule, command: str, table: TableName) -> bool:
    """Whether a class that has the first rule may do this to every row of a table."""
    assert world.policies is not None
    then = [r for r in world.policies.client_rules(table) if name in r.who and command in r.commands]
    return any(set(rule.scopes) <= set(first.scopes) and _of_all(rule, command) for rule in then)


def _of_all(rule: Rule, command: str) -> bool:
    """Whether the rule lets do this to every row, and put anything into it."""
    if command == "delete":
        return rule.rows is None
    return rule.new_row() is None and rule.columns is None
