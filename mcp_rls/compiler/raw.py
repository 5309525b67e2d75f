"""SQL that an author wrote and that stays as it is: `sql:` conditions and the queries of sets.

Only cut where it names the token, and held to being one balanced piece.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlglot
from sqlglot import TokenType
from sqlglot.errors import SqlglotError

from mcp_rls.catalog import Table
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import Condition
from mcp_rls.diagnostics import Diagnostics, Span


@dataclass(frozen=True)
class Names:
    """What a condition may name. `table` None: columns can't be checked (no database at hand)."""

    claims: frozenset[str]
    sets: frozenset[str]
    table: Table | None = None


def first_line(error: BaseException) -> str:
    return str(error).split("\n")[0].split("into <class")[0].strip().rstrip(".")


def parse_raw(condition: Condition, names: Names, diagnostics: Diagnostics) -> e.Expr | None:
    """`sql:` text with its token.<name> cut out; one balanced expression, or None after saying why not."""
    parts = split_tokens(condition.text, names, condition.span, diagnostics)
    return e.Raw(parts) if parts is not None else None


def split_tokens(text: str, names: Names, span: Span, diagnostics: Diagnostics) -> tuple[str | e.Expr, ...] | None:
    """`text` cut at each token.<name>; None, with a diagnostic, when it isn't one balanced piece of SQL."""
    try:
        # in parentheses: at the start of a statement the tokenizer takes words such as SHOW for a command, and all
        # that follows for its text
        whole = sqlglot.tokenize(f"({text}\n)", read="postgres")
    except SqlglotError as error:
        diagnostics.error("bad-condition", f"not SQL: {first_line(error)}", span)
        return None
    tokens, depth = whole[1:-1], 0
    if any(token.comments for token in whole):
        diagnostics.error("bad-condition", "SQL here has no comments", span)
        return None
    for token in tokens:
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
        if token.token_type is TokenType.STRING and "\\" in token.text:
            diagnostics.error(
                "bad-condition", "a backslash in a plain string means what a session setting says", span,
                "write E'...' with each backslash doubled",
            )  # fmt: skip
            return None
        if depth < 0 or token.token_type is TokenType.SEMICOLON:
            diagnostics.error("bad-condition", "one expression: no semicolon or stray parenthesis", span)
            return None
    if depth or not tokens:
        diagnostics.error("bad-condition", "an unclosed parenthesis" if tokens else "an empty expression", span)
        return None
    parts: list[str | e.Expr] = []
    position = 0
    for first, dot, name in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if first.text.lower() == "token" and dot.token_type is TokenType.DOT and first.start - 1 >= position:
            if name.text not in {"person", "client"} | names.claims:
                diagnostics.error(
                    "unknown-claim",
                    f'token.{name.text} is not declared under "claims"',
                    span.shifted(name.start - 1),
                )
            parts += [text[position : first.start - 1], e.Token(name.text)]
            position = name.end
    parts.append(text[position:])
    return tuple(p for p in parts if p != "")
