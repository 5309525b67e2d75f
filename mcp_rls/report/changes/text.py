"""A plan for a reader: each change in words, what it can do, and the lock it takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from mcp_rls.effect import Effect
from mcp_rls.operation import Operation
from mcp_rls.report import Changes, by_hand, console, counted, folded, lines, shown

_STYLES = {Effect.OPENS: "bold yellow", Effect.CLOSES: "green", Effect.NEITHER: "dim"}


def write(changes: Changes, out: TextIO) -> None:
    """Each operation, its statements below when asked for, what was found changed, and a line that counts them."""
    page = console(out)
    _show(changes.plan.told if changes.with_sql else folded(changes.plan.told).values(), changes, page)
    for found in by_hand(changes.plan):
        page.print(_line(found), soft_wrap=True)
    if changes.indexes:
        then = "Then, outside the transaction" if changes.create_indexes else "Missing (--create-indexes)"
        page.print(Text(f"{then}: indexes that the rules look up by", "bold"), soft_wrap=True)
        _show(changes.indexes, changes, page)
    page.print(_summary(changes), soft_wrap=True)


def _show(operations: Iterable[Operation], changes: Changes, page: Console) -> None:
    for operation in operations:
        page.print(_line(operation), soft_wrap=True)
        if changes.with_sql:
            statements = ";\n".join(operation.statements) + ";"
            page.print(Syntax(statements, "sql", theme="ansi_dark", background_color="default"), soft_wrap=True)


def _line(operation: Operation) -> Text:
    lock = f"  ({operation.lock})" if operation.lock else ""
    first, *rest = lines(operation.words)
    more = "".join(f"\n{'':9}{line}" for line in rest)
    return Text.assemble((f"{operation.effect.word.upper():<7}", _STYLES[operation.effect]), first, (lock, "dim"), more)


def _summary(changes: Changes) -> Text:
    operations, found = changes.operations, len(changes.plan.by_hand)
    if not operations and found:
        stays = f"{found} found changed by hand: undo what isn't meant, `apply` only takes note of it"
        return Text.assemble(("→ ", "bold"), f"nothing of the file is pending in {shown(changes.database)}; {stays}")
    if not operations:
        return Text.assemble(("✓ ", "bold green"), f"nothing pending in {shown(changes.database)}")
    kinds = [(effect, sum(o.effect is effect for o in operations)) for effect in (Effect.OPENS, Effect.CLOSES)]
    said = ", ".join(f"{number} {effect.value.upper()}" for effect, number in kinds if number)
    counts = counted(len(operations), "change") + (f" ({said})" if said else "")
    if changes.applied:
        return Text.assemble(("✓ ", "bold green"), f"{counts} applied to {shown(changes.database)}")
    return Text.assemble(("→ ", "bold"), f"{counts} pending in {shown(changes.database)}")
