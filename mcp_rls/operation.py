"""What a change of a database is made of: operations in order, each in words and statements."""

from __future__ import annotations

from dataclasses import dataclass

from mcp_rls.catalog import TableName
from mcp_rls.effect import Effect

EXCLUSIVE = "ACCESS EXCLUSIVE"
OF_COMMENTS = "SHARE UPDATE EXCLUSIVE"


@dataclass(frozen=True)
class Operation:
    """Some statements that belong together, said in words; `lock` is the strongest lock taken on a user's table."""

    statements: tuple[str, ...]
    words: str
    effect: Effect
    lock: str = ""
    subject: str = ""
    table: TableName | None = None  # that it changes
    is_headline: bool = False  # what the whole change comes to for every session: read first, whenever it is done
    is_rewrite: bool = False  # other text that says the same


@dataclass(frozen=True)
class Plan:
    """`operations` in order; `before` and `after` are the fingerprints of the states they lead from and to.

    `by_hand`: what was found otherwise than it was noted, which no operation puts back: it is only taken note of.
    `steady`: mcp_rls.change is there from the beginning to the end, as we write it.
    """

    operations: tuple[Operation, ...]
    before: str
    after: str
    by_hand: tuple[Operation, ...] = ()
    steady: bool = False

    def __bool__(self) -> bool:
        return bool(self.operations)

    @property
    def statements(self) -> tuple[str, ...]:
        return tuple(s for operation in self.operations for s in operation.statements)

    @property
    def told(self) -> tuple[Operation, ...]:
        """The operations for a reader: what it comes to before the rest of them, which are in order."""
        return tuple(sorted(self.operations, key=lambda o: not o.is_headline))

    @property
    def locked(self) -> tuple[TableName, ...]:
        """The tables that nobody may read while this is carried out, in the order of their names."""
        return tuple(sorted({o.table for o in self.operations if o.lock == EXCLUSIVE and o.table}))

    @property
    def opens(self) -> tuple[Operation, ...]:
        return tuple(o for o in self.told if o.effect is Effect.OPENS)
