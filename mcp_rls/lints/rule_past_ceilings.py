"""A rule reads or writes covered tables past the ceilings, for whoever may set it off.

## What

What `create rule` makes is carried out with the rights of the owner of its table or view, also where the view is
`security_invoker`. Row security of the tables that the rule reads and writes is then asked for that owner, who is
seldom bound by it. Who may insert into, update or delete from the table or view sets it off, and a rule that stands
`instead` of the statement runs without any policy being asked: every client does what the rule does.

## Fix

`drop rule NAME on TABLE`. A trigger whose function is `security invoker`, `instead of` on a view, does the same with
the rights of whoever sets it off. A rule that may do so for every client is a door: list it under `doors:` as
`schema.table.rule`, with the reason.

## What it doesn't catch

What triggers on the tables that the rule writes to then do. What the rule does to tables of other schemas. Functions
that it calls run as the caller: `definer-function-door` reports those that lead past the ceilings. It doesn't judge
which rows the rule reaches.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.doors.traces import Tracer, passes
from mcp_rls.inspection.facts import Relation, Rule
from mcp_rls.inspection.words import listed
from mcp_rls.lints import Found, World

SEVERITY = Severity.ERROR
_VERBS = {"select": "reads", "insert": "inserts", "update": "updates", "delete": "deletes", "truncate": "truncates"}


def find(world: World) -> Iterator[Found]:
    """Rules that a token's role sets off and that do as their owner what policies keep from it."""
    tracer = Tracer(world.facts)
    for relation in world.facts.relations.values():
        for rule in relation.rules:
            name, roles = f"{relation.name}.{rule.name}", world.setting_off(relation, rule.event)
            done = _done(world, tracer, relation, rule) if roles and name not in world.doors else []
            if done:
                yield Found(
                    f"rule {name}",
                    f"{', '.join(roles)} may {rule.event} rows of {relation.name}, and its rule {rule.name} then"
                    f" {listed(done)} as the owner, {relation.owner}, past their policies",
                    (
                        f"drop rule {sql.ident(rule.name)} on {sql.table(relation.name)}",
                        f"or a line under `doors:` for {name}, with the reason",
                    ),
                    relation.name,
                )


def _done(world: World, tracer: Tracer, relation: Relation, rule: Rule) -> list[str]:
    """What the rule does past the ceilings of covered tables or, without a file, past row security."""
    bound = world.roles if world.policies is not None else None
    tables = {t.name: t for t in world.tables if world.policies is not None or t.row_security}
    trace = tracer.ruled(relation, rule)
    passed = [
        t for t in trace.touches if t.table in tables and passes(world.facts, t.role, tables[t.table], bound, t.command)
    ]
    free = {r for r, _ in trace.odd if any(passes(world.facts, r, t, bound) for t in tables.values())}
    done = sorted({f"{_VERBS[t.command]} rows of {t.table}" for t in passed})
    return done or [f"may do anything ({words})" for role, words in sorted(trace.odd) if role in free]
