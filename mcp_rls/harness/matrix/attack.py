"""Hostile tokens: what comes near a valid one must get what the meaning says, mostly nothing, and never an error.

Every variant is tried on every covered table in all commands; writes are blind, since a WHERE asks more policies. A
denial counts as shown only if the valid token, or its person's own session, is let in to the same row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import Command
from mcp_rls.harness.matrix.arena import Arena, Sight
from mcp_rls.harness.matrix.explain import explained
from mcp_rls.harness.matrix.field import COMMAND_OF, Copy, Item, Move
from mcp_rls.harness.matrix.findings import OURS
from mcp_rls.harness.matrix.judge import Holder, Life, judge
from mcp_rls.harness.matrix.outcome import Outcome
from mcp_rls.harness.matrix.principals import Principal
from mcp_rls.harness.matrix.result import Finding, Hostile
from mcp_rls.harness.session import run
from mcp_rls.harness.variants import Variant, variants

_COPIES = 2  # rows that are inserted, of each table


@dataclass
class HostileToken:
    """A variant that was tried, as findings want it."""

    principal: Principal
    holder: Holder
    sight: Sight
    settings: Mapping[str, str]
    moves: dict[TableName, tuple[Move, ...]] = field(default_factory=dict)


@dataclass
class Tally:
    """What came of hostile tokens so far."""

    variants: int = 0
    tries: int = 0
    denials: int = 0
    twins: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: dict[TableName, list[Outcome]] = field(default_factory=dict)  # errors of the app's own, by table
    open_to: set[tuple[TableName, Command]] = field(default_factory=set)
    tried: set[tuple[TableName, Command]] = field(default_factory=set)
    seen: set[tuple[str, str]] = field(default_factory=set)  # texts of claims and roles

    def note(self, table: TableName, outcome: Outcome) -> None:
        """Takes note of an error that is none of ours: no rows, but no silence either."""
        self.notes.setdefault(table, []).append(outcome)

    def result(self) -> Hostile:
        untwinned = sorted(f"{table} {command}" for table, command in self.tried - self.open_to)
        notes = tuple(
            f"{table}: the app's own policies ended in an error with {len(some)} tokens: {some[0].text}"
            for table, some in sorted(self.notes.items())
        )
        counts = (self.variants, self.tries, self.denials, self.twins)
        return Hostile(*counts, tuple(self.findings), notes, tuple(untwinned))


class Attack:
    """Tries the variants of valid tokens in one arena, whose rows stay as they are."""

    def __init__(self, arena: Arena, life: Life, tally: Tally) -> None:
        self.arena, self.life, self.tally = arena, life, tally
        self.policies = arena.policies
        self._copies: dict[TableName, tuple[Copy, ...]] = {}
        self._blind: frozenset[TableName] = frozenset()
        self._errors: list[tuple[HostileToken, TableName, list[Item]]] = []

    def vary(self, base: Principal, others: Mapping[str, str]) -> None:
        """Tries everything that comes near a valid token."""
        own = self.arena.own(base.role, base.claims)
        self._copies = self._worthwhile(own)
        self._blind = frozenset(self.arena.fields)
        valid = self.arena.ask(base.role, base.claims, copies=self._copies, blind=self._blind, held=base.class_name)
        self._note_open(own)
        for variant in variants(self.policies, base.claims, base.role, others):
            known = (variant.claims + repr(sorted(variant.settings.items())), variant.role)
            if known not in self.tally.seen:
                self.tally.seen.add(known)
                self._try(base, variant, own, valid)

    def _note_open(self, own: Sight) -> None:
        for name, seen in own.items():
            for (form, _), outcome in seen.items():
                if outcome.allowed:
                    self.tally.open_to.add((name, COMMAND_OF[form]))

    def _worthwhile(self, own: Sight) -> dict[TableName, tuple[Copy, ...]]:
        """Rows that the person may insert, else any."""
        found = {}
        for name, table in self.arena.fields.items():
            copies = table.copies()
            may = tuple(c for c in copies if (o := own[name].get(("insert", c))) is not None and o.allowed)
            found[name] = (may or copies)[:_COPIES]
        return found

    def _try(self, base: Principal, variant: Variant, own: Sight, valid: Sight) -> None:
        holder = judge(self.policies, self.life, variant.claims, variant.role)
        if holder.by_role:
            return  # who may take that role may do what its class may
        sight = self.arena.ask(
            variant.role,
            variant.claims,
            variant.settings,
            copies=self._copies,
            blind=self._blind,
            held=holder.class_name,
        )
        label = ", ".join(filter(None, (base.label, f"but {variant.name}")))
        token = HostileToken(
            replace(base, label=label, claims=variant.claims, role=variant.role), holder, sight, variant.settings
        )
        self.tally.variants += 1
        if holder.live or holder.kind == "direct":
            self.arena.learn([holder], variant.claims, {})
            self._compare(token, self.arena.own(variant.role, variant.claims), own, valid)
        elif holder.kind != "visitor":  # what a visitor may is the app's own affair
            self._compare(token, {name: {} for name in sight}, own, valid)

    def _compare(self, token: HostileToken, mine: Sight, own: Sight, valid: Sight) -> None:
        for name, seen in token.sight.items():
            meaning = self.arena.meanings[name]
            leaks, errors = [], []
            for item, outcome in seen.items():
                self.tally.tried.add((name, COMMAND_OF[item[0]]))
                expected = meaning.expected(item, token.holder, mine[name])
                if not outcome.decided:
                    errors.append(item)
                elif outcome.allowed and expected is False:
                    leaks.append(item)
                elif not outcome.allowed and not expected:
                    self.tally.denials += 1
                    self.tally.twins += _let_in(item, own[name], valid[name])
            if leaks:
                self.tally.findings.append(explained(self.arena, token, name, "LEAK", _first_form(leaks)))
            if errors:
                self._errors.append((token, name, errors))

    # --- errors ---

    def settle(self) -> None:
        """Looks into the errors: those that the app's own policies raise, ours away, are none of ours."""
        if not self._errors:
            return
        with _ours_away(self.arena):
            for token, name, items in self._errors:
                claims, role = token.principal.claims, token.principal.role
                held = token.holder.class_name
                left = self.arena.ask(role, claims, token.settings, only=name, held=held)[name]
                mine = [item for item in items if not _same_error(token.sight[name][item], left.get(item))]
                if mine:
                    self.tally.findings.append(explained(self.arena, token, name, "ERROR", _first_form(mine)))
                else:
                    self.tally.note(name, token.sight[name][items[0]])


def _let_in(item: Item, *sights: Mapping[Item, Outcome]) -> bool:
    return any((outcome := sight.get(item)) is not None and outcome.allowed for sight in sights)


def _same_error(outcome: Outcome, other: Outcome | None) -> bool:
    return other is not None and not other.decided and outcome.state == other.state


def _first_form(items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item[0] == items[0][0]]


@contextmanager
def _ours_away(arena: Arena) -> Iterator[None]:
    """Without any policy of ours, but those that keep people as they were; undone at the end."""
    conn = arena.probe.conn
    listed = run(
        conn,
        "select n.nspname, c.relname, p.polname from pg_policy p join pg_class c on c.oid = p.polrelid"
        f" join pg_namespace n on n.oid = c.relnamespace where starts_with(p.polname, {sql.literal(OURS)})"
        " and p.polname not like '% as before'",
    )[0]
    drops = [f"drop policy {sql.ident(p)} on {sql.table(TableName(s, t))}" for s, t, p in listed]
    run(conn, "savepoint mcp_rls_ours", *drops)
    try:
        yield
    finally:
        run(conn, "rollback to mcp_rls_ours", "release mcp_rls_ours")
