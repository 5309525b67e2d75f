"""A plan as the text of upgrade() or downgrade(): one statement, which a database carries out whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from mcp_rls import sql
from mcp_rls.effect import Effect
from mcp_rls.plan import LOCK_TIMEOUT, PATIENCE, Operation, Plan

OPEN = "mcp_rls_open"  # alembic -x mcp_rls_open=yes
IMPORTS = "from alembic import context, util"  # what `guard` needs

# A revision runs in somebody else's transaction: what it sets, it puts back.
_SETTINGS = {
    "search_path": "pg_catalog",
    "lock_timeout": f"'{LOCK_TIMEOUT}'",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
}


def body(way: Plan, *, guarded: bool = False) -> str:
    """The body of upgrade() or downgrade(), indented but for its first line, as Alembic's template wants it.

    `guarded`: it refuses, before the first statement, to open what wasn't said to be opened.
    """
    return re.sub(r"\n(?=[^\n])", "\n    ", "\n".join([*(guard(way.opens) if guarded else ()), code(way)]))


# text() takes :name for a parameter, in a string constant too.
_LITERAL_COLONS = r""".replace(":", r"\:")"""


def code(way: Plan, *, op: str = "op.", sa: str = "sa.") -> str:
    """Python that carries the plan out, to be indented by four: its words as comments, its statements as they are.

    A DO block is one statement. So a plan is never done by half, not in an autocommit block and not by a script that
    lost its BEGIN; and drivers that take one statement at a time (asyncpg) take it.
    """
    if not way.operations:
        return "pass"
    block = f'policies = r"""{_block(way)}"""'
    # the indentation is not the statements': the body of a function would be another
    verbatim = r"""policies.replace("\n    ", "\n")""" + _LITERAL_COLONS
    return "\n".join([*_told(way), block, f"{op}execute({sa}text({verbatim}))  # verbatim"])


def alone(statement: str, *, op: str = "op.", sa: str = "sa.") -> str:
    """Python that carries out one statement, of one line."""
    return f"{op}execute({sa}text({statement!r}{_LITERAL_COLONS}))"


def guard(opens: Sequence[Operation]) -> list[str]:
    """Lines of Python that refuse to open anything, unless told so; none where nothing opens."""
    if not opens:
        return []
    opened = "; ".join(_in_one(o.words) for o in opens[:5]) + (" ..." if len(opens) > 5 else "")
    message = f"this downgrade opens, and needs -x {OPEN}=yes: {opened}"
    return [
        f'if context.get_x_argument(as_dictionary=True).get("{OPEN}") != "yes":',
        f"    raise util.CommandError({message!r})",
    ]


def in_words(way: Plan) -> list[str]:
    """What the plan opens and closes, an entry each; where it does neither, what else it does."""
    return [f"{o.effect.value}: {_in_one(o.words)}" for o in _worth_telling(way)]


def _worth_telling(way: Plan) -> tuple[Operation, ...]:
    return tuple(o for o in way.operations if o.effect is not Effect.NEITHER) or way.operations


def _told(way: Plan) -> Iterator[str]:
    """The plan's words as comments; an operation with several details has a line for each."""
    for operation in _worth_telling(way):
        first, *details = operation.words.splitlines()
        several = len(details) > 1
        yield f"# {operation.effect.value}: {_shown(first) if several else _in_one(operation.words)}"
        if several:
            yield from (f"#   {_shown(detail.strip())}" for detail in details)


def _in_one(words: str) -> str:
    """An operation's words and their details in one line."""
    first, *details = words.splitlines()
    return _shown(f"{first}: {', '.join(detail.strip() for detail in details)}" if details else first)


def _shown(line: str) -> str:
    """The line without what could steer an editor or a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


# --- SQL --------------------------------------------------------------------------------------------------------------


def _block(way: Plan) -> str:
    was = f"(select jsonb_object_agg(n, current_setting(n)) from unnest('{{{','.join(_SETTINGS)}}}'::text[]) n)"
    settings = " ".join(f"set local {name} = {value};" for name, value in _SETTINGS.items())
    begin = f" declare was jsonb := {was}; begin {settings}"
    end = "perform set_config(key, value, true) from jsonb_each_text(was); end "
    lines = "\n".join([begin, *_locks(way), *_laid_out(way.statements), end])
    return f"do {sql.dollar(lines)}"


def _locks(way: Plan) -> Iterator[str]:
    """Takes every lock first, asking again and again with short waits: readers queue up behind a waiting lock.

    Not where the transaction holds such a lock already: those readers would wait all the time.
    """
    if way.locked:
        lock = f"lock table {', '.join(map(sql.table, way.locked))} in access exclusive mode"
        held = "exists (select from pg_locks where pid = pg_backend_pid() and mode = 'AccessExclusiveLock')"
        late = f"if clock_timestamp() > until or {held} then raise; end if; perform pg_sleep(0.1 + random());"
        until = f"declare until timestamptz := clock_timestamp() + '{PATIENCE:g} s'; begin"
        again = f"exception when lock_not_available then {late} end; end loop; end;"
        yield f"{until} loop begin {_statement(lock)} exit; {again}"


def _laid_out(statements: Iterable[str]) -> Iterator[str]:
    """The statements as PL/pgSQL has them; calls of functions that follow each other share a line."""
    calls: list[str] = []
    for statement in map(_statement, statements):
        if statement.startswith("perform "):
            calls.append(statement)
        else:
            yield from filter(None, [" ".join(calls), statement])
            calls.clear()
    yield from filter(None, [" ".join(calls)])


def _statement(text: str) -> str:
    if not _is_plain(text):
        return f"execute {_constant(text)};"
    return (f"perform {text.removeprefix('select ')}" if text.startswith("select ") else text) + ";"


def _is_plain(text: str) -> bool:
    """Whether the text can stand in a file as it is: no tool on the way changes it, and a reader sees all of it.

    Alembic strips blanks at the end of a line, and makes four of a tab when it writes a script.
    """
    seen = all(c.isprintable() or c == "\n" for c in text)
    return seen and '"""' not in text and not re.search(r" +(\n|\Z)", text)


def _constant(text: str) -> str:
    r"""`text` as a string constant in one line of plain characters: E'a\tb'."""
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace('"""', r"\x22\x22\x22").replace("\n", r"\n")
    return "E'" + "".join(c if c.isprintable() else _unicode(c) for c in escaped) + "'"


def _unicode(character: str) -> str:
    code_point = ord(character)
    return f"\\u{code_point:04x}" if code_point < 0x10000 else f"\\U{code_point:08x}"
