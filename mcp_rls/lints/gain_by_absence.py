"""A policy for people, a trigger or a check could admit more to a client than to its person: it counts on rows.

## What

A policy that reads another table reads it as whoever asks, under that table's ceilings. A client that can't see a block
finds none, so `not exists (select from blocks ...)` is true for it where it is false for its person. The same goes for
counts and quotas, for the latest of several, for whatever else changes when rows are missing: NOT, CASE, COALESCE, a
scalar sub-select, an aggregate, a window, HAVING, EXCEPT, the side of an outer join that may be missing, DISTINCT ON,
LIMIT, `<> all`. These show less when rows are missing:

- a positive EXISTS, IN or `= any (array(select ...))`, by `array_agg` too, with `coalesce(..., '{}')` or without;
- `(select o.owner from orgs o where o.id = org_id) = ...`: one table, each column of a key compared by `=`, so that it
  gives one row or none; the value is compared by `=`, `<>`, `<` and the like or is itself the condition;
- `(select count(*) ...) > 0`, `>= 1` and what else is true of more rows;
- `coalesce((select true ... limit 1), false)`.

Views that read as whoever asks, functions without SECURITY DEFINER, those that aggregates run too, and the policies of
the tables between are followed, as far as they go. A trigger may only refuse by what it reads, in its function or, if
it begins with RAISE, in WHEN; a check constraint, of a table or of a domain, must refuse when rows are missing. What
can't be analysed (SQL that a function puts together, another language, a body that does more than give a value) is
reported as such.

A table in a schema that isn't covered has no ceiling. So there a client of no class counts too, and with `resolved:
true` a session that hasn't resolved: they see nothing of any covered table, and more of what asks for missing rows.

## Fix

`clients: read_as_person` for the table that is read, and for those that its own policies read; where the reader isn't
covered that is not enough, unless its schema is listed under `schemas` too. Or move the read into a
SECURITY DEFINER function whose owner sees every row, in a schema that clients can't enter. Or write it in a positive
form: a list of who may in place of one of who may not.

## What it doesn't catch

Defaults, generated columns and rules of the old kind that read tables. Operators and casts of your own inside the text
of a function. An error that goes away with the row that raises it, but for that of more than one row in a scalar
sub-select.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import Condition, Rule
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.absence.forms import Forms
from mcp_rls.inspection.absence.reads import Fault, Reads, Scope
from mcp_rls.inspection.doors.traces import Tracer
from mcp_rls.inspection.facts import Policy, Relation
from mcp_rls.inspection.tree import expression
from mcp_rls.lints import ROW_PRIVILEGES, Found, World

SEVERITY = Severity.ERROR
REFUSED = True
_COMMANDS = frozenset({"select", "insert", "update", "delete"})
_WHOLE = "read_as_person"
_TOKEN = re.compile(r"\btoken\.\w+")


def find(world: World) -> Iterator[Found]:
    """Policies, triggers and checks that clients meet and in which a row that they don't see may count."""
    if world.policies is None:
        return
    gains = _Gains(world, Tracer(world.facts))
    for table in world.facts.relations.values():
        if table.is_table and table.name.schema != "mcp_rls":
            yield from gains.of_policies(table)
            yield from gains.of_rules(table)
            yield from gains.of_triggers(table)
            yield from gains.of_checks(table)


@dataclass(frozen=True)
class _Gains:
    world: World
    tracer: Tracer

    def of_policies(self, table: Relation) -> Iterator[Found]:
        """Of the app's own policies."""
        for policy in self._met(table, self._commands(table)):
            past = self._passes(table)
            fault = self._policy_fault(policy, self.forms(past))
            if fault is not None:
                yield _found(f"policy {table.name} {policy.name}", fault, table, past)

    def _policy_fault(self, policy: Policy, forms: Forms) -> Fault | None:
        at, texts = Scope(calls=self.world.facts.run(policy.functions)), [t for t in (policy.using, policy.check) if t]
        faults = [forms.text(text, at) for text in texts]
        trees = [expression(text) for text in texts]
        return next(filter(None, faults), None) or forms.unnamed(at, *trees)

    def of_rules(self, table: Relation) -> Iterator[Found]:
        """Of the SQL in the file's own rules for people."""
        for rule in self._rules(table):
            for condition in _sql(rule) if rule.commands & self._commands(table) else ():
                fault = self.forms(False).text(_TOKEN.sub("null", condition.text), Scope())
                if fault is not None:
                    detail = f"people {' '.join(sorted(rule.commands))}"
                    yield _found(f"table {table.name}", fault, table, False, detail, condition)

    def of_triggers(self, table: Relation) -> Iterator[Found]:
        """Of what a client's write sets off, on the table or on one that it is a part of."""
        above = self.world.facts.ancestors(table)
        commands, past = self._commands(table).union(*map(self._commands, above)), self._passes(table, *above)
        told = {(trigger.name, trigger.function) for each in above for trigger in each.triggers}  # of a partitioned one
        for trigger in table.triggers:
            function = self.world.facts.functions.get(trigger.function)
            met = trigger.enabled and trigger.events & commands and (trigger.name, trigger.function) not in told
            if function is None or not met:
                continue
            forms = self.forms(past)
            fault = forms.when(trigger, function) if trigger.definition else None
            if fault := fault or forms.trigger(function):
                yield _found(f"trigger {table.name}.{trigger.name}", fault, table, past)

    def of_checks(self, table: Relation) -> Iterator[Found]:
        """Of what a client's new row must hold to, on the table or on one that it is a part of."""
        above = self.world.facts.ancestors(table)
        commands, past = self._commands(table).union(*map(self._commands, above)), self._passes(table, *above)
        told = {(check.name, check.text) for each in above for check in each.checks}
        for check in table.checks if commands & {"insert", "update"} else ():
            fault = self.forms(past).check(check) if (check.name, check.text) not in told else None
            if fault is not None:
                yield _found(f"constraint {table.name}.{check.name}", fault, table, past)

    def forms(self, past: bool) -> Forms:
        """What judges conditions that are met on a table; `past`: also by who sees nothing of any covered one."""
        return self.past_ceilings if past else self.below_ceilings

    def _passes(self, *met: Relation) -> bool:
        """Whether a client of no class, or a session that hasn't resolved, gets to one of these: it isn't covered."""
        return any(t.name.schema not in self.world.schemas and self._commands(t) for t in met)

    @cached_property
    def below_ceilings(self) -> Forms:
        """A client of a class sees less than its person of what is covered and isn't `read_as_person`."""
        assert self.world.policies is not None
        listed = self.world.policies.tables
        return self._judging({t.name for t in self.world.tables} - {n for n in listed if listed[n].clients == _WHOLE})

    @cached_property
    def past_ceilings(self) -> Forms:
        """Others see less of all that is covered."""
        return self._judging({t.name for t in self.world.tables})

    def _judging(self, short: set[TableName]) -> Forms:
        return Forms(Reads(self.world.facts, self.tracer, self._short(short), self.world.roles))

    def _short(self, short: set[TableName]) -> frozenset[TableName]:
        """These tables, and every other one whose policies read one of them."""
        others = [t for t in self.world.facts.relations.values() if t.is_table]
        while True:
            reads = Reads(self.world.facts, self.tracer, frozenset(short), self.world.roles)
            more = {t.name for t in others if t.name not in short and self._looks(t, reads)}
            if not more:
                return frozenset(short)
            short |= more

    def _looks(self, table: Relation, reads: Reads) -> bool:
        """Whether what is seen of a table depends on a short one."""
        texts = [
            (text, Scope(calls=self.world.facts.run(policy.functions)))
            for policy in self._met(table, frozenset({"select"}))
            for text in (policy.using, policy.check)
        ]
        texts += [(_TOKEN.sub("null", c.text), Scope()) for r in self._rules(table) for c in _sql(r)]
        found = [reads.below(tree, at) for text, at in texts if text and (tree := expression(text)) is not None]
        return any(read is not None and read.table is not None for read in found)

    def _met(self, table: Relation, commands: frozenset[str]) -> Iterator[Policy]:
        """The app's policies of a table that a token meets with one of these commands."""
        for policy in table.policies:
            if not policy.ours and any(map(policy.is_for, commands)) and self._roles & set(policy.roles):
                yield policy

    @cached_property
    def _roles(self) -> frozenset[str]:
        """The roles whose policies a token can meet: its own, those it has the rights of, and any that have its."""
        facts, tokens = self.world.facts, set(self.world.roles)
        bound = [name for name, role in facts.roles.items() if not (role.superuser or role.bypass_rls)]
        acting = map(facts.acts_as, {*bound, *tokens})
        return frozenset[str]().union(*(roles for roles in acting if roles & tokens))

    def _commands(self, table: Relation) -> frozenset[str]:
        """What clients may do to a table: a policy that none of them meets gives them nothing."""
        assert self.world.policies is not None
        if table.name.schema in self.world.schemas:
            rules = self.world.policies.client_rules(table.name)
            return frozenset(command for rule in rules for command in rule.commands)
        reached = self.world.facts.holders(self.world.roles, table.grants, *ROW_PRIVILEGES)
        return _COMMANDS if reached else frozenset()

    def _rules(self, table: Relation) -> tuple[Rule, ...]:
        assert self.world.policies is not None
        rules = self.world.policies.tables.get(table.name)
        return rules.people if rules is not None and rules.people != "existing" else ()


def _sql(rule: Rule) -> list[Condition]:
    """The conditions of a rule that are SQL."""
    return [condition for condition in (rule.rows, rule.check) if condition is not None and condition.raw]


def _found(
    subject: str, fault: Fault, table: Relation, past: bool, detail: str = "", condition: Condition | None = None
) -> Found:
    why = f"could admit more to a client than to its person: {fault.words}"
    hints = ["move the read into a SECURITY DEFINER function whose owner sees every row"]
    if fault.table is None:
        why = f"can't be analysed, so it could admit more to a client than to its person: {fault.words}"
    else:
        whole = f"{sql.table(fault.table)}: {{clients: {_WHOLE}}}"
        hints.insert(0, f"list {table.name.schema} under `schemas`, and {whole}" if past else whole)
    place = condition.span if condition is not None else None
    return Found(subject, f"{subject} {why}", tuple(hints), table.name, detail, place)
