"""The points of rules: was each open to each of its classes, was each scope once missing, what did its conditions say.

A rule is open to a token when the gate takes it for a live member of the class with all the scopes, and PostgreSQL
asked the ceiling of that table and command while the token acted. A ceiling without any rule is to refuse somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import COMMANDS, Command, PolicySet, Rule
from mcp_rls.compiler.resolve import ResolvedTable
from mcp_rls.harness.coverage.points import Point, Sighting, of_pieces
from mcp_rls.harness.coverage.twins import CutRule, Twins

Closed = Callable[[TableName, Command], str]  # why no token could do this whatever our policies say, or ''


def class_key(name: str) -> str:
    return f"class {name}"


def of_rules(twins: Twins, closed: Closed) -> Iterator[Point]:
    """The points of all rules, as the file has them, then those of what is closed to clients."""
    policies = twins.resolved.policies
    for index, cut in enumerate(twins.rules, start=1):
        key, never = f"{cut.table} {cut.command} {index}", closed(cut.table, cut.command)
        opened = list((_client_rule if cut.rule.who else _people_rule)(key, cut, twins, never))
        yield from opened
        under = tuple(point.key for point in opened if point.kind == "rule")
        who = "/".join(cut.rule.who) or "people"
        about = f"{who}, {cut.command} {cut.table}"
        yield from of_pieces(f"{key} rows", about, cut.old, under, never)
        new = f"{about}, new row" if cut.command == "update" else about
        yield from of_pieces(f"{key} new", new, cut.new, under, never)
    for table in twins.resolved.tables:
        yield from _closed(table, policies, twins.ceilings, closed)


def _people_rule(key: str, cut: CutRule, twins: Twins, never: str) -> Iterator[Point]:
    asked = twins.people[cut.table, cut.command]
    about = f"people, {cut.command} {cut.table}"
    yield Point(
        f"{key} open", "rule", cut.rule.span, about, "was never asked", "", never, shown=lambda s: s.reached(asked)
    )


def _client_rule(key: str, cut: CutRule, twins: Twins, never: str) -> Iterator[Point]:
    for name in cut.rule.who:
        about, opened = f"{name}, {cut.command} {cut.table}", f"{key} open {name}"
        yield Point(
            opened,
            "rule",
            cut.rule.span,
            about,
            "was never open",
            f"no live token{_with(cut.rule.scopes)} got there",
            never,
            (class_key(name),),
            shown=_open(cut, twins, name),
        )
        for scope in sorted(cut.rule.scopes):
            yield Point(
                f"{key} {name} lacks {scope}",
                "scope",
                cut.rule.span,
                f"{about}: the scope {scope}",
                "was never missing",
                "no live token that lacks just this got there",
                never or _always_held(cut, twins, name, scope),
                (opened,),
                shown=_lacking(cut, twins, name, scope),
            )


def _with(scopes: tuple[str, ...]) -> str:
    return f" with the scope{'s' if len(scopes) > 1 else ''} {' '.join(scopes)}" if scopes else ""


def _open(cut: CutRule, twins: Twins, name: str) -> Callable[[Sighting], bool]:
    needs, asked = set(cut.rule.scopes), twins.ceilings[cut.table, cut.command]
    reads = _reads(cut, twins.resolved.policies, name)

    def shown(sighting: Sighting) -> bool:
        held = needs <= sighting.held and any(scopes <= sighting.held for scopes in reads)
        return sighting.is_live(name) and held and sighting.reached(asked)

    return shown


def _lacking(cut: CutRule, twins: Twins, name: str, scope: str) -> Callable[[Sighting], bool]:
    """Whether nothing but this scope was in the way."""
    others, asked = set(cut.rule.scopes) - {scope}, twins.ceilings[cut.table, cut.command]
    reads = _reads(cut, twins.resolved.policies, name)

    def shown(sighting: Sighting) -> bool:
        held = others <= sighting.held and any(scopes <= sighting.held for scopes in reads)
        return sighting.is_live(name) and held and scope not in sighting.held and sighting.reached(asked)

    return shown


def _reads(cut: CutRule, policies: PolicySet, name: str) -> list[frozenset[str]]:
    """Scopes of which one set must be held before the rule counts: UPDATE and DELETE also need a rule that reads."""
    if cut.command not in ("update", "delete"):
        return [frozenset()]
    rules = policies.client_rules(cut.table)
    return [frozenset(r.scopes) for r in rules if "select" in r.commands and name in r.who]


def _always_held(cut: CutRule, twins: Twins, name: str, scope: str) -> str:
    """Why a token that has the rest of what the rule needs has this scope too, or ''."""
    policies = twins.resolved.policies
    others = set(cut.rule.scopes) - {scope}
    implying = sorted(s for s in others if scope in policies.scopes[s].closure)
    if implying:
        return f"{implying[0]} implies it"
    reads = _reads(cut, policies, name)
    if reads and all(any(scope in policies.scopes[s].closure for s in scopes) for scopes in reads):
        return "without it no row is seen"
    return ""


# --- what is closed ---------------------------------------------------------------------------------------------------


def _closed(
    table: ResolvedTable,
    policies: PolicySet,
    ceilings: Mapping[tuple[TableName, Command], frozenset[int]],
    closed: Closed,
) -> Iterator[Point]:
    """A point for each command that no rule allows to clients; one for a table with no rule at all."""
    rules: tuple[Rule, ...] = policies.client_rules(table.table)
    if not rules:
        never = "" if any(not closed(table.table, c) for c in COMMANDS) else closed(table.table, "select")
        numbers = ceilings[table.table, "select"]
        yield _refusal(f"{table.table} closed", str(table.table), table, never, numbers)
        return
    for command in COMMANDS:
        if not any(command in rule.commands for rule in rules):
            about, numbers = f"{command} {table.table}", ceilings[table.table, command]
            yield _refusal(f"{about} closed", about, table, closed(table.table, command), numbers)


def _refusal(key: str, about: str, table: ResolvedTable, never: str, numbers: frozenset[int]) -> Point:
    return Point(
        key,
        "closed",
        table.span,
        f"{about}, closed to clients,",
        "was never tried by one",
        "",
        never,
        shown=lambda s: s.live and s.reached(numbers),
    )
