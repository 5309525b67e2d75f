"""A matrix for a reader: who may do what, under which conditions, and what isn't as the policy file says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TextIO

from rich.console import Console
from rich.text import Text

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import COMMANDS, Command
from mcp_rls.harness.matrix.principals import APP, Principal
from mcp_rls.harness.matrix.result import Cell, Matrix, Ruled, Verdict, grouped
from mcp_rls.report import Possible, console, counted, shown

_LETTERS: dict[Command, str] = {"select": "s", "insert": "i", "update": "u", "delete": "d"}
_STYLES = {Verdict.ALLOWED: "bold green", Verdict.CONDITIONAL: "yellow", Verdict.DENIED: "dim"}
_LONGEST_NAME = 44
_GAP = 2
_LONGEST_CONDITION = 60
_FEW = 6  # names of tokens, and reasons


def write(possible: Possible, out: TextIO) -> None:
    """Tables of tokens by tables, the conditions, what is wrong or undecided, and a line that counts."""
    page, matrix = console(out), possible.matrix
    for tables in _side_by_side(page.width, matrix):
        for line in _Block(matrix, tables, page.width).lines():
            line.rstrip()
            page.print(line, soft_wrap=True)
        page.print()
    page.print(_legend(matrix), soft_wrap=True)
    page.print()
    for part in (_conditions(matrix), _findings(matrix), _undecided(matrix)):
        for line in part:
            page.print(line, soft_wrap=True)
    _count(page, possible)


# --- who may do what --------------------------------------------------------------------------------------------------


def _side_by_side(room: int, matrix: Matrix) -> Iterator[tuple[TableName, ...]]:
    """The tables in groups that fit beside the names."""
    block: list[TableName] = []
    used = first = _name_width(matrix)
    for table in matrix.tables:
        width = _GAP + _column_width(table)
        if block and used + width > room:
            yield tuple(block)
            block, used = [], first
        block.append(table)
        used += width
    if block:
        yield tuple(block)


def _name_width(matrix: Matrix) -> int:
    return min(_LONGEST_NAME, max((len(_name(p)) for p in matrix.principals), default=0)) + 2


def _column_width(table: TableName) -> int:
    return max(len(COMMANDS), *map(len, _heading(table)))


def _heading(table: TableName) -> tuple[str, str]:
    """The table's name on two lines: cut where it is long and has a joint, else on the lower one."""
    name = shown(table.name if table.schema == "public" else str(table))
    joints = [at for at, c in enumerate(name, 1) if c in "_." and 2 < at < len(name)]
    if len(name) <= 8 or not joints:
        return "", name
    cut = min(joints, key=lambda at: abs(at - len(name) / 2))
    return name[:cut], name[cut:]


def _name(principal: Principal) -> str:
    """What is particular about a token, under the heading of its group."""
    if principal.group == APP:
        return ", ".join(filter(None, (principal.person, principal.label)))
    person = f" ({principal.person})" if principal.person not in ("", "ann") else ""
    return (principal.label or principal.person) + person


@dataclass(frozen=True)
class _Block:
    """Tables that stand side by side."""

    matrix: Matrix
    tables: tuple[TableName, ...]
    width: int

    def lines(self) -> Iterator[Text]:
        for part in (0, 1):
            texts = [Text(_heading(table)[part], "bold") for table in self.tables]
            if any(text.plain for text in texts):
                yield self.line(Text(), texts)
        groups: dict[str, list[int]] = {}
        for number, principal in enumerate(self.matrix.principals):
            groups.setdefault(principal.group, []).append(number)
        for group, numbers in groups.items():
            yield Text(shown(group), "bold")
            nothing = [n for n in numbers if group != APP and self._denied_everything(n)]
            for number in numbers:
                if number not in nothing:
                    name = Text("  " + shown(_name(self.matrix.principals[number])))
                    yield self.line(name, [self.cell(number, table) for table in self.tables])
            yield from self._nothing([shown(_name(self.matrix.principals[n])) for n in nothing])

    def _nothing(self, names: Sequence[str]) -> Iterator[Text]:
        """Those that were denied everything, one after another."""
        head = "  ✓ nothing at all: "
        for number, line in enumerate(wrap("; ".join(names), max(40, self.width - len(head)))):
            yield Text.assemble((head if number == 0 else " " * len(head), "green"), (line, "dim"))

    def _denied_everything(self, number: int) -> bool:
        cells = [self.matrix.at[number, table, command] for table in self.matrix.tables for command in COMMANDS]
        wrong = {(f.token, f.table) for f in self.matrix.findings}
        name = self.matrix.principals[number].name
        return all(c.verdict is Verdict.DENIED and (name, c.table) not in wrong for c in cells)

    def line(self, name: Text, cells: Sequence[Text]) -> Text:
        width = _name_width(self.matrix)
        name.truncate(width, overflow="ellipsis", pad=True)
        for cell, table in zip(cells, self.tables, strict=True):
            cell.pad_right(max(0, _column_width(table) - cell.cell_len))
        return Text(" " * _GAP).join([name, *cells])

    def cell(self, number: int, table: TableName) -> Text:
        """'si·d': a letter for each command; capital, where it may all that its person may."""
        name = self.matrix.principals[number].name
        wrong = {f.command for f in self.matrix.findings if (f.token, f.table) == (name, table)}
        found = Text()
        for command in COMMANDS:
            cell = self.matrix.at[number, table, command]
            if command in wrong:
                found.append("!", "bold red")
            elif cell.verdict is Verdict.UNDECIDED:
                found.append("?", "bold magenta")
            else:
                found.append(_letter(cell), _STYLES[cell.verdict])
        return found


def _letter(cell: Cell) -> str:
    letter = _LETTERS[cell.command]
    return {Verdict.ALLOWED: letter.upper(), Verdict.CONDITIONAL: letter}.get(cell.verdict, "·")


def _legend(matrix: Matrix) -> Text:
    parts = ["S I U D: select, insert, update, delete all that the person may", "s i u d: some of it", "·: nothing"]
    if matrix.undecided:
        parts.append("?: undecided")
    if matrix.findings:
        parts.append("!: not as the file says")
    return Text(" │ ".join(parts), "dim")


# --- conditions -------------------------------------------------------------------------------------------------------


def _conditions(matrix: Matrix) -> Iterator[Text]:
    """The rules behind the small letters, in their author's words."""
    found: dict[TableName, dict[tuple[Command, Ruled], list[str]]] = {}
    through: dict[TableName, dict[TableName, None]] = {}
    for cell in matrix.cells:
        if cell.verdict is Verdict.CONDITIONAL:
            group = matrix.principals[cell.principal].group
            for rule in cell.rules:
                groups = found.setdefault(cell.table, {}).setdefault((cell.command, rule), [])
                groups += [group] if group not in groups else []
            through.setdefault(cell.table, {}).update(dict.fromkeys(cell.through))
    if any(found.values()) or any(through.values()):
        yield Text("Conditions", "bold")
    for table in matrix.tables:
        lines = [*_rules(found.get(table, {})), *_narrowed(through.get(table, {}))]
        if lines:
            yield Text(shown(str(table)))
            yield from lines
    if any(found.values()) or any(through.values()):
        yield Text()


def _rules(found: dict[tuple[Command, Ruled], list[str]]) -> Iterator[Text]:
    ordered = sorted(found.items(), key=lambda one: (COMMANDS.index(one[0][0]), one[0][1].span))
    texts = [_condition(command, rule) for (command, rule), _ in ordered]
    width = min(_LONGEST_CONDITION, max(map(len, texts), default=0))
    for text, ((command, rule), groups) in zip(texts, ordered, strict=True):
        who = ", ".join(groups) + (f" with {' '.join(rule.scopes)}" if rule.scopes else "")
        about = f"  {shown(who)}, line {rule.span.line}"
        yield Text.assemble(f"  {command:<7}", (f"{shown(text):<{width}}", "yellow"), (about, "dim"))


def _condition(command: Command, rule: Ruled) -> str:
    """'status = 'open' → status in ('open', 'closed')': of the old row, and of the new one."""
    every = "every row that it sees" if command in ("update", "delete") else "every row"
    columns = f", columns: {rule.columns}" if rule.columns else ""
    return (rule.condition or every) + (f" → {rule.check}" if rule.check else "") + columns


def _narrowed(through: dict[TableName, None]) -> Iterator[Text]:
    if through:
        names = ", ".join(shown(str(table)) for table in through)
        yield Text(f"  narrowed by what a client sees of {names}, which its policies read", "dim")


# --- what is wrong ----------------------------------------------------------------------------------------------------


def _findings(matrix: Matrix) -> Iterator[Text]:
    for finding, others in grouped(matrix.all_findings):
        yield Text(shown(finding.headline), "bold red")
        for line in finding.lines():
            yield Text(shown(line))
        if others:
            yield Text(shown(f"  the same  {_listed(others)}"))
        yield Text()


def _undecided(matrix: Matrix) -> Iterator[Text]:
    """What could not be decided, by its reason."""
    reasons: dict[str, list[Cell]] = {}
    for cell in matrix.undecided:
        reasons.setdefault(cell.why, []).append(cell)
    for why, cells in reasons.items():
        places = dict.fromkeys(f"{c.table} {c.command}" for c in cells)
        tokens = dict.fromkeys(matrix.principals[c.principal].name for c in cells)
        yield Text(shown(f"UNDECIDED: {_listed(tuple(places))}"), "bold magenta")
        yield Text(shown(f"  because   {why}"))
        yield Text(shown(f"  tokens    {_listed(tuple(tokens))}"))
        yield Text()
    for note in matrix.notes:
        yield Text(shown(f"note: {note}"), "dim")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return "; ".join(names[:_FEW]) + more


def _count(page: Console, possible: Possible) -> None:
    matrix = possible.matrix
    if matrix.hostile is not None:
        for note in matrix.hostile.notes:
            page.print(Text(shown(f"note: {note}"), "dim"), soft_wrap=True)
        mark = ("✓ ", "bold green") if matrix.hostile.passed else ("✗ ", "bold red")
        page.print(Text.assemble(mark, shown(matrix.hostile.sentence())), soft_wrap=True)
    passed = matrix.exit_code(allow_undecided=possible.allow_undecided) == 0
    mark = ("✓ ", "bold green") if passed else ("✗ ", "bold red")
    cells = ", ".join(f"{matrix.count(verdict)} {verdict}" for verdict in Verdict if matrix.count(verdict))
    size = f"{counted(len(matrix.principals), 'token')} x {counted(len(matrix.tables), 'table')}"
    wrong = counted(len(matrix.findings), "finding") if matrix.findings else "as the file says"
    page.print(Text.assemble(mark, f"{shown(matrix.path)}: {size}: {cells}; {wrong}"), soft_wrap=True)
    how = f"{matrix.tries:,} tries in {matrix.seconds:.1f} s, {possible.database}"
    page.print(Text(f"  {shown(how)}", "dim"), soft_wrap=True)
