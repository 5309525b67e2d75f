"""Rows made up in a database: which combinations of values tell conditions apart, and inserting those."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod

from mcp_rls import sql
from mcp_rls.catalog import Table, TableName
from mcp_rls.harness import rows
from mcp_rls.harness.matrix.probe import Probe
from mcp_rls.harness.session import Connection, run

Fragment = Mapping[str, str]  # SQL by column
Dimension = Sequence[Fragment]  # what one column, or the columns of one key, may be; all with the same columns

_CHECKS = """
select jsonb_agg(jsonb_build_array(n.nspname, c.relname, pg_get_constraintdef(k.oid)) order by k.conname)
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
where k.contype = 'c'"""
_LABELS = """
select jsonb_agg(jsonb_build_array(t, l)) from (
  select format_type(enumtypid, null), array_agg(enumlabel order by enumsortorder) from pg_enum group by 1) e(t, l)"""

_MOST_COMBINATIONS = 4096
_MOST_ROWS = 40  # of one table and place
_SPARE = 4  # combinations that tell the same, in case a constraint refuses the first


@dataclass(frozen=True)
class Choice:
    """A combination of values, and what the conditions say of it."""

    values: Fragment
    says: tuple[str | None, ...]


@dataclass
class Made:
    """The rows of one table and place that were made, each with what it was made for; and what stood in the way."""

    ids: list[tuple[str, Choice]] = field(default_factory=list)
    trouble: str = ""
    taken: Fragment | None = None  # a row that a unique constraint stopped, as all others: it is there already


@dataclass(frozen=True)
class Constraints:
    """What a database says about legal values: the texts of CHECK constraints, and the labels of enumerations."""

    checks: Mapping[TableName, tuple[str, ...]]
    labels: Mapping[str, tuple[str, ...]]


def constraints(probe: Probe) -> Constraints:
    """Read from the catalog at once."""
    checks, labels = probe.look([_CHECKS, _LABELS])
    found: dict[TableName, tuple[str, ...]] = {}
    for schema, table, text in checks.found or ():
        name = TableName(schema, table)
        found[name] = (*found.get(name, ()), text)
    return Constraints(found, {kind: tuple(texts) for kind, texts in labels.found or ()})


class Maker:
    """Makes rows past row security, each in a subtransaction that stays."""

    def __init__(self, conn: Connection, probe: Probe, superuser: bool) -> None:
        self.probe = probe
        self._conn = conn
        self._superuser = superuser

    def choices(self, table: Table, dimensions: Sequence[Dimension], texts: Sequence[str]) -> list[Choice]:
        """Combinations of values with what each text, an SQL expression over the columns, says of them."""
        dimensions = _bounded([d for d in dimensions if d])
        if not texts:
            return [Choice(_joined(some), ()) for some in list(product(*dimensions))[:_MOST_ROWS]]
        (answer,) = self.probe.look([_virtual(table, dimensions, texts)])
        if answer.failed:
            return [Choice(_joined(some), ()) for some in list(product(*dimensions))[:_MOST_ROWS]]
        return [
            Choice(_joined([d[at] for d, at in zip(dimensions, places, strict=True)]), tuple(says))
            for places, says in answer.found or ()
        ]

    def insert(self, table: Table, choices: Iterable[Choice], rest: Iterable[Fragment]) -> Made:
        """Inserts a row for each thing that the choices say; `rest` gives the other columns, fresh for each row."""
        fresh = iter(rest)
        waiting: dict[tuple[str | None, ...], list[Choice]] = {}
        for choice in choices:
            waiting.setdefault(choice.says, []).append(choice)
        made, refused = Made(), list[tuple[str, Fragment]]()
        queues = [several[:_SPARE] for several in waiting.values()][:_MOST_ROWS]
        while queues:
            heads = [queue[0] for queue in queues]
            fragments = [{**head.values, **next(fresh)} for head in heads]
            answers = self._keep(table, fragments)
            made.ids += [(a.removeprefix("+"), head) for a, head in zip(answers, heads, strict=True) if a[:1] == "+"]
            refused += [(answer, f) for answer, f in zip(answers, fragments, strict=True) if answer[:1] != "+"]
            queues = [queue[1:] for queue, a in zip(queues, answers, strict=True) if a[:1] != "+" and queue[1:]]
        if not made.ids and refused:
            made.trouble = refused[0][0].partition("\n")[2]
            if all(answer.startswith("23505") for answer, _ in refused):
                made.taken = refused[0][1]
        return made

    def _keep(self, table: Table, fragments: Sequence[Fragment]) -> list[str]:
        """Of each row '+' with its place, or the error."""
        statements = [_insertion(table, fragment) for fragment in fragments]
        answers = self.probe.keep(statements)
        orphans = [at for at, answer in enumerate(answers) if answer.startswith("23503")]
        if orphans and self._superuser:
            # what it refers to can't be made up; PostgreSQL leaves foreign keys unasked for a replica
            run(self._conn, "set local session_replication_role = replica")
            again = self.probe.keep([statements[at] for at in orphans])
            run(self._conn, "set local session_replication_role = origin")
            for at, answer in zip(orphans, again, strict=True):
                answers[at] = answer
        return answers

    def there(self, table: Table, fragment: Fragment) -> list[rows.StoredRow]:
        """The row with the key of these values, which something else made."""
        if not table.primary_key or not set(table.primary_key) <= fragment.keys():
            return []
        mine = " and ".join(f"t.{sql.ident(c)} = {fragment[c]}" for c in table.primary_key)
        return list(rows.snapshot(table, run(self._conn, rows.look(table, f" where {mine}"))[0]).values())

    def rows(self, table: Table) -> rows.Snapshot:
        """The rows that are there."""
        return rows.snapshot(table, run(self._conn, rows.look(table))[0])


def _insertion(table: Table, fragment: Fragment) -> str:
    return f"{rows.insert(table, fragment)} returning tableoid::text || ctid::text"


def _joined(fragments: Iterable[Fragment]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for fragment in fragments:
        joined.update(fragment)
    return joined


def _bounded(dimensions: Sequence[Dimension]) -> list[Dimension]:
    """The dimensions with the longest cut until their product is small enough."""
    bounded = list(dimensions)
    while prod(map(len, bounded)) > _MOST_COMBINATIONS:
        longest = max(range(len(bounded)), key=lambda at: len(bounded[at]))
        bounded[longest] = bounded[longest][:-1]
    return bounded


def _virtual(table: Table, dimensions: Sequence[Dimension], texts: Sequence[str]) -> str:
    """The query that says of each combination what the texts are: rows that are in no table."""
    sources, given = [], dict[str, str]()
    for at, dimension in enumerate(dimensions):
        columns = list(dimension[0])
        listed = ", ".join(
            f"({number}, {', '.join(_typed(table, c, fragment[c]) for c in columns)})" if columns else f"({number})"
            for number, fragment in enumerate(dimension)
        )
        names = ", ".join(['" i"', *map(sql.ident, columns)])
        sources.append(f"(values {listed}) d{at}({names})")
        given.update({column: f"d{at}.{sql.ident(column)}" for column in columns})
    columns = [f"{given.get(c.name) or f'null::{c.type}'} as {sql.ident(c.name)}" for c in table.columns]
    indexes = ", ".join(f'd{at}." i"' for at in range(len(dimensions)))
    inner = f'select array[{indexes}]::integer[] as " places", {", ".join(columns)}'
    from_ = f" from {', '.join(sources)}" if sources else ""
    says = ", ".join(f"({text})::text" for text in texts)
    name = sql.ident(table.name.name)
    return (
        f'select jsonb_agg(jsonb_build_array(" places", array[{says}]) order by " places") from ({inner}{from_}) {name}'
    )


def _typed(table: Table, column: str, expression: str) -> str:
    known = rows.column(table, column)
    return f"({expression})::{known.type}"
