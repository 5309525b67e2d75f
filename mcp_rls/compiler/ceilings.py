"""A table's ceilings: what clients may do at most, a RESTRICTIVE policy a command, whatever the number of rules.

What doesn't depend on the row is decided once a statement by `mcp_rls.gate`, which names the case that is open to the
token; the policy is then one CASE over the row conditions that differ. CASE also keeps every comparison in a ceiling
out of the planner's equivalence classes, so nothing in it can be swapped for a query's own expression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations

from mcp_rls.compiler import claims, class_roles, meaning, people
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.carried import Gate, there
from mcp_rls.compiler.model import COMMANDS, Command
from mcp_rls.compiler.resolve import MAX_SCOPE_SETS, ResolvedPolicies, ResolvedRule, ResolvedTable, place
from mcp_rls.compiler.shapes import DIRECT, Case, GateRules, merged
from mcp_rls.state import Policy, policy_name

Entry = tuple[int, frozenset[str]]  # the case that these scopes open
CaseOf = Callable[[list[ResolvedRule], list[ResolvedRule]], Case | None]


@dataclass(frozen=True)
class Ceiling:
    """What a table's ceiling on one command says: for all clients, or in a class role for its class alone.

    `anchor`: the equality of people's rules that it repeats, with a value that only who is let in has; None, if it
    can't. A sub-select costs about a fifth of a point look-up, so one asks both what the gate says and what hardening
    wants asked again (`expression.harden`); the plain equality stays in people's own policy, for an index, and to be
    asked first of each row where there is none.
    """

    command: Command
    rules: GateRules
    cases: list[Case]
    class_name: str = ""
    anchor: e.Expr | None = None

    @property
    def ungated(self) -> bool:
        """Whether no scope is asked for: a class role then says it all, if nothing else decides about its life."""
        return self.rules == {self.class_name: [[1]]}


def _for_all(resolved: ResolvedPolicies, table: ResolvedTable, command: Command, gate: Gate) -> Ceiling:
    """The ceiling on all clients; where it asks nothing of the row, people's rules may give it an anchor."""
    rules, cases = _cases(resolved, table, command, resolved.policies.classes, gate)
    asks = any(part != e.TRUE for case in cases for part in case)
    anchor = None if asks or table.self_reading else next(people.ties(table, command), None)
    if anchor is not None and _others_admit(resolved, table, command):
        anchor = None
    return Ceiling(command, rules, cases, anchor=anchor)


def _others_admit(resolved: ResolvedPolicies, table: ResolvedTable, command: Command) -> bool:
    """Whether a policy of the app's adds rows in a role that inherits a token role, and so has its ceilings."""
    catalog = resolved.catalog
    facts = catalog.tables.get(table.table) if catalog else None
    if catalog is None or facts is None:
        return False
    adding = {role for p in facts.policies if p.permissive and p.applies(command) for role in p.roles}
    bound = (acts for acts in map(catalog.acts_as, catalog.roles) if acts & set(resolved.policies.acting))
    return any(acts & adding for acts in bound)


def ceilings_of(resolved: ResolvedPolicies, table: ResolvedTable, gate: Gate) -> list[Ceiling]:
    policies = resolved.policies
    if not table.clients:
        return []
    if not policies.class_roles:
        return [_for_all(resolved, table, c, gate) for c in COMMANDS]
    named = [name for name in policies.classes if class_roles.touches(table, name)]
    # a command without a rule has its ceiling too: PUBLIC may hold a privilege that no class role was granted
    limits = [Ceiling(c, *_cases(resolved, table, c, [name], gate), name) for name in named for c in COMMANDS]
    anchors = _of_classes(resolved, table, limits)
    return [replace(limit, anchor=anchors.get(limit.command) if limit.rules else None) for limit in limits]


def _of_classes(resolved: ResolvedPolicies, table: ResolvedTable, limits: list[Ceiling]) -> dict[Command, e.Expr]:
    """The anchors of commands by which every class is known by its role alone, while what was resolved counts.

    A look-up by key then takes 1.31 times the instructions of one by hand; 1.58, where the ceiling asks by a sub-select
    of its own whether what was resolved counts. In the shared roles one policy is for all commands, so they have one
    anchor, or none has.
    """
    policies = resolved.policies
    if not policies.resolved or table.self_reading or any(_others_admit(resolved, table, c) for c in COMMANDS):
        return {}
    asked = {
        c.command for c in limits if c.rules and not (c.ungated and class_roles.says_it_all(policies, c.class_name))
    }
    found = {c: next(people.ties(table, c), None) for c in people.commands(table) if c != "insert"}
    if asked.intersection(found) or len(set(found.values())) != 1:
        return {}
    return {command: anchor for command, anchor in found.items() if anchor is not None}


def closed(resolved: ResolvedPolicies, table: ResolvedTable, limits: list[Ceiling], gate: Gate) -> Iterator[Policy]:
    """For direct sessions only, in the roles where no client has a ceiling of its own; a class role has no such.

    Where classes' ceilings (`limits`) have an anchor, so has this one.
    """
    policies = resolved.policies

    def shut_to(word: str, roles: Iterable[str], using: str, check: str) -> Policy:
        name, to, at = policy_name(f"{table.table.name} {word}"), tuple(sorted(roles)), place(table.span)
        return Policy(table.table, name, False, "all", to, using, check, place=at, meaning=meaning.NOBODY).sealed()

    if policies.class_roles or not table.clients:
        only, anchor = _case(resolved, table, {}, [], gate), next((c.anchor for c in limits if c.anchor), None)
        yield shut_to("closed", policies.roles, _anchored(anchor, {}, gate) if anchor else only, only)
    shut = [role for name, role in policies.class_roles.items() if not class_roles.touches(table, name)]
    if shut:
        yield shut_to("closed to classes", shut, "false", "false")


def policy_of(resolved: ResolvedPolicies, table: ResolvedTable, ceiling: Ceiling, gate: Gate) -> Policy:
    policies, command, of = resolved.policies, ceiling.command, ceiling.class_name
    name = policy_name(f"{table.table.name} {command}" + (f" by {of}" if of else ""))
    old = _limit(resolved, table, ceiling, gate, new=False)
    new = _limit(resolved, table, ceiling, gate, new=True) if command in ("insert", "update") else None
    decided = ceiling.anchor is not None or ceiling.cases
    if command == "update" and decided and all(case[-1] == e.TRUE for case in ceiling.cases):
        new = "true"  # USING has said of the old row who may; asked again, the gate would say the same
    names = [of] if of else list(policies.classes)
    roles = (policies.class_roles[of],) if of else tuple(sorted(policies.roles))
    spans = [r.span for r in table.clients if command in r.commands and set(names) & set(r.who)]
    at = place(min(spans, default=table.span))
    said = meaning.of_ceiling(resolved, table, command, names)
    using = None if command == "insert" else old
    return Policy(table.table, name, False, command, roles, using, new, place=at, meaning=said).sealed()


def _limit(resolved: ResolvedPolicies, table: ResolvedTable, ceiling: Ceiling, gate: Gate, *, new: bool) -> str:
    """The ceiling's expression over the old row, or the new one."""
    at = -1 if new else 0  # a case of one part says the same of both
    anchor = None if new else ceiling.anchor
    if anchor is not None and not ceiling.class_name:
        return _anchored(anchor, ceiling.rules, gate)
    if not ceiling.class_name:
        return _case(resolved, table, ceiling.rules, [c[at] for c in ceiling.cases], gate)
    if not ceiling.rules:
        return "false"
    if ceiling.ungated and class_roles.says_it_all(resolved.policies, ceiling.class_name):
        condition = ceiling.cases[0][at]
        bare = (people.checked if new else people.using)(resolved, table, condition) or "false"
        if anchor is not None:
            anchored = _anchored(anchor, None, gate)
            return anchored if condition == e.TRUE else f"{anchored} and ({bare})"
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
        return there(gate.opened(rules, direct=direct), wrapped=wrapped)
    call = gate.case(rules, direct=direct)
    arms = [f"when {gate.arm(DIRECT)} then true"] if direct else []
    arms += [f"when {gate.arm(n)} then {e.render(c, spell)}" for n, c in enumerate(conditions, start=1)]
    return "\n    ".join([f"case {f'(select {call})' if wrapped else call}", *arms, "else false", "end"])


def _anchored(anchor: e.Expr, rules: GateRules | None, gate: Gate) -> str:
    """The ceiling's expression: the equality with the token's value, which is NULL where no case is open.

    `rules` None: there is no case to be open.
    """

    def spell(node: e.Token | e.SetValues) -> str:
        return f"(select {gate.held(rules, claims.setting_name(node.name))})"

    return e.render(e.Surely(anchor), spell)
