"""All SQL that a function runs: in a string, in BEGIN ATOMIC, and whatever stands in a plpgsql body."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pglast

from mcp_rls.inspection.facts import Function
from mcp_rls.inspection.tree import constant, expression, statements
from mcp_rls.sql import ident

Node = Any

_DYNAMIC = ("PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors")
_DYNAMIC_PARTS = ("dynquery",)
_ASSIGNMENT = re.compile(r"[^=]*?:?=")
_NOT_READ = "has a body that can't be read"
_PUT_TOGETHER = "runs SQL that it puts together"


@dataclass(frozen=True)
class Script:
    """Trees of statements and expressions; `odd`: what can't be analysed, in words: 'is written in C'."""

    parts: tuple[Node, ...] = ()
    odd: tuple[str, ...] = ()


_UNREAD = Script(odd=(_NOT_READ,))


@lru_cache(maxsize=5_000)
def script_of(function: Function) -> Script:
    """All SQL in the function's body."""
    if function.sql_body:
        run = statements(f"create function f() returns void language sql {function.sql_body}")
        return Script((run[0].sql_body,)) if run else _UNREAD
    if function.language == "sql":
        run = statements(function.body)
        return Script(run) if run is not None else _UNREAD
    if function.language == "plpgsql":
        return _plpgsql(function)
    if function.language == "internal":  # another name for one of PostgreSQL's own
        return Script(statements(f"select pg_catalog.{ident(function.body)}()") or (), ())
    return Script(odd=(f"is written in {function.language}",))


def _plpgsql(function: Function) -> Script:
    tree = _parsed(function)
    if tree is None:
        return _UNREAD
    parts: list[Node] = []
    odd: list[str] = []
    for text, dynamic in _texts(tree):
        node = _part(text)
        if dynamic:
            text_run = constant(node) if node is not None else None
            run = statements(text_run) if text_run is not None else None
            parts += run or ()
            odd += [] if run is not None else [_PUT_TOGETHER]
        elif node is None:
            odd.append(_NOT_READ)
        if node is not None:
            parts.append(node)
    return Script(tuple(parts), tuple(sorted(set(odd))))


def _parsed(function: Function) -> Any | None:
    """The body's tree. A variable of a table's type is no record to this grammar, which knows no tables: it becomes
    one, each time that it is found out.
    """
    text = function.body
    for _ in range(20):
        try:
            return pglast.parse_plpgsql(_statement(function, text))
        except pglast.parser.ParseError as error:
            found = re.search(r'"([^".]+)\.[^"]+" is not a known variable', str(error))
            changed = _as_record(text, found[1]) if found else text
            if changed == text:
                return None
            text = changed
        except ValueError:
            return None
    return None


def _as_record(text: str, variable: str) -> str:
    """The body with the variable's type, where it is declared, changed to record."""
    declared = rf'(?<!\w)("?{re.escape(variable)}"?\s+)(constant\s+)?[\w."%]+'
    return re.sub(declared, r"\1record", text, count=1, flags=re.IGNORECASE)


def _statement(function: Function, body: str) -> str:
    """A CREATE statement that says of the function what its body depends on."""
    tag = "$body$"
    while tag in body:
        tag = f"${tag.strip('$')}y$"
    kind, returns = ("function", f" returns {function.returns}") if function.returns else ("procedure", "")
    return f"create {kind} f({function.arguments}){returns} language plpgsql as {tag}{body}{tag}"


def _texts(tree: Any, dynamic: bool = False) -> Iterator[tuple[str, bool]]:
    """(SQL, whether it is an expression whose value is run as SQL) of all that stands in a plpgsql tree."""
    if isinstance(tree, list):
        for item in tree:
            yield from _texts(item)
    elif isinstance(tree, dict):
        for name, value in tree.items():
            if name == "PLpgSQL_expr":
                yield value["query"], dynamic
            elif name in _DYNAMIC:
                yield from _texts(value.get("query"), dynamic=True)
                yield from _texts({k: v for k, v in value.items() if k != "query"})
            else:
                yield from _texts(value, dynamic=name in _DYNAMIC_PARTS)


def _part(text: str) -> Node | None:
    """The tree of a statement, of an expression, or of the value in an assignment."""
    run = statements(text)
    if run is not None and len(run) == 1:
        return run[0]
    node = expression(text)
    if node is None and (assigned := _ASSIGNMENT.match(text)):
        node = expression(text[assigned.end() :])
    return node
