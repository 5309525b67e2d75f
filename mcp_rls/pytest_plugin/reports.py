"""What is told at the end: coverage, brought together from all workers, and how much was tried with hostile tokens."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from mcp_rls.pytest_plugin import options, servers

if TYPE_CHECKING:
    from mcp_rls.harness.coverage.result import Coverage

# properties of an item that ran
HOSTILE_TOKENS, HOSTILE_TRIES = "rls_hostile_tokens", "rls_hostile_tries"
BY_GRANT = "rls_by_grant"
_COVERAGE: pytest.StashKey[list[Coverage]] = pytest.StashKey()  # of xdist's workers; at the end, all of it


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes what a worker of xdist gathered."""
    from mcp_rls.harness.coverage.result import from_document

    documents = getattr(node, "workeroutput", {}).get("rls_cov", [])
    node.config.stash.setdefault(_COVERAGE, []).extend(map(from_document, documents))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Brings together what was gathered; a worker hands it on, anything else fails when it is too little."""
    config = session.config
    if not options.covers(config):
        return
    from mcp_rls.harness.coverage.result import merged

    gathered = [*config.stash.get(_COVERAGE, []), *servers.gathered(config)]
    if hasattr(config, "workeroutput"):
        config.workeroutput["rls_cov"] = [coverage.document() for coverage in gathered]
        return
    config.stash[_COVERAGE] = list(merged(gathered))
    if session.exitstatus == pytest.ExitCode.OK and _shortfalls(config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    _tell_properties(terminalreporter)
    found = config.stash.get(_COVERAGE, [])
    shortfalls = _shortfalls(config) if options.covers(config) else []
    if not (found or shortfalls) or hasattr(config, "workerinput"):
        return
    from mcp_rls import report

    terminalreporter.section("row-level security coverage")
    for coverage in found:
        out = io.StringIO()
        report.write("coverage", "text", coverage, out)
        terminalreporter.write(out.getvalue())
    for shortfall in shortfalls:
        terminalreporter.write_line(f"FAIL {shortfall}", red=True)


def _shortfalls(config: pytest.Config) -> list[str]:
    """What is covered too little, in words; a run that met no policy covered none."""
    least, found = options.least(config), config.stash.get(_COVERAGE, [])
    if least is None or config.option.collectonly:
        return []
    files = [f"{c.path}: less than {least:g} % is covered" for c in found if c.is_under(least)]
    return files if found or not least else ["no test acted as a token, so nothing is covered"]


def _tell_properties(terminalreporter: Any) -> None:
    """What items wrote down, over all workers: how much was tried with hostile tokens, and what no policy denied."""
    reports = [report for some in terminalreporter.stats.values() for report in some]
    told = [dict(getattr(report, "user_properties", ())) for report in reports if getattr(report, "when", "") == "call"]
    tokens, tries, by_grant = (
        sum(one.get(name, 0) for one in told) for name in (HOSTILE_TOKENS, HOSTILE_TRIES, BY_GRANT)
    )
    if tokens:
        terminalreporter.write_line(f"rls hostile: {tokens:,} tokens that come near a valid one, {tries:,} tries")
    if by_grant:
        words = "unlisted cells were denied for want of a grant: no policy was asked"
        terminalreporter.write_line(f"rls: {by_grant:,} {words}")
