"""Expectation and observation to verdict: what passes, what fails, and under which name."""

from __future__ import annotations

import pytest

from mcp_rls.catalog import Column, Table, TableName
from mcp_rls.harness.observe import Observation, Outcome
from mcp_rls.harness.suite import Case, Expectation
from mcp_rls.harness.verdict import Check, CheckResult, Scene, SuiteResult, Verdict, judge

NOTES = TableName("public", "notes")
TABLE = Table(NOTES, "table", "postgres", (Column("id", "bigint"),), ("id",))
SEEN_1 = Observation("select", Outcome.ALLOWED, (("1",),))
HIDDEN = Observation("update", Outcome.HIDDEN)
POLICY = Observation("update", Outcome.REFUSED_BY_POLICY, policy="p")
GRANT = Observation("update", Outcome.REFUSED_BY_GRANT)
ERROR = Observation("update", Outcome.ERRORED, sqlstate="22P02", error="invalid input")
UNIQUE = Observation("update", Outcome.ERRORED, sqlstate="23505", error="duplicate", constraint="notes_pkey")
CHANGED_1 = Observation("update", Outcome.ALLOWED, (("1",),))
CHANGED_12 = Observation("update", Outcome.ALLOWED, (("1",), ("2",)))


def sees(*keys: int) -> Expectation:
    return Expectation("sees", keys)


def changes(*keys: int) -> Expectation:
    return Expectation("changes", keys)


def refused(reason: str) -> Expectation:
    return Expectation("refused", reason=reason)  # type: ignore[arg-type]


ALLOWED = Expectation("allowed")
# Command, expectation, observation, and the kind of finding; '' is a pass. Rows 1 and 2 exist, WHERE finds row 1.
TABLE_OF_VERDICTS = [
    ("select", sees(1), SEEN_1, ""),
    ("select", sees(), SEEN_1, "LEAK"),
    ("select", sees(2), SEEN_1, "LEAK"),
    ("select", sees(1, 2), SEEN_1, "DENIED"),
    ("select", sees(), HIDDEN, ""),
    ("select", sees(1), HIDDEN, "DENIED"),
    ("select", sees(3), HIDDEN, "VACUOUS"),
    ("select", sees(), GRANT, "WRONG REASON"),
    ("select", sees(1), GRANT, "DENIED"),
    ("select", sees(), ERROR, "ERROR"),
    ("select", refused("grant"), GRANT, ""),
    ("select", refused("grant"), HIDDEN, "WRONG REASON"),
    ("insert", ALLOWED, CHANGED_1, ""),
    ("insert", ALLOWED, HIDDEN, "DENIED"),
    ("insert", ALLOWED, POLICY, "DENIED"),
    ("insert", ALLOWED, UNIQUE, "ERROR"),
    ("insert", refused("policy"), POLICY, ""),
    ("insert", refused("policy"), GRANT, "WRONG REASON"),
    ("insert", refused("policy"), UNIQUE, "WRONG REASON"),
    ("insert", refused("policy"), CHANGED_1, "LEAK"),
    ("insert", refused("policy"), ERROR, "ERROR"),
    ("insert", refused("constraint"), UNIQUE, ""),
    ("insert", refused("constraint"), POLICY, "WRONG REASON"),
    ("insert", refused("grant"), POLICY, "WRONG REASON"),
    ("update", changes(1), CHANGED_1, ""),
    ("update", changes(), CHANGED_1, "LEAK"),
    ("update", changes(1), CHANGED_12, "LEAK"),
    ("update", changes(1), HIDDEN, "DENIED"),
    ("update", changes(2), HIDDEN, "VACUOUS"),
    ("update", changes(), HIDDEN, ""),
    ("update", changes(), POLICY, "WRONG REASON"),
    ("update", changes(), GRANT, "WRONG REASON"),
    ("update", changes(1), GRANT, "DENIED"),
    ("update", refused("policy"), POLICY, ""),
    ("update", refused("policy"), HIDDEN, "WRONG REASON"),
    ("delete", changes(), HIDDEN, ""),
    ("delete", refused("grant"), GRANT, ""),
]


@pytest.mark.parametrize(("command", "expect", "observation", "kind"), TABLE_OF_VERDICTS)
def test_every_pair(command: str, expect: Expectation, observation: Observation, kind: str) -> None:
    case = Case(1, "ann", command, NOTES, expect)  # type: ignore[arg-type]
    expected = tuple((str(key),) for key in expect.keys)
    scene = Scene(TABLE, frozenset({("1",), ("2",)}), expected, frozenset({("1",)}))
    finding = judge(case, observation, scene)
    assert finding.headline.partition(":")[0] == kind
    assert (finding.verdict is Verdict.PASSED) is (kind == "")


def test_a_denial_without_rows_is_vacuous() -> None:
    """Nothing seen in an empty table, and nothing changed where the WHERE finds nothing, prove nothing."""
    empty = Scene(TABLE, frozenset())
    assert judge(Case(1, "a", "select", NOTES, sees()), HIDDEN, empty).headline.startswith("VACUOUS")
    found_none = Scene(TABLE, frozenset({("1",)}))
    for expect in (changes(), refused("policy")):
        finding = judge(Case(1, "a", "update", NOTES, expect), HIDDEN, found_none)
        assert finding.headline.startswith("VACUOUS")


def test_rows_brought_for_the_token_are_nobodys_leak() -> None:
    """A consent row made for the token has no key that a case could name; alone it is no witness either."""
    own = frozenset({("1",)})
    both = Scene(TABLE, frozenset({("1",), ("2",)}), brought=own)
    assert judge(Case(1, "a", "select", NOTES, sees()), SEEN_1, both).verdict is Verdict.PASSED
    alone = Scene(TABLE, own, brought=own)
    assert judge(Case(1, "a", "select", NOTES, sees()), SEEN_1, alone).headline.startswith("VACUOUS")


def test_exit_codes() -> None:
    """Undecided outranks failed, and a run without results is no pass."""
    check = Check("ann", NOTES, "select")
    passed, failed, open_ = (CheckResult(check, v, "") for v in Verdict)
    assert SuiteResult("c", (passed,)).exit_code == 0
    assert SuiteResult("c", (passed, failed)).exit_code == 1
    assert SuiteResult("c", (passed, failed, open_)).exit_code == 2
    assert SuiteResult("c", ()).exit_code == 2
    assert not SuiteResult("c", ()).passed
