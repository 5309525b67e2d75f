"""A revision's table changes in the order in which policies can change among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from alembic.operations import ops

from mcp_rls.catalog import TableName

Operations = tuple[ops.MigrateOperation, ...]


@dataclass(frozen=True)
class Changes:
    """`first` what policies may need, `retyping` what they stand in the way of, `last` what they must have let go of.

    Each keeps Alembic's own order; `retyping` begins with a column that changes its type.
    """

    first: Operations
    retyping: Operations
    last: Operations
    schema: str  # where a table stands that names none

    def __bool__(self) -> bool:
        return bool(self.first or self.retyping or self.last)

    @property
    def retyped_columns(self) -> tuple[tuple[TableName, str], ...]:
        return tuple((self._table(o), o.column_name) for o in leaves(self.retyping) if _retypes(o))

    @property
    def dropped_columns(self) -> tuple[tuple[TableName, str], ...]:
        gone = (o for o in leaves(self.last) if isinstance(o, ops.DropColumnOp))
        return tuple((self._table(o), o.column_name) for o in gone)

    def _table(self, operation: ops.AlterTableOp) -> TableName:
        return TableName(operation.schema or self.schema, operation.table_name)


def leaves(operations: Iterable[ops.MigrateOperation]) -> Iterator[ops.MigrateOperation]:
    """The operations, those of containers one by one."""
    for operation in operations:
        if isinstance(operation, ops.OpContainer):
            yield from leaves(operation.ops)
        else:
            yield operation


def _retypes(operation: ops.MigrateOperation) -> TypeGuard[ops.AlterColumnOp]:
    return isinstance(operation, ops.AlterColumnOp) and operation.modify_type is not None


def in_order(operations: Sequence[ops.MigrateOperation], schema: str) -> Changes:
    """Alembic's operations, parted; tables and columns go at the end, with what is dropped of such a table before."""
    going = {(o.schema, o.table_name) for o in operations if isinstance(o, ops.DropTableOp)}
    first: list[ops.MigrateOperation] = []
    retyping: list[ops.MigrateOperation] = []
    last: list[ops.MigrateOperation] = []
    for operation in operations:
        if isinstance(operation, ops.DropTableOp):
            last.append(operation)
        elif not isinstance(operation, ops.ModifyTableOps):
            (retyping or first).append(operation)
        elif (operation.schema, operation.table_name) in going:
            last.append(operation)
        else:
            _part(operation, first, retyping, last)
    return Changes(tuple(first), tuple(retyping), tuple(last), schema)


def _part(operation: ops.ModifyTableOps, *lists: list[ops.MigrateOperation]) -> None:
    """One table's changes into those that come first, from the first new type on, and last."""
    parts: tuple[list[ops.MigrateOperation], ...] = ([], [], [])
    for one in operation.ops:
        after_retyping = bool(lists[1] or parts[1]) or _retypes(one)
        parts[2 if isinstance(one, ops.DropColumnOp) else int(after_retyping)].append(one)
    for part, into in zip(parts, lists, strict=True):
        if part:
            into.append(ops.ModifyTableOps(operation.table_name, part, schema=operation.schema))
