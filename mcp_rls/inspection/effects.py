"""What a function does besides giving a value: what it reads, by itself and through others, and whether it writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pglast import ast

from mcp_rls.catalog import TableName
from mcp_rls.inspection.bodies import Body, body_of
from mcp_rls.inspection.claims import PLATFORM
from mcp_rls.inspection.facts import Function
from mcp_rls.inspection.frames import Frame, Names, fields
from mcp_rls.inspection.tree import Node, called, constant, walk

_WRITES = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt, ast.VariableSetStmt, ast.CreateStmt)
# of PostgreSQL's own: each call may give another value, or does something
_VOLATILE = {
    "random", "random_normal", "gen_random_uuid", "uuidv7", "uuidv4", "clock_timestamp", "timeofday", "nextval",
    "setval", "currval", "lastval", "set_config", "pg_sleep", "pg_advisory_lock", "pg_advisory_xact_lock", "pg_notify",
    "dblink", "query_to_xml",
}  # fmt: skip
_STABLE = {"now", "current_setting", "statement_timestamp", "transaction_timestamp", "pg_has_role", "to_regclass"}


@dataclass(frozen=True)
class Effects:
    """known: all of its text could be read, and of the functions that it calls."""

    settings: bool = False  # claims among them
    session: bool = False  # current_user, now(), and whatever else differs by session or transaction
    tables: frozenset[TableName] = frozenset()
    writes: bool = False
    volatile: bool = False  # calls a function of PostgreSQL's own that is
    subtransaction: bool = False
    known: bool = True

    def __or__(self, other: Effects) -> Effects:
        return Effects(
            self.settings or other.settings,
            self.session or other.session,
            self.tables | other.tables,
            self.writes or other.writes,
            self.volatile or other.volatile,
            self.subtransaction or other.subtransaction,
            self.known and other.known,
        )

    @property
    def reads(self) -> bool:
        """Whether its value can differ between two calls with equal arguments."""
        return self.settings or self.session or bool(self.tables)


class Doings:
    """The effects of one database's functions."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._known: dict[int, Effects] = {}
        self._calls: dict[int, tuple[Function, ...]] = {}

    def of(self, function: Function) -> Effects:
        """What a function does, and what those that it calls do."""
        if function.oid not in self._known:
            self._known[function.oid] = Effects()  # for one that calls itself
            self._known[function.oid] = self._of(function, body_of(function))
        return self._known[function.oid]

    def called_by(self, function: Function) -> tuple[Function, ...]:
        """The functions that its text calls."""
        if function.oid not in self._calls:
            frame = Frame(str(function), (), {}, function)
            calls = (n for s in body_of(function).statements for n in walk(s) if isinstance(n, ast.FuncCall))
            found = [self._names.function(n, frame) for n in calls if called(n) not in PLATFORM]
            self._calls[function.oid] = tuple(dict.fromkeys(f for f in found if f is not None))
        return self._calls[function.oid]

    def sets_from_arguments(self, function: Function) -> frozenset[str]:
        """The settings into which a function puts what it was given."""
        body = body_of(function)
        given = {*filter(None, body.parameters), *(f"${n}" for n, _ in enumerate(body.parameters, start=1))}
        return frozenset(
            name
            for statement in body.statements
            for call in walk(statement)
            if isinstance(call, ast.FuncCall) and called(call).removeprefix("pg_catalog.") == "set_config"
            if (name := constant((call.args or ("",))[0])) is not None
            if any(_name(part) in given for part in walk((call.args or ())[1:2]))
        )

    def _of(self, function: Function, body: Body) -> Effects:
        frame = Frame(str(function), (), {}, function)
        total = Effects(known=body.known, subtransaction=body.subtransaction)
        for statement in body.statements:
            total |= self.below(statement, frame)
        return total

    def below(self, node: Node, frame: Frame) -> Effects:
        """What an expression or a statement does."""
        parts = list(walk(node))
        queries = {n.ctename for n in parts if isinstance(n, ast.CommonTableExpr)}
        total = Effects()
        for part in parts:
            match part:
                case ast.FuncCall():
                    total |= self.call(part, frame)
                case ast.SQLValueFunction():
                    total |= Effects(session=True)
                case ast.RangeVar() if part.relname not in queries:
                    relation = self._names.relation(part, frame)
                    name = TableName(str(part.schemaname or ""), str(part.relname))
                    total |= Effects(tables=frozenset({relation.name if relation else name}))
                case _ if isinstance(part, _WRITES):
                    total |= Effects(writes=True)
        return total

    def call(self, node: Any, frame: Frame) -> Effects:
        """What a call does by itself, its arguments aside."""
        name = called(node).removeprefix("pg_catalog.")
        if name in PLATFORM:
            return Effects(settings=True)
        function = self._names.function(node, frame)
        if function is not None:
            return self.of(function)
        known = "." not in name  # another's, of an extension or unseen
        return Effects(
            settings=name == "current_setting", session=name in _STABLE, volatile=name in _VOLATILE, known=known
        )


def _name(node: Node) -> str:
    """A parameter's name, where the node is one's; '' else."""
    if isinstance(node, ast.ParamRef):
        return f"${node.number}"
    return (fields(node) or ("",))[-1] if isinstance(node, ast.ColumnRef) else ""
