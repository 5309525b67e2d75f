"""Resolved policies to the State a database should have: at most one ceiling a table and command, whatever the rules.

What doesn't depend on the row is decided once a statement by `mcp_rls.gate`, which names the case that is open to the
token; the policy is then one CASE over the row conditions that differ. CASE also keeps every comparison in a ceiling
out of the planner's equivalence classes, so nothing in it can be swapped for a query's own expression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, combinations

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.compiler import claims, helpers
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import COMMANDS, Command
from mcp_rls.compiler.resolve import MAX_SCOPE_SETS, ResolvedPolicies, ResolvedRule, ResolvedTable, place
from mcp_rls.state import (
    BLIND_PRIVILEGES,
    ROW_PRIVILEGES,
    SCHEMA,
    Function,
    Policy,
    Privilege,
    State,
    Switches,
    policy_name,
)

GateRules = dict[str, list[list[object]]]  # class -> [[case, scope, ...], ...], see claims.py
Case = tuple[e.Expr, ...]  # what the old row must meet, and for UPDATE what the new one must
CaseOf = Callable[[list[ResolvedRule], list[ResolvedRule]], Case | None]


def lower(resolved: ResolvedPolicies, actual: State) -> State:
    """The state wanted, given the actual one (for what stays as it is: switches, grants, `as before` policies)."""
    made: list[Policy] = []
    switches: dict[TableName, Switches] = {}
    entries = 0  # the most that one class has in one ceiling
    for table in resolved.tables:
        before = actual.switches.get(table.table, Switches(table.table, False, False))
        switches[table.table] = Switches(table.table, True, before.force or table.force)
        ceilings = {c: _cases(resolved, table, c, _CASES[c]) for c in COMMANDS if table.clients}
        entries = max([entries, *(len(found) for rules, _ in ceilings.values() for found in rules.values())])
        made += [_ceiling(resolved, table, c, *case) for c, case in ceilings.items()] or [_closed(resolved, table)]
        if table.people is not None:
            made += _people(resolved, table)
        elif not before.row_security or (table.table, as_before(table.table).name) in actual.policies:
            made.append(as_before(table.table, place(table.span)))
    covered = {t.table: t for t in resolved.tables}
    held = actual.privileges | actual.revoked
    revoked = frozenset(p for p in held if _unwanted(resolved.policies.roles, covered.get(p.table), p))
    return State(
        installed=True,
        functions={f.signature: f for f in _functions(resolved, made, entries)},
        policies={(p.table, p.name): p for p in made},
        switches=switches,
        privileges=actual.privileges - revoked,
        revoked=revoked,
        client_ids=_client_ids(resolved),
    )


def _client_ids(resolved: ResolvedPolicies) -> dict[str, str]:
    policies = resolved.policies
    ids = {i: c.name for c in policies.classes.values() for i in c.ids}
    return ids | dict.fromkeys(policies.identity.direct.ids, "direct")


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


def _functions(resolved: ResolvedPolicies, made: list[Policy], entries: int) -> Iterable[Function]:
    """The static helpers, and of the others those that some policy or set calls."""
    policies = resolved.policies
    spell = claims.renderer(policies)

    def where(name: str, expr: e.Expr) -> str:
        return e.render(expr, spell, "g." if name == "consent" else "r.")

    sets = [
        claims.named_set(policies, policies.sets[name], parts, place(policies.sets[name].span))
        for name, parts in resolved.set_queries.items()
    ]
    optional = [
        claims.person(policies),
        claims.client(policies),
        helpers.claim(policies.roles),
        *sets,
    ]
    wheres = {n: where(n, x) for n, x in resolved.where.items()}
    gate = claims.gate(policies, resolved.catalog, wheres, entries)
    text = " ".join([*(f"{p.using} {p.check}" for p in made), *(s.definition for s in sets), gate.definition])
    called = [f for f in optional if f"{SCHEMA}.{sql.ident(f.name)}(" in text]
    return [helpers.CLAIMS, helpers.PRINTED, helpers.RECORD, gate, *called]


# --- ceilings ---------------------------------------------------------------------------------------------------------


def as_before(table: TableName, noted_at: str = "") -> Policy:
    """What keeps everybody but clients as they were where row security was off."""
    name = policy_name(f"{table.name} as before")
    return Policy(table, name, True, "all", ("public",), "true", "true", place=noted_at).sealed()


def _closed(resolved: ResolvedPolicies, table: ResolvedTable) -> Policy:
    """For direct sessions only: clients meet no case."""
    name = policy_name(f"{table.table.name} closed")
    only = _case(resolved, table, {}, [])
    roles = tuple(sorted(resolved.policies.roles))
    return Policy(table.table, name, False, "all", roles, only, only, place=place(table.span)).sealed()


def _ceiling(
    resolved: ResolvedPolicies, table: ResolvedTable, command: Command, rules: GateRules, cases: list[Case]
) -> Policy:
    name = policy_name(f"{table.table.name} {command}")
    old = _case(resolved, table, rules, [c[0] for c in cases])
    new = _case(resolved, table, rules, [c[1] for c in cases]) if command == "update" else old
    roles = tuple(sorted(resolved.policies.roles))
    using = None if command == "insert" else old
    check = new if command in ("insert", "update") else None
    spans = [r.span for r in table.clients if command in r.commands]
    return Policy(
        table.table, name, False, command, roles, using, check, place=place(min(spans, default=table.span))
    ).sealed()


def _select_case(reads: list[ResolvedRule], _: list[ResolvedRule]) -> Case | None:
    return (e.disjunction(tuple(r.rows for r in reads)),) if reads else None


def _insert_case(_: list[ResolvedRule], writes: list[ResolvedRule]) -> Case | None:
    return (e.disjunction(tuple(r.new_row for r in writes)),) if writes else None


def _update_case(reads: list[ResolvedRule], writes: list[ResolvedRule]) -> Case | None:
    if not reads or not writes:
        return None
    # PostgreSQL skips SELECT policies for a write that reads no column: S stands in the write's own ceiling
    seen = e.disjunction(tuple(r.rows for r in reads))
    rows = e.disjunction(tuple(r.rows for r in writes))
    check = e.disjunction(tuple(r.new_row for r in writes))  # one for all rules of a class, or update-rules-mix
    return e.conjunction((seen, rows)), e.conjunction((seen, check))


def _delete_case(reads: list[ResolvedRule], writes: list[ResolvedRule]) -> Case | None:
    both = _update_case(reads, writes)
    return both[:1] if both else None


_CASES: dict[Command, CaseOf] = {
    "select": _select_case,
    "insert": _insert_case,
    "update": _update_case,
    "delete": _delete_case,
}


def _cases(
    resolved: ResolvedPolicies, table: ResolvedTable, command: Command, case_of: CaseOf
) -> tuple[GateRules, list[Case]]:
    """Rules for the gate, by class, and the row conditions of each case (case 1 first).

    A token's open rules are those whose scopes it holds, so what matters is the union of scope sets that it holds:
    each union is one entry, the larger before the smaller, and the first that is held is the largest that is.
    """
    cases: list[Case] = []
    rules: GateRules = {}
    for name in resolved.policies.classes:
        mine = [r for r in table.clients if name in r.who]
        entries: list[tuple[int, frozenset[str]]] = []
        for scopes in _unions({r.scopes for r in mine}):
            held = [r for r in mine if r.scopes <= scopes]
            reads = [r for r in held if "select" in r.commands]
            case = case_of(reads, [r for r in held if command in r.commands])
            if case is None or case[0] == e.FALSE:
                continue
            if case not in cases:
                cases.append(case)
            number = cases.index(case) + 1
            # smallest first here: a larger union that opens nothing more needs no entry
            if not any(n == number and s <= scopes for n, s in entries):
                entries.append((number, scopes))
        if entries:
            rules[name] = [[n, *sorted(s)] for n, s in reversed(entries)]
    return rules, cases


def _unions(sets: set[frozenset[str]]) -> list[frozenset[str]]:
    """All unions of these scope sets, smaller before larger."""
    ordered = sorted(sets, key=sorted)
    assert len(ordered) <= MAX_SCOPE_SETS, "resolve reports too-many-scopes"
    picked = chain.from_iterable(combinations(ordered, n) for n in range(1, len(ordered) + 1))
    unions = {frozenset().union(*some) for some in picked}
    return sorted(unions, key=lambda u: (len(u), sorted(u)))


def _case(
    resolved: ResolvedPolicies,
    table: ResolvedTable,
    rules: dict[str, list[list[object]]],
    conditions: list[e.Expr],
) -> str:
    """The ceiling's expression: true for a direct session, the open case's condition for a client, else false."""
    wrapped = not table.self_reading
    spell = claims.renderer(resolved.policies, wrapped=wrapped)
    call = f"{SCHEMA}.gate(current_user, {sql.literal(helpers.json_text(rules))}::jsonb)"
    arms = [f"when {claims.DIRECT} then true"]
    arms += [f"when {n} then {e.render(c, spell)}" for n, c in enumerate(conditions, start=1)]
    return "\n    ".join([f"case {f'(select {call})' if wrapped else call}", *arms, "else false", "end"])


# --- people -----------------------------------------------------------------------------------------------------------


def _people(resolved: ResolvedPolicies, table: ResolvedTable) -> list[Policy]:
    """One permissive policy a command that some people rule allows."""
    assert table.people is not None
    made = []
    for command in COMMANDS:
        rules = [r for r in table.people if command in r.commands]
        if rules:
            made.append(_permissive(resolved, table, command, rules))
    return made


def _permissive(
    resolved: ResolvedPolicies, table: ResolvedTable, command: Command, rules: list[ResolvedRule]
) -> Policy:
    spell = claims.renderer(resolved.policies, wrapped=not table.self_reading)
    facts = resolved.catalog.tables.get(table.table) if resolved.catalog else None

    def either(conditions: Iterable[e.Expr]) -> str:
        return e.render(e.harden(e.disjunction(tuple(conditions)), facts.indexed if facts else None), spell)

    using = None if command == "insert" else either(r.rows for r in rules)
    check = either(r.new_row for r in rules) if command in ("insert", "update") else None
    name = policy_name(f"{table.table.name} people {command}")
    roles = tuple(sorted(resolved.policies.roles))
    return Policy(table.table, name, True, command, roles, using, check, place=rules[0].place()).sealed()
