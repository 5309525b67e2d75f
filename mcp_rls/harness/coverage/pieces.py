"""A condition cut into what is counted: its smallest conditions (atoms), and each AND and OR of them (branches).

Each piece gets a number and becomes a call that notes its value under it. Order and three-valued logic stay as they
were: AND and OR still stop early, and what they don't reach isn't noted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from mcp_rls.catalog import Table
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.meaning import shown
from mcp_rls.compiler.model import Condition
from mcp_rls.diagnostics import Span
from mcp_rls.harness.coverage.possible import Never, Side, never, never_all
from mcp_rls.harness.coverage.record import TAKEN

_LONGEST = 72  # characters of a piece in a message


@dataclass(frozen=True)
class Piece:
    """One part of a condition. `never`: values that it can't come to, and why; `parts`: the pieces of a branch."""

    number: int
    kind: Literal["atom", "branch"]
    text: str
    span: Span
    never: Mapping[Side, str] = field(default_factory=dict)
    parts: tuple[int, ...] = ()


class Cutter:
    """Cuts conditions and numbers their pieces; `facts` of the table whose columns they read, where known."""

    def __init__(self, number: Callable[[], int], facts: Table | None) -> None:
        self._number = number
        self._facts = facts

    def cut(self, expr: e.Expr, source: Condition | None, before: e.Expr = e.TRUE) -> tuple[e.Expr, tuple[Piece, ...]]:
        """The condition that notes what each of its pieces comes to, and the pieces.

        `before`: what was found true of the row when this is asked.
        """
        made: list[Piece] = []
        noting, _ = self._cut(expr, before, made)
        return noting, tuple(_placed(made, source)) if source is not None else tuple(made)

    def _cut(self, expr: e.Expr, before: e.Expr, made: list[Piece]) -> tuple[e.Expr, Never]:
        match expr:
            case e.Lit():
                return expr, never(expr, before, self._facts)
            case e.Logic(op, operands):
                return self._logic(op, operands, before, made)
            case e.Prefix("not", operand):
                inner, ruled_out = self._cut(operand, before, made)
                return e.Prefix("not", inner), ruled_out.turned()
            case e.Test(e.Logic() | e.Prefix("not") as operand, test):
                return e.Test(self._cut(operand, before, made)[0], test), Never()
        why = never(expr, before, self._facts)
        made.append(Piece(self._number(), "atom", said(expr), Span(), why.reasons()))
        return noted(expr, made[-1].number), why

    def _logic(self, op: str, operands: tuple[e.Expr, ...], before: e.Expr, made: list[Piece]) -> tuple[e.Expr, Never]:
        parts: list[e.Expr] = []
        ruled_out: list[Never] = []
        first = len(made)
        for operand in operands:
            part, why = self._cut(operand, before, made)
            parts.append(part)
            ruled_out.append(why)
            if op == "and":  # the next one is only asked where this one wasn't false
                before = e.conjunction((before, operand))
        within, why = tuple(piece.number for piece in made[first:]), never_all(op, ruled_out)
        made.append(Piece(self._number(), "branch", said(e.Logic(op, operands)), Span(), why.reasons(), within))
        return noted(e.Logic(op, tuple(parts)), made[-1].number), why


def noted(expr: e.Expr, number: int) -> e.Expr:
    """The condition as a call that notes its value; harden and render take it for any other function."""
    return e.Call(TAKEN, (expr, e.Lit(str(number), "number")))


def said(expr: e.Expr) -> str:
    """The piece as an author would write it, on one line."""
    match expr:
        case e.Any(left, "=", e.SetValues(name), "any"):
            text = f"{shown(left)} in {name}"
        case e.Any(left, "<>", e.SetValues(name), "all"):
            text = f"{shown(left)} not in {name}"
        case e.Raw(parts):
            text = "".join(p if isinstance(p, str) else shown(p) for p in parts)
        case _:
            text = shown(expr)
    return " ".join(text.split())


# --- places -----------------------------------------------------------------------------------------------------------


def _placed(pieces: list[Piece], source: Condition) -> Iterator[Piece]:
    """The pieces with their places: atoms stand in the text one after another, a branch where its first atom does."""
    at, firsts = 0, dict[int, int]()
    for piece in pieces:
        if piece.kind == "atom":
            start, end = _find(piece.text, source.text, at)
            at = max(at, end)
            firsts[piece.number] = start
    for piece in pieces:
        start = firsts[piece.number] if piece.kind == "atom" else min(firsts[n] for n in piece.parts if n in firsts)
        yield replace(piece, span=_place(source, start), text=_cut_short(piece.text))


def _find(text: str, source: str, at: int) -> tuple[int, int]:
    """Where the words of `text` stand in `source` from `at` on, whatever the blanks and parentheses between them."""
    words = re.findall(r"'(?:[^']|'')*'|\w+|[^\s\w()'\"]+", text)
    for count in (len(words), 1):
        pattern = r'[\s()"]*'.join(map(re.escape, words[:count]))
        for start in (at, 0):
            match = re.compile(rf"(?<![\w.']){pattern}", re.IGNORECASE).search(source, start)
            if match and words:
                return match.start(), match.end()
    return at, at


def _place(source: Condition, offset: int) -> Span:
    span, before = source.span, source.text[:offset]
    if not span.line:
        return span
    if "\n" in before:
        return Span(span.path, span.line + before.count("\n"), 1)
    return span.shifted(offset)


def _cut_short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
