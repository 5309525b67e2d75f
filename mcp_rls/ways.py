"""Other ways than one plan of a whole database: table by table, back to nothing, and without a look at the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.effect import Effect
from mcp_rls.operation import Plan
from mcp_rls.plan import plan
from mcp_rls.state import State, grouped

_NAMED = 5  # tables in one line

Reads = Mapping[TableName, frozenset[TableName]]  # of a table: those whose rows decide which of its rows one sees


def by_table(actual: State, desired: State, reads: Reads) -> list[tuple[str, Plan]] | None:
    """The same way in steps, each a whole plan of its own, with what it is about: one locks one table, or those that
    only together show what an end shows, since policies of one read another.

    What policies call comes first and goes last; then the tables, those that only close before the others. None when
    that would open: when who is recognised, or what a value is, changes together with what is said of it, old policies
    would meet the new functions.
    """
    functions = {**actual.functions, **desired.functions}
    roles = actual.class_roles | desired.class_roles
    first = plan(actual, replace(actual, installed=True, functions=functions, class_roles=roles, schemas=()))
    old, new = _by_table(actual), _by_table(desired)
    alone = {t: plan(_joined(old, [t]), _joined(new, [t])) for t in sorted(old.keys() | new.keys())}
    groups = together(frozenset(t for t, step in alone.items() if step), reads)
    if groups and _meets_old_policies(first, groups, reads):
        return None
    tables = [(_about(g), alone[g[0]] if len(g) == 1 else plan(_joined(old, g), _joined(new, g))) for g in groups]
    left = replace(desired, installed=True, functions=functions, class_roles=roles, grants=actual.grants)
    last = plan(left, replace(desired, schemas=()))
    ordered = sorted(tables, key=lambda step: bool(step[1].opens))
    return [("what policies call", first), *ordered, ("what nothing calls any more", last)]


def together(changed: frozenset[TableName], reads: Reads) -> list[list[TableName]]:
    """The tables that change, in groups that no step may part: what some table shows depends on all of one."""
    groups = {table: [table] for table in sorted(changed)}
    for table, read in reads.items():
        parts = {groups[t][0]: groups[t] for t in changed & ({table} | read)}
        if len(parts) > 1:
            joined = sorted(chain(*parts.values()))
            groups |= dict.fromkeys(joined, joined)
    return [group for table, group in groups.items() if group[0] == table]


def _meets_old_policies(first: Plan, groups: list[list[TableName]], reads: Reads) -> bool:
    """Whether policies, before they change too, could show more by what they call: by more rows, or by a row less
    that they read.
    """
    changed = {table for group in groups for table in group}
    reading = any(read and changed & ({table} | read) for table, read in reads.items())
    return any(o.effect is Effect.OPENS or (reading and o.effect is Effect.CLOSES) for o in first.operations)


def _about(group: list[TableName]) -> str:
    """'a', 'a and b, in one step: ...', 'a, b and 7 more, in one step: ...'."""
    if len(group) == 1:
        return str(group[0])
    named, more = [str(t) for t in group[:_NAMED]], len(group) - _NAMED
    last = [f"{more} more"] if more > 0 else [named.pop()]
    return f"{', '.join(named)} and {last[0]}, in one step: what one shows depends on the others"


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
            uncommented=state.uncommented
            & {t.object for t in (*state.policies_by_table.get(table, ()), *triggers.get(table, ()))},
        )
        for table in tables
    }


def _joined(parts: Mapping[TableName, State], tables: Iterable[TableName]) -> State:
    """What is said of these tables, as one state."""
    states = [parts[table] for table in tables if table in parts]
    return State(
        installed=True,
        policies={key: p for s in states for key, p in s.policies.items()},
        triggers={key: t for s in states for key, t in s.triggers.items()},
        switches={key: w for s in states for key, w in s.switches.items()},
        privileges=frozenset().union(*(s.privileges for s in states)),
        revoked=frozenset().union(*(s.revoked for s in states)),
        uncommented=frozenset().union(*(s.uncommented for s in states)),
    )


def with_tables(state: State, tables: frozenset[TableName], other: State) -> State:
    """`state`, but of these tables, and of what isn't one table's, what `other` holds."""

    def its(side: State, table: TableName) -> bool:
        return (table in tables) is (side is other)

    sides = (state, other)
    return replace(
        other,
        policies={key: p for side in sides for key, p in side.policies.items() if its(side, p.table)},
        triggers={key: t for side in sides for key, t in side.triggers.items() if its(side, t.table)},
        switches={table: s for side in sides for table, s in side.switches.items() if its(side, table)},
        privileges=frozenset(p for side in sides for p in side.privileges if its(side, p.table)),
        revoked=frozenset(p for side in sides for p in side.revoked if its(side, p.table)),
    )


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
    own = frozenset(p for p in desired.privileges if p.role in desired.class_roles)
    usage = frozenset(g for g in desired.grants if g.kind == "schema")
    asking = replace(desired, privileges=desired.privileges - own, grants=desired.grants - usage)
    *steps, noted = plan(State(), asking).operations
    statements += chain.from_iterable(operation.statements for operation in steps)
    if desired.class_roles:
        # one that was there before has what its rules need, and nothing else
        statements += [sql.revoke_all(table, tuple(sorted(desired.class_roles))) for table in desired.switches]
    statements += [sql.grant_as_people_have(p, desired.people) for p in sorted(own)]
    statements += [sql.grant_usage_as_people_have(g, desired.people) for g in sorted(usage)]
    return (*statements, *noted.statements)
