"""A test run for a reader: what each token could do, then what didn't hold and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from rich.text import Text

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import COMMANDS
from mcp_rls.harness.verdict import Verdict
from mcp_rls.report import Access, Results, access, console, counted, shown

_LETTERS = {"insert": "i", "update": "u", "delete": "d"}
_LONGEST_NAME = 28
_SHORTEST_REMARK = 20
_HELD = "denied everything, as expected"

_Row = Mapping[TableName, Access]


def write(results: Results, out: TextIO) -> None:
    """Tables of tokens by tables, a paragraph for each check that didn't pass, and a line that counts."""
    page = console(out)
    rows = access(results.result)
    shown_tables, closed = _parted(results, rows)
    for block in _blocks(page.width, shown_tables, rows):
        for line in block.lines(results, rows):
            line.rstrip()
            page.print(line, soft_wrap=True)
        page.print()
    if closed:
        names = ", ".join(shown(str(table)) for table in closed)
        page.print(Text(f"in no case, and closed to every client's token: {names}"), soft_wrap=True)
    if rows:
        page.print(_legend(rows, len(results.tables())))
        page.print()
    for one in results.result.failures:
        style = "bold red" if one.verdict is Verdict.FAILED else "bold magenta"
        first, *rest = (one.message or one.headline).splitlines()
        page.print(Text(shown(first), style), soft_wrap=True)
        for detail in rest:
            page.print(shown(detail), soft_wrap=True)
        page.print()
    for line in _summary(results):
        page.print(line, soft_wrap=True)


def _parted(results: Results, rows: Mapping[str, _Row]) -> tuple[list[TableName], list[TableName]]:
    """Tables worth a column, and those without fixtures that nobody got anything from."""
    worth: list[TableName] = []
    closed: list[TableName] = []
    for table in results.tables():
        found = [row[table] for row in rows.values() if table in row]
        silent = table not in results.suite.fixtures and all(one.nothing and one.held for one in found)
        (closed if silent else worth).append(table)
    return worth, closed


# --- what each token could do -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """Tables that stand side by side."""

    tables: tuple[TableName, ...]
    widths: tuple[int, ...]
    name_width: int
    gap: int
    room: int  # for remarks, at the right

    def lines(self, results: Results, rows: Mapping[str, _Row]) -> Iterator[Text]:
        headings = [_heading(table) for table in self.tables]
        for part in (0, 1):
            texts = [Text(heading[part], "bold") for heading in headings]
            if any(text.plain for text in texts):
                yield self.line(Text(), texts)
        with_remarks = self.room >= _SHORTEST_REMARK
        for title, names in _groups(results, rows):
            yield Text()
            held = title == _HELD
            yield Text(title, "bold green" if held else "bold")
            for name in names:
                cells = [_cell(rows[name].get(table)) for table in self.tables]
                remark = Text(_remark(results, name) if with_remarks else "", "dim")
                remark.truncate(max(self.room, 0), overflow="ellipsis")
                mark = Text("✓ ", "green") if held else Text("  ")
                yield self.line(mark.append(shown(name), ""), [*cells, remark])

    def line(self, name: Text, cells: Sequence[Text]) -> Text:
        name.truncate(self.name_width, overflow="ellipsis", pad=True)
        for cell, width in zip(cells, self.widths, strict=False):
            cell.pad_right(max(0, width - cell.cell_len))
        return Text(" " * self.gap).join([name, *cells])


def _blocks(room: int, tables: Sequence[TableName], rows: Mapping[str, _Row]) -> Iterator[_Block]:
    """The tables in groups that fit side by side; close together if that makes one group of them."""
    name_width = min(_LONGEST_NAME, max(map(len, rows), default=0)) + 2
    widths = {table: _column_width(table, rows) for table in tables}
    gap = 2 if name_width + sum(widths.values()) + 2 * len(tables) <= room else 1
    block: list[TableName] = []
    used = name_width

    def made() -> _Block:
        return _Block(tuple(block), tuple(widths[t] for t in block), name_width, gap, room - used - gap)

    for table in tables:
        if block and used + gap + widths[table] > room:
            yield made()
            block, used = [], name_width
        block.append(table)
        used += gap + widths[table]
    if block:
        yield made()


def _column_width(table: TableName, rows: Mapping[str, _Row]) -> int:
    cells = [_cell(row.get(table)).cell_len for row in rows.values()]
    return max(*cells, *map(len, _heading(table)))


def _groups(results: Results, rows: Mapping[str, _Row]) -> Iterator[tuple[str, list[str]]]:
    """Names of tokens with a title: the app's own, clients that may do something, those to whom all is denied."""
    own = [name for name in rows if results.is_own(name)]
    nothing = [name for name in rows if name not in own and all(a.nothing for a in rows[name].values())]
    clients = [name for name in rows if name not in own and name not in nothing]
    for title, names in (
        ("in the app itself", own),
        ("through a client", clients),
        (_HELD if _all_held(rows, nothing) else "denied everything", nothing),
    ):
        if names:
            yield title, names


def _all_held(rows: Mapping[str, _Row], names: Sequence[str]) -> bool:
    return all(one.held for name in names for one in rows[name].values())


def _remark(results: Results, name: str) -> str:
    """'assistant, tickets:read'."""
    token = results.suite.tokens.get(name)
    if token is None:
        return ""
    scope = token.scope if isinstance(token.scope, str) else " ".join(token.scope or ())
    client = token.class_name or (token.client or "").removeprefix("https://")
    raw = token.raw if isinstance(token.raw, str) else json.dumps(token.raw) if token.raw else ""
    return shown(", ".join(filter(None, (client, scope, raw))))


def _heading(table: TableName) -> tuple[str, str]:
    """The table's name on two lines: cut where it is long and has a joint, else on the lower one."""
    name = shown(table.name if table.schema == "public" else str(table))
    joints = [at for at, c in enumerate(name, 1) if c in "_." and 2 < at < len(name)]
    if len(name) <= 8 or not joints:
        return "", name
    cut = min(joints, key=lambda at: abs(at - len(name) / 2))
    return name[:cut], name[cut:]


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
    shares = (seen, "green" if found.seen else ""), (of, "dim")
    return Text.assemble(*shares, " " if letters else "", (letters, "bold yellow"), mark)


def _legend(rows: Mapping[str, _Row], tables: int) -> Text:
    cells = [one for row in rows.values() for one in row.values()]
    parts = ["3/6: sees 3 of 6 rows", "i u d: may insert, update, delete some", "—: nothing at all, tried and denied"]
    if len(cells) < len(rows) * tables or any(one.seen is None for one in cells):
        parts.append("·: not tried")
    if not all(one.held for one in cells):
        parts.append("✗: not as expected")
    return Text(" │ ".join(parts), "dim")


# --- what came of it --------------------------------------------------------------------------------------------------


def _summary(results: Results) -> tuple[Text, Text]:
    result = results.result
    mark = ("✓ ", "bold green") if result.passed else ("✗ ", "bold red")
    cases = f"{sum(r.passed for r in result.cases)} of {counted(len(result.cases), 'case')} held"
    cells = f"{sum(r.passed for r in result.cells)} of {counted(len(result.cells), 'unlisted cell')} denied"
    if result.by_grant:
        cells += f" ({len(result.by_grant)} for want of a grant: no policy was asked)"
    undecided = result.count(Verdict.UNDECIDED)
    parts = [cases, cells, f"{undecided} UNDECIDED"] if undecided else [cases, cells]
    how = f"{counted(result.attempts, 'statement')} in {result.seconds:.1f} s, {results.database}"
    return Text.assemble(mark, f"{shown(result.path)}: ", ", ".join(parts)), Text(f"  {shown(how)}", "dim")
