"""What people's own rules say: one permissive policy a command, hardened where no ceiling has done it (ceilings.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mcp_rls.compiler import claims, meaning
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import COMMANDS, Command
from mcp_rls.compiler.resolve import ResolvedPolicies, ResolvedRule, ResolvedTable
from mcp_rls.state import Policy, policy_name


def policies_of(
    resolved: ResolvedPolicies,
    table: ResolvedTable,
    anchors: Mapping[Command, e.Expr],
    classes: Mapping[Command, Sequence[str]],
) -> Iterator[Policy]:
    """One permissive policy a command that some people rule allows.

    `anchors`: the equality that the command's ceiling has hardened. `classes`: those with a role and a rule of theirs.
    """
    policies = resolved.policies
    for command in COMMANDS:
        mine = [policies.class_roles[name] for name in classes.get(command, ())]
        roles = tuple(sorted([*policies.roles, *mine]))
        rules = _rules(table, command)
        if rules:
            old, new = _conditions(command, rules)
            anchor = anchors.get(command)
            # PostgreSQL asks what is written alike once: an UPDATE's check, and SELECT's policy of its new row
            check = using(resolved, table, new, anchor) if command == "update" else checked(resolved, table, new)
            name = policy_name(f"{table.table.name} people {command}")
            said, at = meaning.of_people(policies, command, rules), rules[0].place()
            shown = using(resolved, table, old, anchor)
            yield Policy(table.table, name, True, command, roles, shown, check, place=at, meaning=said).sealed()


def commands(table: ResolvedTable) -> list[Command]:
    """The commands that some people rule allows."""
    return [command for command in COMMANDS if _rules(table, command)]


def _rules(table: ResolvedTable, command: Command) -> list[ResolvedRule]:
    return [r for r in table.people or () if command in r.commands]


def _conditions(command: Command, rules: list[ResolvedRule]) -> tuple[e.Expr | None, e.Expr | None]:
    """What the old and the new row must meet under these people rules; None where the command has no such row."""
    old = e.disjunction(tuple(r.rows for r in rules)) if command != "insert" else None
    new = e.disjunction(tuple(r.new_row for r in rules)) if command in ("insert", "update") else None
    return old, new


def using(
    resolved: ResolvedPolicies, table: ResolvedTable, expr: e.Expr | None, anchor: e.Expr | None = None
) -> str | None:
    """The condition hardened, but for what the ceiling has hardened."""
    if expr is None:
        return None
    indexed = _indexed(resolved, table)
    parts = [part if part == anchor else e.harden(part, indexed) for part in _parts(expr)]
    return checked(resolved, table, e.conjunction(tuple(parts)), few=False)


def _indexed(resolved: ResolvedPolicies, table: ResolvedTable) -> frozenset[str] | None:
    facts = resolved.catalog.tables.get(table.table) if resolved.catalog else None
    return facts.indexed if facts else None


def checked(resolved: ResolvedPolicies, table: ResolvedTable, expr: e.Expr | None, *, few: bool = True) -> str | None:
    """WITH CHECK is evaluated on the row as it stands: the planner has no part in it, so nothing is to be hardened."""
    if expr is None:
        return None
    return e.render(expr, claims.renderer(resolved.policies, wrapped=not table.self_reading, few=few))


def ties(table: ResolvedTable, command: Command) -> Iterator[e.Expr]:
    """Equalities of a column with a value of the token that people's rules ask of every row that is there."""
    rules = _rules(table, command)
    expr, _ = _conditions(command, rules) if rules else (None, None)
    for part in _parts(expr) if expr is not None else ():
        match part:
            case e.Op("=", e.Col(), e.Token()) | e.Op("=", e.Token(), e.Col()):
                yield part


def _parts(expr: e.Expr) -> tuple[e.Expr, ...]:
    """What must all be met."""
    return expr.operands if isinstance(expr, e.Logic) and expr.op == "and" else (expr,)
