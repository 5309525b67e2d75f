"""Mutants of named sets: each test of a query's WHERE left out, and another claim in place of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from mcp_rls.catalog import TableName
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import NamedSet
from mcp_rls.compiler.raw import Names, split_tokens
from mcp_rls.diagnostics import Diagnostics
from mcp_rls.harness.mutation.mutant import Concern, Kind, Mutant
from mcp_rls.harness.mutation.original import Original

_PIECE = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\$|[()]|\b[a-z_]+\b", re.IGNORECASE)
_AFTER_WHERE = frozenset("group having window union intersect except order limit offset fetch for or between".split())


def mutants_of_sets(original: Original) -> Iterator[Mutant]:
    """Every mutant of a set."""
    for named in original.policies.sets.values():
        for query, test in without_a_test(named.query):
            words = f"the set {named.name} no longer asks for {test}"
            yield from _made(original, Kind.SET_WIDER, words, named, query)
        for query, words in _with_another_claim(original, named):
            yield from _made(original, Kind.VALUE_SWAPPED, f"the set {named.name} {words}", named, query)


def without_a_test(query: str) -> Iterator[tuple[str, str]]:
    """The query without one of the ANDed tests of its WHERE, and that test; none where it isn't that simple."""
    depth, where, cuts = 0, -1, list[tuple[int, int]]()
    for piece in _PIECE.finditer(query):
        word = piece[0].lower()
        depth += {"(": 1, ")": -1}.get(word, 0)
        if word == "$" or (where >= 0 and depth == 0 and word in _AFTER_WHERE):
            return
        if depth == 0 and word == "where":
            where = piece.end()
        elif depth == 0 and word == "and" and where >= 0:
            cuts.append(piece.span())
    if where < 0:
        return
    starts, ends = [where, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(query)]
    tests = [query[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    for index, test in enumerate(tests):
        kept = " and ".join((*tests[:index], *tests[index + 1 :]))
        yield f"{query[:where]} {kept or 'true'}", test


def _with_another_claim(original: Original, named: NamedSet) -> Iterator[tuple[str, str]]:
    types = original.known(TableName("", "")).tokens
    for name in dict.fromkeys(re.findall(r"\btoken\.([a-z_][a-z0-9_]*)", named.query)):
        for other in (o for o, kind in types.items() if o != name and kind == types.get(name)):
            query = re.sub(rf"\btoken\.{name}\b", f"token.{other}", named.query)
            yield query, f"is that of token.{other} instead of token.{name}"


def _made(original: Original, kind: Kind, words: str, named: NamedSet, query: str) -> Iterator[Mutant]:
    parts = split_tokens(query, Names(frozenset(original.policies.claims), frozenset()), named.span, Diagnostics())
    if parts is None:
        return
    queries = {**original.resolved.set_queries, named.name: parts}
    statements = original.lowered(replace(original.resolved, set_queries=queries))
    concern = Concern(_users(original, named.name))
    yield Mutant(kind, words, named.span, statements, concern, "" if statements else "it compiles to the same SQL")


def _users(original: Original, name: str) -> frozenset[TableName]:
    """The tables whose rules name the set."""
    used = e.SetValues(name)
    return frozenset(
        table.table
        for table in original.resolved.tables
        for rule in (*table.clients, *(table.people or ()))
        if used in (*rule.rows.walk(), *rule.new_row.walk())
    )
