"""What goes round the ceilings, and what is weak in policies written by hand: a file for each lint.

A lint is a module of this package. Its name is its id (`view_without_invoker` is `view-without-invoker`), its docstring
the page that `mcp-rls explain-code` shows, and it has

    SEVERITY    of its findings
    find(world) what it finds in a database, as `Found`
    REFUSED     optional: True where no plan is made for a database in which it finds something

It imports this package and `inspection`, and no other lint. A new lint is a new file, and its tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import import_module
from pathlib import Path

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.diagnostics import Diagnostic, Severity, Span
from mcp_rls.inspection.facts import Facts, Function, Policy, Relation

ROW_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True)
class Found:
    """One finding. `subject` names the object in the database; with `detail`, where one object can have several, it is
    the finding's key, by which it is accepted: it stays the same for as long as the object and the fault do.
    """

    subject: str
    message: str
    hints: tuple[str, ...] = ()
    table: TableName | None = None  # whose place in the policy file it has
    detail: str = ""
    place: Span | None = None  # in the policy file, where it is closer than the table's


@dataclass(frozen=True)
class World:
    """A database, and the policy file for it if there is one."""

    facts: Facts
    policies: PolicySet | None = None

    @cached_property
    def schemas(self) -> frozenset[str]:
        """The covered schemas: the file's, else all that aren't PostgreSQL's or ours."""
        if self.policies is not None:
            return frozenset(self.policies.schemas)
        return frozenset(self.facts.schemas) - {"mcp_rls"}

    @cached_property
    def tables(self) -> tuple[Relation, ...]:
        """Covered tables: partitions and inheritance children are tables of their own."""
        return tuple(r for r in self.facts.relations.values() if self.covers(r))

    def covers(self, relation: Relation) -> bool:
        """Whether it is a covered table."""
        return relation.is_table and relation.name.schema in self.schemas

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """The roles that tokens arrive as: the file's. Without one: all that hold a privilege on a table with row
        security and are bound by it; failing those, all that hold one on any table, but for superusers and the like.
        """
        if self.policies is not None:
            return self.policies.acting
        policed = [t for t in self.tables if t.row_security]
        return self._holders(policed) or self._holders(self.tables)

    def _holders(self, tables: Iterable[Relation]) -> tuple[str, ...]:
        held = {g.role for t in tables for g in t.grants if g.privilege in ROW_PRIVILEGES and g.role != t.owner}
        known = self.facts.roles
        return tuple(sorted(r for r in held if r in known and not (known[r].superuser or known[r].bypass_rls)))

    @property
    def trusted(self) -> Mapping[str, str]:
        """Roles that the file trusts, with the reason."""
        return self.policies.trusted_roles if self.policies is not None else {}

    @property
    def doors(self) -> Mapping[str, str]:
        """Objects that the file accepts as ways round the ceilings ('public.ticket_stats'), with the reason."""
        return self.policies.doors if self.policies is not None else {}

    def reaching(self, relation: Relation, *privileges: str) -> tuple[str, ...]:
        """The token roles that hold one of the privileges on the relation and may enter its schema."""
        return tuple(role for role in self.roles if self.facts.uses(role, relation, *privileges))

    def setting_off(self, relation: Relation, *commands: str) -> tuple[str, ...]:
        """The token roles that may do one of these things to the relation, by a view that runs as its owner too."""
        return tuple(role for role in self.roles if self.facts.sets_off(role, relation, *commands))

    def calling(self, function: Function) -> tuple[str, ...]:
        """The token roles that may call the function."""
        facts = self.facts
        return tuple(
            role
            for role in self.roles
            if facts.enters(role, function.schema) and facts.holds(role, function.execute, "EXECUTE")
        )

    def binding(self, relation: Relation, role: str, command: str) -> tuple[Policy, ...]:
        """The policies that apply to a role's command."""
        acting = self.facts.acts_as(role)
        return tuple(p for p in relation.policies if p.is_for(command) and acting & set(p.roles))

    def by_hand(self) -> Iterator[tuple[Relation, Policy]]:
        """The policies of covered tables that aren't ours."""
        return ((t, p) for t in self.tables for p in t.policies if not p.ours)


Find = Callable[[World], Iterable[Found]]


@dataclass(frozen=True)
class Lint:
    id: str
    severity: Severity
    page: str  # Markdown: what, why, fix, what it doesn't catch
    find: Find = field(repr=False)
    refused: bool = False  # no plan is made for a database in which it finds something

    @property
    def title(self) -> str:
        return self.page.strip().splitlines()[0]


@dataclass(frozen=True)
class Report:
    """What all lints found; `accepted`: findings that the file accepts, with the reason; `seconds` by lint."""

    diagnostics: tuple[Diagnostic, ...]
    accepted: tuple[tuple[Diagnostic, str], ...]
    unused: tuple[str, ...]  # keys of acceptances that no finding has any more
    seconds: Mapping[str, float]


@lru_cache
def lints() -> Mapping[str, Lint]:
    """Every lint, by id."""
    names = sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py"))
    return {lint.id: lint for lint in map(_load, names)}


def refused() -> frozenset[str]:
    """The lints whose findings stand against a plan."""
    return frozenset(lint.id for lint in lints().values() if lint.refused)


def _load(name: str) -> Lint:
    module = import_module(f"{__name__}.{name}")
    return Lint(
        name.replace("_", "-"), module.SEVERITY, module.__doc__ or "", module.find, getattr(module, "REFUSED", False)
    )


def run(world: World, accepted: Mapping[str, str] | None = None, only: Iterable[str] = ()) -> Report:
    """What the lints find (`only` those, else all); `accepted`: key to the reason why a finding is no fault."""
    chosen = [lint for lint in lints().values() if not only or lint.id in set(only)]
    reasons, used = dict(accepted or {}), set[str]()
    shown: list[Diagnostic] = []
    taken: list[tuple[Diagnostic, str]] = []
    seconds: dict[str, float] = {}
    for lint in chosen:
        begun = time.perf_counter()
        for found in lint.find(world):
            diagnostic, key = _diagnostic(lint, found, world.policies), key_of(lint, found)
            if key in reasons:
                used.add(key)
                taken.append((diagnostic, reasons[key]))
            else:
                shown.append(diagnostic)
        seconds[lint.id] = time.perf_counter() - begun
    ids = {lint.id for lint in chosen}
    unused = tuple(k for k in reasons if k not in used and k.partition(" ")[0] in ids)
    return Report(tuple(shown), tuple(taken), unused, seconds)


def key_of(lint: Lint, found: Found) -> str:
    """'view-without-invoker view public.totals': what an acceptance names."""
    return " ".join(filter(None, (lint.id, found.subject, found.detail)))


def _diagnostic(lint: Lint, found: Found, policies: PolicySet | None) -> Diagnostic:
    rules = policies.tables.get(found.table) if policies is not None and found.table is not None else None
    span = found.place or (rules.span if rules is not None else Span(policies.path if policies is not None else ""))
    accept = f"to accept it, with a reason: {key_of(lint, found)}"
    return Diagnostic(lint.id, found.message, span, (*found.hints, accept), lint.severity, found.subject)
