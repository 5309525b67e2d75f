"""What a survivor's finder says: the token, the row, and the lines that make a suite notice the mutant."""

from __future__ import annotations

from dataclasses import dataclass

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import Command
from mcp_rls.harness.mutation.notation import Lines


@dataclass(frozen=True)
class Widened:
    """A case of the file that a new fixture row concerns: `keys` are to be added to what it lists.

    `conflict`: why it can't hold together with that row, or '': then the row has to be another, made by hand.
    """

    number: int  # 0: what no case allows
    line: int
    keys: str = ""
    conflict: str = ""


@dataclass(frozen=True)
class Suggestion:
    """`lines` kill the mutant; with them the suite still passes, once the `widened` cases list their new keys.

    Where one of these is in conflict with a new row, the lines only show how the mutant could be told.
    """

    token: str
    table: TableName
    command: Command
    row: str  # that the two differ about
    original: str  # what comes of it as things are
    mutated: str  # what comes of it on the mutant
    lines: Lines
    widened: tuple[Widened, ...] = ()
    like: int = 0  # the mutant for which these lines were found first

    @property
    def whole(self) -> bool:
        """Whether the suite can pass with it."""
        return not any(case.conflict for case in self.widened)
