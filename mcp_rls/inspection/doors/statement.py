"""What one statement reads, writes and calls, by its tree: names as they stand, not yet looked up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pglast import ast, enums

from mcp_rls.inspection.tree import called

Node = Any

# Functions of PostgreSQL's, and of its own extensions, that run SQL given as a string.
_RUN_STRINGS = re.compile(
    r"(query|cursor|table|schema|database)_to_xml(schema|_and_xmlschema)?|ts_stat|ts_rewrite|dblink(_\w+)?"
)
_ROWS = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt, ast.TruncateStmt)
_HARMLESS = (
    ast.VariableSetStmt, ast.VariableShowStmt, ast.NotifyStmt, ast.ListenStmt, ast.LockStmt, ast.TransactionStmt,
    ast.ReturnStmt, ast.CallStmt,
)  # fmt: skip
_MERGE = {
    enums.CmdType.CMD_INSERT: "insert",
    enums.CmdType.CMD_UPDATE: "update",
    enums.CmdType.CMD_DELETE: "delete",
}


@dataclass(frozen=True, order=True)
class Use:
    """One relation ('' for a schema that isn't said), and what is done to it: 'select' ... 'delete', 'truncate'."""

    schema: str
    name: str
    command: str


@dataclass(frozen=True)
class Uses:
    relations: frozenset[Use]
    functions: frozenset[tuple[str, str]]  # schema ('' where it isn't said) and name
    odd: tuple[str, ...]  # what can't be analysed, in words: 'runs GRANT'


def uses(statement: Node) -> Uses:
    """What the statement (or an expression) does."""
    found = list(_found(statement, frozenset()))
    return Uses(
        frozenset(f for f in found if isinstance(f, Use)),
        frozenset(f for f in found if isinstance(f, tuple)),
        tuple(sorted({f for f in found if isinstance(f, str)})),
    )


def _found(node: Node, hidden: frozenset[str]) -> Iterator[Use | tuple[str, str] | str]:
    """Uses, called functions and odd things; `hidden`: names of WITH queries, which hide tables of that name."""
    if isinstance(node, tuple | list):
        for item in node:
            yield from _found(item, hidden)
    elif isinstance(node, ast.RangeVar):
        if node.schemaname or node.relname not in hidden:
            yield _use(node, "select")
    elif isinstance(node, ast.Node) and not isinstance(node, ast.LockingClause):  # it names what FROM has named
        yield from _in_node(node, hidden)


def _in_node(node: Node, hidden: frozenset[str]) -> Iterator[Use | tuple[str, str] | str]:
    if isinstance(node, ast.FuncCall):
        yield from _call(node)
    if type(node).__name__.endswith("Stmt"):
        yield from _writes(node)
        yield from _odd(node)
    inner = hidden
    if getattr(node, "withClause", None) is not None:
        inner = hidden | {each.ctename for each in node.withClause.ctes}
        yield from _with(node.withClause, hidden)
    yield from (one for name in _parts(node) for one in _found(getattr(node, name), inner))


def _with(clause: Node, hidden: frozenset[str]) -> Iterator[Use | tuple[str, str] | str]:
    """A query of a WITH sees those before it; with RECURSIVE all of them, itself too."""
    seen = hidden | ({each.ctename for each in clause.ctes} if clause.recursive else frozenset())
    for each in clause.ctes:
        yield from _found(each.ctequery, seen)
        seen |= {each.ctename}


def _parts(node: Node) -> Iterator[str]:
    """The attributes to look into: what `_writes` and `_with` have seen to is left out."""
    done = {"withClause", "into", "intoClause"}
    if isinstance(node, ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt | ast.MergeStmt):
        done |= {"relation"}
    if isinstance(node, ast.TruncateStmt | ast.LockStmt):
        done |= {"relations"}
    return (name for name in node if name not in done)


def _writes(node: Node) -> Iterator[Use]:
    """What the statement changes."""
    match node:
        case ast.InsertStmt():
            yield _use(node.relation, "insert")
            if node.onConflictClause is not None and node.onConflictClause.targetList:
                yield _use(node.relation, "update")
        case ast.UpdateStmt():
            yield _use(node.relation, "update")
        case ast.DeleteStmt():
            yield _use(node.relation, "delete")
        case ast.MergeStmt():
            commands = (_MERGE.get(clause.commandType) for clause in node.mergeWhenClauses or ())
            yield from (_use(node.relation, command) for command in commands if command)
        case ast.TruncateStmt():
            yield from (_use(relation, "truncate") for relation in node.relations or ())


def _odd(node: Node) -> Iterator[str]:
    """What else it does, but for what changes nothing that anybody else sees."""
    if isinstance(node, ast.SelectStmt):
        if node.intoClause is not None:
            yield "runs SELECT INTO"
    elif not isinstance(node, (*_ROWS, *_HARMLESS)) and not _temporary(node):
        words = re.sub("(?<=[a-z])(?=[A-Z])", " ", type(node).__name__.removesuffix("Stmt"))
        yield f"runs {words.upper()}"


def _temporary(node: Node) -> bool:
    """Whether it makes a temporary table."""
    made: Node = None
    if isinstance(node, ast.CreateStmt):
        made = node.relation
    elif isinstance(node, ast.CreateTableAsStmt) and node.into is not None:
        made = node.into.rel
    return made is not None and made.relpersistence == "t"


def _use(relation: Node, command: str) -> Use:
    return Use(relation.schemaname or "", relation.relname, command)


def _call(node: Node) -> Iterator[tuple[str, str] | str]:
    schema, _, name = called(node).rpartition(".")
    yield schema, name
    if _RUN_STRINGS.fullmatch(name) and (schema in ("", "pg_catalog") or name.startswith("dblink")):
        yield f"calls {name}, which runs SQL that stands in a string"
