"""Other ways than one plan of a whole database: table by table, back to nothing, and without a look at the database."""

from __future__ import annotations

from dataclasses import replace

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.effect import Effect
from mcp_rls.plan import Plan, plan
from mcp_rls.state import State, grouped


def by_table(actual: State, desired: State) -> list[tuple[str, Plan]] | None:
    """The same way in steps that each lock one table at most, each a whole plan of its own, with what it is about.

    What policies call comes first and goes last; then the tables, those that only close before the others. None when
    that would open: when who is recognised, or what a value is, changes together with what is said of it, old policies
    would meet the new functions.
    """
    functions = {**actual.functions, **desired.functions}
    roles = actual.class_roles | desired.class_roles
    first = plan(actual, replace(actual, installed=True, functions=functions, class_roles=roles, schemas=()))
    old, new, none = _by_table(actual), _by_table(desired), State(installed=True)
    tables = [(str(t), plan(old.get(t, none), new.get(t, none))) for t in sorted(old.keys() | new.keys())]
    if any(tables_plan for _, tables_plan in tables) and any(o.effect is Effect.OPENS for o in first.operations):
        return None
    left = replace(desired, installed=True, functions=functions, class_roles=roles, grants=actual.grants)
    last = plan(left, replace(desired, schemas=()))
    ordered = sorted(tables, key=lambda step: bool(step[1].opens))
    return [("what policies call", first), *ordered, ("what nothing calls any more", last)]


def _by_table(state: State) -> dict[TableName, State]:
    """What `state` says of each table. To note what else there is takes a look at all of them, so that waits."""
    held, revoked, triggers = grouped(state.privileges), grouped(state.revoked), grouped(state.triggers.values())
    tables = held.keys() | revoked.keys() | triggers.keys() | state.policies_by_table.keys() | state.switches.keys()
    return {
        table: State(
            installed=True,
            policies={(p.table, p.name): p for p in state.policies_by_table.get(table, ())},
            triggers={(t.table, t.name): t for t in triggers.get(table, ())},
            switches={table: state.switches[table]} if table in state.switches else {},
            privileges=frozenset(held.get(table, ())),
            revoked=frozenset(revoked.get(table, ())),
        )
        for table in tables
    }


def removed(actual: State) -> State:
    """The state without anything of ours: what was revoked given back, row security and `as before` policies left."""
    kept = {key: p for key, p in actual.policies.items() if p.is_as_before}
    return State(
        policies={key: replace(p, source="") for key, p in kept.items()},
        switches=actual.switches,
        privileges=frozenset(p for p in actual.privileges | actual.revoked if p.role not in actual.class_roles),
    )


def script(desired: State) -> tuple[str, ...]:
    """SQL that makes `desired` in a database that can't be looked at: what depends on it asks the database itself."""
    statements: list[str] = []
    holders: dict[TableName, set[str]] = {}
    for policy in desired.policies.values():
        holders.setdefault(policy.table, set()).update(set(policy.roles) - desired.class_roles)
    for table, switches in desired.switches.items():
        if switches.row_security:
            statements += sql.revoke_blind(table, ("public", *sorted(holders.get(table, set()) - {"public"})))
    as_it_was = {p.object: p for p in desired.policies.values() if p.is_as_before}
    own = frozenset(p for p in desired.privileges if p.role in desired.class_roles)
    usage = frozenset(g for g in desired.grants if g.kind == "schema")
    asking = replace(desired, privileges=desired.privileges - own, grants=desired.grants - usage)
    *steps, noted = plan(State(), asking).operations
    for operation in steps:
        kept = as_it_was.get(operation.subject)
        statements += (
            [sql.where_row_security_is_off(kept.table, operation.statements)] if kept else operation.statements
        )
    if desired.class_roles:
        # one that was there before has what its rules need, and nothing else
        statements += [sql.revoke_all(table, tuple(sorted(desired.class_roles))) for table in desired.switches]
    statements += [sql.grant_as_people_have(p, desired.people) for p in sorted(own)]
    statements += [sql.grant_usage_as_people_have(g, desired.people) for g in sorted(usage)]
    return (*statements, *noted.statements)
