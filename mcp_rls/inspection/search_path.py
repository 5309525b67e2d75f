"""What is wrong with the search path under which a function's text is read."""

from __future__ import annotations

from collections.abc import Iterable

from pglast import ast

from mcp_rls.inspection.bodies import body_of
from mcp_rls.inspection.facts import PUBLIC, Facts, Function
from mcp_rls.inspection.tree import walk

_TEMPORARY = "pg_temp"
# types that the grammar knows by a name of their own, whatever the search path
_GRAMMAR = {
    "int2", "int4", "int8", "float4", "float8", "numeric", "bool", "bit", "varbit", "bpchar", "varchar", "time",
    "timetz", "timestamp", "timestamptz", "interval", "record", "trigger", "void",
}  # fmt: skip


def path_of(function: Function) -> list[str] | None:
    """The schemas of the path that a function pins; None where it pins none."""
    pinned = next((s.partition("=")[2] for s in function.settings if s.startswith("search_path=")), None)
    if pinned is None:
        return None
    return [part.strip().strip('"') for part in pinned.split(",") if part.strip().strip('"')]


def depends_on_path(function: Function) -> bool:
    """Whether its text is read anew each time, under the path of the moment: not so a body that is stored as a tree."""
    return function.language in ("sql", "plpgsql") and not function.sql_body


def may_be_shadowed(facts: Facts, function: Function, roles: Iterable[str]) -> str:
    """Who can put an object of its own in the place of one that the text names; '' if nobody can."""
    path = path_of(function)
    if path is None:
        return "the path is its caller's"
    if "$user" in path:
        return "its path begins with a schema of its caller's"
    acting = {PUBLIC}.union(*(facts.acts_as(role) for role in roles))
    for schema in path:
        makers = {g.role for g in facts.schemas.get(schema, ()) if g.privilege == "CREATE"} & acting
        if makers:
            return f"its path has {schema}, in which {min(makers)} may make objects"
    return ""


def temporary_first(facts: Facts, function: Function, roles: Iterable[str]) -> bool:
    """Whether a temporary type or table of the caller's would come before the one that the text names."""
    path = path_of(function)
    if path is None or path[-1:] == [_TEMPORARY]:
        return False
    acting = {PUBLIC}.union(*(facts.acts_as(role) for role in roles))
    return bool(acting & facts.temporary) and bool(unqualified(function))


def unqualified(function: Function) -> str:
    """A type or table that a function's text names without its schema; '' if there is none."""
    body = body_of(function)
    for name in body.types:
        if "." not in name.partition("%")[0] and name not in _GRAMMAR:
            return name
    for statement in body.statements:
        queries = {n.ctename for n in walk(statement) if isinstance(n, ast.CommonTableExpr)}
        for node in walk(statement):
            if isinstance(node, ast.TypeName) and node.names and len(node.names) == 1:
                return str(node.names[0].sval)
            if isinstance(node, ast.RangeVar) and not node.schemaname and node.relname not in queries:
                return str(node.relname)
    return ""
