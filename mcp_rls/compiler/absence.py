"""Person policies that could admit more to a client than to its person: reads in which a missing row counts.

A person policy that reads another table sees it under that table's ceilings, so to a client rows are missing. A
positive read (EXISTS, IN, = ANY) then admits less; any other (NOT, an aggregate, a scalar sub-select) may admit more.
What can't be analysed is an error too. A table is *whole* to clients when they read it as their person does, and so is
every table that its own policies read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from mcp_rls.catalog import Catalog, ForeignPolicy, Function, Table, TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.diagnostics import Diagnostics, Span

_JOINS_THAT_ONLY_NARROW = {"", "INNER", "CROSS"}
_RUN_STRINGS = {
    "query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "cursor_to_xml", "cursor_to_xmlschema",
    "table_to_xml", "table_to_xmlschema", "table_to_xml_and_xmlschema", "schema_to_xml", "schema_to_xmlschema",
    "schema_to_xml_and_xmlschema", "database_to_xml", "database_to_xmlschema", "database_to_xml_and_xmlschema",
    "ts_stat", "ts_rewrite",
}  # fmt: skip
# What a positive sub-select may select: values, never another look at a table.
_PLAIN = (
    exp.Column,
    exp.Literal,
    exp.Boolean,
    exp.Null,
    exp.Star,
    exp.Cast,
    exp.Paren,
    exp.Alias,
    exp.Identifier,
    exp.DataType,
)


def gain_by_absence(policies: PolicySet, catalog: Catalog, diagnostics: Diagnostics) -> None:
    """Reports each policy of a covered table that reads a narrowed table in another than a positive form."""
    narrowed = frozenset(catalog.tables) - whole(policies, catalog)
    for table in _concerned(policies, catalog):
        for policy in table.policies:
            for why in _faults(policy, catalog, narrowed):
                _report(f'policy "{policy.name}"', table, why, policies, diagnostics)
        for trigger, function in table.triggers:
            if _may_read(function, catalog, narrowed):
                why = f"{function}() reads tables with the caller's rights, or may"
                _report(f'trigger "{trigger}"', table, why, policies, diagnostics)


def _concerned(policies: PolicySet, catalog: Catalog) -> Iterator[Table]:
    """Covered tables, and uncovered ones that their policies read, through others too: a gain there is one here."""
    todo, seen = [t.name for t in covered(policies, catalog)], set[TableName]()
    while todo:
        name = todo.pop(0)
        if name in catalog.tables and name not in seen:
            seen.add(name)
            table = catalog.tables[name]
            todo += sorted(read for policy in table.policies for read in policy.reads)
            yield table


def _report(what: str, table: Table, why: str, policies: PolicySet, diagnostics: Diagnostics) -> None:
    rules = policies.tables.get(table.name)
    diagnostics.error(
        "gain-by-absence",
        f'{what} of table "{table.name}" could admit more to a client than to its person: {why}',
        rules.span if rules else Span(policies.path),
        "give the table that it reads `clients: read_as_person`, or move the read into a SECURITY DEFINER function"
        " whose owner sees every row",
        subject=f"table {table.name}",
    )


def covered(policies: PolicySet, catalog: Catalog) -> Iterator[Table]:
    for schema in policies.schemas:
        yield from (t for t in catalog.in_schema(schema) if t.kind in ("table", "partitioned", "partition"))


def whole(policies: PolicySet, catalog: Catalog) -> frozenset[TableName]:
    """Tables of which a client reads just what its person reads: uncovered ones, and `read_as_person` transitively."""
    narrowed = {t.name for t in covered(policies, catalog) if not _reads_as_person(policies, t.name)}
    while True:
        # uncovered tables count too: their policies are computed under the ceilings of what they read
        more = {
            t.name
            for t in catalog.tables.values()
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
        if _may_read(name, catalog, narrowed):
            yield f"it calls {name}(), which reads tables with the caller's rights, or may"
            return
    for text in filter(None, (policy.using, policy.check)):
        fault = _text_fault(text, catalog, narrowed) if policy.reads & narrowed or _runs_text(text) else ""
        if fault:
            yield fault


def absence_in(text: str, policies: PolicySet, catalog: Catalog) -> str:
    """What stands against SQL in a person rule, '' when nothing does."""
    narrowed = frozenset(catalog.tables) - whole(policies, catalog)
    words = _words(text)
    called = [name for name in catalog.functions if name.rpartition(".")[2].lower() in words]
    if any(_may_read(name, catalog, narrowed) for name in called):
        return "it calls a function that reads tables with the caller's rights, or may"
    return _text_fault(re.sub(r"\btoken\.\w+", "null", text), catalog, narrowed)


def _text_fault(text: str, catalog: Catalog, narrowed: frozenset[TableName]) -> str:
    if _runs_text(text):
        return "it runs SQL that stands in a string"
    try:
        condition = sqlglot.parse_one(text, dialect="postgres", into=exp.Condition)
    except (SqlglotError, RecursionError):
        return "its expression can't be analysed"
    return _Reads(catalog, narrowed).fault(condition)


def _words(text: str) -> set[str]:
    """All words of some SQL, those in strings and comments too: it may be told less, never more."""
    return set(re.findall(r"[a-z_][\w$]*", text.lower()))


def _runs_text(text: str) -> bool:
    """Whether it names a function of PostgreSQL's that runs SQL given as a string, or reads a whole table by name."""
    return bool(_words(text) & _RUN_STRINGS)


def _may_read(name: str, catalog: Catalog, narrowed: frozenset[TableName], seen: frozenset[str] = frozenset()) -> bool:
    """Whether some function of this name may read a narrowed table as its caller, by itself or through others."""
    overloads = () if name in seen else catalog.functions.get(name, ())
    return any(_reads(f, catalog, narrowed, seen | {name}) for f in overloads)


def _reads(function: Function, catalog: Catalog, narrowed: frozenset[TableName], seen: frozenset[str]) -> bool:
    if function.reads_past_rls or function.language in ("c", "internal"):
        return False
    if function.language not in ("sql", "plpgsql"):
        return True
    words = _words(function.body)
    # a view may hide a narrowed table, and EXECUTE anything
    hiding = {n.name.lower() for n, t in catalog.tables.items() if n in narrowed or t.kind == "view"}
    if words & (hiding | _RUN_STRINGS | {"execute"}):
        return True
    called = (name for name in catalog.functions if name.rpartition(".")[2].lower() in words)
    return any(_may_read(name, catalog, narrowed, seen) for name in called)


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
                return self.query(node.this) or self.joins(node, read)
            case exp.Union():
                return self.query(node.this) or self.query(node.expression)
            case exp.Select():
                return self.select(node, read)
        return f"it reads {read} in a form that can't be analysed"

    def select(self, node: exp.Select, read: str) -> str:
        for part in ("group", "having", "limit", "offset", "with_", "with", "windows", "qualify", "sample"):
            if node.args.get(part):
                return f"it reads {read} with {part.strip('_').upper()}"
        distinct = node.args.get("distinct")
        if distinct is not None and distinct.args.get("on"):
            return f"it reads {read} with DISTINCT ON"
        if not all(isinstance(part, _PLAIN) for p in node.expressions for part in p.walk()):
            return f"it reads {read} through an aggregate or another expression"
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
            return self.query(node) or self.joins(node, read)
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
