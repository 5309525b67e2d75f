"""Tables of which a policy needs a visible row: 'exists (select from tickets ...)', as PostgreSQL prints it.

Who sees no row of such a table gets nothing through the policy, whatever a ceiling says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mcp_rls.catalog import TableName

_PIECE = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[()]|[^\W\d]\w*")
_READ = re.compile(r"(?:EXISTS|(?P<left>.*\S) IN) \( SELECT(?P<inner>.*)\)", re.DOTALL)
_NAME = r"(?:\"(?:[^\"]|\"\")+\"|[\w$]+)"
# One table and a WHERE; names alone are selected, for an aggregate has a row where there is none.
_SIMPLE = re.compile(
    rf"[\w\s.,\"$]*?\s+FROM (?P<table>{_NAME}\.{_NAME})(?: {_NAME})?(?:\s+WHERE (?P<where>\(.*\)))?",
    re.DOTALL,
)


def needed_by(condition: str) -> frozenset[TableName]:
    """The tables that a printed condition needs a row of; one that isn't understood needs none."""
    found = (_read(part) for part in conjuncts(condition))
    return frozenset(name for name in found if name is not None)


def _read(part: str) -> TableName | None:
    match = _READ.fullmatch(part)
    if match is None or (match["left"] is not None and not _whole(match["left"])):
        return None
    inner = _SIMPLE.fullmatch(match["inner"])
    if inner is None or not (inner["where"] is None or _enclosed(inner["where"])):
        return None
    return TableName.parse(inner["table"])


def _whole(left: str) -> bool:
    """Whether what stands before IN is one operand: nothing negates it, and nothing else is said beside it."""
    return not any(depth == 0 and piece in ("NOT", "OR", "AND", "IN") for piece, depth, _ in _pieces(left))


def conjuncts(condition: str) -> list[str]:
    """The parts of a printed condition that must all hold, each without parentheses round it."""
    text = condition.strip()
    while _enclosed(text):
        text = text[1:-1].strip()
    cuts = [0]
    for piece, depth, at in _pieces(text):
        if depth == 0 and piece == "OR":
            return [text]
        if depth == 0 and piece == "AND":
            cuts += [at, at + len("AND")]
    parts = [text[start:end].strip() for start, end in zip(cuts[::2], [*cuts[1::2], len(text)], strict=True)]
    return parts if len(parts) == 1 else [inner for part in parts for inner in conjuncts(part)]


def _enclosed(text: str) -> bool:
    """Whether one pair of parentheses holds all of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return False
    closed = [at for piece, depth, at in _pieces(text) if piece == ")" and depth == 0]
    return closed == [len(text) - 1]


def _pieces(text: str) -> Iterator[tuple[str, int, int]]:
    """Words, parentheses and quoted texts, each with its depth (of a parenthesis, that outside) and its place."""
    depth = 0
    for match in _PIECE.finditer(text):
        depth -= match[0] == ")"
        yield match[0], depth, match.start()
        depth += match[0] == "("
