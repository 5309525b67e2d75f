"""Whether fewer rows could make a condition true: the forms in which a row that is missing admits less, and no other.

A condition is asked whether it is true (or false: `value`) for fewer rows only, or for more (`fewer`), when the tables
that it reads have fewer rows; a query, whether it gives fewer or more. NOT turns the one round, NOT EXISTS and EXCEPT
the other. So `not (x <> all (select ...))` is as good as `x in (select ...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pglast import ast
from pglast.enums import A_Expr_Kind, BoolExprType, BoolTestType, JoinType, SetOperation, SubLinkType

from mcp_rls.inspection.absence.reads import Fault, Read, Reads, Scope
from mcp_rls.inspection.absence.values import (
    aggregated,
    compares,
    is_empty,
    is_keyed,
    is_same,
    sides,
    sole,
    uncast,
)
from mcp_rls.inspection.bodies import body_of
from mcp_rls.inspection.doors.traces import CALLER
from mcp_rls.inspection.facts import Check, Function, Relation, Trigger
from mcp_rls.inspection.tree import Node, called, constant, expression, statements, walk

# IS NOT FALSE asks for false, negated
_TESTS = {
    BoolTestType.IS_TRUE: (True, False),
    BoolTestType.IS_NOT_TRUE: (True, True),
    BoolTestType.IS_FALSE: (False, False),
    BoolTestType.IS_NOT_FALSE: (False, True),
}
_NULLABLE = {JoinType.JOIN_LEFT: (False, True), JoinType.JOIN_RIGHT: (True, False), JoinType.JOIN_FULL: (True, True)}
_TURNED = "where a row that is missing may admit"


class Forms:
    """Conditions and queries of one database, judged."""

    def __init__(self, reads: Reads) -> None:
        self.reads = reads
        self._inside: set[tuple[int, str]] = set()  # functions that are being judged

    def text(self, text: str, at: Scope) -> Fault | None:
        """What stands against a condition as PostgreSQL prints it."""
        node = expression(text)
        return self.condition(node, at) if node is not None else Fault("its expression can't be read")

    def unnamed(self, at: Scope, *nodes: Node) -> Fault | None:
        """What stands against the functions that operators and casts call."""
        for function, read in self.reads.unnamed(at, *nodes):
            return read.fault(f"by an operator or a cast, through {function}")
        return None

    # --- conditions

    def condition(self, node: Node, at: Scope, value: bool = True, fewer: bool = True) -> Fault | None:
        """What stands against a condition, None for nothing."""
        read = self.reads.below(node, at)
        if read is None:
            return None
        if (parts := _parts(node, value, fewer)) is not None:
            conditions, value, fewer = parts
            return _first(self.condition(part, at, value, fewer) for part in conditions)
        match node:
            case ast.CaseExpr() if node.arg is None:
                return self.case(node, at, value, fewer)
            case ast.SubLink():
                return self.sublink(node, at, value, fewer, read)
            case ast.A_Expr() if node.kind in (A_Expr_Kind.AEXPR_OP_ANY, A_Expr_Kind.AEXPR_OP_ALL):
                some = value != (node.kind == A_Expr_Kind.AEXPR_OP_ALL)
                left = self.operand(node.lexpr, at, fewer) if compares(node) else self.value(node.lexpr, at)
                return left or self.array(node.rexpr, at, fewer == some, some)
            case ast.A_Expr() if node.kind == A_Expr_Kind.AEXPR_OP and compares(node):
                counted = [(side, None if more is None else fewer == (value == more)) for side, more in sides(node)]
                return _first(self.operand(side, at, fewer, count) for side, count in counted)
            case ast.FuncCall():
                return self.call(node, at, lambda body, inner: self.condition(body, inner, value, fewer))
        return read.fault("in a form in which a row that is missing may count")

    def value(self, node: Node, at: Scope) -> Fault | None:
        """What stands against a value that must not depend on which rows are there."""
        read = self.reads.below(node, at)
        return read.fault("for a value that it compares with or hands on") if read else None

    def operand(self, node: Node, at: Scope, fewer: bool, count: bool | None = None) -> Fault | None:
        """What stands against a side of a comparison that NULL makes NULL; `count`: of fewer rows, or of more, where it
        may be a count.
        """
        inner = uncast(node)
        if isinstance(inner, ast.SubLink) and inner.subLinkType == SubLinkType.EXPR_SUBLINK:
            select = inner.subselect
            if self._settled(select, at):
                return self.rows(select, at, fewer, any_row=True)
            if count is not None and inner is node and (rows := aggregated(select, "count")) is not None:
                return self.rows(rows, at, count)
        return self.value(node, at)

    def _settled(self, select: Node, at: Scope) -> bool:
        """Whether a sub-select gives one value or none, the same one whichever rows are missing."""
        if is_same(select):
            return True
        if self.reads.below(select.targetList, at) is not None:
            return False
        item = select.fromClause[0] if len(select.fromClause or ()) == 1 and not select.withClause else None
        if not isinstance(item, ast.RangeVar) or (not item.schemaname and item.relname in at.queries):
            return False
        tables = self.reads.relation(item, at)
        return bool(tables) and all(self._alone(t) and is_keyed(select, item, t) for t in tables)

    def _alone(self, table: Relation) -> bool:
        """Whether its keys are those of all that is read by its name: other tables that inherit have their own."""
        heirs = (r for r in self.reads.facts.relations.values() if table.name in r.parents)
        return table.is_table and (table.kind == "partitioned" or not any(heirs))

    def case(self, node: Node, at: Scope, value: bool, fewer: bool) -> Fault | None:
        """CASE: a condition that reads must choose between a constant and something else."""
        whens = _all(node.args)
        for number, when in enumerate(whens, start=1):
            read = self.reads.below(when.expr, at)
            chosen = _truth(when.result, otherwise=not value)
            left = _truth(node.defresult, otherwise=not value) if number == len(whens) else None
            if chosen is None and left is not None:
                chosen = not left
            if read is not None and chosen is None:
                return read.fault("in CASE")
            fault = self.condition(when.expr, at, True, fewer == (value == chosen))
            if fault is not None:
                return fault
        results = _some(*(when.result for when in whens), node.defresult)
        return _first(self.condition(result, at, value, fewer) for result in results)

    def sublink(self, node: Node, at: Scope, value: bool, fewer: bool, read: Read) -> Fault | None:
        """EXISTS, IN, ANY, ALL, and the value of a sub-select."""
        if (compared := _first(self.value(tested, at) for tested in _some(node.testexpr))) is not None:
            return compared
        match node.subLinkType:
            case SubLinkType.EXISTS_SUBLINK:
                return self.rows(node.subselect, at, fewer == value, any_row=True)
            case SubLinkType.ANY_SUBLINK:
                return self.rows(node.subselect, at, fewer == value)
            case SubLinkType.ALL_SUBLINK:
                return self.rows(node.subselect, at, fewer != value)
            case SubLinkType.EXPR_SUBLINK if (inner := sole(node.subselect)) is not None:
                return self.condition(inner, at, value, fewer)
            case SubLinkType.EXPR_SUBLINK if self._settled(node.subselect, at):
                return self.rows(node.subselect, at, fewer, any_row=True)
        return read.fault("in a scalar sub-select")

    def array(self, node: Node, at: Scope, fewer: bool, some: bool) -> Fault | None:
        """An array of which one element suffices; `some`: what is asked needs one, so that NULL is as good as none."""
        read = self.reads.below(node, at)
        match node:
            case _ if read is None:
                return None
            case ast.TypeCast():
                return self.array(node.arg, at, fewer, some)
            case ast.CoalesceExpr(args=(inner, default)) if is_empty(default):
                return self.array(inner, at, fewer, some=True)
            case ast.SubLink() if (inner := sole(node.subselect)) is not None and not _is_array(node):
                return self.array(inner, at, fewer, some)
            case ast.SubLink() if _is_array(node) or (some and self._settled(node.subselect, at)):
                return self.rows(node.subselect, at, fewer, any_row=not _is_array(node))
            case ast.SubLink() if some and (rows := aggregated(node.subselect, "array_agg")) is not None:
                return self.rows(rows, at, fewer)
            case ast.FuncCall():
                return self.call(node, at, lambda body, scope: self.array(body, scope, fewer, some))
        return read.fault("in an array in a form in which a row that is missing may count")

    # --- queries

    def rows(self, node: Node, at: Scope, fewer: bool, any_row: bool = False) -> Fault | None:
        """What stands against a query; `any_row`: it is only asked whether it gives one."""
        read = self.reads.below(node, at)
        if read is None:
            return None
        if not isinstance(node, ast.SelectStmt):
            return read.fault("in a statement that isn't a SELECT")
        at, odd = at.within(node.withClause), self._odd(node, any_row)
        if odd:
            return read.fault(odd)
        if (limit := _first(self.value(part, at) for part in _some(node.limitCount, node.limitOffset))) is not None:
            return limit
        if node.op != SetOperation.SETOP_NONE:
            turned = node.op == SetOperation.SETOP_EXCEPT
            return self.rows(node.larg, at, fewer) or self.rows(node.rarg, at, fewer != turned)
        return (
            _first(self.source(item, at, fewer) for item in _all(node.fromClause))
            or _first(self.target(target.val, at, fewer) for target in _all(node.targetList))
            or _first(self.condition(where, at, True, fewer) for where in _some(node.whereClause))
        )

    def _odd(self, node: Node, any_row: bool) -> str:
        """What of a query makes its rows depend on each other; '' for nothing."""
        # also in sub-selects: there it may be this query's aggregate
        calls = [n for n in walk((node.targetList, node.sortClause)) if isinstance(n, ast.FuncCall)]
        parts = {
            "with HAVING": node.havingClause,
            "with GROUPING SETS": any(isinstance(n, ast.GroupingSet) for n in _all(node.groupClause)),
            "in a window": node.windowClause or any(n.over for n in calls),
            "in an aggregate": any(n.agg_star or self._aggregates(n) for n in calls),
            "with DISTINCT ON": any(_all(node.distinctClause)) and not any_row,
            "with LIMIT or OFFSET": (node.limitCount or node.limitOffset) and not any_row,
            "in VALUES": node.valuesLists,
        }
        return next((words for words, part in parts.items() if part), "")

    def _aggregates(self, call: Node) -> bool:
        return called(call).rpartition(".")[2] in self.reads.facts.aggregates

    def source(self, item: Node, at: Scope, fewer: bool) -> Fault | None:
        """An item of FROM."""
        read = self.reads.below(item, at)
        match item:
            case _ if read is None:
                return None
            case ast.RangeVar() if not item.schemaname and item.relname in at.queries:
                query = at.queries[str(item.relname)]
                return self.rows(*query, fewer) if query is not None else None
            case ast.RangeVar():
                return _first(self.relation(r, at, fewer) for r in self.reads.relation(item, at))
            case ast.RangeSubselect():
                return self.rows(item.subquery, at, fewer)
            case ast.JoinExpr():
                return self.join(item, at, fewer)
            case ast.RangeFunction():
                return _first(self.target(call[0], at, fewer) for call in _all(item.functions))
        return read.fault("in FROM in a form that isn't known")

    def relation(self, relation: Relation, at: Scope, fewer: bool) -> Fault | None:
        """A table as it stands; a view by its query."""
        read = self.reads.of(relation, at.role)
        if read is None or relation.kind != "view":
            return read.fault(_TURNED) if read is not None and not fewer else None
        role = at.role if relation.option("security_invoker") else relation.owner
        inner, parts = Scope(None, role, self.reads.facts.run(relation.calls)), statements(relation.definition)
        if not parts:
            return Fault(f"{relation} can't be read")
        return _within(relation, self.rows(parts[0], inner, fewer) or self.unnamed(inner, *parts))

    def join(self, item: Node, at: Scope, fewer: bool) -> Fault | None:
        """Both sides of a join; not what an outer one fills with NULL."""
        left, right = _NULLABLE.get(item.jointype, (False, False))
        for side, filled in ((item.larg, left), (item.rarg, right)):
            read = self.reads.below(side, at)
            if read is not None and filled:
                return read.fault("in an outer join, on the side that may be missing")
            if (fault := self.source(side, at, fewer)) is not None:
                return fault
        quals = _some(item.quals)
        return _first(self.value(q, at) if left or right else self.condition(q, at, True, fewer) for q in quals)

    def target(self, node: Node, at: Scope, fewer: bool) -> Fault | None:
        """What a query selects: no value that depends on rows, but the rows of a function."""
        read = self.reads.below(node, at)
        if read is None:
            return None
        if not isinstance(node, ast.FuncCall):
            return read.fault("for a value that it selects")
        return self.call(node, at, lambda body, inner: self._given(body, inner, fewer), rows=True)

    def _given(self, body: Node, at: Scope, fewer: bool) -> Fault | None:
        """The rows of a function: of its query, or of another function."""
        return self.rows(body, at, fewer) if isinstance(body, ast.SelectStmt) else self.target(body, at, fewer)

    # --- functions

    def call(
        self, node: Node, at: Scope, judge: Callable[[Node, Scope], Fault | None], rows: bool = False
    ) -> Fault | None:
        """A function by what it gives; `rows`: it must be one that gives rows."""
        given = _first(self.value(argument, at) for argument in _all(node.args))
        reading = [(f, read) for f in self.reads.functions(node, at) if (read := self.reads.of(f, at.role))]
        own = self.reads.aggregate(node)
        if given is None and (own or not reading):  # one of PostgreSQL's own that runs text
            read = self.reads.below(node, at)
            return read.fault("in an aggregate" if own else "in a call") if read is not None else None
        return given or _first(self._called(f, read, at, judge, rows) for f, read in reading)

    def _called(
        self, function: Function, read: Read, at: Scope, judge: Callable[[Node, Scope], Fault | None], rows: bool
    ) -> Fault | None:
        body, key = body_of(function), (function.oid, at.role)
        inner = Scope(function, function.owner if function.definer else at.role)
        if not body.known or body.returned is None or key in self._inside or self._besides(body, inner):
            return read.fault(f"in {function}, whose body can't be analysed further")
        if rows and not function.returns.startswith(("SETOF", "TABLE")):
            return read.fault(f"for the value of {function}")
        self._inside.add(key)
        try:
            return _within(function, judge(body.returned, inner))
        finally:
            self._inside.remove(key)

    def _besides(self, body: Any, at: Scope) -> bool:
        """Whether a function reads what is short elsewhere than in what it gives."""
        given = {id(node) for node in walk(body.returned)}
        held = [node for nodes in body.variables.values() for node in nodes]
        # a single statement of SQL is what it gives
        beside = [node for node in body.statements if id(node) not in given] if len(body.statements) > 1 else []
        return any(self.reads.below(node, at) is not None for node in (*held, *beside))

    def when(self, trigger: Trigger, function: Function) -> Fault | None:
        """What stands against a trigger's WHEN, which may only ask whether to refuse, where fewer rows refuse more."""
        made, at = statements(trigger.definition), Scope(calls=self.reads.facts.run(trigger.calls))
        if not made:
            return Fault("its WHEN can't be read")
        condition: Node = made[0]
        clauses, refuses = _some(condition.whenClause), body_of(function).refuses
        faults = (self.condition(c, at, True, fewer=False) if refuses else self.value(c, at) for c in clauses)
        return _first(faults) or self.unnamed(at, *clauses)

    def check(self, check: Check) -> Fault | None:
        """What stands against a constraint, which refuses what it is false for."""
        node, at = expression(check.text), Scope(calls=self.reads.facts.run(check.calls))
        if node is None:
            return Fault("its expression can't be read")
        return self.condition(node, at, value=False, fewer=False) or self.unnamed(at, node)

    def trigger(self, function: Function) -> Fault | None:
        """What stands against a trigger's function: it may refuse by what it reads, where fewer rows refuse more."""
        read, body = self.reads.of(function, CALLER), body_of(function)
        if read is None:
            return None
        if read.table is None or not body.known:
            return read.fault(f"in {function}, whose body can't be analysed further")
        at = Scope(function, function.owner if function.definer else CALLER)
        refusing = set() if body.subtransaction else {id(node) for node in body.refusals}
        return _first(
            self.condition(node, at, True, fewer=False) if id(node) in refusing else self.value(node, at)
            for node in body.statements
        )


def _first(faults: Iterable[Fault | None]) -> Fault | None:
    return next((fault for fault in faults if fault is not None), None)


def _is_array(node: Node) -> bool:
    """Whether a sub-select is made an array: ARRAY(SELECT ...)."""
    return bool(node.subLinkType == SubLinkType.ARRAY_SUBLINK)


def _some(*nodes: Node | None) -> tuple[Node, ...]:
    """Those that are there."""
    return tuple(node for node in nodes if node is not None)


def _all(nodes: Any) -> tuple[Node, ...]:
    return tuple(nodes or ())


def _parts(node: Any, value: bool, fewer: bool) -> tuple[tuple[Node, ...], bool, bool] | None:
    """The conditions that one is made of, and what each is asked in its place; None for any other form."""
    match node:
        case ast.TypeCast():
            return (node.arg,), value, fewer
        case ast.BoolExpr():
            return _all(node.args), value != (node.boolop == BoolExprType.NOT_EXPR), fewer
        case ast.BooleanTest() if node.booltesttype in _TESTS:
            asked, negated = _TESTS[node.booltesttype]
            return (node.arg,), asked, fewer == (value != negated)
        case ast.CoalesceExpr(args=(inner, default)) if (other := _truth(default)) is not None:
            return (inner,), not other, fewer == (value != other)  # coalesce(x, false) is x is true
    return None


def _within(thing: object, fault: Fault | None) -> Fault | None:
    """The fault, and where it is."""
    return Fault(f"in {thing}, {fault.words}", fault.table) if fault is not None else None


def _truth(node: Node | None, otherwise: bool | None = None) -> bool | None:
    """Whether it is the constant true or false; `otherwise` for NULL, None for anything else."""
    inner = node
    while isinstance(inner, ast.TypeCast):
        inner = inner.arg
    if inner is None or (isinstance(inner, ast.A_Const) and inner.isnull):
        return otherwise
    return {"True": True, "False": False}.get(constant(inner) or "")
