"""One world on a real server: install its policy file, then compare PostgreSQL's answers with the evaluator's.

Everything happens in one transaction that is rolled back, each statement in a subtransaction of its own, and what a
write did is judged by a superuser's look. A trigger lets an UPDATE reach only the row that is judged: a blind UPDATE
then still reads no column, and no other row can fail it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from .evaluator import Session
from .expressions import Row
from .render import assignments, insert, named, policy_file, schema
from .world import ANON, COMMANDS, USER, Table, Token, World

Installer = Callable[["psycopg.Connection[tuple[object, ...]]", str], None]
Connection = psycopg.Connection[tuple[object, ...]]

_ROLES = "do $$ begin create role {0} nologin; exception when duplicate_object then null; end $$"
_JUDGE = """
create or replace function pg_temp.judge(
    role text, claims text, person text, targets text[], statements text[], looks text[]) returns text[]
language plpgsql as $$
declare answers text[] := '{}'; seen text; state text; message text;
begin
    perform set_config('app.person', person, true);
    if claims is not null then
        perform set_config('request.jwt.claims', claims, true);
    end if;
    if to_regprocedure('mcp_rls.resolve(name)') is not null then
        execute format('select mcp_rls.resolve(%L)', role);
    end if;
    for i in 1 .. cardinality(statements) loop
        begin
            perform set_config('oracle.target', targets[i], true), set_config('role', role, true);
            if looks[i] = '' then
                execute statements[i] into seen;
            else
                execute statements[i];
                perform set_config('role', 'none', true);
                execute looks[i] into seen;
            end if;
            raise exception using errcode = 'ORCL0', message = coalesce(seen, '{}');
        exception when others then
            get stacked diagnostics state = returned_sqlstate, message = message_text;
            answers := answers || case
                when state = 'ORCL0' then message
                when state = '42501' and message like 'new row violates row-level security policy%' then 'policy'
                when state = '42501' and message like 'permission denied for table%' then 'grant'
                when state = '42501' and message like 'mcp_rls: % columns%: an update may set %' then 'columns'
                when state like '23%' then 'constraint'
                else 'error ' || state || ' ' || message end;
        end;
    end loop;
    return answers;
end $$"""
_SKIP = """
create schema oracle;
create function oracle.skip() returns trigger language plpgsql as 'begin return null; end';
"""


class Refused(Exception):
    """The product does not accept a policy file; `codes` of its errors."""

    def __init__(self, codes: frozenset[str], message: str) -> None:
        super().__init__(message)
        self.codes = codes


@dataclass(frozen=True)
class Check:
    """One statement: what it judges, how the answer is read, and how many rows it decides about."""

    command: str
    table: str
    row: Row | None
    statement: str
    look: str  # '' for SELECT: the statement answers itself
    target: int
    weight: int = 1
    sets: tuple[str, ...] = ()  # columns that an UPDATE names


@dataclass(frozen=True)
class Disagreement:
    world: World
    token: Token
    check: Check
    postgres: str
    expected: str

    def __str__(self) -> str:
        return "\n".join(
            [
                policy_file(self.world),
                "-- the database before",
                schema(self.world),
                f"-- role {self.token.role}, claims: {_short(self.token.claims)}",
                f"-- {self.check.command} on {self.check.table}, row: {self.check.row}",
                f"-- oracle.target: {self.check.target} (an UPDATE reaches this row only)",
                self.check.statement,
                f"PostgreSQL: {self.postgres}",
                f"expected:   {self.expected}",
            ]
        )


@dataclass
class Tally:
    """What was judged. `shares` counts (command, allowed) for clients of a known class, `all_shares` for everybody."""

    worlds: int = 0
    tokens: int = 0
    judgements: int = 0
    shares: Counter[tuple[str, bool]] = field(default_factory=Counter)
    all_shares: Counter[tuple[str, bool]] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.worlds += other.worlds
        self.tokens += other.tokens
        self.judgements += other.judgements
        self.shares.update(other.shares)
        self.all_shares.update(other.all_shares)

    def share(self, command: str, shares: Counter[tuple[str, bool]] | None = None) -> float:
        """How much of the judgements of one command was ALLOWED."""
        counts = self.shares if shares is None else shares
        total = counts[command, True] + counts[command, False]
        return counts[command, True] / total if total else 0.0


def product(connection: Connection, text: str, accept: frozenset[str] = frozenset()) -> None:
    """Installs a policy file as a user of the product would. Raises: Refused."""
    from mcp_rls.compiler.policy import read_policies
    from mcp_rls.database.apply import install
    from mcp_rls.diagnostics import Invalid

    policies, diagnostics = read_policies("policies.yaml", text)
    if policies is None:
        raise Refused(frozenset(d.code for d in diagnostics.errors), "\n".join(map(str, diagnostics.errors)))
    try:
        install(connection, policies, accept=accept)
    except Invalid as invalid:
        errors = invalid.diagnostics.errors
        raise Refused(frozenset(d.code for d in errors), "\n".join(map(str, errors))) from invalid


def prepare(connection: Connection) -> None:
    """Makes the roles (once a server) and the judge (once a connection)."""
    for role in (USER, ANON):
        connection.execute(_ROLES.format(role))
    connection.execute("set lc_messages = 'C'")
    connection.execute("set client_min_messages = 'warning'")
    connection.execute(_JUDGE)
    connection.commit()


@contextmanager
def installed(connection: Connection, world: World, installer: Installer = product) -> Iterator[None]:
    """The world in the database, for the time of the block."""
    try:
        connection.execute(schema(world))
        installer(connection, policy_file(world))
        connection.execute(_SKIP)
        for table in world.tables:
            connection.execute(
                f'create trigger "  only the target" before update on {named(table.name)} for each row'
                " when (old.id <> current_setting('oracle.target')::integer) execute function oracle.skip()"
            )
        yield
    finally:
        connection.rollback()


def judge(connection: Connection, world: World, installer: Installer = product) -> tuple[Tally, list[Disagreement]]:
    """Every token on every table, each command in each form. Raises: Refused."""
    tally, found = Tally(1, len(world.tokens)), []
    with installed(connection, world, installer):
        checks = tuple(_checks(connection, world))
        answers = [answer(connection, world, token, checks) for token in world.tokens]
    sessions = [Session(world, token) for token in world.tokens]
    for session, token, given in zip(sessions, world.tokens, answers, strict=True):
        for check, postgres in zip(checks, given, strict=True):
            expected = expectation(session, world, check)
            _count(tally, session, world, check, expected)
            if postgres != expected:
                found.append(Disagreement(world, token, check, postgres, expected))
        if token.twin is not None and _same_person(session, sessions[token.twin]):
            found += _gains(world, token, checks, given, answers[token.twin])
    return tally, found


def answer(connection: Connection, world: World, token: Token, checks: tuple[Check, ...]) -> list[str]:
    """PostgreSQL's answers, in the order of the checks."""
    app_person = Session(world, token).person
    row = connection.execute(
        "select pg_temp.judge(%s, %s, %s, %s, %s, %s)",
        (
            token.role,
            token.claims,
            "" if app_person is None else str(app_person),
            [str(check.target) for check in checks],
            [check.statement for check in checks],
            [check.look for check in checks],
        ),
    ).fetchone()
    assert row
    assert isinstance(row[0], list)
    return row[0]


# The statements


def _checks(connection: Connection, world: World) -> Iterator[Check]:
    for table in world.tables:
        name, count = named(table.name), len(table.rows)
        versions = connection.execute(f"select coalesce(array_agg(ctid), '{{}}')::text from {name}").fetchone()
        assert versions
        changed = f"select array_agg(id order by id)::text from {name} where ctid <> all ('{versions[0]}'::tid[])"
        left = f"select array_agg(id order by id)::text from {name}"
        yield Check("select", table.name, None, left, "", 0, count)
        locked = f"select array_agg(id order by id)::text from (select id from {name} for update) locked"
        yield Check("select for update", table.name, None, locked, "", 0, count)
        yield Check("delete", table.name, None, f"delete from {name}", left, 0, count)
        yield Check("delete where", table.name, None, f"delete from {name} where id > 0", left, 0, count)
        yield from _updates(table, name, changed)
        yield from _inserts(table, name, changed)


def _updates(table: Table, name: str, changed: str) -> Iterator[Check]:
    for change in table.changes:
        assigned = assignments(table, change.values)
        for row in table.rows:
            key = _key(row)
            new = {**row, **change.values}
            sets = tuple(change.values)
            yield Check("update", table.name, new, f"update {name} set {assigned}", changed, key, sets=sets)
            where = f"update {name} set {assigned} where id = {key}"
            yield Check("update where", table.name, new, where, changed, key, sets=sets)


def _inserts(table: Table, name: str, changed: str) -> Iterator[Check]:
    for row in table.candidates:
        statement = insert(table, row)
        yield Check("insert", table.name, row, statement, changed, 0)
        yield Check("insert returning", table.name, row, statement + " returning id", changed, 0)
        if not table.changes or _constraint(table, row):
            continue
        for old in table.rows[:2]:
            met = {**row, "id": old["id"]}
            assigned = assignments(table, table.changes[0].values)
            upsert = f"{insert(table, met)} on conflict (id) do update set {assigned}"
            sets = tuple(table.changes[0].values)
            yield Check("upsert", table.name, met, upsert, changed, _key(old), sets=sets)


def _key(row: Row) -> int:
    key = row["id"]
    assert isinstance(key, int)
    return key


# What the evaluator expects


def expectation(session: Session, world: World, check: Check) -> str:
    """The answer that the judge should give, in its words."""
    table = world.table(check.table)
    if not all(session.privileged(table, command) for command in _needs(check.command)):
        return "grant"
    if check.row is not None:
        return _expected_write(session, table, check)
    if check.command == "select":
        return _keys(row for row in table.rows if session.visible(table, row))
    if check.command == "select for update":
        return _keys(row for row in table.rows if session.locked(table, row))
    reads = check.command == "delete where"
    return _keys(row for row in table.rows if session.delete(table, row, reads) == "hidden")


def _needs(command: str) -> tuple[str, ...]:
    """The privileges that a statement of this form needs."""
    if command == "upsert":
        return ("insert", "update", "select")
    first = command.split(maxsplit=1)[0]
    return (first,) if command == first else ("select", "update") if first == "select" else (first, "select")


def _expected_write(session: Session, table: Table, check: Check) -> str:
    assert check.row is not None
    key = check.target or _key(check.row)
    if check.command.startswith("insert"):
        outcome = session.insert(table, check.row, check.command == "insert returning")
    else:
        old = next(row for row in table.rows if row["id"] == key)
        if check.command == "upsert":
            new = {**old, **table.changes[0].values}
            outcome = session.upsert(table, check.row, old, new, check.sets)
            if outcome == "allowed" and _null_where_none_may_be(table, new):
                return "constraint"
            return _keys([old]) if outcome == "allowed" else outcome
        outcome = session.update(table, old, check.row, check.command == "update where", check.sets)
    if outcome == "allowed":
        broken = _constraint(table, check.row) if not check.target else _null_where_none_may_be(table, check.row)
        return "constraint" if broken else _keys([check.row])
    return outcome if outcome in ("policy", "columns") else "{}"


def _constraint(table: Table, row: Row) -> bool:
    return any(row["id"] == other["id"] for other in table.rows) or _null_where_none_may_be(table, row)


def _null_where_none_may_be(table: Table, row: Row) -> bool:
    return any(column.not_null and row[column.name] is None for column in table.columns)


def _keys(rows: object) -> str:
    assert hasattr(rows, "__iter__")
    return "{" + ",".join(str(key) for key in sorted(_key(row) for row in rows)) + "}"


def _allowed(check: Check, given: str, everything: frozenset[int]) -> frozenset[int]:
    """The rows that a statement saw or changed."""
    if not given.startswith("{"):
        # The policies let the row through; a constraint stopped it.
        return frozenset({check.target or -1}) if given == "constraint" else frozenset()
    keys = frozenset(int(key) for key in given[1:-1].split(",") if key)
    return everything - keys if check.command.startswith("delete") else keys


def _everything(world: World, check: Check) -> frozenset[int]:
    return frozenset(_key(row) for row in world.table(check.table).rows)


def _count(tally: Tally, session: Session, world: World, check: Check, expected: str) -> None:
    tally.judgements += check.weight
    command = check.command.split()[0]
    if command not in COMMANDS:
        return
    allowed = len(_allowed(check, expected, _everything(world, check)))
    for shares in (tally.all_shares, tally.shares) if session.client_class else (tally.all_shares,):
        shares[command, True] += allowed
        shares[command, False] += check.weight - allowed


def _same_person(session: Session, twin: Session) -> bool:
    same = session.person == twin.person and session.role == twin.role
    return same and session.kind == "client" and twin.kind == "direct"


def _gains(
    world: World, token: Token, checks: tuple[Check, ...], mine: list[str], twins: list[str]
) -> list[Disagreement]:
    """Rows that a client saw or changed and its person doesn't: by PostgreSQL's own answers alone."""
    found = []
    for check, client, person in zip(checks, mine, twins, strict=True):
        everything = _everything(world, check)
        if not _allowed(check, client, everything) <= _allowed(check, person, everything):
            found.append(Disagreement(world, token, check, client, f"no more than its person's {person}"))
    return found


def _short(text: str | None) -> str:
    return repr(text) if text is None or len(text) < 3000 else f"{text[:1500]!r} ... {text[-500:]!r}"
