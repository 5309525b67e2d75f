"""What a suite can show of a policy file: a point for each outcome of its conditions, rules, classes and consents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from mcp_rls.diagnostics import Span
from mcp_rls.harness.coverage.pieces import Piece
from mcp_rls.harness.coverage.possible import Side
from mcp_rls.harness.coverage.record import Note, Value
from mcp_rls.harness.token import Bearer

Kind = Literal["class", "consent", "rule", "scope", "closed", "branch", "atom", "null"]
SIDES: tuple[Side, Side] = ("true", "false")


@dataclass(frozen=True)
class Sighting:
    """What one token met: what was noted while it acted, and what the gate takes it for."""

    bearer: Bearer
    noted: frozenset[Note]
    live: bool = False  # a member of its class whose registration and consent stand
    held: frozenset[str] = frozenset()  # scopes
    asked: frozenset[int] = field(init=False)  # the numbers in `noted`

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked", frozenset(number for number, _ in self.noted))

    def came_to(self, number: int, value: Value) -> bool:
        return (number, value) in self.noted

    def reached(self, numbers: frozenset[int]) -> bool:
        """Whether any of these was asked at all."""
        return not self.asked.isdisjoint(numbers)

    def is_live(self, class_name: str) -> bool:
        return self.live and self.bearer.class_name == class_name


@dataclass(frozen=True)
class Point:
    """One outcome. A point of the kind `null` isn't counted: it says more of a condition that was never true or false.

    `never`: why it can't be. `under`: points of which one comes first. `parts`: points that say the same more closely.
    """

    key: str
    kind: Kind
    span: Span
    about: str  # "assistant, select public.tickets: status = 'open'"
    missed: str  # 'was never false'
    detail: str = ""  # what a test that shows it would need
    never: str = ""
    under: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    shown: Callable[[Sighting], bool] = field(default=lambda _: False, compare=False, repr=False)

    @property
    def counts(self) -> bool:
        return self.kind != "null" and not self.never


def of_pieces(
    key: str,
    about: str,
    pieces: Iterable[Piece],
    under: tuple[str, ...] = (),
    never: str = "",
    whole: int | None = None,
) -> Iterator[Point]:
    """The points of a condition: each of its pieces was true, was false. `key` and `about` tell where they stand.

    `whole`: the number of a condition that must hold for some row. Where it did, rows that failed it decided nothing.
    """
    names: dict[int, str] = {}
    for index, piece in enumerate(pieces, start=1):
        name = names[piece.number] = f"{key} {index}"
        said = f"{about}: {piece.text}"
        for side in SIDES:
            parts = tuple(f"{names[n]} {side}" for n in piece.parts)
            why = never or piece.never.get(side, "")
            shown = _comes_to(piece.number, side, whole if side == "false" else None)
            yield Point(
                f"{name} {side}", piece.kind, piece.span, said, f"was never {side}", "", why, under, parts, shown
            )
        yield Point(f"{name} null", "null", piece.span, said, "", shown=_comes_to(piece.number, "null", whole))


def _comes_to(number: int, value: Value, whole: int | None) -> Callable[[Sighting], bool]:
    def shown(sighting: Sighting) -> bool:
        return sighting.came_to(number, value) and not (whole is not None and _mixed(sighting, whole))

    return shown


def _mixed(sighting: Sighting, whole: int) -> bool:
    return sighting.came_to(whole, "true") and (sighting.came_to(whole, "false") or sighting.came_to(whole, "null"))
