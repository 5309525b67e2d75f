"""What the names in an expression stand for: columns of tables, parameters, variables, functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pglast import ast

from mcp_rls.catalog import TableName
from mcp_rls.inspection.bodies import body_of
from mcp_rls.inspection.facts import Facts, Function, Policy, Relation
from mcp_rls.inspection.tree import Node, called

Bound = tuple[Node, "Frame"]  # an expression, and where it stands


@dataclass(frozen=True)
class Place:
    """A column of a table; `own`: of the policy's table itself, in the row that is judged."""

    relation: Relation
    name: str
    own: bool
    alias: str = ""


@dataclass(frozen=True, eq=False)
class Frame:
    """Where an expression stands. Scopes: tables by alias, innermost first, the policy's own table last."""

    subject: str  # 'policy public.notes own', 'function app.person_id()'
    scopes: tuple[Mapping[str, Relation], ...] = ()
    names: Mapping[str, tuple[Bound, ...]] = field(default_factory=dict)
    function: Function | None = None  # None: a policy

    @property
    def printed(self) -> bool:
        """Whether PostgreSQL printed the text, all names but pg_catalog's with their schema."""
        return self.function is None or bool(self.function.sql_body)

    def place(self, fields: tuple[str, ...]) -> Place | None:
        """The column that a name means; None for a parameter, a variable, or what isn't a table's."""
        if len(fields) == 1 and fields[0] in self.names and self.function and self.function.language == "plpgsql":
            return None  # a variable: with a column of its name it would be an error
        for scope in self.scopes:
            for alias, relation in scope.items():
                fits = len(fields) == 1 or fields[-2] == alias
                if fits and any(c.name == fields[-1] for c in relation.columns):
                    own = scope is self.scopes[-1] and self.function is None
                    return Place(relation, fields[-1], own, alias)
        return None

    def bound(self, fields: tuple[str, ...]) -> tuple[Bound, ...]:
        """What a parameter, a variable or a sub-select's column holds."""
        return self.names.get(".".join(fields), ())


def policy_frame(table: Relation, policy: Policy) -> Frame:
    return Frame(f"policy {table.name} {policy.name}", ({table.name.name: table},))


def fields(node: Node) -> tuple[str, ...]:
    """The parts of the name that a ColumnRef is; () for `*`."""
    parts: Any = node.fields
    return tuple(p.sval for p in parts) if all(isinstance(p, ast.String) for p in parts) else ()


class Names:
    """What names mean in one database."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._functions: dict[str, list[Function]] = defaultdict(list)
        for function in facts.functions.values():
            self._functions[function.name].append(function)
        self._relations: dict[str, list[Relation]] = defaultdict(list)
        for relation in facts.tables.values():
            self._relations[relation.name.name].append(relation)

    def relation(self, node: Node, frame: Frame) -> Relation | None:
        """The table or view that a RangeVar names."""
        if node.schemaname:
            return self.facts.tables.get(TableName(node.schemaname, node.relname))
        path, found = _path(frame), self._relations.get(node.relname, [])
        on_path = sorted((r for r in found if r.name.schema in path), key=lambda r: path.index(r.name.schema))
        return (on_path or found)[0] if on_path or len(found) == 1 else None

    def function(self, node: Node, frame: Frame) -> Function | None:
        """The function that a FuncCall calls; None for one of PostgreSQL's own or of an extension."""
        parts: Any = node.funcname
        schema, name = ("" if len(parts) == 1 else parts[-2].sval), parts[-1].sval
        if schema == "pg_catalog" or (not schema and frame.printed):
            return None
        given = len(node.args or ())
        path = _path(frame)
        found = [f for f in self._functions.get(name, ()) if schema in ("", f.schema)]
        fitting = [f for f in found if len(body_of(f).parameters) == given] or [
            f for f in found if len(body_of(f).parameters) > given
        ]
        return min(fitting, key=lambda f: path.index(f.schema) if f.schema in path else 99, default=None)

    def entered(self, function: Function, node: Node, frame: Frame) -> Frame:
        """Where a called function's text stands: its parameters hold the call's arguments."""
        body = body_of(function)
        names: dict[str, tuple[Bound, ...]] = {}
        inner = Frame(f"{function}", (), names, function)
        arguments: Any = node.args or ()
        for number, argument in enumerate(arguments):
            if isinstance(argument, ast.NamedArgExpr):
                name, value = str(argument.name), argument.arg
            else:
                name, value = body.parameters[number] if number < len(body.parameters) else "", argument
            for key in filter(None, (f"${number + 1}", name, name and f"{function.name}.{name}")):
                names[key] = ((value, frame),)
        for name, values in body.variables.items():
            names[name] = (*names.get(name, ()), *((value, inner) for value in values))
        return inner

    def inside(self, select: Node, frame: Frame) -> Frame:
        """Where the parts of a SELECT stand: with its tables, and what columns of its sub-selects hold."""
        scope: dict[str, Relation] = {}
        names: dict[str, tuple[Bound, ...]] = {}
        queries = {cte.ctename: cte.ctequery for cte in (select.withClause.ctes if select.withClause else ())}
        for item in _from(select.fromClause):
            if isinstance(item, ast.RangeVar) and item.relname in queries and not item.schemaname:
                names |= _columns(queries[item.relname], _alias(item) or str(item.relname), frame)
            elif isinstance(item, ast.RangeVar):
                relation = self.relation(item, frame)
                if relation is not None:
                    scope[_alias(item) or str(item.relname)] = relation
            elif isinstance(item, ast.RangeSubselect):
                names |= _columns(item.subquery, _alias(item), frame)
            elif isinstance(item, ast.RangeFunction):
                names |= _results(item, frame)
        return replace(frame, scopes=(scope, *frame.scopes), names={**frame.names, **names})


def _path(frame: Frame) -> list[str]:
    """The search path that a function pins; of any other the usual one."""
    settings = frame.function.settings if frame.function else ()
    pinned = next((s.partition("=")[2] for s in settings if s.startswith("search_path=")), None)
    return ["public"] if pinned is None else [part.strip().strip('"') for part in pinned.split(",")]


def _from(clause: Any) -> Iterator[Node]:
    """What stands in a FROM clause, joins taken apart."""
    for item in clause or ():
        if isinstance(item, ast.JoinExpr):
            yield from _from((item.larg, item.rarg))
        else:
            yield item


def _alias(item: Node) -> str:
    return str(item.alias.aliasname) if item.alias else ""


def _columns(query: Node, alias: str, frame: Frame) -> dict[str, tuple[Bound, ...]]:
    """What the columns of a sub-select hold, by name and by 'alias.name'."""
    names: dict[str, tuple[Bound, ...]] = {}
    for target in getattr(query, "targetList", None) or ():
        value = target.val
        name = target.name or (fields(value)[-1:] or ("",))[0] if isinstance(value, ast.ColumnRef) else target.name
        if name:
            names[name] = names[f"{alias}.{name}"] = ((value, frame),)
    return names


def _results(item: Node, frame: Frame) -> dict[str, tuple[Bound, ...]]:
    """What a function in FROM gives, by its alias or its column's."""
    functions: Any = item.functions
    call: Any = functions[0][0]
    alias = _alias(item) or (called(call).rpartition(".")[2] if isinstance(call, ast.FuncCall) else "")
    renamed: Any = item.alias.colnames if item.alias else None
    name = renamed[0].sval if renamed else alias
    return dict.fromkeys((name, f"{alias}.{name}"), ((call, frame),))
