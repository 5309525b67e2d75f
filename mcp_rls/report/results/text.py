"""A test run for a reader: what each token could do, then what didn't hold and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO

from rich.box import Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import COMMANDS
from mcp_rls.harness.suite import TokenSpec
from mcp_rls.harness.verdict import Verdict
from mcp_rls.report import Access, Results, access, console, counted, shown

_LETTERS = {"insert": "i", "update": "u", "delete": "d"}
_RULE = Box("    \n    \n ─  \n    \n    \n    \n    \n    \n")  # a line under the heading, and no other
_LONGEST_NAME = 28
_LONGEST_REMARK = 40

_Row = Mapping[TableName, Access]


def write(results: Results, out: TextIO) -> None:
    """Tables of tokens by tables, a paragraph for each check that didn't pass, and a line that counts."""
    page = console(out)
    rows = access(results.result)
    tables = sorted({table for row in rows.values() for table in row})
    for block in _blocks(page, tables, rows):
        page.print(_matrix(results, rows, block, page.width))
        page.print()
    if tables:
        page.print(_legend(rows), soft_wrap=True)
        page.print()
    for one in results.result.failures:
        style = "bold red" if one.verdict is Verdict.FAILED else "bold magenta"
        first, *rest = (one.message or one.headline).splitlines()
        page.print(Text(shown(first), style), soft_wrap=True)
        for line in rest:
            page.print(shown(line), soft_wrap=True)
        page.print()
    page.print(_summary(results), soft_wrap=True)


# --- what each token could do -----------------------------------------------------------------------------------------


def _blocks(page: Console, tables: Sequence[TableName], rows: Mapping[str, _Row]) -> Iterator[list[TableName]]:
    """The tables in groups that fit side by side."""
    room = page.width - _name_width(rows)
    block: list[TableName] = []
    used = 0
    for table in tables:
        width = _column_width(table, rows) + 2
        if block and used + width > room:
            yield block
            block, used = [], 0
        block.append(table)
        used += width
    if block:
        yield block


def _name_width(rows: Mapping[str, _Row]) -> int:
    return min(_LONGEST_NAME, max(map(len, rows), default=0)) + 2


def _column_width(table: TableName, rows: Mapping[str, _Row]) -> int:
    cells = [_cell(row.get(table)).cell_len for row in rows.values()]
    return max(*cells, *(len(part) for part in _heading(table).split("\n")))


def _matrix(results: Results, rows: Mapping[str, _Row], tables: Sequence[TableName], width: int) -> Table:
    matrix = Table(box=_RULE, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    matrix.add_column("", no_wrap=True, max_width=_LONGEST_NAME)
    used = _name_width(rows)
    for table in tables:
        column = _column_width(table, rows)
        used += column + 2
        matrix.add_column(_heading(table), no_wrap=True, min_width=column, vertical="bottom")
    remarks = {name: text[:_LONGEST_REMARK] for name in rows if (text := _remark(results, name))}
    with_remarks = bool(remarks) and used + max(map(len, remarks.values())) <= width
    if with_remarks:
        matrix.add_column("", no_wrap=True)
    for title, names in _groups(results, rows):
        if title:
            matrix.add_row(Text(title, "dim italic"))
        for name in names:
            cells = [_cell(rows[name].get(table)) for table in tables]
            remark = [Text(remarks.get(name, ""), "dim")] if with_remarks else []
            matrix.add_row(Text(f"{' ' if title else ''}{shown(name)}"), *cells, *remark)
    return matrix


def _groups(results: Results, rows: Mapping[str, _Row]) -> Iterator[tuple[str, list[str]]]:
    """Names of tokens with a title: the app's own, clients that may do something, those to whom all is denied."""
    if not results.tokens:
        yield "", list(rows)
        return
    own = [name for name in rows if _is_own(results.tokens.get(name))]
    nothing = [name for name in rows if name not in own and all(a.nothing for a in rows[name].values())]
    clients = [name for name in rows if name not in own and name not in nothing]
    for title, names in (
        ("in the app itself", own),
        ("through a client", clients),
        ("denied everything, as expected" if _all_held(rows, nothing) else "denied everything", nothing),
    ):
        if names:
            yield title, names


def _is_own(token: TokenSpec | None) -> bool:
    return token is not None and not token.class_name and not token.client and not token.raw


def _all_held(rows: Mapping[str, _Row], names: Sequence[str]) -> bool:
    return all(one.held for name in names for one in rows[name].values())


def _remark(results: Results, name: str) -> str:
    token = results.tokens.get(name)
    if name in results.remarks or token is None:
        return results.remarks.get(name, "")
    client = token.class_name or token.client or ""
    scope = token.scope if isinstance(token.scope, str) else " ".join(token.scope or ())
    return shown(", ".join(filter(None, (client, scope))))


def _heading(table: TableName) -> str:
    """The table's name, cut in two where it is long and has a joint."""
    name = shown(table.name if table.schema == "public" else str(table))
    middle = [at for at, c in enumerate(name, 1) if c in "_." and 2 < at < len(name)]
    if len(name) <= 8 or not middle:
        return name
    cut = min(middle, key=lambda at: abs(at - len(name) / 2))
    return f"{name[:cut]}\n{name[cut:]}"


def _cell(found: Access | None) -> Text:
    """'3/6 iu': rows seen of those that are there, and what else could be done."""
    if found is None:
        return Text("·", "dim")
    mark = ("", "") if found.held else (" ✗", "bold red")
    if found.nothing:
        return Text.assemble(("—", "red" if found.held else "bold red"), mark)
    seen = "·" if found.seen is None else str(found.seen)
    of = f"/{found.there}" if found.there is not None and found.seen else ""
    letters = "".join(_LETTERS[c] for c in COMMANDS if c in found.writes)
    return Text.assemble((seen, "green" if found.seen else ""), (of, "dim"), " " if letters else "", (letters, "bold"), mark)


def _legend(rows: Mapping[str, _Row]) -> Text:
    cells = [one for row in rows.values() for one in row.values()]
    parts = ["3/6: sees 3 of 6 rows", "i u d: may insert, update, delete some", "—: nothing at all, tried and denied"]
    if any(one.seen is None for one in cells):
        parts.append("·: not tried")
    if not all(one.held for one in cells):
        parts.append("✗: not as expected")
    return Text(" │ ".join(parts), "dim")


# --- what came of it --------------------------------------------------------------------------------------------------


def _summary(results: Results) -> Text:
    result = results.result
    mark = ("✓ ", "bold green") if result.passed else ("✗ ", "bold red")
    cases = f"{sum(r.passed for r in result.cases)} of {counted(len(result.cases), 'case')} held"
    cells = f"{sum(r.passed for r in result.cells)} of {counted(len(result.cells), 'unlisted cell')} denied"
    undecided = result.count(Verdict.UNDECIDED)
    parts = [cases, cells, f"{undecided} UNDECIDED"] if undecided else [cases, cells]
    how = f" ({counted(result.attempts, 'statement')}, {result.seconds:.1f} s, {shown(results.database)})"
    return Text.assemble(mark, f"{shown(result.path)}: ", ", ".join(parts), (how, "dim"))
