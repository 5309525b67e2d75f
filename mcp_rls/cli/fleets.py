"""Options of the commands that a fleet file can send to many databases, and carrying one out there."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import click

from mcp_rls import report
from mcp_rls.cli.options import Problem, Target, problem_of, progress, show_warnings

if TYPE_CHECKING:
    from mcp_rls.database.fleet import Command, Fleet, FleetRun, Result, Stop, Work
    from mcp_rls.diagnostics import Diagnostics

_F = TypeVar("_F", bound=Callable[..., Any])
_STOPPING = b"\nmcp-rls: no database is begun any more, what is running ends; Ctrl-C again cancels it\n"
_CANCELLING = b"\nmcp-rls: cancelling what is running, which is rolled back\n"


def fleet_option(command: _F) -> _F:
    """--fleet, --parallel and --only, passed on as one `fleet`, None without a fleet; to stand below `target`."""

    @wraps(command)
    def gathered(
        *args: Any, target: Target, fleet: Path | None, parallel: int | None, only: tuple[str, ...], **options: Any
    ) -> Any:
        if fleet is None and (parallel is not None or only):
            raise click.UsageError("--parallel and --only are about the databases of a fleet: name it with --fleet")
        if fleet is not None and target.named:
            raise click.UsageError("a fleet and another database are both named; name one of them")
        asked = FleetAsked(fleet, parallel, only) if fleet is not None else None
        return command(*args, target=target, fleet=asked, **options)

    wrapped: Any = gathered
    wrapped = click.option(
        "--only", multiple=True, metavar="NAME", help="With --fleet: this database of it alone. Repeatable."
    )(wrapped)
    wrapped = click.option(
        "--parallel", type=click.IntRange(1), help="With --fleet: how many databases at a time, else as the file says."
    )(wrapped)
    wrapped = click.option(
        "--fleet", type=click.Path(path_type=Path), metavar="FLEET", help="Every database that this file names."
    )(wrapped)
    return cast("_F", wrapped)


@dataclass(frozen=True)
class FleetAsked:
    """The fleet that the options ask for."""

    file: Path
    parallel: int | None
    only: tuple[str, ...]

    def carry_out(
        self, command: Command, policies: Path, work: Work, format_: str, *, with_sql: bool = False
    ) -> NoReturn:
        """Does `work` on each database, reports, and exits."""
        from mcp_rls.database.fleet import Stop, run

        fleet = self._loaded()
        urls = self._urls(fleet)
        stop = Stop()
        with _interrupts(stop):
            ran = run(
                command, urls, work, words=problem_of, parallel=self.parallel or fleet.parallel,
                retries=fleet.retries, stop=stop, tell=_tell, done=_counting(len(urls)),
            )  # fmt: skip
        show_warnings(_warnings(ran), str(policies))
        report.write("fleet", format_, report.Fleetwide(ran, with_sql), sys.stdout)
        sys.exit(ran.exit_code)

    def _loaded(self) -> Fleet:
        from mcp_rls.database.fleet import load_fleet

        fleet, diagnostics = load_fleet(self.file)
        self._show(diagnostics)
        if fleet is None:
            sys.exit(2)
        return fleet

    def _urls(self, fleet: Fleet) -> dict[str, str]:
        """The addresses of the databases that were asked for."""
        from mcp_rls.diagnostics import Diagnostics, nearest

        for name in self.only:
            if name not in fleet.databases:
                hint = nearest(name, fleet.databases)
                raise Problem(f'{self.file} has no database "{report.shown(name)}"' + (f"\n{hint}" if hint else ""))
        diagnostics = Diagnostics()
        urls = fleet.urls([n for n in fleet.databases if not self.only or n in self.only], diagnostics)
        self._show(diagnostics)
        if diagnostics.has_errors:
            sys.exit(2)
        return urls

    def _show(self, diagnostics: Diagnostics) -> None:
        """Without the lines that they are about: a password may stand in one."""
        if len(diagnostics):
            report.write("findings", "text", report.Findings(tuple(diagnostics), str(self.file)), sys.stderr)


@contextmanager
def _interrupts(stop: Stop) -> Iterator[None]:
    """Ctrl-C ends the run in good order instead of anywhere."""

    def ask(*_: object) -> None:
        os.write(2, _CANCELLING if stop.asked else _STOPPING)  # a stream may just be in use
        stop.ask()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _counting(total: int) -> Callable[[Result], None]:
    through: set[str] = set()

    def done(result: Result) -> None:
        through.add(result.database)
        _tell(f"{len(through)}/{total} {result.database}: {report.outcome_words(result.outcome)}")

    return done


def _tell(message: str) -> None:
    progress("\n".join(report.shown(line) for line in message.splitlines()))


def _warnings(ran: FleetRun) -> Diagnostics:
    """What there is to say of the policies that is no error, once for all databases; errors stand in the report."""
    from mcp_rls.diagnostics import Diagnostics

    return Diagnostics(list(dict.fromkeys(d for r in ran.results if r.outcome.plan for d in r.outcome.diagnostics)))
