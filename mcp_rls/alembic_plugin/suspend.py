"""`op.mcp_rls_suspend` for Alembic revisions: importing this module, in env.py or in the revision, makes it known.

    with op.mcp_rls_suspend("public.tickets"):
        op.alter_column("tickets", "number", type_=sa.BigInteger())

What it does, and what it is for, is in compiler/suspend.py; a revision that shall need nothing of ours says the same
with `op.execute("select mcp_rls.suspend('public.tickets')")` and `op.execute("select mcp_rls.resume()")`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from alembic.operations import MigrateOperation, Operations

from mcp_rls import sql
from mcp_rls.state import SCHEMA


@Operations.register_operation("mcp_rls_suspend")
class Suspend(MigrateOperation):
    """The operation; Alembic calls the class method of its name."""

    @classmethod
    def mcp_rls_suspend(
        cls, operations: Operations, *tables: str, without: Iterable[str] = ()
    ) -> AbstractContextManager[None]:
        """Tables ('public.tickets', as SQL spells them) that are closed, and free of policies, for the block.

        `without`: policies to give up afterwards, each as 'NAME on SCHEMA.TABLE'.
        """
        return _suspended(operations, tables, tuple(without))


@contextmanager
def _suspended(operations: Operations, tables: tuple[str, ...], without: tuple[str, ...]) -> Iterator[None]:
    operations.execute(f"select {SCHEMA}.suspend({', '.join(map(_constant, tables))})")
    # after an error nothing is resumed: the transaction takes all back, or the tables stay closed
    yield
    given_up = f"array[{', '.join(map(_constant, without))}]" if without else ""
    operations.execute(f"select {SCHEMA}.resume({given_up})")


def _constant(text: str) -> str:
    """`text` as a string constant that neither SQLAlchemy (:name) nor a driver (%s) reads anything into."""
    if not {":", "%"} & set(text):
        return sql.literal(text)
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace(":", r"\x3a").replace("%", r"\x25")
    return f"E'{escaped}'"
