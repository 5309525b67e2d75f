"""A table that other tables' policies read is closed or narrowed for clients, so those show them less.

## What

A policy that reads another table reads it as whoever asks, under that table's own policies and ceilings. Where
`tickets` are shown to the members that `members` lists, and `members` is closed to clients, no client is a member and
`tickets` is empty, whatever its own rules say; and nobody is told why. A table that is narrowed takes away the rows
that depend on those which are hidden.

## Fix

`clients: read_as_person` for the table that is read, as far as clients may know it. Or let the policy ask a SECURITY
DEFINER function whose owner sees every row (in a schema that clients can't enter). Where it is meant so, comments of a
hidden ticket for example, accept the finding by its key, with the reason.

## What it doesn't catch

Tables that triggers or check constraints read. Which rows are lost: rules with the same conditions on both tables are
reported too. Reads in which a missing row shows *more* are the error `gain-by-absence`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import PolicySet, Rule
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.doors.traces import CALLER, Tracer
from mcp_rls.inspection.facts import Policy, Relation
from mcp_rls.inspection.words import listed
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Covered tables of which a client sees less than policies of other tables need for it."""
    if world.policies is None:
        return
    reads = _reads(world)
    through = {name: _through(reads, name) - {name} for name in reads}
    for table in world.tables:
        readers = sorted(name for name, read in through.items() if table.name in read)
        closed = _short(world.policies, table.name, readers, closed=True)
        narrowed = _short(world.policies, table.name, readers, closed=False)
        if closed or narrowed:
            yield _found(table, closed, narrowed)


def _found(table: Relation, closed: Mapping[TableName, list[str]], narrowed: Mapping[TableName, list[str]]) -> Found:
    said = []
    if closed:
        classes = sorted({c for each in closed.values() for c in each})
        said.append(f"is closed to {listed(classes)}, so {listed(closed)} may show them nothing")
    if narrowed:
        classes = sorted({c for each in narrowed.values() for c in each})
        said.append(f"is narrowed for {listed(classes)}, so {listed(narrowed)} show them only what depends on the rest")
    return Found(
        f"table {table.name}",
        f"{table.name} is read by policies; it {'; it '.join(said)}",
        (
            f"{sql.table(table.name)}: {{clients: read_as_person}}",
            "or let the policies ask a SECURITY DEFINER function",
        ),
        table.name,
    )


def _short(
    policies: PolicySet, table: TableName, readers: list[TableName], *, closed: bool
) -> dict[TableName, list[str]]:
    """The readers that show some class less than their rules say, and those classes: as it reads none of the table's
    rows, or as it reads not all of them.
    """
    found: dict[TableName, list[str]] = {}
    for reader in readers:
        for rule in policies.client_rules(reader):
            for name in rule.who:
                seeing = [r for r in policies.client_rules(table) if name in r.who and "select" in r.commands]
                if not _whole(seeing, rule) and closed == (not seeing) and name not in found.get(reader, []):
                    found.setdefault(reader, []).append(name)
    return found


def _whole(seeing: list[Rule], rule: Rule) -> bool:
    """Whether who acts by that rule sees every row that its person sees."""
    return any(each.rows is None and set(each.scopes) <= set(rule.scopes) for each in seeing)


def _through(reads: Mapping[TableName, set[TableName]], start: TableName) -> set[TableName]:
    """All tables that its policies read in the end: those of the tables they read are asked too."""
    todo, found = [start], set[TableName]()
    while todo:
        more = reads.get(todo.pop(), set()) - found
        found |= more
        todo += more
    return found


def _reads(world: World) -> dict[TableName, set[TableName]]:
    """The tables that policies of each covered table read as whoever asks."""
    tracer = Tracer(world.facts)
    return {
        t.name: {name for p in t.policies for name in _read(world, tracer, p)} - {t.name}
        for t in world.tables
    }  # fmt: skip


def _read(world: World, tracer: Tracer, policy: Policy) -> set[TableName]:
    facts = world.facts
    relations = [facts.relations[oid] for oid in policy.relations if oid in facts.relations]
    seen = [r for r in relations if r.is_table]
    views = [r for r in relations if r.kind == "view" and r.option("security_invoker")]
    seen += [below for view in views for below in facts.below(view) if below.is_table]
    functions = [facts.functions[oid] for oid in policy.functions if oid in facts.functions]
    touched = tracer.trace(*functions).touches
    return {r.name for r in seen} | {t.table for t in touched if t.role == CALLER and t.command == "select"}
