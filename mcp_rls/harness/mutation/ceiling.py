"""What a ceiling asks of a row, by the rules: who holds which scopes meets which conditions, and whether two agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, combinations

from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import Command, PolicySet
from mcp_rls.compiler.resolve import MAX_SCOPE_SETS, ResolvedRule, ResolvedTable
from mcp_rls.harness.mutation.proof import Domains, never, same

Asked = tuple[e.Expr, e.Expr]  # of the row that is there, of the new one; `false`: closed


def asked_of_client(table: ResolvedTable, command: Command, class_name: str, held: frozenset[str]) -> Asked:
    """What a live client of the class with these scopes in force must meet."""
    mine = [r for r in table.clients if class_name in r.who and r.scopes <= held]
    writes = [r for r in mine if command in r.commands]
    reads = [r for r in mine if "select" in r.commands]
    if command in ("select", "insert"):
        return _asked(command, writes)
    seen = e.disjunction(tuple(r.rows for r in reads))
    old, new = _asked(command, writes)
    return e.conjunction((seen, old)), e.conjunction((seen, new)) if command == "update" else e.TRUE


def asked_of_people(table: ResolvedTable, command: Command) -> Asked:
    """What people must meet by their rules."""
    return _asked(command, [r for r in table.people or () if command in r.commands])


def _asked(command: Command, rules: list[ResolvedRule]) -> Asked:
    old = e.disjunction(tuple(r.rows for r in rules))
    new = e.disjunction(tuple(r.new_row for r in rules))
    if command == "insert":
        return (e.TRUE if rules else e.FALSE), new
    return old, new if command == "update" else e.TRUE


def agree(one: Asked, other: Asked, domains: Domains) -> bool:
    """Whether it is proved that the same rows meet both; of a new row nobody asks where no old one passes."""
    if not same(one[0], other[0], domains):
        return False
    return never(one[0], domains) or same(one[1], other[1], domains)


def sessions(policies: PolicySet, tables: Iterable[ResolvedTable]) -> Iterator[tuple[str, frozenset[str]]]:
    """Each class with each set of scopes that tells its rules on these tables apart, closed under `implies`."""
    rules = [r for t in tables for r in t.clients]
    for name in policies.classes:
        sets = sorted({r.scopes for r in rules if name in r.who}, key=sorted)
        assert len(sets) <= MAX_SCOPE_SETS + 2, "resolve reports too-many-scopes, and a mutant adds one or two"
        unions = chain.from_iterable(combinations(sets, n) for n in range(len(sets) + 1))
        closed = {_closed(policies, frozenset().union(*some)) for some in unions}
        yield from ((name, held) for held in sorted(closed, key=sorted))


def _closed(policies: PolicySet, scopes: frozenset[str]) -> frozenset[str]:
    return frozenset().union(*(policies.scopes[s].closure for s in scopes))
