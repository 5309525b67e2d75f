"""What emitted policies do in plans: a sub-select once a statement, nothing of ours for each row, indexes kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from mcp_rls import sql
from mcp_rls.catalog import Table
from mcp_rls.harness import rows
from mcp_rls.harness.clients import enter
from mcp_rls.harness.run import Runner
from mcp_rls.harness.stage import Stage
from tests.postgres.plans import TEMPLATES, WAYS, Read, read, template, writable
from tests.postgres.scratch import Scratch

pytestmark = pytest.mark.postgres

# Each of these reads the claims' text once in a call; what reads what a session has resolved takes one argument.
PARSERS = """
select pg_stat_get_xact_function_calls(oid) from pg_proc where pronamespace = 'mcp_rls'::regnamespace
  and (proname in ('gate', 'person', 'client') or starts_with(proname, 'claim_')
       or starts_with(proname, 'held_') and pronargs = 2)
"""


def statements(runner: Runner, token: str, table: Table) -> Iterator[str]:
    """What a token may try on a table, blind and by the suite's cases; inserts of three rows."""
    name, column = sql.table(table.name), sql.ident(writable(table))
    yield f"select * from {name}"
    yield f"select * from {name} for update"
    yield f"update {name} set {column} = {column}"
    yield f"update {name} set {column} = {column} where {column} is not null returning *"
    yield f"delete from {name}"
    for case in runner.suite.cases:
        if (case.token, case.table, case.command) == (token, table.name, "insert"):
            given = rows.literals(table, case.values)
            columns = ", ".join(sql.ident(c) for c in given)
            yield f"insert into {name} ({columns}) select {', '.join(given.values())} from generate_series(1, 3)"


def explained(stage: Stage, statement: str, *options: str) -> Read | None:
    """The plan of a statement as the token that acts; None where it is refused."""
    attempt = stage.attempt(f"explain ({', '.join((*options, 'format json', 'verbose'))}) {statement}")
    if attempt.error is not None:
        assert attempt.error.sqlstate == "42501", attempt.error
        return None
    return read(attempt.rows)


def parses(stage: Stage) -> int:
    """How often our functions have read the claims in this transaction."""
    return sum(number or 0 for (number,) in stage.ask(PARSERS))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_asked_is_asked_once_a_statement(
    name: str, way: str, scratch: Scratch, record_property: Callable[[str, object], None]
) -> None:
    """In every statement of every token, each of our sub-plans runs once or never, and nothing of ours for each row.

    The claims' text is read at most once for each sub-plan that ran.
    """
    seen: Counter[str] = Counter()
    most: Counter[str] = Counter()
    scratch.run("set track_functions = 'pl'")
    with template(name, scratch, way=way, keys=False) as runner:
        stage = runner.stage
        for token in runner.suite.tokens.values():
            for table in stage.covered:
                for statement in statements(runner, token.name, table):
                    enter(stage, token)
                    before = parses(stage)
                    found = explained(stage, statement, "analyze")
                    if found is None:
                        continue
                    command = statement.split()[0] + " for update" * statement.endswith("for update")
                    seen[command] += 1
                    ran = [s for s in found.ours if s.loops]
                    assert all(s.loops <= 1 for s in found.ours), (token.name, statement, found)
                    assert not [text for text in found.per_row if "mcp_rls." in text], (token.name, statement)
                    assert found.ours or way == "class_roles", "in a shared role something is always asked"
                    times = parses(stage) - before
                    least = 0 if way == "resolved" else bool(ran)
                    assert least <= times <= len(ran), (token.name, statement, times, found)
                    most[command] = max(most[command], times)
    assert seen["select"] > 0 < seen["update"]
    said = ", ".join(f"{command} {times}" for command, times in most.items())
    record_property(
        "measured", f"{name}{f', {way}' * bool(way)}: the claims are read at most so often a statement: {said}"
    )


def test_a_plan_tells_what_runs_for_each_row(scratch: Scratch) -> None:
    """The reader tells a sub-plan that runs for each row, and a call outside of any, from one that runs once."""
    scratch.run(
        "create table public.notes (id integer); insert into notes select generate_series(1, 5); create schema mcp_rls;"
        "create function mcp_rls.gate(integer) returns integer stable language plpgsql as 'begin return $1; end'"
    )

    def plan(condition: str) -> Read:
        return read(scratch.run(f"explain (analyze, verbose, format json) select from notes where {condition}"))

    once, each = plan("(select mcp_rls.gate(1)) = 1"), plan("(select mcp_rls.gate(id)) = id")
    assert ([s.loops for s in once.ours], [s.loops for s in each.ours]) == ([1], [5])
    assert not [text for text in once.per_row if "mcp_rls." in text]
    assert [text for text in plan("mcp_rls.gate(id) = id").per_row if "mcp_rls." in text]


PERSON = "('00000000-0000-4000-9000-' || lpad(to_hex(i % 4000), 12, '0'))::uuid"
MANY = f"(select i, {PERSON} as person from generate_series(1001, 21000) i) many"
# Rows of other people, so many that a person's own are few.
OTHERS = {
    "append-only-log": f"insert into activity (id, person_id, client_id, action, detail)"
    f" select i, person, 'client-' || i % 500, 'noted', '' from {MANY}",
    "consent-gated": f"insert into documents (id, owner_id, title) select i, person, 'x' from {MANY};"
    f"insert into mcp_grants (user_id, client_id, scopes) select person, 'client-' || i % 500, '' from {MANY}",
    "help-desk": f"insert into orgs (id, name, owner_id) select i, 'x', person from {MANY};"
    f"insert into members (id, org_id, user_id) select i, i, person from {MANY};"
    f"insert into tickets (id, org_id, author_id, subject) select i, i, person, 'x' from {MANY};"
    f"insert into comments (id, ticket_id, author_id, body) select i, i, person, 'x' from {MANY};"
    f"insert into invoices (id, org_id, amount_cents) select i, i, 1 from {MANY};"
    f"insert into mcp_grants (user_id, client_id, scopes) select person, 'client-' || i % 500, '{{}}' from {MANY};"
    f"insert into oauth_apps (client_id, name) select 'client-' || i, 'x' from {MANY}",
    "owner-rows": f"insert into notes (id, owner_id, title) select i, person, 'x' from {MANY};"
    f"insert into api_keys (id, owner_id, label, secret_hash) select i, person, 'x', 'x' from {MANY}",
    "read-only-agents": f"insert into contacts (id, owner_id, name, email) select i, person, 'x', 'x' from {MANY};"
    f"insert into deals (id, owner_id, title, price_cents) select i, person, 'x', 1 from {MANY};"
    f"insert into announcements (id, body) select i, 'x' from {MANY};"
    f"insert into bank_accounts (id, owner_id, iban) select i, person, 'x' from {MANY}",
    "self-registered-clients": "insert into oauth_clients (client_id, client_name, redirect_uris)"
    f" select 'client-' || i, 'x', '{{}}' from {MANY};"
    f"insert into events (id, owner_id, title, starts_at) select i, person, 'x', now() from {MANY}",
    "tenant-members": "insert into organizations (id, name, founder_id)"
    f" select md5(i::text)::uuid, 'x', person from {MANY};"
    f"insert into memberships (org_id, person_id) select md5(i::text)::uuid, person from {MANY};"
    f"insert into projects (id, org_id, name) select i, md5(i::text)::uuid, 'x' from {MANY}",
}
EVERYBODYS = {"announcements", "oauth_apps", "oauth_clients"}  # no index could find a person's own rows there
CEILINGS = "select format('drop policy %I on %s', polname, polrelid::regclass) from pg_policy where not polpermissive"
INDEXES = """
select c.relname, i.indrelid::regclass::text, quote_ident(a.attname)
from pg_index i join pg_class c on c.oid = i.indexrelid
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
where c.relnamespace = 'public'::regnamespace
"""


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_ceilings_keep_indexes(name: str, way: str, scratch: Scratch) -> None:
    """A client's statement finds its rows by the same indexes as without the ceilings: the person's, and its own."""
    with template(name, scratch, OTHERS[name], way) as runner:
        under_ceilings = indexes_used(runner)
        with runner.stage.altered(*(drop for (drop,) in runner.stage.ask(CEILINGS))):
            without = indexes_used(runner)
        there = {index for index, *_ in runner.stage.ask(INDEXES)}
    assert under_ceilings == without
    assert {table for (_, table, _), used in without.items() if not used} <= EVERYBODYS
    assert frozenset().union(*without.values()) == there, "enough rows that each index serves somewhere"


def indexes_used(runner: Runner) -> dict[tuple[str, str, str], frozenset[str]]:
    """The indexes in a plan, by token, table and statement: all rows, and those with one value of an indexed column."""
    found = {}
    stage = runner.stage
    some = {table.name: _first_values(stage, table) for table in stage.covered}
    for token in runner.client_tokens():
        enter(stage, token)
        for table in stage.covered:
            name, column = sql.table(table.name), sql.ident(writable(table))
            statements = [f"select * from {name}", f"update {name} set {column} = {column}", f"delete from {name}"]
            for statement in [*statements, *(f"select * from {name} where {equal}" for equal in some[table.name])]:
                plan = explained(stage, statement)
                if plan is not None:
                    found[token.name, table.name.name, statement] = plan.indexes
    return found


def _first_values(stage: Stage, table: Table) -> list[str]:
    """'column = value' for each column that leads an index, of some row."""
    columns = {column for _, owner, column in stage.ask(INDEXES) if owner == table.name.name}
    text = "select format('%I = %L', '{0}', {0}) from {1} where {0} is not null order by {0} desc limit 1"
    return [stage.ask(text.format(column, sql.table(table.name)))[0][0] for column in sorted(columns)]
