"""One set of policies on the data: installed, shown to be closed to strangers, and sessions on both sides of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from mcp_rls.compiler.policy import read_policies
from mcp_rls.database.apply import install
from tests.bench import data
from tests.bench.measure import Backend, Figure, backend, measured
from tests.bench.platforms import Own, Platform, client
from tests.bench.workloads import Workload, workloads

PAIRS = 3  # two backends with one plan can differ by a third on a scan
Pairs = list[tuple[Backend, Backend]]  # the reference, and the token's under the policies


@dataclass(frozen=True)
class Bench:
    """A database in which a platform's policies stand; `acting` is of the class that is looked at last."""

    connection: psycopg.Connection[Any]
    pairs: Pairs
    by_hand: Own
    acting: str
    role: str
    workloads: tuple[Workload, ...]
    rounds: int

    def figure(self, workload: Workload) -> Figure:
        found = measured(self.pairs, workload, self.by_hand, self.rounds)
        if workload.writes:
            # told to: where it finds few dead rows it leaves them in the indexes, and the next reader meets them there
            self.connection.execute("vacuum (index_cleanup on) docs")
        return found

    def carry(self, claims: str) -> None:
        """Both sides have these claims from now on."""
        for session in (session for pair in self.pairs for session in pair):
            session.carry(claims)


@contextmanager
def opened(url: str, platform: Platform, rules: int, rounds: int, *, local: bool) -> Iterator[Bench]:
    """Yields the bench of one platform in a database that has the data; its policies are taken away again."""
    acting, role, by_hand = client(rules), platform.role(rules), platform.by_hand(rules)
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        _install(connection, platform, rules, acting)
        _must_be_closed(url, local)
        with _pairs(url, platform, data.claims(acting, role), role, local, min(PAIRS, rounds)) as pairs:
            condition = f" where {by_hand['docs']}" if by_hand["docs"] else ""
            rows = pairs[0][0].connection.execute(f"select id from docs{condition} order by id".encode())
            found = tuple(workloads([row[0] for row in rows]))
            yield Bench(connection, pairs, by_hand, acting, role, found, rounds)
        data.clear(connection)


def _install(connection: psycopg.Connection[Any], platform: Platform, rules: int, acting: str) -> None:
    if platform.own_policies:
        data.add_own_policies(connection)
    if platform.consent:
        data.give_consents(connection, acting)
    found, diagnostics = read_policies("policies.yaml", platform.policies(rules))
    assert found is not None, "\n".join(map(str, diagnostics))
    install(connection, found)


def _must_be_closed(url: str, local: bool) -> None:
    """A client of no class sees nothing; else it isn't ceilings that are measured."""
    with backend(url, data.USER, data.claims("somebody-else"), local=local) as stranger:
        for table in data.OWNED:
            seen = stranger.connection.execute(f"select from {table} limit 1".encode()).fetchone()
            assert seen is None, f"a client without a rule reads {table}"


@contextmanager
def _pairs(url: str, platform: Platform, claims: str, role: str, local: bool, number: int) -> Iterator[Pairs]:
    reference = data.REFERENCE if platform.own_policies else data.OWNER
    with ExitStack() as stack:
        yield [
            (
                stack.enter_context(backend(url, reference, claims, local=local)),
                stack.enter_context(backend(url, role, claims, local=local, before=platform.session)),
            )
            for _ in range(number)
        ]
