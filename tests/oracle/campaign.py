"""Worlds one after the other until so many judgements were made; the first finding is shrunk by Hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

import psycopg
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from .evaluator import Session
from .generate import worlds
from .render import policy_file, schema
from .run import Connection, Installer, Refused, Tally, judge, product
from .world import World

# Random conditions may be provably empty or disjoint; saying so is right. No other refusal of a generated file is.
RIGHTLY_REFUSED = frozenset({"never-holds", "check-disjoint"})
# From the eleventh example on Hypothesis varies single choices of earlier ones: short batches keep worlds different.
_BATCH = 9
# Least shares of ALLOWED that make an agreement worth something: clients of a known class, and all sessions.
HEALTHY = {
    "select": (0.12, 0.25),
    "insert": (0.05, 0.15),
    "update": (0.02, 0.15),
    "delete": (0.03, 0.15),
}


class Finding(AssertionError):
    """Something to look at, with all that is needed to see it again."""


class _Enough(BaseException):
    """Ends a batch; no Exception, which Hypothesis would take for a failing example."""


@dataclass
class Campaign:
    connection: Connection
    installer: Installer = product
    tally: Tally = field(default_factory=Tally)
    refusals: int = 0
    _finding: Finding | None = None
    _simplest: World | None = None

    def world(self, world: World) -> None:
        """Judges one world. Raises: Finding."""
        try:
            tally, disagreements = judge(self.connection, world, self.installer)
        except Refused as refused:
            right = refused.codes <= RIGHTLY_REFUSED
            if not right or ("never-holds" in refused.codes and all(_met(world))):
                raise Finding(f"{_files(world)}\nrefused:\n{refused}") from None
            self.refusals += 1
            self.tally.refused.update(refused.codes)
            return
        except psycopg.Error as error:
            raise Finding(f"{_files(world)}\nthe server said: {error}") from error
        self.tally.add(tally)
        if disagreements:
            raise Finding(f"{disagreements[0]}\n({len(disagreements)} in this world)")

    def run(
        self, judgements: int, seed: int, progress: Callable[[Tally], None] = lambda tally: None, shrink: bool = True
    ) -> Finding | None:
        """The first finding, as small as it gets, or None after so many judgements."""
        phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)

        @settings(
            max_examples=_BATCH,
            database=None,
            deadline=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(worlds())
        def batch(world: World) -> None:
            if self._finding is None and world == self._simplest:
                return
            self._simplest = self._simplest or world  # every batch begins with it
            if self._finding is None and self.tally.judgements >= judgements:
                raise _Enough
            try:
                self.world(world)
            except Finding as finding:
                self._finding = finding  # from here on worlds are only judged to make it smaller
                raise
            finally:
                progress(self.tally)

        for number in count(1):
            try:
                seeded(seed * 100_003 + number)(batch)()
            except Finding as finding:
                return finding  # the smallest
            except _Enough:
                break
        return None

    def unhealthy(self) -> list[str]:
        """Why an agreement would prove little: hardly anything was allowed."""
        found = []
        for command, (clients, everybody) in HEALTHY.items():
            if self.tally.share(command) < clients:
                found.append(f"{command}: clients of a known class were allowed {self.tally.share(command):.1%}")
            if self.tally.share(command, self.tally.all_shares) < everybody:
                share = self.tally.share(command, self.tally.all_shares)
                found.append(f"{command}: all sessions together were allowed {share:.1%}")
        if self.refusals > self.tally.worlds / 4:
            found.append(f"{self.refusals} of {self.refusals + self.tally.worlds} policy files were refused")
        return found


def _met(world: World) -> Iterator[bool]:
    """Of each condition of a rule whether some row meets it for some token; of a generated `where` some always does."""
    sessions = [Session(world, token) for token in world.tokens]
    for table in world.tables:
        for rules in (table.people, table.clients):
            for rule in () if isinstance(rules, str) else rules:
                for condition in filter(None, (rule.rows, rule.check)):
                    rows = (*table.rows, *table.candidates)
                    yield any(session.meets(row, condition) for session in sessions for row in rows)


def _files(world: World) -> str:
    return f"{policy_file(world)}\n-- the database before\n{schema(world)}"
