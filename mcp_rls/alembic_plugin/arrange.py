"""Table changes and policy changes in one list of operations, which Alembic reverses into the way down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import MigrateOperation

from mcp_rls import sql
from mcp_rls.alembic_plugin.changes import in_order
from mcp_rls.alembic_plugin.operation import Bound, Ends, PolicyChange
from mcp_rls.alembic_plugin.rehearsal import Rehearsal, rehearse
from mcp_rls.alembic_plugin.revision import unsure, way_back, without_leavings
from mcp_rls.catalog import TableName
from mcp_rls.compiler.lower import lower
from mcp_rls.compiler.model import PolicySet
from mcp_rls.diagnostics import Diagnostics
from mcp_rls.effect import Effect
from mcp_rls.operation import EXCLUSIVE, Operation, Plan
from mcp_rls.plan import plan, shut
from mcp_rls.state import BLIND_PRIVILEGES, SCHEMA, Policy, Privilege, State, Trigger

Tables = frozenset[TableName]


def arrange(
    context: AutogenContext, operations: list[MigrateOperation], policies: PolicySet
) -> tuple[list[MigrateOperation], Diagnostics]:
    """The operations with those of the policies among them, if there are any, and what is to be said of the policies.

    Up: what is added, then the policies, then what is dropped; a column's new type between closing the policies that
    read it and writing them again. Raises Invalid for errors in the policies, CommandError.
    """
    changes = in_order(operations, context.dialect.default_schema_name or "public")
    found = rehearse(context, changes, policies)
    closing, change = _change(found)
    if not any((closing.way, change.way, change.back)):
        return operations, found.diagnostics
    if not changes:
        return [PolicyChange(change.way, change.back, guarded=True)], found.diagnostics
    way, note = _apart(change.way)
    back, note_down = _apart(change.back)
    ends = Ends((*change.back.opens, *closing.back.opens), note, note_down)
    change = PolicyChange(way, back)
    middle = [closing, *changes.retyping, change] if closing.way else [*changes.retyping, change]
    first, last = Bound(ends, first=True), Bound(ends, first=False)
    return [first, *changes.first, *middle, *changes.last, last], found.diagnostics


def _apart(way: Plan) -> tuple[Plan, str]:
    """The plan without the statement that notes how everything is, and that statement: tables are still to change."""
    notes = [s for s in way.statements if s.startswith(f"select {SCHEMA}.note(")]
    kept = (replace(o, statements=tuple(s for s in o.statements if s not in notes)) for o in way.operations)
    return replace(way, operations=tuple(kept)), "".join(notes)


def _change(found: Rehearsal) -> tuple[PolicyChange, PolicyChange]:
    """What closes policies before columns change their type, and what makes all policies what they should be.

    Of a table that is made or dropped here, the direction in which it goes says nothing: its policies go with it, so
    whoever takes the drop out of the revision leaves them in place.
    """
    start = _without(found.closed, found.dropped)
    end = lower(found.resolved, start)
    start, here = (without_leavings(state, end) for state in (start, _without(found.closed, found.made)))
    there = _made_again(_without(end, found.made), found, end)
    closed = {p.object for key, p in found.before.policies.items() if found.closed.policies[key] != p}
    closed |= {t.object for key, t in found.before.triggers.items() if key not in found.closed.triggers}
    roles = ("public", *found.resolved.policies.roles)
    up = _first(
        [*_bare(found.made, roles), *_let_go(found.closed, found.dropped, start, end)], plan(unsure(start, end), end)
    )
    returning = [*_bare(found.dropped, roles), *map(_again, found.theirs)]
    down = _first([*returning, *_let_go(end, found.made, there, here)], way_back(here, there))
    as_if_open = way_back(_without(found.before, found.made), there)
    return (
        PolicyChange(_closing(found), _retold(plan(found.closed, found.before), as_if_open, closed)),
        PolicyChange(_retold(up, plan(_without(found.before, found.dropped), end), closed), down),
    )


def _without(state: State, tables: Tables) -> State:
    """The state but for these tables; what the manifest says of them is still known."""
    return replace(
        state,
        policies={key: p for key, p in state.policies.items() if p.table not in tables},
        triggers={key: t for key, t in state.triggers.items() if t.table not in tables},
        switches={t: s for t, s in state.switches.items() if t not in tables},
        privileges=frozenset(p for p in state.privileges if p.table not in tables),
        revoked=frozenset(p for p in state.revoked if p.table not in tables),
    )


def _made_again(state: State, found: Rehearsal, end: State) -> State:
    """Where the way down begins: dropped tables are there again, bare, and what is recorded of made ones still is."""
    noted: tuple[Policy | Trigger | Privilege, ...]
    noted = (*end.policies.values(), *end.triggers.values(), *end.revoked)
    return replace(
        state,
        switches={**state.switches, **{t: s for t, s in found.anew.switches.items() if t in found.dropped}},
        privileges=state.privileges | {p for p in found.anew.privileges if p.table in found.dropped},
        recorded=frozenset(p.object for p in noted if p.table in found.made),
    )


def _closing(found: Rehearsal) -> Plan:
    """Closes the policies that read a column with a new type to come; that nobody has to write down."""
    way = plan(found.before, found.closed)
    operations = tuple(
        replace(o, words=f"{o.words.splitlines()[0]}: closed until a column has its new type")
        for o in way.operations
        if o.subject != f"schema {SCHEMA}"
    )
    return replace(way, operations=operations)


def _retold(way: Plan, direct: Plan, closed: set[str]) -> Plan:
    """The plan, telling of policies that were closed for a moment what `direct` does, which never closed them."""
    known = {o.subject: o for o in direct.operations if o.subject in closed}

    def retold(operation: Operation) -> Operation:
        if operation.subject not in closed:
            return operation
        same = replace(operation, words=f"{operation.words.splitlines()[0]}: as it was", effect=Effect.NEITHER)
        told = known.get(operation.subject, same)
        return replace(operation, words=told.words, effect=told.effect)

    return replace(way, operations=tuple(map(retold, way.operations)))


def _let_go(state: State, tables: Tables, start: State, end: State) -> Iterator[Operation]:
    """Closes what goes with its table, where it calls a function that has to go, or be made anew, before."""
    kept = {
        key for key, f in end.functions.items() if key in start.functions and start.functions[key].returns == f.returns
    }
    calls = [f"{SCHEMA}.{sql.ident(f.name)}(" for key, f in start.functions.items() if key not in kept]
    held = {t.table for t in state.triggers.values() if t.table in tables and any(c in t.definition for c in calls)}
    for trigger in state.triggers.values():
        if trigger.table in held:
            words = f"{trigger.table}: drop trigger {trigger.name.strip()!r}, which goes with its table"
            yield _about(trigger, sql.drop_trigger(trigger), words, Effect.NEITHER)
    for policy in state.policies.values():
        closing = any(call in f"{policy.using} {policy.check}" for call in calls)
        if policy.table in tables and (closing or (policy.table in held and policy.command == "update")):
            words = f"{policy.table}: close policy {policy.name!r}, which goes with its table"
            yield _about(policy, sql.alter_policy(shut(policy)), words, Effect.CLOSES)


def _bare(tables: Tables, roles: tuple[str, ...]) -> Iterator[Operation]:
    """Revokes from new tables what row security can't narrow: the defaults that give it differ between databases."""
    for table in sorted(tables):
        words = f"{table}: revoke {', '.join(BLIND_PRIVILEGES)}, which row security can't narrow"
        yield Operation(sql.revoke_blind(table, roles), words, Effect.CLOSES, subject=f"table {table}", table=table)


def _again(policy: Policy) -> Operation:
    """Makes somebody else's policy again, which went with its table."""
    words = f"{policy.table}: the app's own policy {policy.name!r} again"
    return _about(policy, sql.create_policy(policy), words, Effect.OPENS if policy.permissive else Effect.CLOSES)


def _about(thing: Policy | Trigger, statement: str, words: str, effect: Effect) -> Operation:
    return Operation((statement,), words, effect, EXCLUSIVE, thing.object, thing.table)


def _first(operations: Iterable[Operation], way: Plan) -> Plan:
    return replace(way, operations=(*operations, *way.operations))
