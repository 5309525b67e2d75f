"""Person policies that could admit more to a client than to its person: reads in which a missing row counts.

A person policy that reads another table sees it under that table's ceilings, so to a client rows are missing. A
positive read (EXISTS, IN, = ANY) then admits less; any other (NOT, an aggregate, a scalar sub-select) may admit more.
What can't be analysed is an error too. A table is *whole* to clients when they read it as their person does, and so is
every table that its own policies read.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from mcp_rls.catalog import Catalog, ForeignPolicy, Function, Table, TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.diagnostics import Diagnostics, Span

_JOINS_THAT_ONLY_NARROW = {"", "INNER", "CROSS"}
_READING_WORDS = {"FROM", "JOIN", "TABLE", "EXECUTE", "PERFORM", "CALL", "USING"}


def gain_by_absence(policies: PolicySet, catalog: Catalog, diagnostics: Diagnostics) -> None:
    """Reports each policy of a covered table that reads a narrowed table in another than a positive form."""
    narrowed = frozenset(catalog.tables) - whole(policies, catalog)
    for table in covered(policies, catalog):
        for policy in table.policies:
            for why in _faults(policy, catalog, narrowed):
                rules = policies.tables.get(table.name)
                diagnostics.error(
                    "gain-by-absence",
                    f'policy "{policy.name}" of table "{table.name}" could admit more to a client than to its person:'
                    f" {why}",
                    rules.span if rules else Span(policies.path),
                    "give the table that it reads `clients: read_as_person`, or move the read into a SECURITY DEFINER"
                    " function whose owner sees every row",
                    subject=f"table {table.name}",
                )


def covered(policies: PolicySet, catalog: Catalog) -> Iterator[Table]:
    for schema in policies.schemas:
        yield from (t for t in catalog.in_schema(schema) if t.kind in ("table", "partitioned", "partition"))


def whole(policies: PolicySet, catalog: Catalog) -> frozenset[TableName]:
    """Tables of which a client reads just what its person reads: uncovered ones, and `read_as_person` transitively."""
    narrowed = {t.name for t in covered(policies, catalog) if not _reads_as_person(policies, t.name)}
    while True:
        more = {
            t.name
            for t in covered(policies, catalog)
            if t.name not in narrowed and any(p.reads & narrowed for p in t.policies)
        }
        if not more:
            return frozenset(catalog.tables) - narrowed
        narrowed |= more


def _reads_as_person(policies: PolicySet, table: TableName) -> bool:
    rules = policies.tables.get(table)
    return rules is not None and rules.clients == "read_as_person"


def _faults(policy: ForeignPolicy, catalog: Catalog, narrowed: frozenset[TableName]) -> Iterator[str]:
    for name in policy.functions:
        yield from _function_faults(name, catalog.functions.get(name, ()))
    if not policy.reads & narrowed:
        return
    for text in filter(None, (policy.using, policy.check)):
        try:
            condition = sqlglot.parse_one(text, dialect="postgres", into=exp.Condition)
        except (SqlglotError, RecursionError):
            yield "its expression can't be analysed"
            continue
        fault = _Reads(catalog, narrowed).fault(condition)
        if fault:
            yield fault


def _function_faults(name: str, overloads: tuple[Function, ...]) -> Iterator[str]:
    for function in overloads:
        if not function.reads_past_rls and function.language not in ("c", "internal") and _may_read(function.body):
            yield f"it calls {name}(), which reads tables with the caller's rights"
            return


def _may_read(body: str) -> bool:
    try:
        tokens = sqlglot.tokenize(body, read="postgres")
    except SqlglotError:
        return True
    strings = (TokenType.STRING, TokenType.IDENTIFIER)
    return any(t.text.upper() in _READING_WORDS for t in tokens if t.token_type not in strings)


class _Reads:
    """Whether a condition reads narrowed tables in positive forms only."""

    def __init__(self, catalog: Catalog, narrowed: frozenset[TableName]) -> None:
        self.catalog, self.narrowed = catalog, narrowed

    def read_in(self, node: exp.Expr) -> str | None:
        """The first narrowed table (or view, which might read one) below `node`."""
        for table in node.find_all(exp.Table):
            name = TableName(table.db, table.name)
            known = self.catalog.tables.get(name)
            if known is None or known.kind == "view" or name in self.narrowed:
                return str(name)
        return None

    def fault(self, node: exp.Expr) -> str:
        """'' when positive, else what stands against it."""
        read = self.read_in(node)
        if read is None:
            return ""
        match node:
            case exp.Paren():
                return self.fault(node.this)
            case exp.And() | exp.Or():
                return self.fault(node.this) or self.fault(node.expression)
            case exp.Exists():
                return self.query(node.this)
            case exp.In() if node.args.get("query") is not None:
                return self.scalar(node.this) or self.query(node.args["query"])
            case exp.EQ() if isinstance(node.expression, exp.Any):
                return self.scalar(node.this) or self.array(node.expression.this)
            case exp.Is() if (
                isinstance(node.expression, exp.Boolean) and node.expression.this and not node.args.get("negate")
            ):
                return self.fault(node.this)
        return f"it reads {read} in a form in which a missing row may count"

    def scalar(self, node: exp.Expr) -> str:
        read = self.read_in(node)
        return f"it compares with a value read from {read}" if read else ""

    def array(self, node: exp.Expr) -> str:
        while isinstance(node, (exp.Paren, exp.Cast)):
            node = node.this
        if isinstance(node, exp.Array) and len(node.expressions) == 1:
            node = node.expressions[0]
        return self.query(node) if isinstance(node, (exp.Select, exp.Subquery, exp.Union)) else self.scalar(node)

    def query(self, node: exp.Expr) -> str:
        read = self.read_in(node)
        if read is None:
            return ""
        match node:
            case exp.Subquery() | exp.Paren():
                return self.query(node.this)
            case exp.Union():
                return self.query(node.this) or self.query(node.expression)
            case exp.Select():
                return self.select(node, read)
        return f"it reads {read} in a form that can't be analysed"

    def select(self, node: exp.Select, read: str) -> str:
        for part in ("group", "having", "limit", "offset", "with_", "with", "windows", "qualify", "sample"):
            if node.args.get(part):
                return f"it reads {read} with {part.strip('_').upper()}"
        if any(p.find(exp.AggFunc, exp.Window) or p.find(exp.Subquery) for p in node.expressions):
            return f"it reads {read} through an aggregate"
        source = node.args.get("from_") or node.args.get("from")
        fault = self.source(source.this, read) if source is not None else ""
        fault = fault or self.joins(node, read)
        if fault:
            return fault
        where = node.args.get("where")
        return self.fault(where.this) if where is not None else ""

    def source(self, node: exp.Expr, read: str) -> str:
        """Faults of one item in FROM: a table, a parenthesised join, a sub-select."""
        if isinstance(node, exp.Table):
            known = self.catalog.tables.get(TableName(node.db, node.name))
            if known is None or known.kind == "view":
                return f"it reads the view {read}, which isn't analysed"
            return self.joins(node, read)
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table):
            return self.source(node.this, read) or self.joins(node, read)
        if isinstance(node, exp.Subquery):
            return self.query(node)
        return f"it reads {read} in a form that can't be analysed"

    def joins(self, node: exp.Expr, read: str) -> str:
        for join in node.args.get("joins") or []:
            kinds = {str(join.args.get(k) or "").upper() for k in ("side", "kind", "method")}
            if not kinds <= _JOINS_THAT_ONLY_NARROW:
                return f"it reads {read} in an outer join"
            on = join.args.get("on")
            fault = self.source(join.this, read) or (self.fault(on) if on is not None else "")
            if fault:
                return fault
        return ""
