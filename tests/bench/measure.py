"""One figure: two sides of one statement in turns, and the median of what the turns' ratios say.

Both sides run within the same moments, in backends on one CPU, as A B B A: what disturbs the machine disturbs both.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from tests.bench.platforms import UNDER_POLICY, Own
from tests.bench.workloads import Workload

Rows = list[tuple[Any, ...]]

_RESOLVED = r"""
select distinct (regexp_matches(prosrc, 'set_config\(''(mcp_rls\.\w+)', 'g'))[1] from pg_proc
where oid = to_regprocedure('mcp_rls.resolve(name)')
"""
_LIKE_A_SERVER_IN_USE = ("set max_parallel_workers_per_gather = 0", "set random_page_cost = 1.1", "set jit = off")
_SETTLING = 0.0002  # seconds between two looks at a backend's clock
_LONG = 0.8  # seconds for one figure: a slow statement has fewer rounds, but
_FEWEST = 6
_CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
_NUMBERS = itertools.count(1)  # no insert repeats an id, rolled back or not


@dataclass(frozen=True)
class Spent:
    """Microseconds for one execution; `cpu` is the backend's own, None where that can't be read."""

    cpu: float | None
    wall: float


@dataclass(frozen=True)
class Plan:
    initplans: int
    shape: str


@dataclass(frozen=True)
class Figure:
    """What a workload costs under a policy, as a multiple of what it costs with its conditions written by hand."""

    hand_us: float
    policy_us: float
    cpu: float | None
    wall: float
    rounds: int
    quartiles: tuple[float, float]  # of what `ratio` is the median of
    same: bool  # both sides gave, or left behind, the same rows
    hand_plan: Plan
    policy_plan: Plan

    @property
    def ratio(self) -> float:
        return self.wall if self.cpu is None else self.cpu


@dataclass
class Backend:
    """A session with a clock of its own."""

    connection: psycopg.Connection[Any]
    clock: TextIO | None = field(repr=False)
    role: str
    prepared: dict[bytes, bytes] = field(default_factory=dict, repr=False)  # text to name

    def carry(self, claims: str) -> None:
        """The session has these claims from now on, and what mcp_rls.resolve makes of them, where there is such."""
        self.connection.execute("select set_config('request.jwt.claims', %s, false)", (claims,))
        self.connection.execute("reset role")
        names = [name for (name,) in self.connection.execute(_RESOLVED).fetchall()]
        if names:
            with self.connection.transaction():
                self.connection.execute("select mcp_rls.resolve(%s)", (self.role,))
                opened = self.connection.execute("select string_to_array(current_setting('mcp_rls.opened'), ' ')")
                names += [f"mcp_rls.{name}" for row in opened.fetchall() for name in row[0]]
                listed = ", ".join(f"current_setting('{name}')" for name in names)
                found = self.connection.execute(f"select {listed}".encode()).fetchall()[0]
            # for every transaction from now on, so that statements alone are measured
            for name, value in zip(names, found, strict=True):
                self.connection.execute("select set_config(%s, %s, false)", (name, value))
        self.connection.execute(f"set role {self.role}".encode())

    def spent(self, workload: Workload, own: Own) -> Spent:
        """A turn: where it has several executions one to warm up, then those by the clock; writes are undone."""
        if workload.writes:
            self._run(b"begin")
        elif workload.times > 1:
            self._call(workload, own, next(_NUMBERS))()
        calls = [self._call(workload, own, next(_NUMBERS)) for _ in range(workload.times)]
        cpu, wall = self._settled(), time.perf_counter_ns()
        for call in calls:
            call()
        wall = time.perf_counter_ns() - wall
        cpu = self._settled() - cpu
        if workload.writes:
            self._run(b"rollback")
        scale = 1000 * workload.times
        return Spent(cpu / scale if self.clock else None, wall / scale)

    def outcome(self, workload: Workload, own: Own, look: Own) -> tuple[int, Rows]:
        """How many rows the statement touched, and the rows: those that it gives, or that a write leaves behind."""
        cursor = self.connection.cursor()
        if not workload.writes:
            rows = cursor.execute(workload.whole(own).encode()).fetchall()
            return len(rows), rows if workload.name == "order" else sorted(rows)
        cursor.execute("begin")
        try:
            touched = cursor.execute(workload.whole(own).encode()).rowcount
            condition = f" where {look['docs']}" if look["docs"] else ""
            rows = cursor.execute(f"select * from docs{condition} order by id".encode()).fetchall()
        finally:
            cursor.execute("rollback")
        return touched, rows

    def plan(self, workload: Workload, own: Own) -> Plan:
        """The planner's choice, in a few words."""
        found = self.connection.execute(f"explain (format json, costs off) {workload.whole(own)}".encode())
        (((root,),),) = found.fetchall()
        shape: list[str] = []
        return Plan(_walk(root["Plan"], shape), " > ".join(shape))

    def _call(self, workload: Workload, own: Own, number: int) -> Callable[[], None]:
        """The workload's statement of that number, ready to be sent. Of what comes back no row is looked at."""
        text = workload.text(own, number).encode()
        if workload.parameter is None:
            return partial(self._run, text)
        values = [str(workload.parameter(number)).encode()]
        if text not in self.prepared:
            self.prepared[text] = f"bench_{len(self.prepared)}".encode()
            _fine(self.connection.pgconn.prepare(self.prepared[text], text.replace(b"%s", b"$1")))
        return partial(self._run_prepared, self.prepared[text], values)

    def _run(self, text: bytes) -> None:
        _fine(self.connection.pgconn.exec_(text))

    def _run_prepared(self, name: bytes, values: list[bytes]) -> None:
        _fine(self.connection.pgconn.exec_prepared(name, values))

    def _settled(self) -> int:
        """The backend's CPU time in nanoseconds, once it stands still: the last slice is booked as it falls asleep."""
        last = -1
        while self.clock is not None:
            self.clock.seek(0)
            now = int(self.clock.read().split()[0])
            if now == last:
                return now
            last = now
            time.sleep(_SETTLING)
        return 0


def _fine(result: PGresult) -> None:
    assert result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK), result.error_message


@contextmanager
def backend(url: str, role: str, claims: str, *, local: bool, before: Sequence[str] = ()) -> Iterator[Backend]:
    """Yields a session in that role that carries the claims, after the statements `before`.

    Of a server that isn't `local` no clock can be read.
    """
    with ExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        clock = None
        if local:
            pid = connection.info.backend_pid
            with suppress(OSError):  # no Linux, or a kernel without it
                clock = stack.enter_context(Path(f"/proc/{pid}/schedstat").open())
            pin(pid)
        for statement in (*_LIKE_A_SERVER_IN_USE, *before):
            connection.execute(statement.encode())
        made = Backend(connection, clock, role)
        made.carry(claims)
        yield made


def pin(pid: int) -> None:
    """Root keeps backends on the last CPU, where there are more: on two, the sides could meet unlike ones."""
    if len(_CPUS) > 1 and os.geteuid() == 0:
        os.sched_setaffinity(pid, _CPUS[-1:])


def stand_aside() -> None:
    """Leaves that CPU to the backends."""
    if len(_CPUS) > 1 and os.geteuid() == 0:
        os.sched_setaffinity(0, _CPUS[:-1])


def measured(pairs: Sequence[tuple[Backend, Backend]], workload: Workload, by_hand: Own, rounds: int) -> Figure:
    """The figure of one workload. Each pair is (reference, under the policies).

    Rounds are spread over the pairs, since two backends with one plan can differ by a third on a scan.
    """
    sides = (by_hand, UNDER_POLICY)
    hand, policy = pairs[0]
    same = hand.outcome(workload, by_hand, by_hand) == policy.outcome(workload, UNDER_POLICY, UNDER_POLICY)
    begun = time.perf_counter()
    for pair in pairs:
        for one, own in zip(pair, sides, strict=True):
            _warm(one, workload, own)
    a_round = (time.perf_counter() - begun) / len(pairs) / _warming(workload)
    rounds = min(rounds, max(_FEWEST, int(_LONG / a_round)))
    turns = [_round(pairs[n % len(pairs)], workload, sides, backwards=n // len(pairs) % 2 == 1) for n in range(rounds)]
    walls = [b.wall / a.wall for a, b in turns]
    cpus = [b.cpu / a.cpu for a, b in turns if a.cpu and b.cpu]
    clocked = len(cpus) == len(turns)
    return Figure(
        hand_us=statistics.median((a.cpu if clocked else a.wall) or 0.0 for a, _ in turns),
        policy_us=statistics.median((b.cpu if clocked else b.wall) or 0.0 for _, b in turns),
        cpu=statistics.median(cpus) if clocked else None,
        wall=statistics.median(walls),
        rounds=rounds,
        quartiles=_quartiles(cpus if clocked else walls),
        same=same,
        hand_plan=hand.plan(workload, by_hand),
        policy_plan=policy.plan(workload, UNDER_POLICY),
    )


def _warm(one: Backend, workload: Workload, own: Own) -> None:
    """Fills caches; and a prepared statement may get its lasting plan only after five executions."""
    for _ in range(_warming(workload)):
        one.spent(workload, own)


def _warming(workload: Workload) -> int:
    return 2 if workload.times < 6 else 1


def _round(
    pair: tuple[Backend, Backend], workload: Workload, sides: tuple[Own, Own], *, backwards: bool
) -> tuple[Spent, Spent]:
    """What each side of the pair spent, the reference's first, whichever had the first turn."""
    hand, policy = pair
    if backwards:
        second = policy.spent(workload, sides[1])
        return hand.spent(workload, sides[0]), second
    return hand.spent(workload, sides[0]), policy.spent(workload, sides[1])


def _quartiles(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return ordered[len(ordered) // 4], ordered[3 * len(ordered) // 4]


def _walk(node: dict[str, Any], shape: list[str]) -> int:
    """How many InitPlans are below `node`; the nodes outside of them are added to `shape`, from the top."""
    kind = node["Operation"] if node["Node Type"] == "ModifyTable" else node["Node Type"]
    shape.append(" ".join(part for part in (kind, node.get("Alias", "")) if part))
    found = 0
    for child in node.get("Plans", []):
        initplan = child["Parent Relationship"] == "InitPlan"
        found += initplan + _walk(child, [] if initplan else shape)
    return found
