"""The `columns` of a rule: which commands take them, what they name, and whether the table has it."""

from __future__ import annotations

from mcp_rls.catalog import Table
from mcp_rls.compiler.model import Columns, Rule
from mcp_rls.compiler.schema import PeopleRule
from mcp_rls.compiler.schema import RuleEntry as Entry
from mcp_rls.compiler.shape import Draft
from mcp_rls.diagnostics import Diagnostics, nearest
from mcp_rls.node import Key

Path = tuple[Key, ...]


def columns(draft: Draft, entry: Entry, path: Path) -> Columns | None:
    """What an update by this rule may set; in a class role also what it may read, or give to a new row. None: any."""
    if entry.columns is None:
        return None
    _commands_take_them(draft, entry, path)
    excluded = not isinstance(entry.columns, list)
    names = entry.columns if isinstance(entry.columns, list) else entry.columns.excluded or []
    for index, name in enumerate(names):
        if name in names[:index]:
            place = (*path, "columns", *(["except"] if excluded else []), index)
            draft.error("duplicate-key", f'column "{name}" is given twice', place, "remove one")
    return Columns(frozenset(names), excluded, draft.document.key_span(*path, "columns"))


def _commands_take_them(draft: Draft, entry: Entry, path: Path) -> None:
    """Errors for commands that a trigger can't hold to columns, or that have none."""
    place, allowed = (*path, "columns"), entry.allow or []
    if "delete" in allowed:
        hint = "give update a rule of its own, and delete one without columns"
        draft.key_error("columns-not-allowed", "a delete takes the whole row, whatever columns it has", place, hint)
    granted = [command for command in ("select", "insert") if command in allowed]
    own = bool(draft.file.class_roles) and not isinstance(entry, PeopleRule)  # grants of the class's own
    if granted and not own:
        message = f"columns of {' and '.join(granted)} can't be told apart for clients that share a database role"
        remedies = [_REMEDIES[command] for command in granted]
        if "update" in allowed:
            remedies.insert(0, "columns of update can be: give it a rule of its own")
        if isinstance(entry, PeopleRule):
            remedies.append("for people, GRANT the columns to the role")
        else:
            remedies.append("class_roles: true gives each class a role, and grants of its own")
        draft.key_error("columns-need-class-roles", message, place, *remedies)


_REMEDIES = {
    "select": "keep the columns in a table of their own, whose rows clients don't get",
    "insert": 'hold the new row to a value, as in check: "priority is null"',
}


def check_columns(rule: Rule, table: Table, diagnostics: Diagnostics) -> None:
    """Errors for columns that the table hasn't got, or that no statement sets."""
    limit = rule.columns
    if limit is None:
        return
    settable = [c.name for c in table.columns if not c.generated]
    for name in sorted(limit.names):
        known = table.column(name)
        if known is None:
            message, hint = f'table "{table.name}" has no column "{name}"', nearest(name, settable)
            diagnostics.error("unknown-column", message, limit.span, hint)
        elif "select" not in rule.commands and (known.computed or (known.generated and not limit.excluded)):
            message = f'column "{name}" of table "{table.name}" is generated: no update sets it'
            diagnostics.error("generated-column", message, limit.span, "leave it out")
    known_names = {c.name for c in table.columns}
    left = known_names if "select" in rule.commands else settable
    if limit.names <= known_names and not any(map(limit.admit, left)):
        message = f'this leaves an update of "{table.name}" no column to set'
        diagnostics.error("never-holds", message, limit.span, "name the columns that it may set, or drop the rule")
