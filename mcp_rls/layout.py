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

# What PostgreSQL writes out when it prints an expression, and takes for granted when it reads it: the same tree. The
# text has NUL for a blank, and its quoted tokens by their number.
_JSON = re.compile("\1([0-9]+)\1(?=::jsonb)")
_NUMBER = re.compile("(?<=\0when\0)\1([0-9]+)\1::integer(?=\0then\0)")
_PRINTED = (
    (re.compile(r"(\(select\0mcp_rls\.(\w+)\([^()]*\))\0as\0\2\)"), r"\1)"),
    (re.compile(r"\0else\0null::boolean(?=\0end\b)"), ""),
)


def filled(parts: Iterable[str], gap: str = " ", *, taken: int = 0) -> Iterator[str]:
    """Lines of as many parts as fit, with `gap` between; those after the first are indented.

    `taken`: what of the first line isn't there for them.
    """
    line = ""
    for part in parts:
        if line and taken + len(line.rpartition("\n")[2]) + len(part.partition("\n")[0]) >= WIDTH:
            yield line
            line, taken = f"  {part}", 0
        else:
            line = f"{line}{gap}{part}" if line else part
    if line:
        yield line


def json_lines(text: str) -> str:
    """Text with compact JSON in it, in lines that end between its values."""
    return "\n".join(filled(re.findall(r"""(?:"(?:[^"\\]|\\.)*"|[^",])+,?""", text), gap=""))


def compact(statement: str, *, taken: int = 0) -> str:
    """A statement about a policy in few lines, its clauses whole where they fit, its words in lower case.

    As it is where blanks mean more: with comments, and constants that go on in the next line.
    """
    tokens = list(_TOKEN.finditer(statement))
    between = zip(tokens, tokens[1:], tokens[2:], strict=False)
    if any(t["odd"] for t in tokens) or any(_go_on(*three) for three in between):
        return statement
    text = _terse(tokens).strip("\0")
    by_clause = list(filled(_parts(text), taken=taken))
    by_word = list(filled(text.split("\0"), taken=taken))
    roomy = taken + len(by_clause[0]) < WIDTH and len(by_clause) <= len(by_word)
    return "\n".join(by_clause if roomy else by_word)


def _terse(tokens: list[re.Match[str]]) -> str:
    """The tokens with NUL for blanks, but for what goes without saying."""

    def number(found: re.Match[str]) -> str:
        constant = tokens[int(found[1])][0]
        return constant[1:-1] if re.fullmatch("'-[1-9][0-9]{0,8}'", constant) else found[0]

    def json(found: re.Match[str]) -> str:
        constant = tokens[int(found[1])][0]
        return re.sub(r"""("(?:[^"\\]|\\.)*")| """, r"\1", constant) if constant.startswith("'") else constant

    text = "".join("\0" if t["blank"] else f"\1{n}\1" if t["quoted"] else _lower(t[0]) for n, t in enumerate(tokens))
    text = _NUMBER.sub(number, _BESIDE_BRACKET.sub("", text))
    for pattern, instead in _PRINTED:
        text = pattern.sub(instead, text)
    return re.sub("\1([0-9]+)\1", lambda found: tokens[int(found[1])][0], _JSON.sub(json, text))


def spans_lines(statement: str) -> bool:
    """Whether a constant, a name or a function's body in it goes over an end of line, or might: there are comments."""
    return any(t["odd"] or (t["quoted"] and "\n" in t[0]) for t in _TOKEN.finditer(statement))


def brackets(statement: str) -> Iterator[str]:
    """Each part of it in round brackets, with these, an outer one after those in it."""
    opened: list[int] = []
    for token in _TOKEN.finditer(statement):
        if token[0] == "(":
            opened.append(token.start())
        elif token[0] == ")" and opened:
            yield statement[opened.pop() : token.end()]


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
