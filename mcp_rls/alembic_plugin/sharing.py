"""What statements say alike, said once: mcp_rls.change puts it back where it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

from mcp_rls.layout import brackets, compact, spans_lines

_MOST = 3  # a reader keeps no more in mind
_TRIED = 8
_MANY = 12  # statements; a change of so much isn't read in a minute anyway

Said = tuple[Sequence[str], Sequence[str]]


def ways(statements: Sequence[str]) -> Iterator[Said]:
    """The statements as they are; and with %1$s, %2$s and so on for what several parts of them say in brackets, with
    that, the more the later.

    Nothing is shared where one has a per cent sign of its own, which format() would want doubled.
    """
    yield statements, ()
    if len(statements) > _MANY or any("%" in statement for statement in statements):
        return
    lines = [_in_one_line(s) if is_policy(s) and not spans_lines(s) else s for s in statements]
    times = Counter(part for s in lines if is_policy(s) for part in brackets(s))
    often = sorted((part for part in times if times[part] > 1), key=lambda part: -times[part] * len(part))[:_TRIED]
    for number in range(1, _MOST + 1):
        for parts in combinations(often, number):
            yield _without(lines, sorted(parts, key=len, reverse=True))


def is_policy(statement: str) -> bool:
    return statement.startswith(("alter policy ", "create policy "))


def _in_one_line(statement: str) -> str:
    return " ".join(line.strip() for line in compact(statement).split("\n"))


def _without(statements: Sequence[str], parts: Sequence[str]) -> Said:
    """The statements without these parts, numbered as they come; NUL and the like stand in no statement."""
    text = "\0".join(s if is_policy(s) else "\1" for s in statements)
    for n, part in enumerate(parts):
        text = text.replace(part, f"\2{n}\2")
    found = sorted((n for n in range(len(parts)) if f"\2{n}\2" in text), key=lambda n: text.index(f"\2{n}\2"))
    for number, n in enumerate(found, start=1):
        text = text.replace(f"\2{n}\2", f"%{number}$s")
    made = [old if new == "\1" else new for old, new in zip(statements, text.split("\0"), strict=True)]
    return made, [parts[n] for n in found]
