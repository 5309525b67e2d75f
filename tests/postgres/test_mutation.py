"""The mutation score on a real server: what the shipped cases notice, what a thin suite doesn't, and what would."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, seed, settings

from mcp_rls.catalog import TableName
from mcp_rls.cli import main
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.policy import load_policies, read_policies
from mcp_rls.database.introspect import read_catalog, read_state
from mcp_rls.database.server import Server
from mcp_rls.diagnostics import Span
from mcp_rls.harness.mutation.completion import noticed
from mcp_rls.harness.mutation.mutant import Kind, Mutant
from mcp_rls.harness.mutation.order import Order
from mcp_rls.harness.mutation.original import read_original
from mcp_rls.harness.mutation.score import Fate, Score, Trial, _Assay, _baseline, distinct, mutation_score
from mcp_rls.harness.mutation.suggestion import Suggestion
from mcp_rls.harness.project import build, connected
from mcp_rls.harness.run import Runner, open_runner, run_suite
from mcp_rls.harness.session import CannotTest, Connection
from mcp_rls.harness.stage import open_stage
from mcp_rls.harness.suite import Suite, load_suite, read_suite
from mcp_rls.resources import bundled
from tests.oracle import run as oracle
from tests.oracle.generate import worlds
from tests.oracle.render import policy_file, schema
from tests.oracle.world import World

pytestmark = pytest.mark.postgres
pytest_plugins = ["pytester"]

TEMPLATES = sorted(path.name for path in bundled("policy_templates").iterdir() if (path / "policies.yaml").exists())
SLOW = 400  # milliseconds a mutant: a machine that is busy with other things takes some times what it would alone
ANN = "00000000-0000-4000-8000-00000000000a"
BOB = "00000000-0000-4000-8000-00000000000b"


@dataclass
class Project:
    """A template's database; `connection` is a superuser's, and idle."""

    folder: Path
    policies: PolicySet
    connection: Connection

    def shipped(self) -> Suite:
        suite, diagnostics = load_suite(self.folder / "cases.yaml", self.policies)
        assert suite is not None, list(diagnostics)
        return suite

    def suite(self, text: str) -> Suite:
        suite, diagnostics = read_suite("cases.yaml", text, self.policies)
        assert suite is not None, list(map(str, diagnostics))
        return suite

    def score(self, suite: Suite, *, search: bool = False) -> Score:
        return mutation_score(self.connection, self.policies, suite, search=search)

    @contextmanager
    def assay(self, suite: Suite) -> Iterator[tuple[Runner, _Assay, list[Mutant]]]:
        """What a score is made with, after the baseline."""
        with open_runner(self.connection, self.policies, suite) as runner:
            _, standings = _baseline(runner)
            runner.stage.to_base()
            original = read_original(runner.stage, suite)
            yield runner, _Assay(runner, original, Order(runner, standings)), distinct(original)


@pytest.fixture(scope="module")
def project(server: Server) -> Iterator[Any]:
    """Each template's project, made once."""
    made: dict[str, Project] = {}
    with ExitStack() as stack:

        def of(name: str) -> Project:
            if name not in made:
                folder = bundled("policy_templates") / name
                policies, _ = load_policies(folder / "policies.yaml")
                assert policies is not None
                url = stack.enter_context(server.scratch_database())
                connection = stack.enter_context(connected(url))
                build(connection, url, policies, [folder / "schema.sql"])
                made[name] = Project(folder, policies, connection)
            return made[name]

        yield of


def told(trials: tuple[Trial, ...]) -> list[str]:
    return [f"{t.mutant.span} {t.mutant.sentence} {t.reason}" for t in trials]


# --- the shipped cases ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_shipped_cases_notice_every_mutant(name: str, project: Any) -> None:
    """All but those that provably change nothing; the database is as it was afterwards."""
    one: Project = project(name)
    before = _state(one)
    score = one.score(one.shipped())
    made = f"{len(score.trials)} mutants, {score.count(Fate.EQUIVALENT)} equivalent"
    print(f"{name}: {score.shown} %, {made}, {score.milliseconds:.1f} ms each")
    assert told(score.of_fate(Fate.SURVIVED)) == []
    assert told(score.of_fate(Fate.BROKEN)) == []
    assert score.percent == 100
    assert score.exit_code(100) == 0
    assert score.count(Fate.KILLED) > 50
    assert score.milliseconds < SLOW
    assert _state(one) == before


def test_the_help_desk_has_mutants_of_all_kinds(project: Any) -> None:
    """Each with a sentence, a place in the policy file, and the check that noticed it."""
    desk: Project = project("help-desk")
    score = desk.score(desk.shipped())
    assert len(score.trials) >= 100
    missing = {kind for kind in Kind if not any(t.mutant.kind is kind for t in score.trials)}
    assert missing == {Kind.FORCE_OFF, Kind.GUARD_DROPPED, Kind.COLUMN_ADDED}  # there is nothing of that there
    for trial in score.trials:
        assert trial.mutant.span.path.endswith("policies.yaml")
        assert (trial.mutant.span.line > 0) is not trial.mutant.sentence.startswith(
            ("a malformed", 'the policy "mcp_rls: oauth_apps', "public.oauth_apps", "row security of public.oauth_apps")
        )
        assert (trial.killer is not None) is (trial.fate is Fate.KILLED)
        assert bool(trial.reason) is (trial.fate is Fate.EQUIVALENT)
    assert len({trial.mutant.sentence for trial in score.trials}) == len(score.trials)
    killer = next(
        t.killer
        for t in score.trials
        if t.mutant.sentence.startswith("delete on public.comments by assistant isn't held")
    )
    assert killer is not None
    assert (killer.check.token, killer.check.command, killer.keys) == ("ann-assistant", "delete", (("2",),))


@pytest.mark.parametrize("name", ["owner-rows", "consent-gated"])
def test_nothing_notices_an_equivalent_mutant(name: str, project: Any) -> None:
    """The whole suite passes on each, and passes once more when all are gone; no token that can be made up differs."""
    one: Project = project(name)
    with one.assay(one.shipped()) as (runner, assay, mutants):
        equivalents = [m for m in mutants if m.equivalent and m.statements]
        assert len(equivalents) > 5
        for mutant in equivalents:
            with runner.stage.altered(*mutant.statements):
                assert [r.headline for r in runner.everything() if not r.passed] == [], mutant.sentence
            anybody = replace(mutant.concern, tokens=lambda _: True)
            assert list(assay.search._differences(replace(mutant, concern=anybody))) == [], mutant.sentence
        runner.stage.to_base()
        assert all(result.passed for result in runner.everything())


# --- a thin suite -----------------------------------------------------------------------------------------------------

THIN = {
    "owner-rows": """
tokens:
  ann: {person: ann}
  ann-assistant: {person: ann, class: assistant, scope: "notes:read"}
cases:
  - {as: ann, select: public.notes, sees: [1, 2]}
  - {as: ann-assistant, select: public.notes, sees: [1]}
""",
    "consent-gated": """
tokens:
  ann: {person: ann}
  ann-reader: {person: ann, client: "https://agents.example/reader", consent: none}
cases:
  - {as: ann, select: public.documents, sees: [1, 2]}
  - {as: ann-reader, select: public.documents, sees: [1, 2]}
""",
}
NO_TOKENS_OF_CLIENTS = """
tokens: {ann: {person: ann}}
cases: [{as: ann, select: public.notes, sees: [1, 2]}]
"""


def thin(one: Project, tail: str) -> Suite:
    """The shipped fixtures, with few tokens and cases."""
    text = (one.folder / "cases.yaml").read_text(encoding="utf-8")
    if one.folder.name == "consent-gated":  # one grant, and no others that tell it apart
        text = re.sub(r"(?s)    - \{id: 00000000-0000-4000-9000-000000000002.*?\npeople:", "\npeople:", text)
    return one.suite(text[: text.index("\ntokens:")] + tail)


def added(one: Project, suite: Suite, found: Suggestion, assay: _Assay) -> Suite:
    """The suite with a suggestion's lines, and with the cases that these widen as it says."""
    more = assay.search.notation.extended(found.lines)
    assert more is not None
    assert found.whole, found.widened
    wider = {w.number: w.keys for w in found.widened}
    cases = []
    for case in more.cases:
        if case.number in wider:
            keys = json.loads(re.sub(r"[^\[\], ]+", r'"\g<0>"', wider[case.number]))
            case = replace(case, expect=replace(case.expect, keys=(*case.expect.keys, *keys)))  # noqa: PLW2901
        cases.append(case)
    return replace(more, cases=tuple(cases))


@pytest.mark.parametrize("name", THIN)
def test_what_is_suggested_kills(name: str, project: Any) -> None:
    """A thin suite has a low score. With a survivor's lines it passes as things are, and notices that mutant."""
    one: Project = project(name)
    suite = thin(one, THIN[name])
    score = one.score(suite, search=True)
    survivors = score.of_fate(Fate.SURVIVED)
    print(f"{name}: {score.shown} %, {len(survivors)} survivors, {score.searched:.1f} s to find their killers")
    assert score.percent < 60
    assert score.exit_code(60) == 1
    assert [t.mutant.sentence for t in survivors if t.suggestion is None] == []
    with one.assay(suite) as (_, assay, _):
        each = {t.suggestion.lines.text: (t.suggestion, [t.mutant]) for t in survivors if t.suggestion}
        for trial in survivors:
            assert trial.suggestion is not None
            each[trial.suggestion.lines.text][1].append(trial.mutant)
        richer = [(added(one, suite, found, assay), mutants) for found, mutants in each.values()]
    assert len(richer) > 5
    for stronger, mutants in richer:
        assert run_suite(one.connection, one.policies, stronger).exit_code == 0
        with open_runner(one.connection, one.policies, stronger) as runner:
            for mutant in mutants:
                with runner.stage.altered(*mutant.statements):
                    assert any(map(noticed, runner.everything())), mutant.sentence


def test_what_survives_is_noticed_by_no_check_at_all(project: Any) -> None:
    """Checks that are left out, because they can't be concerned, notice nothing either."""
    one: Project = project("owner-rows")
    with one.assay(thin(one, THIN["owner-rows"])) as (runner, assay, mutants):
        survivors = [t.mutant for t in map(assay.trial, mutants) if t.fate is Fate.SURVIVED]
        assert len(survivors) > 20
        for mutant in survivors:
            with runner.stage.altered(*mutant.statements):
                assert [r.headline for r in runner.everything() if not r.passed] == [], mutant.sentence


def test_a_suite_that_shows_little_scores_little(project: Any) -> None:
    """One person's one case; and with nothing tried at all there is no score."""
    one: Project = project("owner-rows")
    assert one.score(thin(one, NO_TOKENS_OF_CLIENTS)).percent < 40
    shipped = one.shipped()
    for empty in (Suite("cases.yaml", {}, ()), Suite("cases.yaml", shipped.tokens, (), {})):
        with pytest.raises(CannotTest):
            one.score(empty)


# --- what is no score -------------------------------------------------------------------------------------------------


def test_a_suite_that_fails_as_things_are_is_refused(project: Any) -> None:
    """A score would mean nothing."""
    one: Project = project("owner-rows")
    text = (one.folder / "cases.yaml").read_text(encoding="utf-8")
    wrong = text.replace(
        "{as: ann-assistant, select: public.notes, sees: [1]}", "{as: ann-assistant, select: public.notes, sees: []}"
    )
    assert wrong != text
    with pytest.raises(CannotTest, match=r"1 of \d+ checks don't hold as things are.*\n  LEAK"):
        one.score(one.suite(wrong))


def test_a_mutant_that_postgresql_refuses_is_no_kill(project: Any) -> None:
    """It is a bug of ours, and the score isn't whole."""
    one: Project = project("owner-rows")
    with one.assay(one.shipped()) as (runner, assay, mutants):
        broken = Mutant(Kind.USING_TRUE, "nonsense", Span(), ("alter policy nonsense on public.notes using (true)",))
        trial = assay.trial(broken)
        assert (trial.fate, trial.killer) == (Fate.BROKEN, None)
        assert 'policy "nonsense"' in trial.reason
        killed = assay.trial(mutants[0])
        assert killed.fate is Fate.KILLED
        score = Score(runner.suite, "policies.yaml", (trial, killed), _baseline(runner)[0], 1.0)
        assert (score.percent, score.exit_code(None), score.exit_code(100)) == (100, 2, 2)


def test_a_database_that_holds_something_else_is_refused(project: Any) -> None:
    """Mutants would be made of what isn't there."""
    one: Project = project("owner-rows")
    with one.connection.transaction(force_rollback=True):
        one.connection.execute('alter policy "mcp_rls: notes select" on public.notes using (false or (1 = 2))')
        with pytest.raises(CannotTest, match=r"doesn't hold|checks don't hold"):
            one.score(one.shipped())


def test_nothing_is_left_behind_when_it_fails(project: Any) -> None:
    """An error half way rolls everything back too."""
    one: Project = project("owner-rows")
    before = _state(one)

    def stop(what: str, done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mutation_score(one.connection, one.policies, one.shipped(), stop)
    assert _state(one) == before


def _state(one: Project) -> tuple[str, list[Any], list[Any]]:
    """Everything that a mutant may touch, as the catalog has it; no transaction is open."""
    assert one.connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
    state = read_state(one.connection, one.policies.schemas, one.policies.roles)
    policies = one.connection.execute("select * from pg_policies order by 1, 2, 3").fetchall()
    rows = [one.connection.execute(f"select count(*) from {name}".encode()).fetchall() for name in state.switches]
    return state.fingerprint, policies, rows


# --- FORCE ------------------------------------------------------------------------------------------------------------

FORCED = """\
mcp_rls: 1
platform: postgres
schemas: [public]
identity: {person: {claim: sub, type: uuid}, client: {claim: client_id}, direct: no_client}
roles: [mutation_user]
classes: {agents: {match: {ids: [an-agent]}}}
tables:
  public.notes:
    force: true
    people: [{allow: select, rows: "owner = token.person"}]
    clients: [{who: agents, allow: select, rows: "not secret"}]
"""
FORCED_SCHEMA = """\
do $$ begin create role mutation_user nologin; exception when duplicate_object or unique_violation then null; end $$;
do $$ begin create role mutation_owner nologin; exception when duplicate_object or unique_violation then null; end $$;
create table public.notes (id int primary key, owner uuid not null, secret boolean not null default false);
alter table public.notes owner to {owner};
grant select on public.notes to mutation_user;
"""
FORCED_CASES = f"""\
fixtures: {{public.notes: [{{id: 1, owner: {ANN}}}, {{id: 2, owner: {ANN}, secret: true}}, {{id: 3, owner: {BOB}}}]}}
people: {{ann: {{sub: {ANN}}}}}
tokens: {{ann: {{person: ann}}, agent: {{person: ann, class: agents}}, stranger: {{person: ann, client: other}}}}
cases: [{{as: ann, select: public.notes, sees: [1, 2]}}, {{as: agent, select: public.notes, sees: [1]}}]
"""


@pytest.mark.parametrize(("owner", "fate"), [("current_user", Fate.EQUIVALENT), ("mutation_owner", Fate.SURVIVED)])
def test_force_is_equivalent_only_where_that_is_certain(owner: str, fate: Fate, server: Server, tmp_path: Path) -> None:
    """An owner that bypasses row security anyway isn't bound by it. For another that isn't decided: it survives."""
    policies, diagnostics = read_policies("policies.yaml", FORCED)
    assert policies is not None, list(diagnostics)
    suite, found = read_suite("cases.yaml", FORCED_CASES, policies)
    assert suite is not None, list(found)
    schema = tmp_path / "schema.sql"
    schema.write_text(FORCED_SCHEMA.replace("{owner}", owner), encoding="utf-8")
    with server.scratch_database() as url, connected(url) as connection:
        build(connection, url, policies, [schema])
        score = mutation_score(connection, policies, suite)
    (trial,) = (t for t in score.trials if t.mutant.kind is Kind.FORCE_OFF)
    assert (trial.fate, trial.suggestion) == (fate, None)
    others = [t for t in score.trials if t.fate is Fate.SURVIVED and t is not trial]
    assert told(tuple(t for t in others if t.suggestion is None)) == []
    assert trial.mutant.concern.tables == frozenset({TableName("public", "notes")})


# --- tables of other shapes, and random policy files

ODD = """\
mcp_rls: 1
platform: postgres
schemas: [public]
identity: {person: {claim: sub, type: uuid}, client: {claim: client_id}, scopes: {claim: scope}, direct: no_client}
roles: [mutation_user]
classes: {agents: {match: {ids: [an-agent]}}}
scopes: {"log:read": {text: Read}}
tables:
  public.log:
    clients:
      - {who: agents, allow: select, scope: "log:read"}
      - {who: agents, allow: select, rows: "not secret"}
      - {who: agents, allow: delete, scope: "log:read"}
"""
ODD_SCHEMA = """\
do $$ begin create role mutation_user nologin; exception when duplicate_object or unique_violation then null; end $$;
create table public.log (entry text not null, secret boolean not null default false);
grant select, insert, delete on public.log to mutation_user;
"""
ODD_CASES = f"""\
fixtures: {{public.log: [{{entry: a}}, {{entry: b, secret: true}}]}}
people: {{ann: {{sub: {ANN}}}}}
tokens: {{ann: {{person: ann}}, agent: {{person: ann, class: agents}}}}
cases:
  - {{as: ann, select: public.log, sees: [{{entry: a}}, {{entry: b}}]}}
  - {{as: agent, select: public.log, sees: [{{entry: a}}]}}
"""


@pytest.fixture
def odd(server: Server, tmp_path: Path) -> Iterator[Project]:
    """A table without a key, without row security of the app's own, and with rules of different scopes."""
    policies, diagnostics = read_policies("policies.yaml", ODD)
    assert policies is not None, list(diagnostics)
    (tmp_path / "schema.sql").write_text(ODD_SCHEMA, encoding="utf-8")
    with server.scratch_database() as url, connected(url) as connection:
        build(connection, url, policies, [tmp_path / "schema.sql"])
        yield Project(tmp_path, policies, connection)


def test_rows_without_a_key_have_mutants_too(odd: Project) -> None:
    """What names no row can still be told: by its columns, or that there is none."""
    score = odd.score(odd.suite(ODD_CASES), search=True)
    assert told(score.of_fate(Fate.BROKEN)) == []
    survivors = score.of_fate(Fate.SURVIVED)
    found = [t for t in survivors if t.suggestion is not None]
    assert 0 < len(found) < len(survivors)
    assert score.exit_code(None) == 0


def test_a_rules_mutant_changes_one_policy_alone(odd: Project) -> None:
    """The functions that other policies call stay as they are, though that policy asks less of them."""
    with odd.assay(odd.suite(ODD_CASES)) as (_, _, mutants):
        of_rules = [m for m in mutants if m.concern.command and m.statements and m.kind is not Kind.EXTRA_POLICY]
        dropped = [m for m in of_rules if m.kind is Kind.SCOPE_DROPPED]
        assert dropped
        for mutant in of_rules:
            assert len([s for s in mutant.statements if "function" in s.partition("\n")[0]]) == 0, mutant.sentence
            assert len({s.partition(" on ")[0].rpartition(" policy ")[2] for s in mutant.statements}) == 1


@pytest.mark.fuzz
def test_mutants_of_random_policy_files(server: Server) -> None:
    """PostgreSQL takes each; and those that count as equivalent agree with the evaluator, as the original does."""
    counted = {"worlds": 0, "mutants": 0, "judged": 0}
    with server.scratch_database() as url, psycopg.connect(url, prepare_threshold=None) as connection:
        oracle.prepare(connection)

        @seed(7)
        @settings(
            max_examples=9,
            database=None,
            deadline=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(worlds())
        def one(world: World) -> None:
            equivalents = _equivalents(connection, world, counted)
            for mutant in equivalents[:: max(1, len(equivalents) // 3)]:
                _, disagreements = oracle.judge(connection, world, _installer(mutant))
                assert disagreements == [], f"{mutant.sentence}: {mutant.equivalent}\n{disagreements[0]}"
                counted["judged"] += 1

        one()
    print(counted)
    assert min(counted.values()) > 3


def _equivalents(connection: Any, world: World, counted: dict[str, int]) -> list[Mutant]:
    """The equivalent mutants of a world, after each of its mutants was made once."""
    policies, _ = read_policies("policies.yaml", policy_file(world))
    try:
        if policies is None:
            return []
        connection.execute(schema(world))
        oracle.product(connection, policy_file(world))
        catalog = read_catalog(connection)
        with open_stage(connection, policies, catalog, frozenset(policies.roles)) as stage:
            mutants = [m for m in distinct(read_original(stage, Suite("cases.yaml", {}, ()))) if m.statements]
            for mutant in mutants:
                with stage.altered(*mutant.statements):
                    counted["mutants"] += 1
        counted["worlds"] += 1
        return [m for m in mutants if m.equivalent and m.kind is not Kind.TO_PUBLIC]
    except oracle.Refused:
        return []
    finally:
        connection.rollback()


def _installer(mutant: Mutant) -> oracle.Installer:
    def install(connection: Any, text: str) -> None:
        oracle.product(connection, text)
        for statement in mutant.statements:
            connection.execute(statement.encode())

    return install


# --- the command and pytest -------------------------------------------------------------------------------------------


def run(*arguments: str | Path, code: int) -> str:
    result = CliRunner().invoke(main, ["mutants", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stdout


def test_the_command(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table by kind, survivors with what would kill them, JSON with everything, annotations; 1 under --fail-under."""
    monkeypatch.setenv("MCP_RLS_DATABASE_URL", server.url)
    monkeypatch.setenv("COLUMNS", "100")
    folder = bundled("policy_templates") / "owner-rows"
    text = (folder / "cases.yaml").read_text(encoding="utf-8")
    cases = tmp_path / "cases.yaml"
    cases.write_text(text[: text.index("\ntokens:")] + THIN["owner-rows"], encoding="utf-8")
    arguments = (folder / "policies.yaml", cases, "--schema", folder / "schema.sql")

    text = run(*arguments, code=0)
    assert re.search(r"^  policy dropped +\d+ +\d+ +·$", text, re.MULTILINE)
    assert re.search(r"^mutation score [\d.]+ %: \d+ of \d+ killed, \d+ survived, \d+ equivalent$", text, re.MULTILINE)
    assert re.search(
        r"^SURVIVED .*policies\.yaml:28:9: readers' rule for select on public\.notes is gone", text, re.MULTILINE
    )
    assert "a token arrives as authenticated and as no other role" in text
    assert re.search(r"^\d+ mutants in [\d.]+ s, \d+ ms each", text, re.MULTILINE)

    document = json.loads(run(*arguments, "--format", "json", "--fail-under", "90", code=1))
    assert document["passed"] is False
    assert sum(document["counts"].values()) == len(document["mutants"])
    assert document["score"] < 60
    survivor = next(m for m in document["mutants"] if m["fate"] == "survived")
    assert survivor["suggestion"]["lines"]
    killed = next(m for m in document["mutants"] if m["fate"] == "killed")
    assert killed["killed_by"]["headline"]
    assert killed["statements"]

    annotations = run(*arguments, "--format", "github", "--fail-under", "90", "--no-search", code=1)
    assert re.search(r"^::error file=.*policies\.yaml,line=\d+,col=\d+,title=SURVIVED::", annotations, re.MULTILINE)
    assert re.search(r"^::error title=mcp-rls mutants::[\d.]+ %25 of \d+ mutants killed", annotations, re.MULTILINE)

    cases.write_text(cases.read_text(encoding="utf-8").replace("sees: [1, 2]", "sees: [1]"), encoding="utf-8")
    assert run(*arguments, code=2) == ""


def test_the_option_of_pytest(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """An item for each cases file, which fails under the percent; the same from an ini file."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    folder = bundled("policy_templates") / "append-only-log"
    for name in ("policies.yaml", "schema.sql", "cases.yaml"):
        (pytester.path / name).write_bytes((folder / name).read_bytes())
    arguments = ("-p", "no:cacheprovider", "-q", "-rA", "-k", "mutation")
    from importlib.metadata import entry_points

    plugin = [] if entry_points(group="pytest11", name="mcp_rls") else ["-p", "mcp_rls.pytest_plugin"]
    held = pytester.runpytest_inprocess(*plugin, *arguments, "--rls-mutation-fail-under=100")
    held.assert_outcomes(passed=1)
    held.stdout.fnmatch_lines(["PASSED cases.yaml::mutation score: at least 100 %"])

    text = (folder / "cases.yaml").read_text(encoding="utf-8")
    dropped = re.sub(
        r"(?m)^  - \{as: ann-long-scope.*\n|^  ann-long-scope.*\n|^  - as: ann-long-scope\n(?:    .*\n)+", "", text
    )
    (pytester.path / "cases.yaml").write_text(dropped, encoding="utf-8")
    (pytester.path / "pytest.ini").write_text("[pytest]\nrls_mutation_fail_under = 100\n", encoding="utf-8")
    fell = pytester.runpytest_inprocess(*plugin, *arguments)
    fell.assert_outcomes(failed=1)
    fell.stdout.fnmatch_lines(
        ["*SURVIVED policies.yaml:*a scope counts as part of a longer one*", "*mutation score 9?.? %*"]
    )
    assert pytester.runpytest_inprocess(*plugin, *arguments, "--rls-mutation-fail-under=90").ret == 0
