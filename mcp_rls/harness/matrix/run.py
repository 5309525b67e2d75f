"""A matrix of one policy file in one database: rows are made, every token is tried, and nothing is committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import psycopg

from mcp_rls import sql
from mcp_rls.catalog import Catalog, TableName
from mcp_rls.compiler.model import COMMANDS, Command, PolicySet
from mcp_rls.database.introspect import read_catalog
from mcp_rls.harness.matrix.arena import Arena, Sight
from mcp_rls.harness.matrix.attack import Attack, Tally
from mcp_rls.harness.matrix.catalog_proof import closed_whatever_the_row, open_functions
from mcp_rls.harness.matrix.compare import Judged, closed_to_role, judged, nothing_tried, ruled
from mcp_rls.harness.matrix.field import Field, Move
from mcp_rls.harness.matrix.findings import Findings, Token
from mcp_rls.harness.matrix.grants import Grants, NotMade, deciding_columns
from mcp_rls.harness.matrix.judge import Holder, judge
from mcp_rls.harness.matrix.layout import noted_conditions
from mcp_rls.harness.matrix.life import RowsLife, by_probe
from mcp_rls.harness.matrix.maker import Maker, constraints
from mcp_rls.harness.matrix.people import ANN, BOB, PEOPLE, STRANGER, cast
from mcp_rls.harness.matrix.principals import Principal, Principals
from mcp_rls.harness.matrix.probe import Probe
from mcp_rls.harness.matrix.result import Cell, Hostile, Matrix, Verdict
from mcp_rls.harness.matrix.worlds import Builder, World
from mcp_rls.harness.session import Connection, one_line, run
from mcp_rls.harness.stage import Stage, open_stage

Progress = Callable[[int, int], None]  # how many tokens were tried, of how many
_MOST_ROWS = 2000  # of a table that is tried row by row
_LAYER = "mcp_rls_matrix"


@dataclass(frozen=True)
class Options:
    """What a run does beyond the plain matrix."""

    hostile: bool = False
    full: bool = False


@dataclass
class Tried:
    """A token that was tried. `trouble`: why it couldn't be, or ''."""

    principal: Principal
    holder: Holder
    sight: Sight = field(default_factory=dict)
    moves: dict[TableName, tuple[Move, ...]] = field(default_factory=dict)
    trouble: str = ""


def run_matrix(
    conn: Connection,
    policies: PolicySet,
    options: Options = Options(),
    progress: Progress | None = None,
    catalog: Catalog | None = None,
) -> Matrix:
    """The matrix of the policies in this database, in one transaction that is rolled back.

    Raises: CannotTest when a run would prove nothing.
    """
    begun = time.perf_counter()
    with open_stage(conn, policies, catalog or read_catalog(conn), frozenset(policies.acting)) as stage:
        matrix = MatrixRun(stage, policies, options, progress).result()
        return replace(matrix, seconds=time.perf_counter() - begun)


class MatrixRun:
    """One run on an open stage."""

    def __init__(self, stage: Stage, policies: PolicySet, options: Options, progress: Progress | None = None) -> None:
        self.stage, self.policies, self.options, self.progress = stage, policies, options, progress
        self.conn = stage.conn
        self.probe = Probe(stage.conn, stage.covered, resolved=policies.resolved)
        self.life = RowsLife(by_probe(self.probe), policies)
        people = cast(policies, stage.catalog)
        maker = Maker(stage.conn, self.probe, stage.superuser)
        self.builder = Builder(policies, stage.catalog, people, maker, constraints(self.probe))
        self.world: World = self.builder.build()
        self.grants = Grants(self.builder, self.life)
        self.grants.give()
        self.principals = Principals(policies, people, self._deciding())
        fields = [self._field(table.name) for table in stage.covered]
        self.arena = Arena(stage, self.probe, policies, fields, full=options.full)

    def _deciding(self) -> dict[str, tuple[str, ...]]:
        """The columns by which registrations and consents live."""
        catalog, consent = self.stage.catalog, self.policies.consent
        found = {
            c.name: deciding_columns(self.policies, catalog, c.registry, c.registry.where)
            for c in self.policies.classes.values()
            if c.registry is not None
        }
        if consent is not None:
            found[""] = deciding_columns(self.policies, catalog, None, consent.where)
        return found

    def _field(self, name: TableName) -> Field:
        table = self.stage.table(name)
        (count,) = self.probe.look([f"select to_jsonb(count(*)) from {sql.table(name)}"])
        if int(count.found or 0) > _MOST_ROWS:
            return Field(table, {}, many=int(count.found))
        telling = self.builder.wanted(table).varied
        return Field(table, self.builder.maker.rows(table), tuple(telling), self._extra(name))

    def _extra(self, name: TableName) -> Mapping[str, tuple[str, ...]]:
        """Constants that conditions name, for columns of which no row has them."""
        return {c: tuple(v) for c, v in noted_conditions(self.policies, self.stage.table(name)).constants.items()}

    # --- trying ---

    def result(self) -> Matrix:
        """Every cell, and what is wrong."""
        principals = self.principals.all()
        tried = []
        for number, principal in enumerate(principals, start=1):
            tried.append(self._try(principal))
            if self.progress is not None:
                self.progress(number, len(principals))
        self._own_moves(tried)
        findings = Findings(self.arena, self)
        missing = [name for name in self.policies.tables if name not in self.arena.fields]
        cells = [cell for number, one in enumerate(tried) for cell in self._cells(number, one, findings)]
        found, cells = findings.settled(self._proved(tried, cells))
        why = "there is no such table in the database"
        numbers = range(len(principals))
        cells += [Cell(n, t, c, Verdict.UNDECIDED, why=why) for n in numbers for t in missing for c in COMMANDS]
        notes = tuple(f"{name}: {why}" for name, why in self.world.trouble.items())
        return Matrix(
            self.policies.path,
            principals,
            (*self.arena.fields, *missing),
            tuple(cells),
            found,
            notes,
            self.probe.tries,
            hostile=self._hostile(tried) if self.options.hostile else None,
        )

    def _hostile(self, tried: Sequence[Tried]) -> Hostile:
        """What comes near the fullest token of each class, and near a person's own session."""
        tally, before, people = Tally(), self.probe.tries, self.builder.people
        others = {"the person bob": people.subjects[BOB], "the client of nobody": STRANGER}
        others |= {f"the client of {name}": client for name, client in people.clients.items()}
        fullest = {one.principal.class_name: one for one in tried if one.principal.person == BOB and one.holder.live}
        for name in fullest:
            scopes = self.principals.scope_sets(name)[-1]
            self._attack(self.principals.client(ANN, name, scopes), others, tally)
        self._attack(self.principals.direct(ANN, self.principals.role), others, tally)
        tally.tries = self.probe.tries - before
        return tally.result()

    def _attack(self, base: Principal, others: Mapping[str, str], tally: Tally) -> None:
        with self.layer():
            self.enter(base)
            one = Attack(self.arena, self.life, tally)
            one.vary(base, others)
            one.settle()

    def _try(self, principal: Principal) -> Tried:
        with self.layer():
            try:
                self.enter(principal)
            except NotMade as problem:
                return Tried(principal, Holder("nobody", principal.role), trouble=str(problem))
            holder = judge(self.policies, self.life, principal.claims, principal.role)
            if principal.live != holder.live or (holder.live and holder.class_name != principal.class_name):
                why = holder.why or f"its client is a live one of the class {holder.class_name}"
                return Tried(principal, holder, trouble=f"the token isn't what it should be: {why}")
            if holder.kind == "direct":
                return self._own(principal, holder)
            one = Tried(principal, holder, self._asked(principal, holder))
            one.moves = self.arena.reached(principal.role, one.sight, holder.class_name)
            for name, seen in self.arena.ask_moves(principal.role, principal.claims, one.moves).items():
                one.sight[name].update(seen)
            return one

    def _asked(self, principal: Principal, holder: Holder) -> Sight:
        blind = self.arena.closed_to(holder)
        return self.arena.ask(principal.role, principal.claims, blind=blind, held=holder.class_name)

    def _own(self, principal: Principal, holder: Holder) -> Tried:
        """A person's own session. Where the app's own policies decide for people there is nothing to compare."""
        one = Tried(principal, holder, self.arena.own(principal.role, principal.claims))
        ruled = [name for name, meaning in self.arena.meanings.items() if meaning.has_people_rules]
        one.moves = self.arena.reached(principal.role, {name: one.sight[name] for name in ruled})
        return one

    @contextmanager
    def layer(self) -> Iterator[None]:
        """A savepoint for what one token needs; undone at the end."""
        run(self.conn, f"savepoint {_LAYER}")
        self.life.forget()
        fields = dict(self.arena.fields)
        try:
            yield
        finally:
            run(self.conn, f"rollback to {_LAYER}", f"release {_LAYER}")
            self.life.forget()
            self.arena.fields.update(fields)

    def enter(self, principal: Principal) -> None:
        """Brings the rows about clients to what they are for this token. Raises: NotMade."""
        statements = self.grants.statements(principal)
        if not statements:
            return
        try:
            run(self.conn, *statements)
        except psycopg.Error as error:
            raise NotMade(f"the rows for {principal.name} can't be made: {one_line(error)}") from None
        touched = self.grants.touched(principal)
        if touched in self.arena.fields:
            self.arena.fields[touched] = self._field(touched)  # a changed row is another version, in another place

    def again(self, token: Token, name: TableName, without: Iterable[str]) -> Sight:
        """What the token does with one table after some statements of the login role."""
        with self.layer():
            run(self.conn, *without)
            self.enter(token.principal)
            role, claims = token.principal.role, token.principal.claims
            sight = self.arena.ask(role, claims, only=name, held=token.holder.class_name)
            moved = self.arena.ask_moves(role, claims, {name: self._doubted(token, name)})
            sight[name].update(moved[name])
            return sight

    def _doubted(self, token: Token, name: TableName) -> list[Move]:
        return list(token.moves.get(name, ()))

    def reference(self, principal: Principal) -> str:
        """The claims of the person's own session to hold against: the token's person, else the first."""
        person = principal.person if principal.person in PEOPLE else ANN
        return self.principals.direct(person, self.policies.app_role(principal.role)).claims

    def _own_moves(self, tried: list[Tried]) -> None:
        """What the people's own sessions make of all that their clients tried; and what the rules say of it."""
        groups: dict[tuple[str, str], list[Tried]] = {}
        for one in tried:
            groups.setdefault((one.principal.role, self.reference(one.principal)), []).append(one)
        for (role, claims), some in groups.items():
            moves = {n: list(dict.fromkeys(m for o in some for m in o.moves.get(n, ()))) for n in self.arena.fields}
            self.arena.own_moves(role, claims, moves)
            self.arena.learn([one.holder for one in some], claims, moves)

    # --- judging ---

    def _cells(self, number: int, one: Tried, findings: Findings) -> Iterator[Cell]:
        own, role = self.arena.own(one.principal.role, self.reference(one.principal)), one.principal.role
        for name, meaning in self.arena.meanings.items():
            if one.trouble:
                yield from (Cell(number, name, c, Verdict.UNDECIDED, why=one.trouble) for c in COMMANDS)
                continue
            granted = role in (self.principals.role, *self.policies.class_roles.values())
            verdicts = judged(meaning, one.holder, one.sight[name], own[name], granted=granted)
            for command, verdict in verdicts.items():
                findings.add(number, one, name, verdict)
                if granted and meaning.open_rules(one.holder, command) and (why := self._useless(name, command)):
                    findings.useless(one, name, command, why)
                yield self._cell(number, one, name, verdict)

    def _useless(self, name: TableName, command: Command) -> str:
        """Why no token whatever could use a rule for the command."""
        closed = [closed_to_role(self.arena.facts(r), self.arena.meanings[name], command) for r in self.policies.roles]
        return closed[0] if all(closed) else ""

    def _cell(self, number: int, one: Tried, name: TableName, found: Judged) -> Cell:
        meaning, role = self.arena.meanings[name], one.principal.role
        rules = ruled(meaning, one.holder, found.command)
        verdict, why = found.verdict, ""
        if found.unclear:
            verdict, why = Verdict.UNDECIDED, found.unclear[0][1]
        elif found.may:
            # Bob has rows in one place only; what his tokens can't tell Ann's do
            why = found.sided if one.principal.person != BOB else ""
            verdict = Verdict.UNDECIDED if why else verdict
        elif one.holder.kind != "visitor":
            closed = closed_to_role(self.arena.facts(role), meaning, found.command)
            verdict = Verdict.DENIED if closed else Verdict.UNDECIDED
            why = f"by catalog: {closed}" if closed else self._unseen(one, name, found.command)
        return Cell(number, name, found.command, verdict, len(found.may), len(found.got), rules, why)

    def _unseen(self, one: Tried, name: TableName, command: Command) -> str:
        """Why a denial of everything shows nothing."""
        field = self.arena.fields[name]
        if field.many:
            return f"it has {field.many} rows, too many to try one by one: use a database for tests"
        if nothing_tried(command, one.sight[name]):
            return f"no row could be made: {self.world.trouble.get(name, 'and none is there')}"
        return "the person's own session may do this with none of the rows that were made"

    def _proved(self, tried: list[Tried], cells: Sequence[Cell]) -> list[Cell]:
        """The cells, with DENIED where nothing could be seen and the catalog proves that nothing is open."""
        left: dict[int, list[Cell]] = {}
        for cell in cells:
            one = tried[cell.principal]
            open_ = cell.rules or one.holder.unlimited or one.trouble
            if cell.verdict is Verdict.UNDECIDED and not cell.may and not open_:
                left.setdefault(cell.principal, []).append(cell)
        proofs: dict[Cell, str] = {}
        for number, some in left.items():
            with self.layer():
                open_functions(self.arena, tried[number].principal.role)
                self.enter(tried[number].principal)
                places = [(cell.table, cell.command) for cell in some]
                found = closed_whatever_the_row(self.arena, tried[number].principal, places)
                proofs.update({c: found[c.table, c.command] for c in some if (c.table, c.command) in found})
        return [replace(c, verdict=Verdict.DENIED, why=proofs[c]) if c in proofs else c for c in cells]
