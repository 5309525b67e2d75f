"""One piece of work done on many databases, so many at a time; what happens to one is no business of the others.

Each database has a thread and a connection of its own while it is worked on. Those that failed for a cause that may
pass (no answer, a lock, a database that moved) are tried again alone, when all others are through.
"""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial

import psycopg

from mcp_rls.database.drift import Unanswerable
from mcp_rls.database.fleet.file import PARALLEL, RETRIES
from mcp_rls.database.fleet.outcome import Command, FleetRun, Outcome, Result, Standing
from mcp_rls.database.fleet.work import Work
from mcp_rls.database.server import ServerError, connect
from mcp_rls.database.waiting import Connection, Locked, Moved, Progress
from mcp_rls.diagnostics import Invalid
from mcp_rls.operation import Operation

_PAUSE = 1.0  # seconds before the first new try, doubled each time
_CANCEL = 5.0  # seconds that a server has to take note of a cancellation
_TICK = 0.1  # seconds after which a pause notices that it is to end


class Stopped(Exception):
    """The run was asked to end; the message says what was left undone."""


class Stop:
    """Asked once, nothing more is begun and no lock is waited for; asked again, what is running is cancelled.

    A signal handler may ask: it takes no lock.
    """

    def __init__(self) -> None:
        self.asked = False
        self._cancelled = False
        self._sessions: set[Connection] = set()

    def ask(self) -> None:
        self.asked, self._cancelled = True, self.asked
        if self._cancelled:
            for connection in tuple(self._sessions):
                with suppress(psycopg.Error):  # it ended by itself
                    connection.cancel_safe(timeout=_CANCEL)

    @contextmanager
    def watching(self, connection: Connection) -> Iterator[None]:
        """Cancels what `connection` does, should it be asked for meanwhile."""
        self._sessions.add(connection)
        try:
            if self._cancelled:
                raise Stopped("stopped; nothing was changed")
            yield
        finally:
            self._sessions.discard(connection)


def run(
    command: Command,
    urls: Mapping[str, str],
    work: Work,
    *,
    words: Callable[[Exception], str | None],
    parallel: int = PARALLEL,
    retries: int = RETRIES,
    stop: Stop | None = None,
    tell: Progress = lambda message: None,  # noqa: ARG005
    done: Callable[[Result], None] = lambda result: None,  # noqa: ARG005
) -> FleetRun:
    """What came of `work` on each database: `urls` by name.

    `words` says what an error means; one that it has no words for is a bug, and is told whole. `tell` hears of waits
    and new tries, `done` of each database that is through; they are called one at a time.
    """
    begun = time.monotonic()
    crew = _Crew(urls, work, words, parallel, stop or Stop(), tell, done)
    left = list(urls)
    for attempt in range(retries + 1):
        if attempt and not crew.pause(attempt, left):
            break
        crew.round(left)
        left = [name for name in left if name in crew.results and crew.results[name].outcome.may_pass]
        if not left or crew.stop.asked:
            break
    not_started = Outcome(Standing.NOT_STARTED)
    results = tuple(crew.results.get(name) or Result(name, not_started, tries=0) for name in urls)
    return FleetRun(command, results, time.monotonic() - begun)


def may_pass(error: BaseException | None) -> bool:
    """Whether the cause of `error` may go away by itself: then nothing was wrong with what was asked for."""
    if isinstance(error, Locked | Moved | ServerError):
        return True
    # no connection, no resources, a lock, a shutdown, a serialization failure: all that isn't a word on the statement
    causes = (error, error.__cause__ if error else None)
    return any(isinstance(e, psycopg.OperationalError) and not _is_cancelled(e) for e in causes)


def _is_cancelled(error: psycopg.Error) -> bool:
    return isinstance(error, psycopg.errors.QueryCanceled)


@dataclass
class _Crew:
    """The threads at work, and what they have brought home."""

    urls: Mapping[str, str] = field(repr=False)  # may hold passwords
    work: Work
    words: Callable[[Exception], str | None]
    parallel: int
    stop: Stop
    tell: Progress
    done: Callable[[Result], None]
    results: dict[str, Result] = field(default_factory=dict)
    operations: dict[tuple[Operation, ...], tuple[Operation, ...]] = field(default_factory=dict)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def round(self, names: list[str]) -> None:
        """One try for each of `names`."""
        with ThreadPoolExecutor(self.parallel) as pool:
            try:
                for ended in as_completed([pool.submit(self._one, name) for name in names]):
                    ended.result()
            except BaseException:
                self.stop.ask()
                raise

    def pause(self, attempt: int, names: list[str]) -> bool:
        """Waits before a new try, each time longer; False when it isn't to come."""
        seconds = _PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._say(f"trying again in {seconds:.1f} s: {', '.join(names)}")
        until = time.monotonic() + seconds
        while not self.stop.asked and time.monotonic() < until:
            time.sleep(_TICK)
        return not self.stop.asked

    def _one(self, name: str) -> None:
        if self.stop.asked:
            return
        begun = time.monotonic()
        try:
            outcome = self._shared(self._worked(name))
        except Exception as error:  # noqa: BLE001 - what it is, is told
            outcome = self._failure(error)
        before = self.results.get(name) or Result(name, outcome, tries=0)
        seconds = before.seconds + time.monotonic() - begun
        result = replace(before, outcome=outcome, tries=before.tries + 1, seconds=seconds)
        with self._one_at_a_time:
            self.results[name] = result
            self.done(result)

    def _worked(self, name: str) -> Outcome:
        with connect(self.urls[name]) as connection, self.stop.watching(connection):
            # what a policy says is printed under a lock on its table
            connection.execute("set lock_timeout = '2s'")
            return self.work(connection, partial(self._waiting, name))

    def _shared(self, outcome: Outcome) -> Outcome:
        """The same, with operations that other databases have too held once: a fleet's plans are mostly one."""
        if outcome.plan is None:
            return outcome
        operations = self.operations.setdefault(outcome.plan.operations, outcome.plan.operations)
        return replace(outcome, plan=replace(outcome.plan, operations=operations))

    def _waiting(self, name: str, message: str) -> None:
        if self.stop.asked:
            raise Stopped("stopped while it waited for a lock")
        self._say(f"{name}: {message}")

    def _say(self, message: str) -> None:
        with self._one_at_a_time:
            self.tell(message)

    def _failure(self, error: Exception) -> Outcome:
        if isinstance(error, Invalid):
            return Outcome(Standing.INVALID, diagnostics=tuple(error.diagnostics))
        if isinstance(error, Stopped):
            return Outcome(Standing.FAILED, reason=str(error))
        words = self.words(error)
        if words is None:
            self._say("".join(traceback.format_exception(error)))
            return Outcome(Standing.FAILED, reason=f"{type(error).__name__}: that is a bug of mcp-rls")
        reason = words.splitlines()[0] if isinstance(error, ServerError) else " ".join(words.split())
        if may_pass(error):
            return Outcome(Standing.FAILED, reason=reason, may_pass=True)
        return Outcome(Standing.UNKNOWN if isinstance(error, Unanswerable) else Standing.REFUSED, reason=reason)
