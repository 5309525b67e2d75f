"""Rows made up for a run: values by type, and values that satisfy a simple condition. The server has the last word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import psycopg

from mcp_rls import sql
from mcp_rls.catalog import Column, Table
from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.session import one_line
from mcp_rls.harness.stage import Stage

_TRIES = 6  # CHECK constraints that may be satisfied one after another
_TEXT = "mcp-rls-test"
# By base type: an SQL expression. A key of one of the first types continues from the rows that are there.
_NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
VALUES = {
    **dict.fromkeys(_NUMBERS, "1"),
    "uuid": "gen_random_uuid()",
    "boolean": "false",
    "date": "current_date",
    "timestamp with time zone": "now()",
    "timestamp without time zone": "now()",
    "time without time zone": "'12:00'",
    "time with time zone": "'12:00+00'",
    "interval": "'1 day'",
    "json": "'{}'",
    "jsonb": "'{}'",
    "bytea": "'\\x00'",
    "inet": "'127.0.0.1'",
    "cidr": "'127.0.0.0/8'",
    "bit": "'1'",
    "money": "'1'",
    "xml": "'<x/>'",
    "tsvector": "''",
    "point": "'(0,0)'",
}
_TEXTS = ("text", "character varying", "character", "citext", "name", '"char"')


class NoWitness(Exception):
    """No row could be made up; the message says what stood in the way."""


def insert_witness(
    stage: Stage, table: Table, fixed: Mapping[str, str], where: str | None = None, *, fill: bool = False
) -> Key:
    """Inserts a made-up row past row security and returns its key.

    `fixed` gives SQL expressions by column; `where` must be true of the row; `fill`: nullable columns get values too.
    Raises: NoWitness.
    """
    wanted = assignments(where) if where else {}
    unchecked = where is None or "token." in where
    values = {**_defaults(stage, table, fill), **wanted, **fixed}
    returning = f" returning {_key(table)}, {'true' if unchecked else f'({where}) is true'}"
    why = ""
    for _ in range(_TRIES):
        statement = rows.insert(table, values) + returning
        answer = _insert(stage, statement)
        if not isinstance(answer, psycopg.Error):
            key, holds = answer
            if not holds:
                raise NoWitness(f"no row of {table.name} could be made up of which this is true: {where}")
            return key
        why = one_line(answer)
        better = _repaired(stage, table, values, answer, {*wanted, *fixed})
        if better is None:
            break
        values = better
    raise NoWitness(f"no row of {table.name} could be made up: {why}")


def assignments(condition: str) -> dict[str, str]:
    """SQL expressions by column that make a simple condition true, as far as it is understood.

    Understood, ANDed and the first such arm of an OR: a boolean column, `not` of one, `is null`, `col = constant`,
    `col in (constants)`, and comparisons with now().
    """
    found: dict[str, str] = {}
    for part in _split(condition, "and"):
        arms = _split(part, "or")
        if len(arms) > 1:
            found.update(next((a for arm in arms if (a := assignments(arm))), {}))
        elif part != condition:
            found.update(assignments(part))
        else:
            found.update(_atom(part))
    return found


_COLUMN = r'(?:\w+\.)?(?P<column>[a-z_]\w*|"[^"]+")'
_CONSTANT = r"(?P<value>'(?:[^']|'')*'|-?\d+(?:\.\d+)?|true|false)(?:::[\w ]+)?"
_NOW = r"(?:now\(\)|current_timestamp|transaction_timestamp\(\))"
_ATOMS = (
    (rf"{_COLUMN}", "true"),
    (rf"not {_COLUMN}", "false"),
    (rf"{_COLUMN} is (?P<value>null|true|false)", None),
    (rf"{_COLUMN} is not (?:false|null)", ""),
    (rf"{_COLUMN} is not true", "false"),
    (rf"{_COLUMN} ?= ?{_CONSTANT}", None),
    (rf"{_COLUMN} in \( ?{_CONSTANT}.*\)", None),
    (rf"{_COLUMN} ?>=? ?{_NOW}", "now() + interval '1 day'"),
    (rf"{_NOW} ?<=? ?{_COLUMN}", "now() + interval '1 day'"),
    (rf"{_COLUMN} ?<=? ?{_NOW}", "now() - interval '1 day'"),
    (rf"{_NOW} ?>=? ?{_COLUMN}", "now() - interval '1 day'"),
)


def _atom(text: str) -> dict[str, str]:
    for pattern, value in _ATOMS:
        match = re.fullmatch(pattern, text, re.IGNORECASE)
        if match and value != "":
            return {match["column"].strip('"'): match["value"] if value is None else value}
    return {}


def _split(condition: str, word: str) -> list[str]:
    """The parts between `word`s outside parentheses and quotes, without parentheses around a whole part."""
    parts, depth, start = [], 0, 0
    text = _stripped(condition)
    for match in re.finditer(rf"'(?:[^']|'')*'|\"[^\"]*\"|[()]|\b{word}\b", text, re.IGNORECASE):
        piece = match[0]
        if piece in "()":
            depth += 1 if piece == "(" else -1
        elif depth == 0 and piece.lower() == word:
            parts.append(_stripped(text[start : match.start()]))
            start = match.end()
    return [*parts, _stripped(text[start:])]


def _stripped(text: str) -> str:
    """`text` with single blanks, and without parentheses that enclose all of it."""
    text = re.sub(r"\s+", " ", text).strip()
    while text.startswith("(") and text.endswith(")"):
        depth = 0
        for index, character in enumerate(text):
            depth += (character == "(") - (character == ")")
            if depth == 0 and index < len(text) - 1:
                return text
        text = text[1:-1].strip()
    return text


def _defaults(stage: Stage, table: Table, fill: bool) -> dict[str, str]:
    """An expression for each column that needs a value."""
    referenced = {
        column: (key.references, target)
        for key in table.foreign_keys
        for column, target in zip(key.columns, key.referenced_columns, strict=True)
    }
    values = {}
    for column in table.columns:
        if column.generated or column.has_default or not (column.not_null or fill):
            continue
        value = _value(stage, table, column)
        if column.name in referenced:
            parent, target = referenced[column.name]
            value = f"coalesce((select {sql.ident(target)} from {sql.table(parent)} limit 1), {value})"
        values[column.name] = value
    return values


def _value(stage: Stage, table: Table, column: Column) -> str:
    kind = column.base_type or column.type
    if kind in _NUMBERS and column.name in table.primary_key:
        return f"(select coalesce(max({sql.ident(column.name)}), 0) + 1 from {sql.table(table.name)})"
    if kind in VALUES:
        return VALUES[kind]
    if kind in _TEXTS:
        room = re.search(r"\((\d+)\)", column.type)
        return sql.literal(_TEXT[: int(room[1])] if room else _TEXT)
    if column.type.endswith("[]"):
        return "'{}'"
    labels = stage.ask(
        f"select enumlabel from pg_enum where enumtypid = to_regtype({sql.literal(kind)})"
        " order by enumsortorder limit 1"
    )
    return sql.literal(labels[0][0]) if labels else "null"


def _insert(stage: Stage, statement: str) -> tuple[Key, bool] | psycopg.Error:
    answer = stage.try_do(statement)
    if isinstance(answer, psycopg.errors.ForeignKeyViolation) and stage.superuser:
        # The person of a test need not exist; PostgreSQL leaves foreign keys unasked for a replica.
        replica = "set local session_replication_role = replica"
        answer = stage.try_do(replica, statement, "set local session_replication_role = origin")
        return answer if isinstance(answer, psycopg.Error) else _first(answer[1])
    return answer if isinstance(answer, psycopg.Error) else _first(answer[0])


def _first(answer: list[tuple[list[str], bool]]) -> tuple[Key, bool]:
    key, holds = answer[0]
    return tuple(key), holds


def _repaired(
    stage: Stage, table: Table, values: dict[str, str], error: psycopg.Error, settled: set[str]
) -> dict[str, str] | None:
    """`values` with one changed so that the CHECK constraint that failed may hold, or None."""
    name = error.diag.constraint_name
    if not isinstance(error, psycopg.errors.CheckViolation) or not name:
        return None
    definition = stage.ask(
        "select pg_get_constraintdef(oid) from pg_constraint"
        f" where conname = {sql.literal(name)} and conrelid = {sql.literal(sql.table(table.name))}::regclass"
    )
    for column, constant in _constants(str(definition), table) if definition else ():
        if column not in settled and values.get(column) != constant:
            return {**values, column: constant}
    return None


def _constants(definition: str, table: Table) -> Iterator[tuple[str, str]]:
    """Constants that a CHECK constraint compares a column with."""
    for column in table.columns:
        if re.search(rf"\b{re.escape(column.name)}\b", definition):
            for match in re.finditer(r"'((?:[^']|'')*)'::|(?<![\w'.])(\d+)(?![\w'.])", definition):
                yield column.name, f"'{match[1]}'" if match[1] is not None else match[2]


def _key(table: Table) -> str:
    if not table.primary_key:
        return "array[tableoid::regclass::text, ctid::text]"
    return f"array[{', '.join(f'{sql.ident(c)}::text' for c in table.primary_key)}]"
