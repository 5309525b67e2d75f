"""Text in lines of a reader's width: policies, however their expressions were printed, and JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

WIDTH = 156  # a policy is read along, not down

_TOKEN = re.compile(
    r"""(?P<quoted> e'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | (?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?P=tag))
    | (?P<word> [^\W\d][\w$]*) | (?P<blank> \s+) | (?P<odd> --|/\*|'|") | .""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_BESIDE_BRACKET = re.compile(r"(?<=[(\[])\0|\0(?=[)\]])")
_CLAUSE = re.compile(r"\0(?=(?:using|with\0check|when|else)\b)")


def filled(parts: Iterable[str], gap: str = " ") -> Iterator[str]:
    """Lines of as many parts as fit, with `gap` between; those after the first are indented."""
    line = ""
    for part in parts:
        if line and len(line.rpartition("\n")[2]) + len(part.partition("\n")[0]) >= WIDTH:
            yield line
            line = f"  {part}"
        else:
            line = f"{line}{gap}{part}" if line else part
    if line:
        yield line


def json_lines(text: str) -> str:
    """Text with compact JSON in it, in lines that end between its values."""
    return "\n".join(filled(re.findall(r"""(?:"(?:[^"\\]|\\.)*"|[^",])+,?""", text), gap=""))


def compact(statement: str) -> str:
    """A statement about a policy in few lines, its clauses whole where they fit, its words in lower case.

    As it is where blanks mean more: with comments, and constants that go on in the next line.
    """
    tokens = list(_TOKEN.finditer(statement))
    between = zip(tokens, tokens[1:], tokens[2:], strict=False)
    if any(t["odd"] for t in tokens) or any(_go_on(*three) for three in between):
        return statement
    text = "".join("\0" if t["blank"] else t[0] if t["quoted"] else _lower(t[0]) for t in tokens)
    return "\n".join(filled(_parts(_BESIDE_BRACKET.sub("", text).strip("\0"))))


def _go_on(one: re.Match[str], blank: re.Match[str], other: re.Match[str]) -> bool:
    """Whether SQL takes the two for one constant."""
    return one[0][-1] == other[0][0] == "'" and bool(blank["blank"]) and "\n" in blank[0]


def _lower(text: str) -> str:
    """The text as PostgreSQL folds it: letters beyond ASCII are left, as not every server folds those."""
    return re.sub("[A-Z]+", lambda found: found[0].lower(), text)


def _parts(text: str) -> Iterator[str]:
    """Its clauses, each whole if a line has room for it, else word by word; NUL is between the words."""
    for clause in _CLAUSE.split(text):
        yield from [clause.replace("\0", " ")] if len(clause) < WIDTH else clause.split("\0")
