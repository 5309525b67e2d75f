"""Resolved policies to the State a database should have: at most one ceiling a table and command, whatever the rules.

What doesn't depend on the row is decided once a statement by `mcp_rls.gate`, which names the case that is open to the
token; the policy is then one CASE over the row conditions that differ. CASE also keeps every comparison in a ceiling
out of the planner's equivalence classes, so nothing in it can be swapped for a query's own expression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, combinations

from mcp_rls import sql
from mcp_rls.catalog import Catalog, TableName
from mcp_rls.compiler import claims, class_roles, guard, ledger, meaning, resolving
from mcp_rls.compiler import expression as e
from mcp_rls.compiler import gate as gates
from mcp_rls.compiler.carried import Gate, there
from mcp_rls.compiler.model import COMMANDS, Command
from mcp_rls.compiler.resolve import MAX_SCOPE_SETS, ResolvedPolicies, ResolvedRule, ResolvedTable, place
from mcp_rls.compiler.shapes import DIRECT, Case, GateRules, merged
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

Entry = tuple[int, frozenset[str]]  # the case that these scopes open
CaseOf = Callable[[list[ResolvedRule], list[ResolvedRule]], Case | None]


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
        ceilings = _ceilings(resolved, table, gate)
        entries = max([entries, *(len(found) for c in ceilings for found in c.rules.values())])
        made += [_ceiling(resolved, table, c, gate) for c in ceilings]
        made += _closed(resolved, table, gate)
        triggers += guard.guards(resolved, table)
        if table.people is not None:
            made += _people(resolved, table, ceilings)
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
    text = " ".join([written, *(f.definition for f in (*sets, gate, *resolves))])
    called = [f for f in optional if f"{SCHEMA}.{sql.ident(f.name)}(" in text]
    return [*ledger.STATIC, gate, *called, *resolves]


def _guards(resolved: ResolvedPolicies, triggers: list[Trigger]) -> Iterable[Function]:
    return [f for f in guard.functions(resolved.policies) if any(f"{f.name}(" in t.definition for t in triggers)]


# --- ceilings ---------------------------------------------------------------------------------------------------------


def as_before(table: TableName, noted_at: str = "") -> Policy:
    """What keeps everybody but clients as they were where row security was off."""
    name = policy_name(f"{table.name} as before")
    return Policy(
        table, name, True, "all", ("public",), "true", "true", place=noted_at, meaning=meaning.EVERYBODY
    ).sealed()


@dataclass(frozen=True)
class _Ceiling:
    """What a table's ceiling on one command says: for all clients, or in a class role for its class alone."""

    command: Command
    rules: GateRules
    cases: list[Case]
    class_name: str = ""

    @property
    def ungated(self) -> bool:
        """Whether no scope is asked for: a class role then says it all, if nothing else decides about its life."""
        return self.rules == {self.class_name: [[1]]}


def _ceilings(resolved: ResolvedPolicies, table: ResolvedTable, gate: Gate) -> list[_Ceiling]:
    policies = resolved.policies
    if not table.clients:
        return []
    if not policies.class_roles:
        return [_Ceiling(c, *_cases(resolved, table, c, policies.classes, gate)) for c in COMMANDS]
    named = [name for name in policies.classes if class_roles.touches(table, name)]
    # a command without a rule has its ceiling too: PUBLIC may hold a privilege that no class role was granted
    return [_Ceiling(c, *_cases(resolved, table, c, [name], gate), name) for name in named for c in COMMANDS]


def _closed(resolved: ResolvedPolicies, table: ResolvedTable, gate: Gate) -> Iterator[Policy]:
    """For direct sessions only, in the roles where no client has a ceiling of its own; a class role has no such."""
    policies = resolved.policies

    def closed(word: str, roles: Iterable[str], only: str) -> Policy:
        name, to, at = policy_name(f"{table.table.name} {word}"), tuple(sorted(roles)), place(table.span)
        return Policy(table.table, name, False, "all", to, only, only, place=at, meaning=meaning.NOBODY).sealed()

    if policies.class_roles or not table.clients:
        yield closed("closed", policies.roles, _case(resolved, table, {}, [], gate))
    shut = [role for name, role in policies.class_roles.items() if not class_roles.touches(table, name)]
    if shut:
        yield closed("closed to classes", shut, "false")


def _ceiling(resolved: ResolvedPolicies, table: ResolvedTable, ceiling: _Ceiling, gate: Gate) -> Policy:
    policies, command, of = resolved.policies, ceiling.command, ceiling.class_name
    name = policy_name(f"{table.table.name} {command}" + (f" by {of}" if of else ""))
    old = _limit(resolved, table, ceiling, gate, new=False)
    new = _limit(resolved, table, ceiling, gate, new=True) if command in ("insert", "update") else None
    if command == "update" and ceiling.cases and all(case[-1] == e.TRUE for case in ceiling.cases):
        new = "true"  # USING has said of the old row who may; asked again, the gate would say the same
    names = [of] if of else list(policies.classes)
    roles = (policies.class_roles[of],) if of else tuple(sorted(policies.roles))
    spans = [r.span for r in table.clients if command in r.commands and set(names) & set(r.who)]
    at = place(min(spans, default=table.span))
    said = meaning.of_ceiling(resolved, table, command, names)
    using = None if command == "insert" else old
    return Policy(table.table, name, False, command, roles, using, new, place=at, meaning=said).sealed()


def _limit(resolved: ResolvedPolicies, table: ResolvedTable, ceiling: _Ceiling, gate: Gate, *, new: bool) -> str:
    """The ceiling's expression over the old row, or the new one."""
    at = -1 if new else 0  # a case of one part says the same of both
    if not ceiling.class_name:
        return _case(resolved, table, ceiling.rules, [c[at] for c in ceiling.cases], gate)
    if not ceiling.rules:
        return "false"
    if ceiling.ungated and class_roles.says_it_all(resolved.policies, ceiling.class_name):
        condition = ceiling.cases[0][at]
        bare = (_check if new else _using)(resolved, table, condition) or "false"
        return gate.without_cases(bare, wrapped=not table.self_reading)
    return _case(resolved, table, ceiling.rules, [c[at] for c in ceiling.cases], gate, direct=False)


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
    resolved: ResolvedPolicies, table: ResolvedTable, command: Command, names: Iterable[str], gate: Gate
) -> tuple[GateRules, list[Case]]:
    """Rules for the gate, for each of these classes, and the row conditions of each case (case 1 first).

    A token's open rules are those whose scopes it holds, so what matters is the union of scope sets that it holds:
    each union is one entry, the larger before the smaller, and the first that is held is the largest that is.
    """
    numbers: dict[Case, int] = {}
    rules: GateRules = {}
    asked = {command} if command == "insert" else {command, "select"}
    for name in names:
        mine = [r for r in table.clients if name in r.who and r.commands & asked]
        entries: list[Entry] = []
        for scopes in _unions({r.scopes for r in mine}):
            held = [r for r in mine if r.scopes <= scopes]
            reads = [r for r in held if "select" in r.commands]
            case = _CASES[command](reads, [r for r in held if command in r.commands])
            if case is None or case[0] == e.FALSE:
                continue
            entries.append((numbers.setdefault(case, len(numbers) + 1), scopes))
        if entries:
            rules[name] = [[n, *sorted(s)] for n, s in _fewest(entries[::-1])]
    facts = resolved.catalog.tables.get(table.table) if resolved.catalog else None
    return (rules, list(numbers)) if table.self_reading else merged(rules, list(numbers), facts, gate.number)


def _fewest(entries: list[Entry]) -> list[Entry]:
    """These entries without those that change no answer; the first whose scopes are held counts, before and after."""

    def first(kept: list[Entry], held: frozenset[str]) -> int:
        return next((number for number, scopes in kept if scopes <= held), 0)

    if len(entries) > 32:
        return entries
    kept = entries
    for entry in entries:
        fewer = [other for other in kept if other is not entry]
        # whoever holds more than a union of scope sets has the rules of the largest union that is held
        if all(first(fewer, scopes) == number for number, scopes in entries):
            kept = fewer
    return kept


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
    gate: Gate,
    *,
    direct: bool = True,
) -> str:
    """The ceiling's expression: true for a `direct` session, the open case's condition for a client, else false."""
    wrapped = not table.self_reading
    spell = claims.renderer(resolved.policies, wrapped=wrapped)
    if all(c == e.TRUE for c in conditions):
        # nothing is left to be asked of each row
        return there(gate.opened(rules, len(conditions), direct=direct), wrapped=wrapped)
    call = gate.case(rules, direct=direct)
    arms = [f"when {gate.arm(DIRECT)} then true"] if direct else []
    arms += [f"when {gate.arm(n)} then {e.render(c, spell)}" for n, c in enumerate(conditions, start=1)]
    return "\n    ".join([f"case {f'(select {call})' if wrapped else call}", *arms, "else false", "end"])


# --- people -----------------------------------------------------------------------------------------------------------


def _people(resolved: ResolvedPolicies, table: ResolvedTable, ceilings: list[_Ceiling]) -> Iterable[Policy]:
    """One permissive policy a command that some people rule allows."""
    assert table.people is not None
    policies = resolved.policies
    for command in COMMANDS:
        classes = [c.class_name for c in ceilings if c.class_name and c.command == command and c.rules]
        roles = tuple(sorted([*policies.roles, *(policies.class_roles[name] for name in classes)]))
        rules = [r for r in table.people if command in r.commands]
        if rules:
            old, new = _conditions(command, rules)
            # PostgreSQL asks what is written alike once: an UPDATE's check, and SELECT's policy of its new row
            checked = _using if command == "update" else _check
            using, check = _using(resolved, table, old), checked(resolved, table, new)
            name = policy_name(f"{table.table.name} people {command}")
            said, at = meaning.of_people(resolved.policies, command, rules), rules[0].place()
            yield Policy(table.table, name, True, command, roles, using, check, place=at, meaning=said).sealed()


def _conditions(command: Command, rules: list[ResolvedRule]) -> tuple[e.Expr | None, e.Expr | None]:
    """What the old and the new row must meet under these people rules; None where the command has no such row."""
    old = e.disjunction(tuple(r.rows for r in rules)) if command != "insert" else None
    new = e.disjunction(tuple(r.new_row for r in rules)) if command in ("insert", "update") else None
    return old, new


def _using(resolved: ResolvedPolicies, table: ResolvedTable, expr: e.Expr | None) -> str | None:
    facts = resolved.catalog.tables.get(table.table) if resolved.catalog else None
    return _check(resolved, table, None if expr is None else e.harden(expr, facts.indexed if facts else None))


def _check(resolved: ResolvedPolicies, table: ResolvedTable, expr: e.Expr | None) -> str | None:
    """WITH CHECK is evaluated on the row as it stands: the planner has no part in it, so nothing is to be hardened."""
    if expr is None:
        return None
    return e.render(expr, claims.renderer(resolved.policies, wrapped=not table.self_reading))
