"""Output formats: found by their files, safe for any content, and readable at any width."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mcp_rls import report
from mcp_rls.catalog import TableName
from mcp_rls.database.drift import Drift, Finding, Kind
from mcp_rls.database.fleet import FleetRun, Result, Standing
from mcp_rls.database.fleet import Outcome as Came
from mcp_rls.diagnostics import Diagnostics, Span
from mcp_rls.effect import Effect
from mcp_rls.harness.coverage.points import Point
from mcp_rls.harness.coverage.result import Coverage
from mcp_rls.harness.mutation.mutant import Kind as Mutation
from mcp_rls.harness.mutation.mutant import Mutant
from mcp_rls.harness.mutation.notation import Lines
from mcp_rls.harness.mutation.score import Fate, Score, Trial
from mcp_rls.harness.mutation.suggestion import Suggestion, Widened
from mcp_rls.harness.observe import Observation, Outcome
from mcp_rls.harness.probes.kit.verdict import Finding as Probe
from mcp_rls.harness.probes.kit.verdict import ProbeRun
from mcp_rls.harness.probes.kit.verdict import Verdict as Found
from mcp_rls.harness.suite import Case, Expectation, Suite, TokenSpec
from mcp_rls.harness.verdict import Check, CheckResult, SuiteResult, Verdict
from mcp_rls.operation import Operation, Plan
from mcp_rls.report import (
    Assayed,
    Changes,
    Drifted,
    Findings,
    Fleetwide,
    Probed,
    Results,
    Subject,
    access,
)

HOSTILE = 'a\x1b[31m\n"b" <c> & d%e\u202e\x00]]>'
SUBJECTS: Mapping[Subject, set[str]] = {
    "findings": {"text", "json", "github", "sarif"},
    "changes": {"text", "json", "github"},
    "drift": {"text", "json", "github"},
    "fleet": {"text", "json", "github"},
    "results": {"text", "json", "github", "junit"},
    "coverage": {"text", "json", "github"},
    "mutants": {"text", "json", "github"},
    "probes": {"text", "json"},
}
TICKETS, NOTES = TableName("public", "tickets"), TableName("public", "notes")


def written(subject: Subject, name: str, value: object) -> str:
    out = io.StringIO()
    report.write(subject, name, value, out)
    return out.getvalue()


def findings() -> Findings:
    diagnostics = Diagnostics()
    diagnostics.error("unknown-key", HOSTILE, Span("a,b:c.yaml", 3, 2), HOSTILE)
    diagnostics.note("raw-sql", "a note", Span("policies.yaml"))
    return Findings.of(diagnostics, "policies.yaml")


def changes() -> Changes:
    operations = (
        Operation(
            ("alter table t enable row level security",), "t: row security on", Effect.CLOSES, "ACCESS EXCLUSIVE"
        ),
        Operation(("grant select on t to r",), HOSTILE, Effect.OPENS),
    )
    return Changes(Plan(operations, "before", "after"), "PostgreSQL 18", with_sql=True)


def results(**tokens: TokenSpec) -> Results:
    """ann sees 2 of 3 tickets and may insert; her agent sees nothing, but for one leak in notes."""
    named = tokens or {
        "ann": TokenSpec("ann", "authenticated", "ann", "1"),
        "ann-agent": TokenSpec("ann-agent", "authenticated", "ann", "1", "assistant", scope="tickets:read"),
    }
    suite = Suite("cases.yaml", named, (), {TICKETS: (), NOTES: ()})
    saw = Observation("select", Outcome.ALLOWED, (("1",), ("2",)), 3)
    case = Case(1, "ann", "select", TICKETS, Expectation("sees", (1, 2)), span=Span("cases.yaml", 9, 5))
    insert = Case(2, "ann", "insert", TICKETS, Expectation("allowed"), {"id": 4}, span=Span("cases.yaml", 10, 5))
    inserted = Observation("insert", Outcome.ALLOWED, (("4",),))
    leak = Check("ann-agent", NOTES, "select", None, Span("cases.yaml", 4, 3))
    return Results(
        SuiteResult(
            "cases.yaml",
            (
                CheckResult(Check("ann", TICKETS, "select", case, case.span), Verdict.PASSED, "sees", saw),
                CheckResult(Check("ann", TICKETS, "insert", insert, insert.span), Verdict.PASSED, "allowed", inserted),
                CheckResult(Check("ann-agent", TICKETS, "select"), Verdict.PASSED, "nothing"),
                CheckResult(leak, Verdict.FAILED, "nothing", saw, "LEAK: " + HOSTILE, "LEAK: " + HOSTILE),
                CheckResult(Check("ann-agent", NOTES, "delete"), Verdict.UNDECIDED, "nothing", None, "UNDECIDED: x"),
            ),
            attempts=12,
            seconds=0.5,
        ),
        suite,
        "PostgreSQL 18",
    )


def drifted() -> Drifted:
    findings = (
        Finding(Kind.DRIFT, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, Effect.OPENS, HOSTILE),
        Finding(Kind.NOTE, "table public.t", "renamed"),
    )
    return Drifted(Drift(findings), HOSTILE)


def fleet() -> Fleetwide:
    """Two databases where the same was applied, and one each that it is pending in, that drifted, that has errors, that
    failed twice, and that was never begun."""
    plan, drift = changes().plan, drifted().drift
    done = Came(Standing.APPLIED, plan)
    outcomes = {
        HOSTILE: done, "a": done, "b": Came(Standing.PENDING, replace(plan, operations=plan.operations[:1])),
        "c": Came(Standing.DRIFTED, drift=drift), "d": Came(Standing.INVALID, diagnostics=findings().diagnostics),
        "e": Came(Standing.FAILED, reason=HOSTILE, may_pass=True), "f": Came(Standing.NOT_STARTED),
    }  # fmt: skip
    results = [Result(name, outcome, 2 if name == "e" else 1, 0.5) for name, outcome in outcomes.items()]
    return Fleetwide(FleetRun("apply", tuple(results), 2.5), with_sql=True)


def probed() -> Probed:
    findings = [Probe("views", HOSTILE, verdict, HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), HOSTILE) for verdict in Found]
    return Probed(ProbeRun(HOSTILE, tuple(findings), {"views": HOSTILE}, strict=True), HOSTILE)


def coverage() -> Coverage:
    shown, missed = (Point(f"rule {n}", "rule", Span("a,b:c.yaml", n, 2), HOSTILE, HOSTILE, HOSTILE) for n in (1, 2))
    never = Point("never", "atom", Span("a,b:c.yaml", 3, 2), HOSTILE, HOSTILE, never=HOSTILE)
    return Coverage("a,b:c.yaml" + HOSTILE, (shown, missed, never), frozenset({"rule 1"}))


def assayed() -> Assayed:
    """One mutant killed, one that survived with what would kill it, one without, one equivalent, one broken."""
    widened = (Widened(1, 9, HOSTILE), Widened(0, 0, conflict=HOSTILE))
    lines = Lines((), ((TICKETS, HOSTILE),), (HOSTILE,), (HOSTILE,))
    found = Suggestion(HOSTILE, TICKETS, "select", HOSTILE, HOSTILE, HOSTILE, lines, widened)
    kinds = [
        Mutation.POLICY_DROPPED,
        Mutation.SCOPE_DROPPED,
        Mutation.SCOPE_DROPPED,
        Mutation.TO_PUBLIC,
        Mutation.PREFIX,
    ]
    mutants = [Mutant(k, HOSTILE, Span("a,b:c.yaml", n, 2), (HOSTILE,), number=n) for n, k in enumerate(kinds)]
    fates = [Fate.KILLED, Fate.SURVIVED, Fate.SURVIVED, Fate.EQUIVALENT, Fate.BROKEN]
    run = results().result
    trials = [
        Trial(mutant, fate, run.failures[0] if fate is Fate.KILLED else None, HOSTILE, 3, 0.01)
        for mutant, fate in zip(mutants, fates, strict=True)
    ]
    trials[1] = replace(trials[1], suggestion=found)
    return Assayed(Score(results().suite, HOSTILE, tuple(trials), run, 0.05, 1.0), HOSTILE, 90)


VALUES = {
    "findings": findings,
    "changes": changes,
    "drift": drifted,
    "fleet": fleet,
    "results": results,
    "coverage": coverage,
    "mutants": assayed,
    "probes": probed,
}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_formats_are_found_by_their_files(subject: Subject):
    """`text` first; a file more is a format more."""
    names = report.formats(subject)
    assert (names[0], set(names)) == ("text", SUBJECTS[subject])
    folder = Path(report.__file__).parent / subject
    assert {file.stem for file in folder.glob("*.py")} - {"__init__"} == set(names)


@pytest.mark.parametrize(("subject", "name"), [(s, n) for s, names in SUBJECTS.items() for n in sorted(names)])
def test_no_content_can_steer_a_terminal_or_break_a_format(subject: Subject, name: str):
    """A message with control characters, quotes and markup in it comes out as data."""
    text = written(subject, name, VALUES[subject]())
    assert "\x1b" not in text
    assert "\x00" not in text
    if name == "json":
        json.loads(text)
    if name == "junit":
        ElementTree.fromstring(text)
    if name == "github":
        assert all(line.startswith("::") for line in text.splitlines())
        assert "file=a,b:c" not in text
    if name == "text":
        assert "\u202e" not in text


def test_the_caret_stands_under_the_column(tmp_path: Path):
    """Also where a line is long, and where wide characters come before it."""
    for line, column in (("key: valeu", 6), ("x" * 300 + "HERE" + "y" * 300, 301), ("日本: valeu", 5)):
        file = tmp_path / "policies.yaml"
        file.write_text(line, encoding="utf-8")
        diagnostics = Diagnostics()
        diagnostics.error("bad-value", "wrong", Span(str(file), 1, column))
        shown, caret = written("findings", "text", Findings.of(diagnostics)).splitlines()[1:3]
        at = caret.index("^") - sum(ord(c) > 0x2E80 for c in shown)
        assert shown[at] == line[column - 1]
        assert len(shown) < 120


def test_what_a_token_could_do_is_summed_up():
    """Rows seen of those that are there, and writes; a denial counts only where it was tried."""
    found = access(results().result)
    assert found["ann"][TICKETS] == report.Access(2, 3, frozenset({"insert"}), True)
    assert found["ann-agent"][TICKETS].nothing
    assert not found["ann-agent"][NOTES].held


def test_results_as_text():
    """A row a token, a column a table; what failed is marked there, and told below."""
    text = written("results", "text", results())
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ann")}
    assert "2/3 i" in lines["ann"]
    assert "—" in lines["ann-agent"]
    assert "✗" in lines["ann-agent"]
    assert "LEAK: " in text
    assert "1 UNDECIDED" in text


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("number", [1, 30])
def test_tables_fit_the_width(width: int, number: int, monkeypatch: pytest.MonkeyPatch):
    """However many there are: then they stand in several blocks."""
    monkeypatch.setenv("COLUMNS", str(width))
    tables = [TableName("public", f"a_table_with_a_name_{n}") for n in range(number)]
    checks = tuple(
        CheckResult(Check(f"a-token-with-a-long-name-of-its-own-{n}", t, "select"), Verdict.PASSED, "nothing")
        for t in tables for n in range(3)
    )  # fmt: skip
    suite = Suite("cases.yaml", {}, (), dict.fromkeys(tables, ()))
    text = written("results", "text", Results(SuiteResult("cases.yaml", checks), suite, "PostgreSQL 18"))
    table = [line for line in text.splitlines() if "—" in line and "│" not in line]
    assert len(table) >= 3
    assert all(len(line) <= width for line in table)


def test_results_as_junit():
    """A test case for each check; UNDECIDED is an error, what didn't hold a failure."""
    suite = ElementTree.fromstring(written("results", "junit", results())).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("5", "1", "1")
    assert len(suite.findall("testcase")) == 5
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert (failure.text or "").startswith("LEAK: a")


def test_results_as_json():
    """Everything that was seen, for other programs."""
    document = json.loads(written("results", "json", results()))
    assert document["counts"] == {"passed": 3, "failed": 1, "undecided": 1}
    assert (
        document["checks"][0] | {"token": "ann", "keys": [["1"], ["2"]], "outcome": "ALLOWED"} == document["checks"][0]
    )


def test_changes_say_what_opens():
    """In words and with the lock; the statements on demand."""
    text = written("changes", "text", changes())
    assert "CLOSES t: row security on  (ACCESS EXCLUSIVE)" in text
    assert "alter table t enable row level security;" in text
    assert "2 changes (1 OPENS, 1 CLOSES) pending" in text
    assert "nothing pending" in written("changes", "text", Changes(Plan((), "a", "a"), "PostgreSQL 18"))


def test_changes_say_line_by_line_what_they_mean():
    """Also those with breaks in them; and what was found changed, in every format."""
    words = "t: change policy 'p'\n  one loses select\n  other   gains\x1b select"
    plan = Plan(
        (Operation((), words, Effect.OPENS, "ACCESS EXCLUSIVE"),), "a", "b", (Operation((), "v: new", Effect.CLOSES),)
    )
    text = written("changes", "text", Changes(plan, "PostgreSQL 18"))
    assert text.startswith(
        "OPENS  t: change policy 'p'  (ACCESS EXCLUSIVE)\n         one loses select\n         other gains\\x1b select\n"
        "CLOSES found changed by hand: v: new\n"
    )
    document = json.loads(written("changes", "json", Changes(plan, "PostgreSQL 18")))
    assert [found["words"] for found in document["found_changed_by_hand"]] == ["v: new"]
    assert "title=found changed by hand%2C CLOSES::v: new" in written(
        "changes", "github", Changes(plan, "PostgreSQL 18")
    )
    idle = Changes(replace(plan, operations=()), "PostgreSQL 18")
    assert "→ nothing of the file is pending in PostgreSQL 18; 1 found changed by hand" in written(
        "changes", "text", idle
    )


def test_what_only_is_written_anew_is_one_line():
    """For each kind of object; not with its statements, nor in JSON, and what changes is told by itself."""
    operations = tuple(
        Operation(
            (f"alter {n};",),
            f"change {n}\n  the same",
            Effect.NEITHER,
            lock,
            f"{kind} {n}",
            TICKETS if lock else None,
            is_rewrite=n != "d",
        )
        for kind, n, lock in (("policy", "a", "L"), ("function", "b", ""), ("policy", "c", "L"), ("policy", "d", "L"))
    )
    whole = Changes(Plan(operations, "a", "b"), "PostgreSQL 18")
    lines = [line.strip() for line in written("changes", "text", whole).splitlines()]
    assert lines == [
        "2 policies are written anew and say the same: public.tickets  (L)",
        "change b", "the same", "change d  (L)", "the same",
        "→ 4 changes pending in PostgreSQL 18",
    ]  # fmt: skip
    assert written("changes", "github", whole).count("::notice") == 3
    assert written("changes", "text", replace(whole, with_sql=True)).count("the same") == 4
    assert len(json.loads(written("changes", "json", whole))["operations"]) == 4


def test_what_databases_share_is_told_once():
    """With their names; the table has a line for each, and what to do next is said of those that aren't done."""
    text = written("fleet", "text", fleet())
    assert text.count("alter table t enable row level security;") == 2  # of the two plans
    assert "2 changes (1 OPENS, 1 CLOSES) applied to 2 databases: a\\x1b" in text
    assert "1 change (1 CLOSES) pending in b" in text
    assert ["a", "2", "changes", "applied", "0.5", "s"] in [line.split() for line in text.splitlines()]
    assert "2 tries, 0.5 s" in text
    assert "2 applied, 1 pending, 1 drifted, 1 doesn't fit, 1 failed, 1 not started; 7 databases in 2.5 s" in text
    assert "--only b --only c --only d --only e --only f" in text
    document = json.loads(written("fleet", "json", fleet()))
    assert [len(group["databases"]) for group in document["groups"]] == [2, 1, 1, 1]
    assert [each["state"] for each in document["databases"]][-2:] == ["failed", "not started"]
    assert (document["exit_code"], document["groups"][0]["changes"]["pending"]) == (2, False)
    levels = [line.split()[0] for line in written("fleet", "github", fleet()).splitlines() if "title=fleet%3A" in line]
    assert levels.count("::error") == 2


@pytest.mark.parametrize(
    ("standings", "code"),
    [
        ("IN_STEP APPLIED", 0), ("IN_STEP PENDING", 1), ("DRIFTED APPLIED", 1), ("INVALID IN_STEP", 1),
        ("PENDING UNKNOWN", 2), ("REFUSED DRIFTED", 2), ("FAILED IN_STEP", 2), ("APPLIED NOT_STARTED", 2),
    ],
)  # fmt: skip
def test_the_worst_of_a_fleet_is_its_exit_code(standings: str, code: int):
    """One without an answer outweighs one whose answer is no, and that all that are in step."""
    results = [Result(name, Came(Standing[name])) for name in standings.split()]
    assert FleetRun("plan", tuple(results)).exit_code == code


def test_a_mutation_score_as_text():
    """By kind; what survived with what would kill it; equivalents by reason; the score is never rounded up."""
    text = written("mutants", "text", assayed())
    assert ["scope", "not", "asked", "for", "·", "2", "·"] in [line.split() for line in text.splitlines()]
    assert "mutation score 33.3 %: 1 of 3 killed, 2 survived, 1 equivalent, 1 broken; asked for: 90 %" in text
    assert "what would notice it wasn't sought" in text
    assert "cases.yaml:9 then lists a" in text
    assert "that is a bug of mcp-rls" in text
    nearly = replace(assayed().score, trials=(*[assayed().score.trials[0]] * 1999, assayed().score.trials[2]))
    assert nearly.shown == "99.9"
