"""Side channels and ways round row security, tried on a real server: a file for each probe, found by its name.

A probe is a module with a TITLE (what it looks at), with NOTHING (what it means that it found nothing of the kind), and
with one function, `probe(bench)`, which yields what the acting token found out about one object after another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcp_rls.catalog import Catalog
    from mcp_rls.compiler.model import PolicySet
    from mcp_rls.harness.probes.kit.bench import Bench
    from mcp_rls.harness.probes.kit.verdict import Finding, Found, ProbeRun
    from mcp_rls.harness.session import Connection
    from mcp_rls.harness.suite import Suite, TokenSpec


@dataclass(frozen=True)
class Probe:
    """One probe."""

    name: str
    title: str
    nothing: str
    run: Callable[[Bench], Iterator[Found]]


def names() -> tuple[str, ...]:
    """The names of all probes; loads none of them."""
    return tuple(sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py")))


def load(name: str) -> Probe:
    module = import_module(f"{__name__}.{name}")
    return Probe(name, module.TITLE, module.NOTHING, module.probe)


def run_probes(
    conn: Connection,
    policies: PolicySet,
    suite: Suite,
    chosen: Sequence[str] = (),
    *,
    strict: bool = False,
    call_volatile: bool = False,
    catalog: Catalog | None = None,
) -> ProbeRun:
    """What the chosen probes (none: all) find out as each client's token of the suite; everything is rolled back.

    Raises: Invalid for what the suite names and the database lacks; CannotTest when there is nobody to act as, or no
    row that could be hidden.
    """
    from mcp_rls.harness.probes.kit.verdict import ACTING, ProbeRun

    begun = time.perf_counter()
    probes = [load(name) for name in chosen or names()]
    with open_bench(conn, policies, suite, call_volatile=call_volatile, catalog=catalog) as (bench, tokens):
        found = _asked(bench, tokens, probes)
        findings = [f for probe in probes for f in _findings(probe, found[probe.name], policies)]
        titles = {probe.name: probe.title for probe in probes}
        if found[ACTING]:
            findings = [*_merged(ACTING, found[ACTING], policies), *findings]
            titles = {ACTING: "tokens", **titles}
        seconds = time.perf_counter() - begun
        return ProbeRun(suite.path, tuple(findings), titles, len(tokens), bench.stage.attempts, seconds, strict)


@contextmanager
def open_bench(
    conn: Connection,
    policies: PolicySet,
    suite: Suite,
    *,
    call_volatile: bool = False,
    catalog: Catalog | None = None,
) -> Iterator[tuple[Bench, tuple[TokenSpec, ...]]]:
    """Yields the bench with the suite's fixtures, a made-up row in tables without one, and its client tokens."""
    from mcp_rls.harness.probes.kit.bench import Bench
    from mcp_rls.harness.probes.kit.facts import SchemaFacts
    from mcp_rls.harness.run import open_runner
    from mcp_rls.harness.session import CannotTest

    with open_runner(conn, policies, suite, catalog) as runner:
        tokens = runner.client_tokens()
        if not tokens:
            raise CannotTest(f"{suite.path} has no token of a client, and only those are under the ceilings")
        stage = runner.stage
        if not suite.fixtures and not any(stage.snapshot(table) for table in stage.covered):
            raise CannotTest(f"there is no row that could be hidden: give {suite.path} fixtures")
        bench = Bench(stage, suite, SchemaFacts(stage), call_volatile)
        bench.fill()
        yield bench, tokens


def _asked(bench: Bench, tokens: Sequence[TokenSpec], probes: Sequence[Probe]) -> dict[str, list[tuple[str, Found]]]:
    """What each token found out, by probe. A token that can't act is something that was not tried."""
    import psycopg

    from mcp_rls.harness.probes.kit.verdict import ACTING, Found, Verdict
    from mcp_rls.harness.session import CannotTest, one_line

    found: dict[str, list[tuple[str, Found]]] = {name: [] for name in (ACTING, *(p.name for p in probes))}
    for token in tokens:
        try:
            bench.enter(token)
            troubles = [(str(s.name), s.trouble) for s in bench.sights if s.trouble]
        except (CannotTest, psycopg.Error) as problem:
            troubles = [(token.name, one_line(problem))]
        found[ACTING] += [(token.name, Found(o, Verdict.UNDECIDED, words)) for o, words in troubles]
        for probe in probes if bench.stage.bearer is not None else ():
            found[probe.name] += [(token.name, one) for one in _tried(bench, probe)]
    return found


def _tried(bench: Bench, probe: Probe) -> Iterable[Found]:
    """What one probe finds; what stops it half way is something that was not tried."""
    import psycopg

    from mcp_rls.harness.probes.kit.verdict import Found, Verdict
    from mcp_rls.harness.session import CannotTest, one_line

    found: list[Found] = []
    try:
        found.extend(probe.run(bench))
    except (CannotTest, psycopg.Error) as problem:
        found.append(Found(f"the probe {probe.name}", Verdict.UNDECIDED, one_line(problem)))
    return found


def _findings(probe: Probe, found: list[tuple[str, Found]], policies: PolicySet) -> list[Finding]:
    from mcp_rls.harness.probes.kit.verdict import Finding, Verdict

    return _merged(probe.name, found, policies) or [Finding(probe.name, "", Verdict.NOT_APPLICABLE, probe.nothing)]


def _merged(name: str, found: list[tuple[str, Found]], policies: PolicySet) -> list[Finding]:
    from mcp_rls.harness.probes.kit.verdict import merged

    return merged(name, found, policies.doors)
