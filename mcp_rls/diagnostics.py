"""What the tool has to say about a file or a database: values with a place, a stable code and a next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum


class Severity(IntEnum):
    """How much a diagnostic weighs; errors stop the pipeline, warnings and notes never do."""

    NOTE = 0
    WARNING = 1
    ERROR = 2

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, order=True)
class Span:
    """A place in a text: `path` as the user gave it, `line` and `column` 1-based (0: the file as a whole)."""

    path: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}" if self.line else self.path

    def shifted(self, columns: int) -> Span:
        """The place `columns` to the right on the same line."""
        return Span(self.path, self.line, self.column + columns)


@dataclass(frozen=True)
class Diagnostic:
    """One finding. `code` is stable for ever and has a page (`mcp-rls explain-code CODE`)."""

    code: str
    message: str
    span: Span = Span()
    hints: tuple[str, ...] = ()
    severity: Severity = Severity.ERROR
    subject: str = ""  # the database object, where the finding is about one: 'table public.tickets'

    def __str__(self) -> str:
        place = f"{self.span}: " if self.span.path else ""
        head = f"{place}{self.severity.label}[{self.code}] {self.message}"
        return "\n".join([head, *(f"  hint: {hint}" for hint in self.hints)])


@dataclass
class Diagnostics:
    """A collection that keeps each diagnostic once; stages add to it and go on."""

    items: list[Diagnostic] = field(default_factory=list)
    _known: set[Diagnostic] = field(default_factory=set, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._known.update(self.items)

    def add(self, diagnostic: Diagnostic) -> None:
        if diagnostic not in self._known:
            self._known.add(diagnostic)
            self.items.append(diagnostic)

    def error(self, code: str, message: str, span: Span = Span(), *hints: str, subject: str = "") -> None:
        self.add(Diagnostic(code, message, span, tuple(h for h in hints if h), Severity.ERROR, subject))

    def warning(self, code: str, message: str, span: Span = Span(), *hints: str, subject: str = "") -> None:
        self.add(Diagnostic(code, message, span, tuple(h for h in hints if h), Severity.WARNING, subject))

    def note(self, code: str, message: str, span: Span = Span(), *hints: str, subject: str = "") -> None:
        self.add(Diagnostic(code, message, span, tuple(h for h in hints if h), Severity.NOTE, subject))

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        for diagnostic in diagnostics:
            self.add(diagnostic)

    def __iter__(self) -> Iterator[Diagnostic]:
        """In reading order: by file and place, the gravest first on one place."""
        return iter(sorted(self.items, key=lambda d: (d.span, -d.severity, d.code, d.message)))

    def __len__(self) -> int:
        return len(self.items)

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self if d.severity is Severity.ERROR)

    @property
    def has_errors(self) -> bool:
        return any(d.severity is Severity.ERROR for d in self.items)


class Invalid(Exception):
    """Raised at the edge when a stage cannot hand on a value; carries everything that was found."""

    def __init__(self, diagnostics: Diagnostics) -> None:
        super().__init__("\n".join(str(d) for d in diagnostics))
        self.diagnostics = diagnostics


def nearest(name: str, candidates: Iterable[str]) -> str:
    """'did you mean "x"?' for the candidate closest to `name`, or '' when none is close."""
    pool = sorted(set(candidates))
    lowered = {c.lower(): c for c in pool}
    match = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    return f'did you mean "{lowered[match[0]]}"?' if match else ""
