"""A plan as the text of upgrade() or downgrade(): one statement, which a database carries out whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mcp_rls import sql
from mcp_rls.alembic_plugin.sharing import is_policy, ways
from mcp_rls.alembic_plugin.wording import in_short, worth_telling
from mcp_rls.compiler.ledger import LOCK_TIMEOUT, PATIENCE
from mcp_rls.effect import Effect
from mcp_rls.layout import WIDTH, compact, filled, spans_lines
from mcp_rls.operation import Operation, Plan
from mcp_rls.state import SCHEMA

OPEN = "mcp_rls_open"  # alembic -x mcp_rls_open=yes
IMPORTS = "from alembic import context, util"  # what `guard` needs

_CALL = re.compile(r"perform |\$\w*\$select ")
_QUOTE = "$policies$"  # round all that a revision does to policies
_RAISE = "raise util.CommandError("
_TOLD = 5  # of what a way down opens, in its refusal

# text() takes :name for a parameter, in a string constant too.
_LITERAL_COLONS = r""".replace(":", r"\:")"""
# The indentation is not the statements': the body of a function would be another.
_VERBATIM = rf""".replace("\n    ", "\n"){_LITERAL_COLONS}"""

# What mcp_rls.change does, where that isn't there from the beginning to the end: one statement, so a plan is never done
# by half, not in an autocommit block, not by a script that lost its BEGIN; and drivers that take one (asyncpg) take it.
# It runs in somebody else's transaction: what it sets, it puts back.
_BLOCK = f"""do {_QUOTE} declare was json;
 own json := '{{{{"search_path": "pg_catalog", "lock_timeout": "{LOCK_TIMEOUT}", "standard_conforming_strings": "on",
 "transform_null_equals": "off"}}}}';
 begin was := pg_catalog.json_object_agg(key, current_setting(key)) from json_each(own);
 perform set_config(key, value, true) from json_each_text(own);
 loop begin {{lock}} exit; exception when lock_not_available then
 if clock_timestamp() > statement_timestamp() + '{PATIENCE:g}s' or exists (select from pg_locks
 where pid = pg_backend_pid() and mode = 'AccessExclusiveLock') then raise; end if;
 perform pg_sleep(0.1 + random()); end; end loop;
 {{changes}} perform set_config(key, value, true) from json_each_text(was); end {_QUOTE}""".replace("\n", "")


def preamble(up: Plan, down: Plan) -> str:
    """What a revision of these bodies has among its imports."""
    return "\n".join([*([IMPORTS] if down.opens else []), *([function()] if needs_function(up, down) else [])])


def needs_function(*ways: Plan) -> bool:
    """Whether one of them calls `policies`, for want of mcp_rls.change."""
    return any(way and not way.steady for way in ways)


def function(*, op: str = "op.") -> str:
    """Python that makes `policies(lock, changes)`, which carries changes out."""
    block = "\n    ".join(line.strip() for line in filled(_BLOCK.split(" ")))
    return f'''def policies(lock, changes):  # one statement, done whole or not at all; no reader waits for it for long
    {op}execute(rf"""{block}"""{_VERBATIM})'''


def body(way: Plan, *, guarded: bool = False) -> str:
    """The body of upgrade() or downgrade(), indented but for its first line, as Alembic's template wants it.

    `guarded`: it refuses, before the first statement, to open what wasn't said to be opened.
    """
    lines = [*(guard(way.opens) if guarded else ()), code(way, guarded=guarded)]
    return re.sub(r"\n(?=[^\n])", "\n    ", "\n".join(lines))


def code(way: Plan, *, guarded: bool = False, op: str = "op.") -> str:
    """Python that carries the plan out, to be indented by four: its words as comments, its statements as they are.

    `guarded`: without the words of the refusal that stands before it.
    """
    if not way.operations:
        return "pass"
    known = in_short(way.opens)[:_TOLD] if guarded else []
    told = (line for line in in_short(worth_telling(way)) if line not in known)
    comments = (f"# {part}" for line in told for part in filled(line.split(" ")))
    return "\n".join([*comments, *(_change(way, op) if way.steady else _block(way))])


def alone(statement: str, *, op: str = "op.") -> str:
    """Python that carries out one statement, of one line."""
    return f"{op}execute({statement!r}{_LITERAL_COLONS})"


def guard(opens: Sequence[Operation]) -> list[str]:
    """Lines of Python that refuse to open anything, unless told so; none where nothing opens."""
    if not opens:
        return []
    told = [line.removeprefix(f"{Effect.OPENS.value}: ") for line in in_short(opens, brief=True)]
    opened = "; ".join(told[:_TOLD]) + (" ..." if len(told) > _TOLD else "")
    first, *others = filled(f"{_RAISE}opens, and needs -x {OPEN}=yes: {opened}".split(" "))
    message = (first.removeprefix(_RAISE), *(f" {line.strip()}" for line in others))
    return [
        f'if context.get_x_argument(as_dictionary=True).get("{OPEN}") != "yes":',
        f"    {_RAISE}" + "\n        ".join(map(repr, message)) + ")",
    ]


# --- SQL --------------------------------------------------------------------------------------------------------------


def _change(way: Plan, op: str) -> list[str]:
    """A call of mcp_rls.change, with each statement by itself, so that an error shows which it was."""
    call = f'{op}execute(r"""select {SCHEMA}.change({_literal(", ".join(map(sql.table, way.locked)))}, array['
    verbatim = _VERBATIM if any(map(_is_shaped, way.statements)) else _LITERAL_COLONS
    return min(
        ((_called(call, *said, verbatim), said) for said in ways(way.statements)),
        key=lambda made: (len(made[0]), bool(made[1][1]), sum(map(len, made[0]))),
    )[0]


def _called(call: str, statements: Sequence[str], parts: Sequence[str], verbatim: str) -> list[str]:
    alone = [call, *_list(statements, parts, verbatim)]
    first, *others = _list(statements, parts, verbatim, taken=len(call))
    together = [call + first, *others]
    return together if len(together) <= len(alone) and len(call + first) < WIDTH else alone


def _list(statements: Iterable[str], parts: Sequence[str], verbatim: str, *, taken: int = 0) -> list[str]:
    """The lines of the statements as string constants, and of what comes after them: `parts`, for %1$s and so on."""
    first, *others = statements
    *quoted, last = [_quoted(first, taken=taken), *map(_quoted, others)]
    *lines, end = _laid_out([*(f"{text}," for text in quoted), last])
    if parts:
        texts = [f"{_dollar(compact(part, taken=len('array[$$')))}," for part in parts]
        texts[0], texts[-1] = f"array[{texts[0]}", ("" if len(texts) > 1 else "array[") + texts[-1].removesuffix(",")
        *more, end = "\n".join(filled([f"{end}],", *texts])).split("\n")
        lines += more
    closing = f'])"""{verbatim})'
    return [*lines, end + closing] if len(end + closing) < WIDTH else [*lines, end, closing]


def _is_shaped(statement: str) -> bool:
    """Whether blanks at a line's beginning mean something; in JSON they don't."""
    return not statement.startswith(f"select {SCHEMA}.record") and spans_lines(statement)


def _block(way: Plan) -> list[str]:
    """A call of `policies`."""
    call = f'policies({_lock(way)!r}, r"""'
    *lines, end = _laid_out(map(_statement, way.statements))
    first, *others = [*lines, f'{end}""")']
    return [call + first, *others] if len(call + first) < WIDTH else [call, first, *others]


def _laid_out(statements: Iterable[str]) -> list[str]:
    """Their lines; calls of functions that follow each other share some."""
    parts: list[str] = []
    calls: list[str] = []
    for statement in statements:
        if _CALL.match(statement):
            calls.append(statement)
        else:
            parts += [*filled(calls), statement]
            calls.clear()
    return "\n".join([*parts, *filled(calls)]).split("\n")


def _quoted(text: str, *, taken: int = 0) -> str:
    """The statement as a string constant."""
    text = _short(text, taken=taken + 2)
    return _dollar(text) if _is_plain(text) else _constant(text)


def _dollar(text: str) -> str:
    return sql.dollar(text, "")


def _lock(way: Plan) -> str:
    if not way.locked:
        return "null;"
    text = f"lock table {', '.join(map(sql.table, way.locked))} in access exclusive mode"
    return f"execute {_constant(text)};" if "\n" in text else _statement(text)


def _statement(text: str) -> str:
    text = _short(text)
    if not _is_plain(text):
        return f"execute {_constant(text)};"
    return (f"perform {text.removeprefix('select ')}" if text.startswith("select ") else text) + ";"


def _short(text: str, *, taken: int = 0) -> str:
    return compact(text, taken=taken) if is_policy(text) else text


def _is_plain(text: str) -> bool:
    """Whether the text can stand in a file as it is: no tool on the way changes it, and a reader sees all of it.

    Alembic strips blanks at the end of a line, and makes four of a tab when it writes a script.
    """
    seen = all(c.isprintable() or c == "\n" for c in text)
    return seen and '"""' not in text and _QUOTE not in text and not re.search(r" +(\n|\Z)", text)


def _literal(text: str) -> str:
    return sql.literal(text) if _is_plain(text) else _constant(text)


def _constant(text: str) -> str:
    r"""`text` as a string constant in one line of plain characters: E'a\tb'."""
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace('"""', r"\x22\x22\x22").replace("\n", r"\n")
    escaped = escaped.replace(_QUOTE, rf"\x24{_QUOTE[1:]}")
    return "E'" + "".join(c if c.isprintable() else _unicode(c) for c in escaped) + "'"


def _unicode(character: str) -> str:
    code_point = ord(character)
    return f"\\u{code_point:04x}" if code_point < 0x10000 else f"\\U{code_point:08x}"
