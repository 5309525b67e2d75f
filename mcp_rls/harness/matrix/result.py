"""What a matrix came to: a cell for each token, table and command, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import Command
from mcp_rls.diagnostics import Span
from mcp_rls.harness.matrix.principals import Principal

_TITLE = 10  # columns of a title


class Verdict(Enum):
    """ALLOWED: all that the person may. CONDITIONAL: some of it. UNDECIDED is never safe."""

    ALLOWED = "allowed"
    CONDITIONAL = "conditional"
    DENIED = "denied"
    UNDECIDED = "undecided"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Ruled:
    """A rule that is open to a token, in its author's words."""

    condition: str  # '' where there is none
    scopes: tuple[str, ...]
    span: Span
    check: str = ""  # of the new row, where UPDATE has one of its own
    columns: str = ""  # that UPDATE may set, where not all


@dataclass(frozen=True)
class Cell:
    """One token, table and command. `may`: how much its person may of what was tried, `got`: how much of it it got."""

    principal: int  # index
    table: TableName
    command: Command
    verdict: Verdict
    may: int = 0
    got: int = 0
    rules: tuple[Ruled, ...] = ()
    why: str = ""  # of what is undecided, or of a denial that no row shows
    through: tuple[TableName, ...] = ()  # narrowed by what it may see of these


@dataclass(frozen=True)
class Finding:
    """A difference between the policy file and the database. `facts` are titles with their lines."""

    kind: str  # LEAK, TOO STRICT or ERROR
    sentence: str
    token: str
    table: TableName
    command: Command
    rows: tuple[str, ...] = ()
    facts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    span: Span = Span()

    @property
    def headline(self) -> str:
        return f"{self.kind}: {self.sentence}"

    def lines(self) -> Iterator[str]:
        """The facts, each on its line behind its title, and where the file says so."""
        at = (("at", (str(self.span),)),) if self.span.path else ()
        for title, listed in (*self.facts, *at):
            for number, line in enumerate(listed):
                yield f"  {title if number == 0 else '':<{_TITLE}}{line}"

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "sentence": self.sentence,
            "token": self.token,
            "table": str(self.table),
            "command": self.command,
            "rows": list(self.rows),
            "facts": {title: list(listed) for title, listed in self.facts},
            "file": self.span.path,
            "line": self.span.line,
        }


def grouped(findings: Iterable[Finding]) -> list[tuple[Finding, tuple[str, ...]]]:
    """The first finding of each kind, table and command, with the names of the other tokens that it concerns."""
    groups: dict[tuple[str, TableName, Command], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.kind, finding.table, finding.command), []).append(finding)
    return [(first, _others(first, rest)) for first, *rest in groups.values()]


def _others(first: Finding, rest: Iterable[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finding.token for finding in rest if finding.token != first.token))


@dataclass(frozen=True)
class Hostile:
    """What came of hostile tokens. `twins`: how many of the denials have a valid token that was let in."""

    variants: int
    tries: int
    denials: int
    twins: int
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    untwinned: tuple[str, ...] = ()  # tables and commands that nobody was let in to

    @property
    def passed(self) -> bool:
        return bool(self.twins) and not self.findings

    @property
    def exit_code(self) -> int:
        """0: none got more than it should. 1: one did. 2: nothing was shown."""
        return 1 if self.findings else 0 if self.twins else 2

    def sentence(self) -> str:
        """'589 tokens that come near a valid one, 39,757 tries: none got more than it should'."""
        count = len(self.findings)
        came = f"{count} got something else than they should" if count else "none got more than it should"
        came = came if self.twins else "nothing was shown, since no valid token was let in anywhere"
        return f"{self.variants:,} tokens that come near a valid one, {self.tries:,} tries: {came}"

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "passed": self.passed,
            "tokens": self.variants,
            "tries": self.tries,
            "denials": self.denials,
            "denials_with_a_twin": self.twins,
            "findings": [finding.as_data() for finding in self.findings],
            "notes": list(self.notes),
            "without_twin": list(self.untwinned),
        }


@dataclass(frozen=True)
class Matrix:
    """A whole run. `notes` are facts worth knowing that are no findings."""

    path: str
    principals: tuple[Principal, ...]
    tables: tuple[TableName, ...]
    cells: tuple[Cell, ...]
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    tries: int = 0
    seconds: float = 0.0
    hostile: Hostile | None = None
    at: Mapping[tuple[int, TableName, Command], Cell] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", {(c.principal, c.table, c.command): c for c in self.cells})

    def count(self, verdict: Verdict) -> int:
        return sum(cell.verdict is verdict for cell in self.cells)

    @property
    def undecided(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if cell.verdict is Verdict.UNDECIDED)

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        return (*self.findings, *(self.hostile.findings if self.hostile is not None else ()))

    def exit_code(self, *, allow_undecided: bool = False) -> int:
        """0: everything is as the file says. 1: something isn't. 2: something is undecided, or nothing was tried."""
        if self.all_findings:
            return 1
        if not any(cell.got for cell in self.cells) or (self.hostile is not None and not self.hostile.passed):
            return 2
        return 2 if self.undecided and not allow_undecided else 0
