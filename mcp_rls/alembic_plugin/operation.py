"""What a policy file changes, as Alembic operations among a revision's others; they are written as finished SQL."""

from __future__ import annotations

from dataclasses import dataclass

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import MigrateOperation, OpContainer

from mcp_rls.alembic_plugin.template import require_imports
from mcp_rls.alembic_plugin.text import IMPORTS, alone, code, function, guard, needs_function
from mcp_rls.alembic_plugin.wording import in_words
from mcp_rls.operation import Operation, Plan

# The setting ends with its transaction: where the next statement has another one, it isn't there.
_MARK = "select set_config('mcp_rls.transaction', pg_current_xact_id()::text, true)"
_LOOK = (
    "do $$ begin if current_setting('mcp_rls.transaction', true) is distinct from pg_current_xact_id()::text"
    " then raise 'mcp_rls: this revision needs one transaction; nothing was changed'; end if; end $$"
)


class PolicyChange(MigrateOperation):
    """A plan, and the one that leads back. `guarded`: the way down asks for the word before it opens anything."""

    def __init__(self, way: Plan, back: Plan, *, guarded: bool = False, downwards: bool = False) -> None:
        self.way, self.back = way, back
        self.guarded, self.downwards = guarded, downwards

    def reverse(self) -> PolicyChange:
        return PolicyChange(self.back, self.way, guarded=self.guarded, downwards=not self.downwards)

    def to_diff_tuple(self) -> tuple[str, ...]:
        return ("mcp_rls", *in_words(self.way))


@dataclass(frozen=True)
class Ends:
    """What the first and the last operation of a revision have to say: what its way down opens, and each way's note."""

    opens: tuple[Operation, ...]
    note: str
    note_down: str


class Bound(OpContainer):
    """The first or last operation of a revision that changes tables too.

    The first refuses what isn't one transaction, in which a table could stand without its policies, and downwards it
    asks for the word. The last notes how tables are by then. To Alembic they are containers of nothing: no difference.
    """

    def __init__(self, ends: Ends, *, first: bool, downwards: bool = False) -> None:
        super().__init__()
        self.ends, self.first, self.downwards = ends, first, downwards

    def reverse(self) -> Bound:
        return Bound(self.ends, first=not self.first, downwards=not self.downwards)


@renderers.dispatch_for(PolicyChange)
def _render_change(context: AutogenContext, operation: PolicyChange) -> list[str]:
    if not operation.way:
        return []
    if context.migration_context.script is not None:
        require_imports(context.migration_context.script)
    guarded = operation.guarded and operation.downwards
    if needs_function(operation.way):
        context.imports.add(function(op=_op(context)))
    asked = guard(operation.way.opens) if guarded else []
    return [*_asking(context, asked), code(operation.way, guarded=guarded, op=_op(context))]


@renderers.dispatch_for(Bound)
def _render_bound(context: AutogenContext, operation: Bound) -> list[str]:
    if operation.first:
        asked = guard(operation.ends.opens) if operation.downwards else []
        return [*_asking(context, asked), *(alone(statement, op=_op(context)) for statement in (_MARK, _LOOK))]
    note = operation.ends.note_down if operation.downwards else operation.ends.note
    return [alone(note, op=_op(context))] if note else []


def _asking(context: AutogenContext, lines: list[str]) -> list[str]:
    """The lines as one, for they are indented already; with the import that they need."""
    if not lines:
        return []
    context.imports.add(IMPORTS)
    return ["\n".join(lines)]


def _op(context: AutogenContext) -> str:
    prefix: str = context.opts.get("alembic_module_prefix", "op.")
    return prefix
