"""Mutants of the columns that update rules are held to: no guard, or one that lets one more be set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mcp_rls import sql
from mcp_rls.compiler.guard import PEOPLE, Limit, guards, limits
from mcp_rls.compiler.model import Columns
from mcp_rls.compiler.resolve import ResolvedRule, ResolvedTable
from mcp_rls.harness.mutation.mutant import Concern, Kind, Mutant, everybody
from mcp_rls.harness.mutation.original import Original
from mcp_rls.harness.mutation.standing import Standing


def mutants_of_columns(original: Original) -> Iterator[Mutant]:
    """Every mutant of a guard, table by table."""
    for table in original.resolved.tables:
        for limit in limits(table):
            if limit.who and original.policies.class_roles:
                continue  # a grant says it
            yield from _Guarded(original, table, limit).mutants()


@dataclass(frozen=True)
class _Guarded:
    original: Original
    table: ResolvedTable
    limit: Limit

    def mutants(self) -> Iterator[Mutant]:
        held = f"{', '.join(self.limit.who) or PEOPLE} updating {self.table.table}"
        yield self.made(Kind.GUARD_DROPPED, f"{held} may set any column", None, self.unasked())
        for column in self.original.catalog.tables[self.table.table].columns:
            if not column.computed and not self.limit.columns.admit(column.name):
                words = f"{held} may set {column.name} too"
                why = self.unasked() or self.unsettable(column.name, generated=column.generated)
                yield self.made(Kind.COLUMN_ADDED, words, self.with_column(column.name), why)

    def with_column(self, name: str) -> Columns:
        listed = self.limit.columns
        names = listed.names - {name} if listed.excluded else listed.names | {name}
        return replace(listed, names=names)

    def unasked(self) -> str:
        """Why no update ever gets as far as the guard."""
        table = self.table.table
        return "" if self.original.admits(table, "update") else f"no token's role can update {table}"

    def unsettable(self, column: str, *, generated: bool) -> str:
        """Why nobody sets the column, or nobody who could be told from others."""
        of_people = [limit for limit in limits(self.table) if not limit.who]
        if self.limit.who and not all(limit.columns.admit(column) for limit in of_people):
            return f"people may not set {column} themselves, and no client more than its person"
        if generated:
            return f"{column} can be set to its next number alone, which no case says"
        reach = (facts.reach.get(self.table.table) for facts in self.original.roles.values())
        granted = any(r is not None and column in r.update for r in reach)
        return "" if granted else f"no privilege lets any token's role set {column}"

    def made(self, kind: Kind, sentence: str, columns: Columns | None, why: str) -> Mutant:
        concern = Concern(frozenset({self.table.table}), "update", self.concerned)
        return Mutant(kind, sentence, self.limit.columns.span, self.statements(columns), concern, why)

    def concerned(self, standing: Standing) -> bool:
        who = self.limit.who
        return everybody(standing) if not who else standing.kind == "unknown" or standing.class_name in who

    def statements(self, columns: Columns | None) -> tuple[str, ...]:
        """The table's guards as they would be, made anew where they differ."""

        def other(rule: ResolvedRule) -> ResolvedRule:
            return replace(rule, columns=columns) if rule.columns == self.limit.columns else rule

        of_people, of_clients = self.table.people, self.table.clients
        if self.limit.who:
            of_clients = tuple(map(other, of_clients))
        else:
            of_people = tuple(map(other, of_people or ()))
        table = replace(self.table, people=of_people, clients=of_clients)
        wanted = {t.name: t for t in guards(self.original.resolved, table)}
        known = {name: t for (on, name), t in self.original.state.triggers.items() if on == self.table.table}
        gone = [t for name, t in known.items() if name not in wanted or wanted[name].source != t.source]
        made = [t for name, t in wanted.items() if name not in known or known[name].source != t.source]
        return (*map(sql.drop_trigger, gone), *(t.definition for t in made))
