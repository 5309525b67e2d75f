"""What a function's text is made of: its statements, the one expression that it gives, what its variables hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pglast
from pglast import ast

from mcp_rls.inspection.facts import Function
from mcp_rls.inspection.tree import Node, expression, statements

_ATOMIC = re.compile(r"\A\s*BEGIN ATOMIC\b(.*)\bEND\s*\Z", re.DOTALL)
_ERROR = 21  # as PostgreSQL numbers the levels of RAISE
_RETURN = re.compile(r"\A\s*RETURN\b(.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Body:
    """The parts of a function's text. `returned`: an expression or a query, None where it gives more than one."""

    parameters: tuple[str, ...] = ()  # '' for one without a name
    statements: tuple[Node, ...] = ()
    returned: Node | None = None
    variables: Mapping[str, tuple[Node, ...]] = field(default_factory=dict)
    types: tuple[str, ...] = ()  # of PL/pgSQL's variables, as written
    known: bool = False  # False: a language or a text that can't be read, or one that runs text
    subtransaction: bool = False
    refuses: bool = False  # whether PL/pgSQL raises an error before it does anything else
    refusals: tuple[Node, ...] = ()  # what PL/pgSQL asks only to raise an error where it is true


@lru_cache(maxsize=20_000)
def body_of(function: Function) -> Body:
    """The parts of a function; an unknown one is a Body that isn't `known`."""
    parameters = _parameters(function.arguments)
    if function.language == "sql":
        parts = _statements(function.sql_body or function.body)
        if parts is not None:
            return Body(parameters, parts, _value(parts[-1]) if len(parts) == 1 else None, known=True)
    if function.language == "plpgsql":
        try:
            return _procedural(function, parameters)
        except (pglast.parser.ParseError, ValueError, KeyError):
            return Body(parameters)
    return Body(parameters)


def _parameters(arguments: str) -> tuple[str, ...]:
    made = statements(f"create function f({arguments}) returns int language sql as ''")
    listed: Any = made[0].parameters if made else None
    return tuple(p.name or "" for p in listed or ())


def _statements(text: str) -> tuple[Node, ...] | None:
    """The statements of a text in SQL: a string's, or PostgreSQL's print of a body that is stored as a tree."""
    if returned := _RETURN.match(text):
        return statements(f"select {returned[1]}")
    atomic = _ATOMIC.match(text)
    return statements(atomic[1] if atomic else text) or None


def _value(statement: Node) -> Node | None:
    """The expression of a SELECT that is nothing but one; the query itself where it is more."""
    if not isinstance(statement, ast.SelectStmt):
        return None
    plain = not (statement.fromClause or statement.whereClause or statement.withClause or statement.larg)
    targets: Any = statement.targetList
    return targets[0].val if plain and targets and len(targets) == 1 else statement


# --- PL/pgSQL ---------------------------------------------------------------------------------------------------------


def _procedural(function: Function, parameters: tuple[str, ...]) -> Body:
    # a tag that the text doesn't hold
    tag = f"$b{function.oid}x$"
    text = f"create function f({function.arguments}) returns {_plain(function)} language plpgsql as {tag}"
    parsed: Any = pglast.parse_plpgsql(f"{text}{function.body}{tag}")
    tree = parsed[0]["PLpgSQL_function"]
    variables = [d["PLpgSQL_var"] for d in tree.get("datums", ()) if "PLpgSQL_var" in d]
    nodes = [_node(e) for e in _expressions(tree)]
    dump = json.dumps(tree)
    block = tree["action"]["PLpgSQL_stmt_block"]
    return Body(
        parameters,
        tuple(n for n in nodes if n is not None),
        None if "exceptions" in block else _given(block.get("body", ())),
        _held(tree, variables),
        tuple(v["datatype"]["PLpgSQL_type"]["typname"] for v in variables if "lineno" in v and not _of_handler(v)),
        None not in nodes and "PLpgSQL_stmt_dyn" not in dump,
        '"exceptions"' in dump,
        "exceptions" not in block and _raises(block.get("body", ())[:1]),
        tuple(_refusals(tree)),
    )


def _refusals(tree: Any) -> Iterator[Node]:
    """The conditions below of each IF that does nothing but raise an error."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        alone = key == "PLpgSQL_stmt_if" and not value.keys() & {"elsif_list", "else_body"}
        if alone and _raises(value.get("then_body", ())):
            yield _node(value["cond"]["PLpgSQL_expr"])
        if isinstance(value, dict | list):
            yield from _refusals(value)


def _raises(block: Sequence[Any]) -> bool:
    """Whether it is nothing but an error."""
    levels = [part.get("PLpgSQL_stmt_raise", {}).get("elog_level", 0) for part in block]
    return len(levels) == 1 and levels[0] >= _ERROR


def _of_handler(variable: Any) -> bool:
    """Whether it is one that each exception handler has."""
    return variable["refname"] in ("sqlstate", "sqlerrm") or "datatype" not in variable


def _plain(function: Function) -> str:
    """A result type that the grammar takes; only whether it is a trigger matters to it."""
    return function.returns if function.is_trigger else "setof int" if "SETOF" in function.returns else "int"


def _expressions(tree: Any) -> Iterator[Any]:
    """Every PLpgSQL_expr below."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if key == "PLpgSQL_expr":
            yield value
        elif isinstance(value, dict | list):
            yield from _expressions(value)


def _node(expr: Any) -> Node | None:
    """The tree of an expression: a statement, a value, or what an assignment puts into a variable."""
    text, mode = expr["query"], expr.get("parseMode", 0)
    if mode == 0:
        parts = statements(text)
        return parts[0] if parts else None
    return expression(text.partition(":=")[2] if mode >= 3 and ":=" in text else _assigned(text, mode))


def _assigned(text: str, mode: int) -> str:
    return text.partition("=")[2] if mode >= 3 else text


def _held(tree: Any, variables: Sequence[Any]) -> dict[str, tuple[Node, ...]]:
    """What is put into each variable: by its default, by assignments, by SELECT INTO."""
    names = {number: d.get("PLpgSQL_var", {}).get("refname", "") for number, d in enumerate(tree.get("datums", ()))}
    found: dict[str, list[Node]] = {}
    for variable in variables:
        if "default_val" in variable:
            found.setdefault(variable["refname"], []).append(_node(variable["default_val"]["PLpgSQL_expr"]))
    for kind, inside in _puts(tree["action"]):
        if kind == "PLpgSQL_stmt_assign":
            found.setdefault(names.get(inside.get("varno", 0), ""), []).append(_node(inside["expr"]["PLpgSQL_expr"]))
        for target in inside.get("target", {}).get("PLpgSQL_row", {}).get("fields", ()):
            found.setdefault(target["name"], []).append(_node(inside["sqlstmt"]["PLpgSQL_expr"]))
    return {name: tuple(n for n in nodes if n is not None) for name, nodes in found.items()}


def _puts(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every assignment and every SELECT INTO below."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if key == "PLpgSQL_stmt_assign" or (key == "PLpgSQL_stmt_execsql" and value.get("into")):
            yield str(key), value
        elif isinstance(value, dict | list):
            yield from _puts(value)


def _given(block: Sequence[Any]) -> Node | None:
    """What a block returns as one expression: IF and RETURN as a CASE; None where it does anything else but assign."""
    for position, statement in enumerate(block):
        ((kind, inside),) = statement.items()
        if kind in ("PLpgSQL_stmt_return", "PLpgSQL_stmt_return_query"):
            source = inside.get("expr") or inside.get("query")
            return _node(source["PLpgSQL_expr"]) if source else None
        if kind == "PLpgSQL_stmt_if":
            return _choice(inside, block[position + 1 :])
        if kind != "PLpgSQL_stmt_assign" and not inside.get("into"):
            return None
    return None


def _choice(branch: Any, rest: Sequence[Any]) -> Node | None:
    pairs = [(branch["cond"], branch["then_body"])]
    pairs += [(e["PLpgSQL_if_elsif"]["cond"], e["PLpgSQL_if_elsif"]["stmts"]) for e in branch.get("elsif_list", ())]
    whens = [(_node(cond["PLpgSQL_expr"]), _given(body)) for cond, body in pairs]
    last = _given([*branch.get("else_body", ()), *rest])
    if last is None or any(part is None for when in whens for part in when):
        return None
    cases = tuple(ast.CaseWhen(expr=cond, result=result) for cond, result in whens)
    return ast.CaseExpr(args=cases, defresult=last)
