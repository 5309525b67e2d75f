"""What people and machines read: a folder for each subject, in it a file for each format.

`findings/` shows diagnostics, `changes/` a plan, `drift/` what a database holds that wasn't applied, `fleet/` what came
of one of these on many databases, `results/` a test run, `coverage/` what of a policy file it showed, `mutants/` how
much of what could go wrong it notices, `probes/` side channels and ways round. A format is a module with one function,
`write(subject, out)`; it is found by its file's name, so that a new one is one new file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from mcp_rls.diagnostics import Diagnostic, Diagnostics, Severity

if TYPE_CHECKING:
    from rich.console import Console

    from mcp_rls.catalog import TableName
    from mcp_rls.compiler.model import Command
    from mcp_rls.database.drift import Drift
    from mcp_rls.database.fleet import FleetRun, Group, Outcome
    from mcp_rls.harness.coverage.result import Coverage
    from mcp_rls.harness.matrix import Hostile, Matrix
    from mcp_rls.harness.mutation.score import Score
    from mcp_rls.harness.probes.kit.verdict import ProbeRun
    from mcp_rls.harness.suite import Suite
    from mcp_rls.harness.verdict import SuiteResult
    from mcp_rls.operation import Operation, Plan

Subject = Literal[
    "findings", "changes", "drift", "fleet", "results", "coverage", "probes", "matrix", "hostile", "mutants"
]
_NAMED = 5  # tables in a line about several
PLAIN_WIDTH = 100  # columns where nobody says how wide the reader is
_LARGEST_SOURCE = 1_000_000  # bytes of a file that are read again to show a line of it


@dataclass(frozen=True)
class Findings:
    """Diagnostics with the files that they are about; `checked` says in words what was looked at."""

    diagnostics: tuple[Diagnostic, ...]
    checked: str = ""
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)  # path -> lines

    @classmethod
    def of(cls, diagnostics: Diagnostics, checked: str = "") -> Findings:
        """All of them in reading order, with the lines of the files that can still be read."""
        found = tuple(diagnostics)
        paths = {d.span.path for d in found if d.span.line}
        return cls(found, checked, {path: lines for path in sorted(paths) if (lines := _lines(path))})

    def count(self, severity: Severity) -> int:
        return sum(d.severity is severity for d in self.diagnostics)


@dataclass(frozen=True)
class Changes:
    """A plan and the database it is for, in words; `with_sql`: its statements too; `applied`: it was carried out.

    `indexes`: what its rules look up by and isn't there; with `create_indexes` they are to be made after the plan.
    """

    plan: Plan
    database: str
    with_sql: bool = False
    applied: bool = False
    indexes: tuple[Operation, ...] = ()
    create_indexes: bool = False

    @property
    def operations(self) -> tuple[Operation, ...]:
        """All that is pending, for a reader: the plan, and the indexes that are to be made."""
        return (*self.plan.told, *(self.indexes if self.create_indexes else ()))


@dataclass(frozen=True)
class Drifted:
    """What was found of a database, and what to call it."""

    drift: Drift
    database: str


@dataclass(frozen=True)
class Fleetwide:
    """What came of a command on each database of a fleet; `with_sql`: the statements of plans too."""

    run: FleetRun
    with_sql: bool = False

    def part(self, group: Group) -> tuple[Subject, object]:
        """What the databases of `group` have in common, as the report on one of them would tell it."""
        from mcp_rls.database.fleet import Standing

        outcome, names = group.outcome, self.named(group)
        if outcome.plan is not None:
            applied = outcome.standing is Standing.APPLIED
            return "changes", Changes(outcome.plan, names, self.with_sql, applied)
        if outcome.drift is not None:
            return "drift", Drifted(outcome.drift, names)
        return "findings", Findings.of(Diagnostics(list(outcome.diagnostics)), names)

    def named(self, group: Group) -> str:
        """'17 databases: a, b and so on', 'all 20 databases', or the name of the only one."""
        names = group.databases
        if len(names) == 1:
            return names[0]
        everyone = len(names) == len(self.run.results)
        return f"all {len(names)} databases" if everyone else f"{len(names)} databases: {', '.join(names)}"


@dataclass(frozen=True)
class Probed:
    """What probes found, and the database they were tried in, in words."""

    run: ProbeRun
    database: str


@dataclass(frozen=True)
class Possible:
    """A matrix, and the database that it was seen in, in words; whether something undecided is let pass."""

    matrix: Matrix
    database: str
    allow_undecided: bool = False


@dataclass(frozen=True)
class Assayed:
    """A mutation score, the database that the mutants were made in, in words, and the percent that was asked for."""

    score: Score
    database: str
    fail_under: float | None = None


@dataclass(frozen=True)
class Results:
    """A test run, the suite that was run, and the database it ran in, in words; what it covered, if that was asked."""

    result: SuiteResult
    suite: Suite
    database: str
    coverage: Coverage | None = None
    hostile: Hostile | None = None

    def tables(self) -> tuple[TableName, ...]:
        """Every table that was tried, in the order of the fixtures."""
        order = {table: number for number, table in enumerate(self.suite.fixtures)}
        tried = {one.check.table for one in self.result.results}
        return tuple(sorted(tried, key=lambda table: (order.get(table, len(order)), table)))

    def is_own(self, token: str) -> bool:
        """Whether it is a token of the app itself, with no client in between."""
        spec = self.suite.tokens.get(token)
        return spec is not None and not (spec.class_name or spec.client or spec.raw)


@dataclass(frozen=True)
class Access:
    """What one token was seen to do with one table: `seen` of the rows that are `there`, None where nobody looked."""

    seen: int | None = None
    there: int | None = None
    writes: frozenset[Command] = frozenset()
    held: bool = True  # every expectation about it did

    @property
    def nothing(self) -> bool:
        """It was tried, and nothing came of it."""
        return self.seen == 0 and not self.writes


def outcome_words(outcome: Outcome) -> str:
    """'in step', '3 changes pending', 'failed: why'."""
    standing = outcome.standing.label
    if outcome.plan:
        return f"{counted(len(outcome.plan.operations), 'change')} {standing}"
    if outcome.drift is not None and outcome.drift.answer is not None:
        return f"{standing}, {counted(len(outcome.drift.findings), 'finding')}"
    if outcome.diagnostics and outcome.plan is None:
        errors = sum(d.severity is Severity.ERROR for d in outcome.diagnostics)
        return f"{standing}: {counted(errors, 'error')} of the policies against this database"
    return f"{standing}: {outcome.reason}" if outcome.reason else standing


def access(result: SuiteResult) -> dict[str, dict[TableName, Access]]:
    """token -> table -> what was seen, in the order in which the run met them."""
    found: dict[str, dict[TableName, Access]] = {}
    for one in sorted(result.results, key=lambda r: r.check.case is None):
        check, observed = one.check, one.observation
        tables = found.setdefault(check.token, {})
        known = tables.setdefault(check.table, Access())
        known = replace(known, held=known.held and one.passed)
        if check.command != "select":
            if observed is not None and observed.allowed:
                known = replace(known, writes=known.writes | {check.command})
        elif observed is not None and check.case is not None:
            known = replace(known, seen=len(observed.keys), there=observed.found)
        elif known.seen is None and one.passed:
            known = replace(known, seen=0)
        tables[check.table] = known
    return found


def _lines(path: str) -> tuple[str, ...]:
    """The lines of a file as an editor counts them; none when it can't be read."""
    try:
        if Path(path).stat().st_size > _LARGEST_SOURCE:
            return ()
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError):
        return ()
    return tuple(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


def formats(subject: Subject) -> tuple[str, ...]:
    """The names of the formats there are for `subject`: `text` first."""
    folder = Path(__file__).parent / subject
    names = sorted(file.stem for file in folder.glob("[a-z]*.py"))
    return tuple(sorted(names, key=lambda name: name != "text"))


def write(subject: Subject, name: str, value: object, out: TextIO) -> None:
    """Writes `value` to `out` in the format `name`."""
    import_module(f"{__name__}.{subject}.{name}").write(value, out)


def console(out: TextIO) -> Console:
    """A rich console that writes text as it stands: no markup, no guessed highlighting, colour on terminals only."""
    from rich.console import Console

    plain = Console(
        file=out,
        markup=False,
        highlight=False,
        emoji=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
    )
    if not plain.is_terminal and "COLUMNS" not in os.environ:
        plain.width = PLAIN_WIDTH
    return plain


def shown(text: str) -> str:
    """`text` with every control character made visible, so that no file or database can steer a terminal."""
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, word: str, plural: str = "") -> str:
    """'1 error', '2 errors'."""
    return f"{number} {word if number == 1 else plural or word + 's'}"


def lines(words: str) -> list[str]:
    """What an operation's words tell, line by line, made visible; blanks and breaks in an author's SQL don't count."""
    return [shown(" ".join(line.split())) for line in words.splitlines()]


def folded(operations: Iterable[Operation]) -> dict[Operation, Operation]:
    """What to tell for which operation, the last of those that it tells of: rewrites of a kind of object are one."""
    alike: dict[str | int, list[Operation]] = {}
    for operation in operations:
        kind = operation.subject.partition(" ")[0]
        alike.setdefault(kind if operation.is_rewrite else id(operation), []).append(operation)
    return {some[-1]: some[0] if len(some) == 1 else _rewritten(some) for some in alike.values()}


def _rewritten(some: list[Operation]) -> Operation:
    """Several objects of one kind, of which each says the same as before."""
    kind = some[0].subject.partition(" ")[0]
    number = counted(len(some), kind, "policies" if kind == "policy" else "")
    tables = sorted({str(o.table) for o in some if o.table})
    more = f" and {len(tables) - _NAMED} more" if len(tables) > _NAMED else ""
    where = f": {', '.join(tables[:_NAMED])}{more}" if tables else ""
    return replace(some[0], words=f"{number} are written anew and say the same{where}")


def by_hand(plan: Plan) -> tuple[Operation, ...]:
    """What was found otherwise than it was noted, said as that."""
    return tuple(replace(o, words=f"found changed by hand: {o.words}") for o in plan.by_hand)


def annotation(level: str, message: str, **properties: object) -> str:
    """One GitHub workflow command: '::error file=policies.yaml,line=3::message'."""
    given = {key: value for key, value in properties.items() if value}
    listed = ",".join(f"{key}={_escaped(str(value), ':,')}" for key, value in given.items())
    return f"::{level}{' ' if listed else ''}{listed}::{_escaped(message)}"


def _escaped(text: str, also: str = "") -> str:
    """As GitHub's runner undoes it; other control characters made visible, since the log is shown in terminals too."""
    lines = [shown(line) for line in text.splitlines()] or [""]
    text = "\n".join(lines)
    for character in "%\n" + also:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
