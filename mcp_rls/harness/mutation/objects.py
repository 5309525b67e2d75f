"""Mutants of what PostgreSQL holds, whatever rules it came from: policies, row security, roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.carried import Gate
from mcp_rls.compiler.ceilings import ceilings_of
from mcp_rls.compiler.model import Command
from mcp_rls.compiler.resolve import ResolvedTable
from mcp_rls.diagnostics import Span
from mcp_rls.harness.mutation.ceiling import asked_of_client, asked_of_people, sessions
from mcp_rls.harness.mutation.mutant import Concern, Kind, Mutant, clients, everybody
from mcp_rls.harness.mutation.original import Original, changed, commands_of
from mcp_rls.harness.mutation.proof import never, same
from mcp_rls.harness.mutation.standing import Standing
from mcp_rls.state import Policy, Switches

EXTRA = "mcp_rls mutant"  # the policy that somebody added by hand


def mutants_of_objects(original: Original) -> Iterator[Mutant]:
    """Every mutant of a policy, then those of the tables."""
    for policy in original.state.policies.values():
        yield from _Policy(original, policy).mutants()
    for table in original.resolved.tables:
        yield from _Table(original, table.table, table.span).mutants()


@dataclass(frozen=True)
class _Policy:
    original: Original
    policy: Policy

    def mutants(self) -> Iterator[Mutant]:
        yield self.dropped()
        yield from self.of_expressions()
        if not self.policy.permissive:
            yield self.permissive()
        if self.policy.roles != ("public",):
            yield from (self.without(role) for role in self.policy.roles)
            yield self.to_public()

    def dropped(self) -> Mutant:
        return self.made(Kind.POLICY_DROPPED, "is gone", (sql.drop_policy(self.policy),), self.idle())

    def permissive(self) -> Mutant:
        may = any(self.original.may(self.policy.table, self.policy.command, r) for r in self.bound())
        why = "" if may else self.idle()
        other = replace(self.policy, permissive=True)
        words = "is permissive: it admits where it should hold back"
        return self.made(Kind.PERMISSIVE, words, changed(self.policy, other), why, everybody)

    # --- expressions

    def of_expressions(self) -> Iterator[Mutant]:
        policy = self.policy
        if policy.using not in (None, "true"):
            other = replace(policy, using="true")
            yield self.rewritten(Kind.USING_TRUE, "has USING (true)", other, self.idle() or self.repeated())
        if policy.check not in (None, "true"):
            why = self.idle() or self.check_unasked() or self.check_is_true()
            yield self.rewritten(Kind.CHECK_TRUE, "has WITH CHECK (true)", replace(policy, check="true"), why)
        if policy.using is not None and policy.check is not None:
            why = self.idle() or self.check_unasked() or self.check_is_using()
            other = replace(policy, check=None)
            yield self.rewritten(Kind.CHECK_LEFT_OUT, "has lost its WITH CHECK", other, why)

    def rewritten(self, kind: Kind, words: str, other: Policy, why: str) -> Mutant:
        return self.made(kind, words, changed(self.policy, other), why)

    def repeated(self) -> str:
        """Why USING of a policy for people may be true: a ceiling repeats the equality that is all of it."""
        policy, table = self.policy, self.table()
        if not policy.permissive or table is None or table.people is None:
            return ""
        for ceiling in ceilings_of(self.original.resolved, table, Gate(self.original.policies)):
            anchor = ceiling.anchor if ceiling.command == policy.command else None
            if anchor is not None and asked_of_people(table, ceiling.command)[0] == anchor:
                return "the ceiling asks the same of every row"
        return ""

    def check_unasked(self) -> str:
        """Why nobody ever asks WITH CHECK: no INSERT, and USING lets no row through."""
        policy, table = self.policy, self.table()
        if policy.command == "all" and not policy.permissive:
            if not self.original.admits(policy.table, "insert"):
                return "USING lets no client through to a new row, and no token's role can insert"
        elif policy.command == "update" and not policy.permissive and table is not None:
            domains = self.original.domains_of(policy.table)
            if all(never(asked_of_client(table, "update", *s)[0], domains) for s in self.sessions()):
                return "USING lets no client through to a new row"
        return ""

    def check_is_true(self) -> str:
        """Why a WITH CHECK that is true says the same; a client that is closed out has no row to write."""
        policy, table = self.policy, self.table()
        if policy.command != "update" or table is None:
            return ""
        return "the rules ask nothing of the new row" if self.news_are("true") else ""

    def check_is_using(self) -> str:
        """Why USING, which PostgreSQL takes where there is no WITH CHECK, says the same."""
        if self.policy.using == self.policy.check or self.news_are("old"):
            return "without WITH CHECK PostgreSQL takes USING for new rows, and that says the same here"
        return ""

    def news_are(self, what: str) -> bool:
        """Whether for everybody whom USING admits, an UPDATE's new row must meet nothing, or what the old one must."""
        table, domains = self.table(), self.original.domains_of(self.policy.table)
        if table is None or self.policy.command != "update":
            return False
        if self.policy.permissive:
            pairs = [asked_of_people(table, "update")]
        else:
            pairs = [asked_of_client(table, "update", *s) for s in self.sessions()]
        return all(never(old, domains) or same(new, old if what == "old" else e.TRUE, domains) for old, new in pairs)

    # --- roles

    def without(self, role: str) -> Mutant:
        """For all roles but one; where it is the only one, for the owner alone, whom no token arrives as."""
        others = tuple(r for r in self.policy.roles if r != role) or (self.original.catalog.user,)
        words = f"isn't for {role} any more"
        statements = (sql.alter_policy(replace(self.policy, roles=others)),)
        concerned = clients if not self.policy.permissive else everybody

        def tokens(standing: Standing) -> bool:
            return standing.role == role and concerned(standing)

        return self.made(Kind.ROLE_LEFT_OUT, words, statements, self.idle(role) or self.inherits(role, others), tokens)

    def inherits(self, role: str, others: tuple[str, ...]) -> str:
        known = self.original.catalog.roles.get(role)
        held = sorted(known.member_of & set(others)) if known is not None else []
        return f"{role} is a member of {held[0]}, and so still meets the policy" if held else ""

    def to_public(self) -> Mutant:
        tokens = ", ".join(self.policy.roles)
        why = f"a token arrives as {tokens} and as no other role, so no token can meet a difference"
        if set(self.original.roles) - set(self.policy.roles):
            why = ""
        return self.rewritten(Kind.TO_PUBLIC, "is for PUBLIC", replace(self.policy, roles=("public",)), why)

    # --- shared

    def table(self) -> ResolvedTable | None:
        return next((t for t in self.original.resolved.tables if t.table == self.policy.table), None)

    def sessions(self) -> list[tuple[str, frozenset[str]]]:
        table = self.table()
        return list(sessions(self.original.policies, [table])) if table is not None else []

    def idle(self, role: str | None = None) -> str:
        """Why nothing comes of the policy's command, with it or without it; a permissive one needs a privilege."""
        name, command = self.policy.table, self.policy.command
        bound = self.bound(role)
        who = role or "any token's role"
        what = "write or read" if command == "all" else command
        if not any(self.original.may(name, command, r) for r in bound):
            return f"no privilege lets {who} {what} in {name}"
        if not self.policy.permissive and not any(self.original.admits(name, command, r) for r in bound):
            return f"no permissive policy lets {who} {what} in {name}"
        return ""

    def bound(self, role: str | None = None) -> Sequence[str | None]:
        """The tokens' roles that the policy is for; None: any."""
        named = [r for r in self.policy.roles if r in self.original.roles]
        return [role] if role else named or [None]

    def made(
        self,
        kind: Kind,
        words: str,
        statements: tuple[str, ...],
        why: str,
        tokens: Callable[[Standing], bool] | None = None,
    ) -> Mutant:
        policy = self.policy
        concerned = tokens or (everybody if policy.permissive else clients)
        concern = Concern(frozenset({policy.table}), _only(policy.command), concerned)
        sentence = f'the policy "{policy.name}" on {policy.table} {words}'
        return Mutant(kind, sentence, self.original.span_of(policy), statements, concern, why)


@dataclass(frozen=True)
class _Table:
    original: Original
    table: TableName
    span: Span

    def mutants(self) -> Iterator[Mutant]:
        yield self.one_more("all", "FOR ALL")
        yield self.one_more("select", "FOR SELECT")
        switches = self.original.state.switches[self.table]
        if switches.row_security:
            off = sql.set_switches(switches, Switches(self.table, False, switches.force))
            yield self.made(Kind.SECURITY_OFF, f"row security of {self.table} is off", off, self.untouched())
        if switches.force:
            off = sql.set_switches(switches, Switches(self.table, switches.row_security, False))
            words = f"row security of {self.table} doesn't bind its owner"
            yield self.made(Kind.FORCE_OFF, words, off, self.owner_is_free())

    def one_more(self, command: str, words: str) -> Mutant:
        roles = tuple(sorted(self.original.policies.roles))
        check = "true" if command == "all" else None
        policy = Policy(self.table, EXTRA, True, command, roles, "true", check)
        sentence = f"{self.table} has one more permissive policy {words} USING (true)"
        why = self.untouched() or self.open_already(command)
        return self.made(Kind.EXTRA_POLICY, sentence, (sql.create_policy(policy),), why, _only(command))

    def open_already(self, command: str) -> str:
        """Why one more `true` adds nothing: each role has one already for whatever it has a privilege for."""
        needed = [
            (facts, c)
            for role, facts in self.original.roles.items()
            for c in commands_of(command)
            if self.original.may(self.table, c, role)
        ]
        opened = all(
            any(p.permissive and {p.using, p.check} <= {"true", None} for p in facts.binding(self.table, c))
            for facts, c in needed
        )
        return "another permissive policy admits every row already" if opened else ""

    def owner_is_free(self) -> str:
        """Why FORCE binds nobody: its owner bypasses row security anyway. A token never arrives as the owner."""
        catalog = self.original.catalog
        owner = catalog.roles.get(catalog.tables[self.table].owner)
        free = owner is not None and (owner.superuser or owner.bypass_rls)
        return "FORCE is for the owner alone, who bypasses row security anyway" if free else ""

    def untouched(self) -> str:
        may = self.original.may(self.table, "all")
        return "" if may else f"no privilege lets any token's role read or write {self.table}"

    def made(
        self, kind: Kind, sentence: str, statements: tuple[str, ...], why: str, command: Command | None = None
    ) -> Mutant:
        return Mutant(kind, sentence, self.span, statements, Concern(frozenset({self.table}), command), why)


def _only(command: str) -> Command | None:
    known = commands_of(command)
    return known[0] if len(known) == 1 else None
