"""Resolved policies to the State that a database should have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mcp_rls import sql
from mcp_rls.catalog import Catalog, TableName
from mcp_rls.compiler import ceilings, claims, class_roles, guard, ledger, meaning, people, resolving
from mcp_rls.compiler import expression as e
from mcp_rls.compiler import gate as gates
from mcp_rls.compiler.carried import Gate
from mcp_rls.compiler.model import Command
from mcp_rls.compiler.resolve import ResolvedPolicies, ResolvedTable, place
from mcp_rls.state import (
    BLIND_PRIVILEGES,
    ROW_PRIVILEGES,
    SCHEMA,
    Function,
    Policy,
    Privilege,
    State,
    Switches,
    Trigger,
    policy_name,
)


def lower(resolved: ResolvedPolicies, actual: State, gate: Gate | None = None) -> State:
    """The state wanted, given the actual one (for what stays as it is: switches, grants, `as before` policies).

    `gate`: one that has been asked before; a session then resolves the answers to that, too.
    """
    made: list[Policy] = []
    triggers: list[Trigger] = []
    switches: dict[TableName, Switches] = {}
    entries = 0  # the most that one class has in one ceiling
    gate = gate or Gate(resolved.policies)
    for table in resolved.tables:
        before = actual.switches.get(table.table, Switches(table.table, False, False))
        switches[table.table] = Switches(table.table, True, before.force or table.force)
        limits = ceilings.ceilings_of(resolved, table, gate)
        entries = max([entries, *(len(found) for c in limits for found in c.rules.values())])
        made += [ceilings.policy_of(resolved, table, c, gate) for c in limits]
        made += ceilings.closed(resolved, table, limits, gate)
        triggers += guard.guards(resolved, table)
        if table.people is not None:
            made += _people(resolved, table, limits)
        elif _keeps_people(table.table, actual):
            made.append(as_before(table.table, place(table.span)))
    covered = {t.table: t for t in resolved.tables}
    # a table that isn't covered any more keeps its people's rows, and gets back what was revoked there
    made += [p for p in actual.policies.values() if p.table not in covered and p.is_as_before]
    theirs = actual.class_roles | set(resolved.policies.class_roles.values())
    held = actual.privileges | frozenset(p for p in actual.revoked if _still_there(resolved.catalog, p))
    revoked = frozenset(p for p in held if _unwanted(resolved.policies.roles, covered.get(p.table), p))
    shared = frozenset(p for p in held - revoked if p.role not in theirs)
    own = class_roles.needs(resolved, shared)
    return State(
        installed=True,
        functions={f.signature: f for f in [*_functions(resolved, made, entries, gate), *_guards(resolved, triggers)]},
        policies={(p.table, p.name): p for p in made},
        triggers={(t.table, t.name): t for t in triggers},
        switches=switches,
        privileges=shared | own.privileges,
        revoked=revoked,
        schemas=tuple(sorted(resolved.policies.schemas)),
        roles=tuple(sorted(resolved.policies.acting)),
        people=resolved.policies.people_roles,
        class_roles=frozenset(resolved.policies.class_roles.values()),
        grants=own.grants,
    )


def _keeps_people(table: TableName, actual: State) -> bool:
    """Whether the table needs its `as before` policy: it has one, had one, or comes to us with row security off.

    Row security that is off on a table of ours was switched off by hand: it only goes on again, for who knows what the
    people's own policies limit there.
    """
    here = actual.policies_by_table.get(table, [])
    if as_before(table).object in actual.recorded or any(p.is_as_before for p in here):
        return True
    ours = any(not p.permissive for p in here)
    known = actual.switches.get(table)
    return not ours and (known is None or not known.row_security)


def _still_there(catalog: Catalog | None, privilege: Privilege) -> bool:
    """Whether its table and its role exist: what was revoked on a dropped table can't be given back."""
    if catalog is None:
        return True
    return privilege.table in catalog.tables and (privilege.role == "public" or privilege.role in catalog.roles)


def _unwanted(roles: tuple[str, ...], table: ResolvedTable | None, privilege: Privilege) -> bool:
    """Whether a token role (or PUBLIC) may not keep this: row security can't narrow it, or people rules have no use."""
    if table is None or privilege.role not in (*roles, "public"):
        return False
    if privilege.privilege in BLIND_PRIVILEGES:
        return True
    if table.people is None or privilege.privilege not in ROW_PRIVILEGES:
        return False
    used = {c.upper() for rule in table.people for c in rule.commands}
    return privilege.privilege not in used


# --- functions --------------------------------------------------------------------------------------------------------


def _functions(resolved: ResolvedPolicies, made: list[Policy], entries: int, asked: Gate) -> Iterable[Function]:
    """Those that are the same everywhere, and of the others those that some policy or set calls."""
    policies = resolved.policies
    spell = claims.renderer(policies, resolving=True)

    def where(name: str, expr: e.Expr) -> str:
        return e.render(expr, spell, "g." if name == "consent" else "r.")

    sets = [
        claims.named_set(policies, policies.sets[name], parts, place(policies.sets[name].span))
        for name, parts in resolved.set_queries.items()
    ]
    wheres = {n: where(n, x) for n, x in resolved.where.items()}
    raw = any(isinstance(x, e.Raw) for x in resolved.where.values())
    decision = gates.Decision(policies, resolved.catalog, wheres, entries, raw)
    gate = gates.gate(decision)
    optional = [
        claims.person(policies),
        claims.client(policies),
        *claims.further(policies),
        *sets,
    ]
    written = " ".join(f"{p.using} {p.check}" for p in made)
    values = {claims.setting_name(name): call for name, call in claims.token_calls(policies).items()}
    resolves = [resolving.entries(asked), resolving.resolve(decision, values)] if policies.resolved else []
    types = claims.token_types(policies)
    if policies.resolved:
        optional += [resolving.opened(policies)]
        optional += [resolving.held(policies, claims.setting_name(name), type_) for name, type_ in types.items()]
    else:
        optional += [gates.held(decision, name, type_) for name, type_ in types.items()]
    text = " ".join([written, *(f.definition for f in (*sets, gate, *resolves))])
    called = [f for f in optional if f"{SCHEMA}.{sql.ident(f.name)}(" in text]
    return [*ledger.STATIC, gate, *called, *resolves]


def _guards(resolved: ResolvedPolicies, triggers: list[Trigger]) -> Iterable[Function]:
    return [f for f in guard.functions(resolved.policies) if any(f"{f.name}(" in t.definition for t in triggers)]


# --- policies ---------------------------------------------------------------------------------------------------------


def as_before(table: TableName, noted_at: str = "") -> Policy:
    """What keeps everybody but clients as they were where row security was off."""
    name = policy_name(f"{table.name} as before")
    return Policy(
        table, name, True, "all", ("public",), "true", "true", place=noted_at, meaning=meaning.EVERYBODY
    ).sealed()


def _people(resolved: ResolvedPolicies, table: ResolvedTable, limits: list[ceilings.Ceiling]) -> Iterator[Policy]:
    anchors = {c.command: c.anchor for c in limits if c.anchor is not None}
    classes: dict[Command, list[str]] = {}
    for c in limits:
        if c.class_name and c.rules:
            classes.setdefault(c.command, []).append(c.class_name)
    return people.policies_of(resolved, table, anchors, classes)
