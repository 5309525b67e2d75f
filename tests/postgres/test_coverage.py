"""Coverage on a real server: what a suite leaves out is named with its place, and noting changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from mcp_rls.cli import main
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.policy import load_policies, read_policies
from mcp_rls.database.apply import install
from mcp_rls.database.introspect import read_catalog
from mcp_rls.database.server import Server
from mcp_rls.harness.coverage import record
from mcp_rls.harness.coverage.gathering import Gathering
from mcp_rls.harness.coverage.result import Coverage
from mcp_rls.harness.run import run_suite
from mcp_rls.harness.session import CannotTest
from mcp_rls.harness.stage import open_stage
from mcp_rls.harness.suite import Suite, load_suite, read_suite
from mcp_rls.harness.verdict import CheckResult, SuiteResult
from mcp_rls.resources import bundled

pytestmark = pytest.mark.postgres
pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted(path.name for path in bundled("policy_templates").iterdir() if (path / "policies.yaml").exists())
ANN = "00000000-0000-4000-8000-00000000000a"
BOB = "00000000-0000-4000-8000-00000000000b"

POLICIES = """\
mcp_rls: 1
platform: postgres
schemas: [public]
identity: {person: {claim: sub, type: uuid}, client: {claim: client_id}, scopes: {claim: scope}, direct: no_client}
roles: [coverage_user]
classes:
  helper: {match: {ids: [the-helper]}, consent: required}
  partners: {match: {registry: {table: public.apps, id: client_id, where: "approved"}}}
consent:
  table: public.grants
  columns: {person: user_id, client: client_id, scopes: scopes}
  where: "revoked_at is null"
scopes:
  "notes:read": {text: Read them}
  "notes:write": {text: Write them, implies: ["notes:read"]}
tables:
  public.notes:
    people:
      - {allow: [select, insert, update, delete], rows: "owner = token.person"}
    clients:
      - {who: helper, allow: select, scope: "notes:read", rows: "not secret and (status = 'open' or shared)"}
      - {who: partners, allow: select, scope: "notes:read", rows: "shared"}
      - {who: helper, allow: insert, scope: "notes:write", check: "status = 'open'"}
  public.apps: {clients: none}
  public.grants: {clients: none}
"""
SCHEMA = """\
do $$ begin
  create role coverage_user nologin;
exception when duplicate_object or unique_violation then null;
end $$;
create table public.notes (id int primary key, owner uuid not null, status text not null default 'open',
  secret boolean not null default false, shared boolean not null default false);
create table public.apps (client_id text primary key, approved boolean not null);
create table public.grants (id int primary key, user_id uuid not null, client_id text not null,
  scopes text[] not null, revoked_at timestamptz);
grant select, insert, update, delete on all tables in schema public to coverage_user;
"""
CASES = f"""\
fixtures:
  public.notes:
    - {{id: 1, owner: {ANN}}}
    - {{id: 2, owner: {ANN}, secret: true}}
    - {{id: 3, owner: {BOB}, shared: true}}
    - {{id: 4, owner: {ANN}, status: done, shared: true}}
    - {{id: 5, owner: {ANN}, status: done}}
  public.apps:
    - {{client_id: good, approved: true}}
    - {{client_id: bad, approved: false}}
  public.grants:
    - {{id: 1, user_id: {BOB}, client_id: the-helper, scopes: ["notes:read"]}}
    - {{id: 2, user_id: {ANN}, client_id: the-helper, scopes: ["notes:write"], revoked_at: "2025-01-01 00:00:00+00"}}
people: {{ann: {{sub: {ANN}}}, bob: {{sub: {BOB}}}, eve: {{sub: 00000000-0000-4000-8000-00000000000e}}}}
tokens:
  ann: {{person: ann}}
  writes: {{person: ann, class: helper, scope: "notes:write"}}
  reads: {{person: ann, class: helper, scope: "notes:read"}}
  half: {{person: ann, class: helper, scope: "notes:rea"}}
  narrowed: {{person: bob, class: helper, scope: "notes:write"}}
  revoked: {{person: ann, class: helper, scope: "notes:write", consent: none}}
  unasked: {{person: eve, class: helper, scope: "notes:write", consent: none}}
  partner: {{person: ann, client: good, scope: "notes:read"}}
  partner-half: {{person: ann, client: good, scope: "notes:rea"}}
  ended: {{person: ann, client: bad, scope: "notes:read"}}
  stranger: {{person: ann, client: who, scope: "notes:read"}}
cases:
  - {{as: ann, select: public.notes, sees: [1, 2, 4, 5]}}
  - {{as: ann, insert: {{public.notes: {{id: 9, owner: {ANN}}}}}, allowed: true}}
  - {{as: ann, insert: {{public.notes: {{id: 9, owner: {BOB}}}}}, refused: policy}}
  - {{as: ann, update: {{public.notes: {{where: {{id: 1}}, set: {{status: done}}}}}}, changes: [1]}}
  - {{as: ann, update: {{public.notes: {{where: {{id: 1}}, set: {{owner: {BOB}}}}}}}, refused: policy}}
  - {{as: ann, update: {{public.notes: {{where: {{id: 3}}, set: {{status: done}}}}}}, changes: []}}
  - {{as: ann, delete: {{public.notes: {{where: {{id: 1}}}}}}, changes: [1]}}
  - {{as: ann, delete: {{public.notes: {{where: {{id: 3}}}}}}, changes: []}}
  - {{as: writes, select: public.notes, sees: [1, 4]}}
  - {{as: writes, insert: {{public.notes: {{id: 9, owner: {ANN}}}}}, allowed: true}}
  - {{as: writes, insert: {{public.notes: {{id: 9, owner: {ANN}, secret: true}}}}, allowed: true}}
  - {{as: writes, insert: {{public.notes: {{id: 9, owner: {ANN}, shared: true}}}}, allowed: true}}
  - {{as: reads, select: public.notes, sees: [1, 4]}}
  - {{as: narrowed, select: public.notes, sees: [3]}}
  - {{as: partner, select: public.notes, sees: [4]}}
"""
POLICY_DUMP = """
select polrelid::regclass::text, polname::text, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
from pg_policy order by 1, 2"""
FUNCTION_DUMP = "select oid, xmin::text, proname::text, md5(prosrc), proacl::text from pg_proc order by 1"


def read(policies_text: str, cases_text: str) -> tuple[PolicySet, Suite]:
    policies, diagnostics = read_policies("policies.yaml", policies_text)
    assert policies is not None, [str(d) for d in diagnostics]
    suite, diagnostics = read_suite("cases.yaml", cases_text, policies)
    assert suite is not None, [str(d) for d in diagnostics]
    return policies, suite


@contextmanager
def database(server: Server, policies: PolicySet, schema: str | bytes) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a database with the policies in force."""
    with (
        server.scratch_database() as url,
        psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection,
    ):
        connection.execute(schema.encode() if isinstance(schema, str) else schema)
        install(connection, policies)
        yield connection


@pytest.fixture(scope="module")
def whole(server: Server) -> Iterator[psycopg.Connection[Any]]:
    """A database with POLICIES in force."""
    with database(server, read(POLICIES, CASES)[0], SCHEMA) as connection:
        yield connection


def covered(connection: psycopg.Connection[Any], policies: PolicySet, suite: Suite) -> tuple[SuiteResult, Coverage]:
    gathering = Gathering(policies)
    return run_suite(connection, policies, suite, watcher=gathering), gathering.result()


def place(text: str, after: str = "") -> str:
    """'policies.yaml:21:60': where `text` stands in POLICIES, after `after`."""
    offset = POLICIES.index(text, POLICIES.index(after) if after else 0)
    before = POLICIES[:offset]
    return f"policies.yaml:{before.count(chr(10)) + 1}:{offset - before.rfind(chr(10))}"


def told(coverage: Coverage) -> list[str]:
    return [f"{miss.span} {miss.text}" for miss in coverage.misses]


def locks(connection: psycopg.Connection[Any]) -> list[Any]:
    return connection.execute("select * from pg_locks where locktype = 'advisory'").fetchall()


# --- what is left out -------------------------------------------------------------------------------------------------

SELECT, INSERT, PARTNERS = "{who: helper, allow: select", "{who: helper, allow: insert", "{who: partners"
PEOPLE = "{allow: [select, insert, update, delete]"
LACKING = "was never missing: no live token that lacks just this got there"

# What is taken away from the suite, as lines that have one of these texts, and then what is missed and where.
TAKEN: dict[str, tuple[list[str], list[tuple[str, str]]]] = {
    "a stranger": (["stranger: "], [("policies.yaml", "clients of no class were never tried")]),
    "a registration that ended": (
        ["ended: "],
        [(place("approved"), "registry of partners: approved was never false")],
    ),
    "a class": (
        ["  partner: ", "as: partner", "partner-half: "],
        [
            (place("partners: {match"), ("class partners was never met (5 more outcomes with it): "
             "no live token of it got anywhere")),
        ],
    ),
    "no scope": (
        ["partner-half: "],
        [(place(PARTNERS), f"partners, select public.notes: the scope notes:read {LACKING}")],
    ),
    "a narrower consent": (
        ["narrowed: ", "as: narrowed"],
        [
            (place("public.grants", "consent:"), ("consent never narrowed a token: "
             "each was granted all scopes that it names")),
        ],
    ),
    "a revoked consent": (
        ["revoked: "],
        [(place("revoked_at is null"), "consent: revoked_at is null was never false")],
    ),
    "no consent": (
        ["unasked: "],
        [(place("public.grants", "consent:"), "consent was never absent: each token that needs one had a row")],
    ),
    "neither consent": (
        ["revoked: ", "unasked: "],
        [
            (place("helper: {match"), "class helper: its consent was never missing"),
            (place("public.grants", "consent:"), "consent was never absent: each token that needs one had a row"),
            (place("revoked_at is null"), "consent: revoked_at is null was never false"),
        ],
    ),
    "a secret row": (
        ["id: 2, owner"],
        [(place("secret", SELECT), "helper, select public.notes: secret was never true")],
    ),
    "a row that no arm admits": (
        ["id: 5, owner"],
        [(place("shared", SELECT), "helper, select public.notes: shared was never false (1 more outcome with it)")],
    ),
    "an arm that is never reached": (
        ["id: 4, owner", "id: 5, owner"],
        [
            (place("status = ", SELECT), ("helper, select public.notes: status = 'open' was never false "
             "(1 more outcome with it)")),
            (place("shared", SELECT), "helper, select public.notes: shared was never asked"),
            (place("shared", PARTNERS), "partners, select public.notes: shared was never true"),
            (place("status = ", INSERT), "helper, insert public.notes: status = 'open' was never false"),
        ],
    ),
    "a command of people": (
        ["as: ann, update"],
        [(place(PEOPLE), "people, update public.notes was never asked (4 more outcomes with it)")],
    ),
    "a rule": (
        ["  writes: ", "as: writes"],
        [
            (place(INSERT), ("helper, insert public.notes was never open (2 more outcomes with it): "
             "no live token with the scope notes:write got there")),
        ],
    ),
}  # fmt: skip


def test_a_suite_that_shows_everything(whole: psycopg.Connection[Any]) -> None:
    """The whole suite holds and covers all: the twin of each one below, from which something was taken."""
    policies, suite = read(POLICIES, CASES)
    result, coverage = covered(whole, policies, suite)
    assert [r.message for r in result.failures] == []
    assert told(coverage) == []
    assert coverage.percent == 100


@pytest.mark.parametrize(("without", "misses"), TAKEN.values(), ids=TAKEN)
def test_what_a_suite_leaves_out(
    whole: psycopg.Connection[Any], without: list[str], misses: list[tuple[str, str]]
) -> None:
    """Lines that are taken away from the suite: exactly what only they showed is named, with its place."""
    lines = [line for line in CASES.splitlines() if not any(text in line for text in without)]
    policies, suite = read(POLICIES, "\n".join(lines))
    _, coverage = covered(whole, policies, suite)
    assert told(coverage) == [f"{where} {what}" for where, what in misses]
    assert sum(miss.outcomes for miss in coverage.misses) == coverage.possible - coverage.shown > 0


def test_a_planted_rule_that_no_case_opens(server: Server) -> None:
    """It is named on its line, with what hangs on it; nothing else is."""
    planted = '      - {who: helper, allow: delete, scope: "notes:drop", rows: "shared"}\n'
    scope = '  "notes:drop": {text: Delete them}\n'
    text = POLICIES.replace("tables:\n", f"{scope}tables:\n").replace(
        "  public.apps: {cl", f"{planted}  public.apps: {{cl"
    )
    policies, suite = read(text, CASES)
    line = text.splitlines().index(planted.rstrip()) + 1
    with database(server, policies, SCHEMA) as connection:
        result, coverage = covered(connection, policies, suite)
    assert result.passed
    missed = "helper, delete public.notes was never open (2 more outcomes with it)"
    assert told(coverage) == [f"policies.yaml:{line}:9 {missed}: no live token with the scope notes:drop got there"]


def test_rules_that_are_merged_are_told_apart(server: Server) -> None:
    """Many rules of one shape are one case in the ceiling; each is covered, or not, for itself."""
    classes = "".join(f"  c{n}: {{match: {{ids: [client-{n}]}}}}\n" for n in range(12))
    rules = "".join(f"      - {{who: c{n}, allow: select, rows: \"status = 's{n}'\"}}\n" for n in range(12))
    head = POLICIES[: POLICIES.index("classes:")]
    text = f"{head}classes:\n{classes}tables:\n  public.notes:\n    clients:\n{rules}"
    statuses = "".join(f"    - {{id: {n}, owner: {ANN}, status: s{n}}}\n" for n in range(12))
    tokens = "".join(f"  t{n}: {{person: ann, class: c{n}}}\n" for n in range(12) if n != 7)
    seen = "".join(f"  - {{as: t{n}, select: public.notes, sees: [{n}]}}\n" for n in range(12) if n != 7)
    cases = f"fixtures:\n  public.notes:\n{statuses}people: {{ann: {{sub: {ANN}}}}}\ntokens:\n{tokens}cases:\n{seen}"
    policies, suite = read(text, cases)
    with database(server, policies, SCHEMA) as connection:
        ceiling = connection.execute(
            "select pg_get_expr(polqual, polrelid) from pg_policy where polcmd = 'r'"
        ).fetchone()
        result, coverage = covered(connection, policies, suite)
    assert ceiling is not None
    assert "status = 's7'" not in ceiling[0]
    assert result.passed
    assert [miss.text for miss in coverage.misses] == [
        "clients of no class were never tried",
        "class c7 was never met (3 more outcomes with it): no live token of it got anywhere",
    ]


def test_null_is_neither(server: Server) -> None:
    """A condition that was NULL where it should have been false is told as such."""
    schema = SCHEMA.replace("status text not null default 'open'", "status text")
    rows = [line for line in CASES.splitlines() if "status: done" not in line]
    cases = "\n".join(rows).replace(f"{{id: 1, owner: {ANN}}}", f"{{id: 1, owner: {ANN}, status: open}}")
    policies, suite = read(POLICIES, cases)
    with database(server, policies, schema) as connection:
        _, coverage = covered(connection, policies, suite)
    text = "helper, select public.notes: status = 'open' was never false (1 more outcome with it) (it was NULL instead)"
    assert f"{place('status = ', SELECT)} {text}" in told(coverage)


def test_what_nobody_may_do_is_excluded(server: Server) -> None:
    """Without a grant, or a policy that lets people, a rule can't be open: it is listed, and not asked for."""
    for change, why in (
        ("revoke insert on public.notes from coverage_user", "no role of a token has the privilege to insert"),
        ("", "no policy lets anybody insert"),
    ):
        text = POLICIES
        if not change:  # row security of the app's own, with a policy to read
            text = re.sub(r"    people:\n .*\n", "", POLICIES)
        policies, suite = read(text, "\n".join(line for line in CASES.splitlines() if "insert:" not in line))
        own = "create policy p on public.notes for select using (true)"
        own += "; alter table public.notes enable row level security"
        with database(server, policies, SCHEMA if change else f"{SCHEMA};{own}") as connection:
            connection.execute(change.encode() or b"select")
            _, coverage = covered(connection, policies, suite)
        found = [miss.text for miss in coverage.excluded if "helper, insert" in miss.text]
        assert f"helper, insert public.notes was never open; it can't: {why}" in found
        assert not any("helper, insert" in miss.text for miss in coverage.misses)


# --- nothing changes --------------------------------------------------------------------------------------------------


def said(result: CheckResult) -> tuple[Any, ...]:
    """What came of a check; moments differ from run to run."""
    seen = result.observation
    if seen is None:
        found: tuple[Any, ...] = ()
    else:  # a row that is made may have a random key
        keys = len(seen.keys) if seen.command == "insert" else seen.keys
        found = (seen.outcome, keys, seen.found, seen.sqlstate, seen.error, seen.policy)
    return result.check, result.verdict, result.headline, result.message, result.by_catalog, result.attempts, found


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_covered_whole_and_decides_alike(server: Server, name: str) -> None:
    """Every template's suite shows all there is to show; each check comes to the same; the database is as it was."""
    folder = bundled("policy_templates") / name
    policies, _ = load_policies(folder / "policies.yaml")
    assert policies is not None
    suite, _ = load_suite(folder / "cases.yaml", policies)
    assert suite is not None
    with database(server, policies, (folder / "schema.sql").read_bytes()) as connection:
        before = [connection.execute(query).fetchall() for query in (POLICY_DUMP, FUNCTION_DUMP)]
        plain = run_suite(connection, policies, suite)
        noting, coverage = covered(connection, policies, suite)
        assert [connection.execute(query).fetchall() for query in (POLICY_DUMP, FUNCTION_DUMP)] == before
        assert locks(connection) == []
    assert list(map(said, noting.results)) == list(map(said, plain.results))
    assert noting.passed
    assert told(coverage) == []


def test_failing_checks_fail_alike(whole: psycopg.Connection[Any]) -> None:
    """Wrong expectations: the same verdicts with the same messages, which show the policies as they are."""
    wrong = (
        CASES.replace("sees: [1, 4]", "sees: [1]")
        .replace("sees: [4]}", "sees: [4, 5]}")
        .replace("changes: []", "changes: [3]")
    )
    policies, suite = read(POLICIES, wrong)
    plain = run_suite(whole, policies, suite)
    noting, _ = covered(whole, policies, suite)
    assert len(plain.failures) >= 4
    assert list(map(said, noting.results)) == list(map(said, plain.results))


def test_a_condition_is_asked_as_often_as_before(server: Server) -> None:
    """SQL of an author may be volatile: it runs as often with coverage as without."""
    schema = f"{SCHEMA};create sequence public.asked; grant usage on sequence public.asked to coverage_user"
    text = POLICIES.replace('rows: "shared"}', """sql: "nextval('public.asked') > 0 and shared"}""")
    policies, suite = read(text, CASES)
    with database(server, policies, schema) as connection:
        counts = []
        for watcher in (None, Gathering(policies)):
            connection.execute("alter sequence public.asked restart")
            assert run_suite(connection, policies, suite, watcher=watcher).passed
            counts += connection.execute("select last_value from public.asked").fetchall()
    assert counts[0] == counts[1]
    assert counts[0][0] > 1


def test_locks_of_another_session_change_no_verdict(whole: psycopg.Connection[Any], server: Server) -> None:
    """A note that can't be taken is lost, and that is all."""
    policies, suite = read(POLICIES, CASES)
    with psycopg.connect(whole.info.dsn, password=whole.info.password, autocommit=True) as other:
        key = whole.info.backend_pid
        other.execute("select pg_advisory_lock(%s, n) from generate_series(1, 200) n", (key,))
        result, coverage = covered(whole, policies, suite)
    assert result.passed
    assert coverage.shown < coverage.possible / 2


class Stopped(Exception):
    pass


@pytest.mark.parametrize("problem", [Stopped, KeyboardInterrupt])
def test_whatever_ends_a_run_leaves_nothing(whole: psycopg.Connection[Any], problem: type[BaseException]) -> None:
    """No lock and no stand-in, after an error of ours as after Ctrl-C; locks of the session's own stay."""
    policies, suite = read(POLICIES, CASES)
    before = [whole.execute(query).fetchall() for query in (POLICY_DUMP, FUNCTION_DUMP)]
    whole.execute("select pg_advisory_lock(42), pg_advisory_lock(7, 1)")
    mine = len(locks(whole))
    held = []

    def progress(done: int, total: int, result: CheckResult) -> None:
        if done == total // 2:
            held.append(len(locks(whole)))
            raise problem

    with pytest.raises(problem):
        run_suite(whole, policies, suite, progress, watcher=Gathering(policies))
    assert held[0] > mine + 1  # its own, and the one that keeps other runs away
    assert len(locks(whole)) == mine == 2
    assert [whole.execute(query).fetchall() for query in (POLICY_DUMP, FUNCTION_DUMP)] == before
    whole.execute("select pg_advisory_unlock_all()")


def break_off(connection: psycopg.Connection[Any], policies: PolicySet, suite: Suite) -> None:
    """Ends a stage by an error of the server, with notes taken."""
    roles, catalog = frozenset({"coverage_user"}), read_catalog(connection)
    with open_stage(connection, policies, catalog, roles, Gathering(policies)) as stage:
        stage.insert_fixtures(suite.fixtures)
        connection.execute("set role coverage_user")
        connection.execute("select count(*) from public.notes")
        assert len(locks(connection)) > 1
        connection.execute("select 1/0")


def test_an_aborted_transaction_leaves_nothing(whole: psycopg.Connection[Any]) -> None:
    """Also in a transaction of the caller's, which goes on."""
    policies, suite = read(POLICIES, CASES)
    with whole.transaction(force_rollback=True):
        whole.execute("create temporary table mine ()")
        with pytest.raises(psycopg.errors.DivisionByZero):
            break_off(whole, policies, suite)
        assert locks(whole) == []
        assert whole.execute("select to_regclass('pg_temp.mine') is not null").fetchone() == (True,)


# --- what it needs ----------------------------------------------------------------------------------------------------


def test_roles_that_may_not_lock(server: Server) -> None:
    """Where advisory locks were taken from everybody, the login role notes for them: the same coverage."""
    policies, suite = read(POLICIES, CASES)
    with database(server, policies, SCHEMA) as connection:
        connection.execute("revoke execute on function pg_try_advisory_lock(int, int) from public")
        result, coverage = covered(connection, policies, suite)
        assert result.passed
        assert told(coverage) == []
        assert locks(connection) == []


@pytest.fixture
def owner(server: Server) -> Iterator[psycopg.Connection[Any]]:
    """A database whose tables and policies are an owner's, who is no superuser; in that owner's session."""
    with (
        server.scratch_database() as url,
        psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection,
    ):
        connection.execute("create role coverage_owner bypassrls createrole")
        name = connection.info.dbname
        connection.execute(f"grant create on database {name} to coverage_owner".encode())
        connection.execute("grant create on schema public to coverage_owner")
        connection.execute("do $$ begin create role coverage_user; exception when duplicate_object then null; end $$")
        connection.execute("grant coverage_user to coverage_owner")
        connection.execute("set session authorization coverage_owner")
        connection.execute(SCHEMA.encode())
        install(connection, read(POLICIES, CASES)[0])
        yield connection
        connection.execute("reset session authorization")
        connection.execute("drop owned by coverage_owner; drop role coverage_owner")


def test_an_owner_with_bypassrls_is_enough(owner: psycopg.Connection[Any]) -> None:
    """No superuser is needed."""
    result, coverage = covered(owner, *read(POLICIES, CASES))
    assert [r.message for r in result.failures] == []
    assert told(coverage) == []


def test_an_owner_that_may_not_lock(owner: psycopg.Connection[Any]) -> None:
    """It is told what is in the way."""
    owner.execute("reset session authorization")
    owner.execute("revoke execute on function pg_try_advisory_lock_shared(int, int) from public")
    owner.execute("set session authorization coverage_owner")
    with pytest.raises(CannotTest, match="the login role may not take them"):
        covered(owner, *read(POLICIES, CASES))


def test_a_login_that_owns_nothing(owner: psycopg.Connection[Any]) -> None:
    """A test run takes no more than to bypass row security; coverage takes the owner."""
    policies, suite = read(POLICIES, CASES)
    catalog = read_catalog(owner)
    owner.execute("reset session authorization")
    with owner.transaction(force_rollback=True):
        owner.execute("create role coverage_login bypassrls; grant coverage_user to coverage_login")
        owner.execute("grant all on all tables in schema public to coverage_login")
        owner.execute("set session authorization coverage_login")
        assert run_suite(owner, policies, suite, catalog=catalog).passed
        with pytest.raises(CannotTest, match="it takes the owner of the tables"):
            run_suite(owner, policies, suite, catalog=catalog, watcher=Gathering(policies))
        owner.execute("reset session authorization")


def test_policies_that_are_not_in_force(server: Server) -> None:
    """Coverage of what the database doesn't hold would be of nothing."""
    policies, suite = read(POLICIES, CASES)
    with database(server, policies, SCHEMA) as connection:
        connection.execute('drop policy "mcp_rls: notes select" on public.notes')
        with pytest.raises(CannotTest, match="the database lacks some: "):
            covered(connection, policies, suite)


def test_room_for_locks(whole: psycopg.Connection[Any]) -> None:
    """A file that is too large for the server's lock table is refused before it could fail half way."""
    record.require_room(whole, 1000)
    with pytest.raises(CannotTest, match="raise max_locks_per_transaction"):
        record.require_room(whole, 10_000)


# --- doors ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a project, with one miss: nobody is a stranger."""
    monkeypatch.delenv("MCP_RLS_DATABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    cases = "\n".join(line for line in CASES.splitlines() if "stranger: " not in line)
    for name, text in (("policies.yaml", POLICIES), ("schema.sql", SCHEMA), ("cases.yaml", cases)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


MISS = "clients of no class were never tried"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--cov"], 0),
        (["--cov-fail-under", "90"], 0),
        (["--cov", "--cov-fail-under", "99"], 1),
        (["--cov", "--cov-fail-under", "100"], 1),
    ],
)
def test_the_command(project: Path, server: Server, options: list[str], code: int) -> None:
    """Misses after the results; exit 1 where too little is covered."""
    result = CliRunner().invoke(main, ["test", "policies.yaml", "--database", server.url, *options])
    assert result.exit_code == code, result.output
    assert re.search(r"13 of 13|cases held", result.stdout)
    assert f"  policies.yaml  {MISS}\n" in result.stdout
    assert re.search(r"policies\.yaml: 97\.\d % covered, \d+ of \d+ outcomes\n\Z", result.stdout)


def test_the_command_in_other_formats(project: Path, server: Server) -> None:
    """One JSON document; annotations on lines of the policy file; beside JUnit's XML the text goes to stderr."""
    run = lambda name: CliRunner().invoke(  # noqa: E731 - it is said once
        main, ["test", "policies.yaml", "--database", server.url, "--cov", "--format", name]
    )
    document = json.loads(run("json").stdout)
    assert document["passed"]
    assert [miss["text"] for miss in document["coverage"]["missed"]] == [MISS]
    assert f"::warning file=policies.yaml,title=not covered::{MISS}\n" in run("github").stdout
    junit = run("junit")
    assert MISS in junit.stderr
    assert MISS not in junit.stdout
    assert "coverage" not in json.loads(
        CliRunner().invoke(main, ["test", "policies.yaml", "--database", server.url, "--format", "json"]).stdout
    )


TEST = """\
def test_it(rls):
    rls.token(person="ann", class_="helper", scope="notes:write").sees("public.notes", [1, 4])
    rls.token(person="ann", client="who", scope="notes:read").sees_nothing("public.notes")
"""


def pytest_run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


def section(result: pytest.RunResult) -> list[str]:
    """The lines about coverage."""
    lines = result.stdout.lines
    start = next(i for i, line in enumerate(lines) if "row-level security coverage" in line)
    return [line for line in lines[start + 1 :] if line.startswith(("  policies.yaml", "FAIL", "•", "✓"))]


def test_pytest_and_its_workers(pytester: pytest.Pytester, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items of the cases file and tests in Python count together; two workers report what one process does."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    alone = pytest_run(pytester, "--rls-cov", "--rls-cov-fail-under", "99")
    assert alone.ret == pytest.ExitCode.TESTS_FAILED
    (miss, total, short) = section(alone)
    assert miss == f"  policies.yaml  {MISS}"
    assert short == "FAIL policies.yaml: less than 99 % is covered"
    (project / "pytest.ini").write_text("[pytest]\nrls_cov = true\nrls_cov_fail_under = 97\n", encoding="utf-8")
    shared = pytest_run(pytester, "-n", "2")
    assert shared.ret == pytest.ExitCode.OK
    assert section(shared) == [miss, total]
    (project / "test_it.py").write_text(TEST, encoding="utf-8")
    (whole,) = section(pytest_run(pytester, "-n", "2"))
    assert "100 % covered" in whole


def test_pytest_without_coverage_says_nothing(
    pytester: pytest.Pytester, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with it, a run that met no policy has covered nothing."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (project / "test_plain.py").write_text("def test_plain(): pass\n", encoding="utf-8")
    plain = pytest_run(pytester)
    plain.stdout.no_fnmatch_line("*security coverage*")
    none = pytest_run(pytester, "test_plain.py", "--rls-cov-fail-under", "1")
    assert none.ret == pytest.ExitCode.TESTS_FAILED
    none.stdout.fnmatch_lines(["FAIL no test acted as a token, so nothing is covered"])
