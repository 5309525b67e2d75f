"""A matrix as one HTML page that needs nothing but itself. Every text in it is escaped."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TextIO

from mcp_rls.compiler.model import COMMANDS
from mcp_rls.harness.matrix.result import Cell, Finding, Matrix, Verdict, grouped
from mcp_rls.report import Possible, counted, shown

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { margin: 2rem; } h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #8884; text-align: left; vertical-align: top; }
thead th { position: sticky; top: 0; background: Canvas; } tbody th { font-weight: normal; }
td { font-family: ui-monospace, monospace; white-space: nowrap; } tr.group th { font-weight: bold; padding-top: 1rem; }
td span { cursor: help; } .allowed { color: #16803c; font-weight: bold; } .conditional { color: #a16207; }
.denied { opacity: .4; } .undecided { color: #a21caf; font-weight: bold; } .wrong { color: #dc2626; font-weight: bold; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; } .about { opacity: .7; }
"""


def write(possible: Possible, out: TextIO) -> None:
    """The whole page."""
    matrix = possible.matrix
    title = f"What tokens may do: {_text(matrix.path)}"
    out.write(f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n')
    out.write(f"<style>{_STYLE}</style>\n<h1>{title}</h1>\n<p>{_text(_count(possible))}</p>\n")
    out.writelines(_table(matrix))
    out.writelines(_findings(matrix))
    out.writelines(_undecided(matrix))
    if matrix.hostile is not None:
        out.write(f"<h2>Hostile tokens</h2>\n<p>{_text(matrix.hostile.sentence())}</p>\n")
    out.write(f'<p class="about">{_text(_about(possible))}</p>\n</html>\n')


def _text(text: str) -> str:
    return escape(shown(text))


def _count(possible: Possible) -> str:
    matrix = possible.matrix
    cells = ", ".join(f"{matrix.count(verdict)} {verdict}" for verdict in Verdict)
    size = f"{counted(len(matrix.principals), 'token')} x {counted(len(matrix.tables), 'table')}"
    return f"{size}: {cells}; {counted(len(matrix.all_findings), 'finding')}."


def _about(possible: Possible) -> str:
    legend = "Capital letters: all that the person may. Small letters: some of it. Point at a letter for its rule."
    return f"{legend} {possible.matrix.tries:,} tries in {possible.database}."


def _table(matrix: Matrix) -> Iterator[str]:
    heads = "".join(f"<th>{_text(str(table))}</th>" for table in matrix.tables)
    yield f'<div class="wide">\n<table>\n<thead><tr><th>token</th>{heads}</tr></thead>\n<tbody>\n'
    group = None
    for number, principal in enumerate(matrix.principals):
        if principal.group != group:
            group = principal.group
            yield f'<tr class="group"><th colspan="{len(matrix.tables) + 1}">{_text(group)}</th></tr>\n'
        label = ", ".join(filter(None, (principal.person, principal.label))) or principal.name
        cells = "".join(f"<td>{''.join(_letters(matrix, number, table))}</td>" for table in matrix.tables)
        yield f'<tr><th title="{_text(principal.claims)}">{_text(label)}</th>{cells}</tr>\n'
    yield "</tbody>\n</table>\n</div>\n"


def _letters(matrix: Matrix, number: int, table: object) -> Iterator[str]:
    name = matrix.principals[number].name
    wrong = {f.command for f in matrix.findings if f.token == name and f.table == table}
    for command in COMMANDS:
        cell = next(matrix.at[number, t, command] for t in matrix.tables if t == table)
        letter, kind = _letter(cell), str(cell.verdict)
        if command in wrong:
            letter, kind = "!", "wrong"
        yield f'<span class="{kind}" title="{_text(_told(cell))}">{letter}</span>'


def _letter(cell: Cell) -> str:
    letter = cell.command[0]
    forms = {Verdict.ALLOWED: letter.upper(), Verdict.CONDITIONAL: letter, Verdict.UNDECIDED: "?"}
    return forms.get(cell.verdict, "·")


def _told(cell: Cell) -> str:
    """'select: conditional, 3 of 4: status = 'open' (line 12)'."""
    rules = "; ".join(f"{rule.condition or 'every row'} (line {rule.span.line})" for rule in cell.rules)
    parts = [f"{cell.command}: {cell.verdict}", f"{cell.got} of {cell.may}" if cell.may else "", rules, cell.why]
    return ", ".join(part for part in parts if part)


def _findings(matrix: Matrix) -> Iterator[str]:
    found: list[tuple[Finding, tuple[str, ...]]] = grouped(matrix.all_findings)
    if found:
        yield "<h2>Not as the file says</h2>\n"
    for finding, others in found:
        lines = [*finding.lines(), *([f"  the same  {'; '.join(others)}"] if others else [])]
        body = "\n".join(map(_text, lines))
        yield f'<h3 class="wrong">{_text(finding.headline)}</h3>\n<pre>{body}</pre>\n'


def _undecided(matrix: Matrix) -> Iterator[str]:
    if matrix.undecided:
        yield "<h2>Undecided</h2>\n<ul>\n"
        for cell in matrix.undecided:
            name = matrix.principals[cell.principal].name
            yield f"<li>{_text(f'{name}: {cell.command} {cell.table}: {cell.why}')}</li>\n"
        yield "</ul>\n"
