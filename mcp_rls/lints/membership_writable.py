"""Who may write a table that decides what one may do can let himself in.

## What

Policies and sets ask tables such as `members` or `profiles` who belongs where, and as what. Whoever may insert a row
there for himself, with any organisation or role in it, or change those columns of his own row, decides what he may do.

With a policy file: rules that let a class of clients insert or update such a table without a condition on the columns
that decide. A client could bring itself further than its rules say. (The registry and the consent table are the
diagnostic `self-grant`.) Without one: policies that let a token's role write there and ask for no more than that the
row be its person's.

A parent that its children name by its key is another thing, a document with its pages or an order with its lines: where
the policy asks that the parent be the person's own, what else it asks of it only narrows what is his. Such a table is
reported where policies let one change the rows of others, and so make them one's own. A key that refers to a third
table names no parent: `(org_id, person)`, unique by `org_id`, says who runs an organisation.

## Fix

Take the insert and update from clients: `clients: read_as_person`. Or say in the rule what the columns may hold,
`check: "org_id in orgs_i_own"`. In a policy of your own likewise: a condition on these columns, privileges on other
columns alone (`grant update (NAME, ...) on TABLE to ROLE`), or a trigger that refuses.

## What it doesn't catch

Whether a condition on those columns is the right one. Conditions that ask another table or function count as a guard,
also where they can be met by anybody. A trigger that names one of the columns counts as a guard. Rows that others than
the person write. Deletes: a table that lists who may *not* do something. A list that anybody is meant to join, of whom
one follows for example, is reported and may be accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import PolicySet, Rule
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.doors.deciding import Decision, of_policy, of_query, unguarded
from mcp_rls.inspection.doors.traces import Tracer
from mcp_rls.inspection.facts import Policy, Relation
from mcp_rls.inspection.words import listed
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR
_WRITES = ("insert", "update")


def find(world: World) -> Iterator[Found]:
    """Tables that decide and that who is decided about may write."""
    decisions = _decisions(world)
    tracer = Tracer(world.facts)
    for table in world.tables:
        for decision in decisions.get(table.name, ()):
            if decision.own and not _taken(world, tracer, table, decision):
                continue
            found = _by_rule(world.policies, decision) if world.policies else _by_policy(world, tracer, table, decision)
            if found is not None:
                yield found
                break


def _decisions(world: World) -> dict[TableName, list[Decision]]:
    """By table, what sets and policies read there to decide."""
    found = [d for _, policy in world.by_hand() for d in of_policy(world.facts, policy)]
    sets = world.policies.sets.values() if world.policies is not None else ()
    found += [d for each in sets for d in of_query(world.facts, each.query)]
    tables: dict[TableName, list[Decision]] = {}
    for decision in found:
        # a new row with a key of its own is nobody else's
        if decision.by or not decision.unique:
            tables.setdefault(decision.table, []).append(decision)
    return tables


def _taken(world: World, tracer: Tracer, table: Relation, decision: Decision) -> bool:
    """Whether policies let a token's role change rows that are another's, the column that says whose they are too."""
    whose = replace(decision, by=decision.person)
    asked = {role: world.binding(table, role, "update") for role in _able(world, table, "update", whose)}
    return any(
        _unguarded(world, tracer, [replace(p, check=None) for p in policies], whose.by)
        and _unguarded(world, tracer, policies, frozenset())
        for policies in asked.values()
    )


# --- by the rules of a policy file


def _by_rule(policies: PolicySet, decision: Decision) -> Found | None:
    consent = {policies.consent.table} if policies.consent else set()
    if decision.table in consent | {c.registry.table for c in policies.classes.values() if c.registry}:
        return None
    rules = [r for r in policies.client_rules(decision.table) if set(_WRITES) & r.commands and _free(r, decision)]
    if not rules:
        return None
    classes = sorted({name for rule in rules for name in rule.who})
    commands = " and ".join(c for c in _WRITES if any(c in rule.commands for rule in rules))
    return _found(decision, f"rules let {listed(classes)} {commands}", "clients: read_as_person")


def _free(rule: Rule, decision: Decision) -> bool:
    """Whether a row that the rule admits may say anything of what decides."""
    condition = rule.new_row()
    said = set(re.findall(r"\w+", condition.text)) if condition is not None else set[str]()
    if not decision.by:
        return "insert" in rule.commands
    return not decision.by <= said


# --- by policies alone


def _by_policy(world: World, tracer: Tracer, table: Relation, decision: Decision) -> Found | None:
    said = []
    for command in _WRITES:
        # a change of a row that is there gives nothing where its being there decides
        if table.row_security and (decision.by or command == "insert"):
            able = _able(world, table, command, decision)
            roles = [r for r in able if _unguarded(world, tracer, world.binding(table, r, command), decision.by)]
            said += [f"let {listed(roles)} {command}"] if roles else []
    hint = f"a condition on {listed(sorted(decision.by) or sorted(decision.person))} in the policy"
    return _found(decision, f"policies {' and '.join(said)}", hint) if said else None


def _able(world: World, table: Relation, command: str, decision: Decision) -> list[str]:
    """The token roles that may set a column that decides."""
    columns = {"", *(decision.by or {c.name for c in table.columns})}
    grants = [g for g in table.grants if g.column in columns]
    guarded = any(_guards(world, trigger.function, decision) for trigger in table.triggers if command in trigger.events)
    return [] if guarded else [r for r in world.roles if world.facts.holds(r, grants, command.upper())]


def _guards(world: World, function: int, decision: Decision) -> bool:
    known = world.facts.functions.get(function)
    return known is not None and bool({*decision.by, *decision.person} & set(re.findall(r"\w+", known.body)))


def _unguarded(world: World, tracer: Tracer, asked: Sequence[Policy], by: frozenset[str]) -> bool:
    free = [p for p in asked if unguarded(tracer, p, by, world.roles)]
    return any(p.permissive for p in free) and all(p in free for p in asked if not p.permissive)


def _found(decision: Decision, said: str, hint: str) -> Found:
    columns = f", with any {listed(sorted(decision.by))}" if decision.by else ""
    return Found(
        f"table {decision.table}",
        f"{decision.table} decides what a person may do, and {said} there{columns}",
        (hint,),
        decision.table,
    )
