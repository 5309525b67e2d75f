"""A thin hand on Hypothesis' `draw`: every choice is one small integer, fast, and shrinks towards the first option."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Protocol, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")


class Draw(Protocol):
    def __call__(self, strategy: st.SearchStrategy[int]) -> int: ...


@cache
def _below(count: int) -> st.SearchStrategy[int]:
    return st.integers(0, count - 1)


class Choices:
    def __init__(self, draw: Draw) -> None:
        self._draw = draw

    def number(self, low: int, high: int) -> int:
        return low + (self._draw(_below(high - low + 1)) if high > low else 0)

    def pick(self, options: Sequence[T]) -> T:
        return options[self.number(0, len(options) - 1)]

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred; shrinks to False."""
        return self.number(0, 99) >= 100 - percent

    def some(self, options: Sequence[T], least: int = 0, most: int | None = None) -> tuple[T, ...]:
        """So many different options, in their order."""
        most = len(options) if most is None else min(most, len(options))
        left, count = list(range(len(options))), self.number(min(least, most), most)
        chosen = sorted(left.pop(self.number(0, len(left) - 1)) for _ in range(count))
        return tuple(options[i] for i in chosen)
