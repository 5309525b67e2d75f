"""Who may do what with which table: the sets, tables, rules and doors of a policy file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from mcp_rls.catalog import TableName
from mcp_rls.compiler.columns import columns
from mcp_rls.compiler.fields import CLAIM_TYPE_ALIASES
from mcp_rls.compiler.identity import condition, table_name, user_writable
from mcp_rls.compiler.model import NamedSet, Rule, TableRules
from mcp_rls.compiler.schema import SET_NAME, ClientRule, PeopleRule, TableEntry
from mcp_rls.compiler.shape import Draft, shown
from mcp_rls.node import Key

_TYPES = frozenset(
    "bigint bigserial boolean bytea char character cidr date inet int integer jsonb macaddr money name numeric "
    "decimal oid real smallint text time timestamp timestamptz uuid varchar interval".split()
) | {
    "character varying",
    "double precision",
    "timestamp with time zone",
    "timestamp without time zone",
    "time without time zone",
}
_MODIFIER = re.compile(r"\s*\(\s*\d+\s*(?:,\s*\d+\s*)?\)")
_OWN_TYPE = re.compile(r'(?:"[^"]+"|[a-z_][a-z0-9_]*)\.(?:"[^"]+"|[a-z_][a-z0-9_]*)')
_PERSON = re.compile(r"\btoken\s*\.\s*person\b", re.IGNORECASE)


def sets(draft: Draft) -> dict[str, NamedSet]:
    """The named sets."""
    found = {}
    for name, entry in draft.file.sets.items():
        path = ("sets", name)
        if not re.fullmatch(SET_NAME.strip("^$"), name) or name == "token":
            hint = "use lower-case letters, digits and _, a letter first, at most 40"
            draft.key_error("bad-value", f'"{shown(name)}" is no name for a set', path, hint)
        if entry.type is None or entry.query is None:
            continue
        user_writable(draft, entry.query, (*path, "query"))
        if not _PERSON.search(entry.query):
            message = f'the set "{shown(name)}" is the same for every person: its query has no token.person'
            hint = "add a condition such as: user_id = token.person"
            draft.warning("set-without-person", message, draft.document.text_span(*path, "query"), hint)
        kind = _type(draft, entry.type, (*path, "type"))
        found[name] = NamedSet(name, kind, entry.query, draft.document.text_span(*path, "query"))
    return found


def _type(draft: Draft, text: str, path: tuple[Key, ...]) -> str:
    """The SQL type that `text` names."""
    name = " ".join(text.lower().split())
    name = CLAIM_TYPE_ALIASES.get(name, name)
    if _MODIFIER.sub("", name) in _TYPES or _OWN_TYPE.fullmatch(text):
        return name if _MODIFIER.sub("", name) in _TYPES else text
    if text.endswith("[]"):
        hint = f"give the type of one value: {shown(text[:-2])}"
    else:
        hint = draft.nearest(name, _TYPES) or "a type of your own is named with its schema: public.ticket_status"
    draft.error("bad-value", f'"{shown(text)}" is no type that a set can have', path, hint)
    return name


def tables(draft: Draft) -> dict[TableName, TableRules]:
    """The listed tables with their rules."""
    found: dict[TableName, TableRules] = {}
    covered = tuple(dict.fromkeys(draft.file.schemas or ()))
    for key, entry in draft.file.tables.items():
        span = draft.document.key_span("tables", key)
        name = table_name(draft, key, span)
        if name is not None and name in found:
            first = found[name].span
            message = f'table "{name}" is given twice: here, and on line {first.line}, column {first.column}'
            draft.diagnostics.error("duplicate-key", message, span, "remove one, or merge what they say")
        if name is not None and name.schema not in covered and not draft.damaged("schemas") and covered:
            message = f'table "{shown(key)}" is in schema "{shown(name.schema)}", which isn\'t covered'
            hint = draft.nearest(name.schema, covered) or f'add "{shown(name.schema)}" to schemas'
            draft.diagnostics.error("uncovered-table", message, span, hint)
        rules = _table(draft, key, entry, name or TableName("", key))
        if name is not None:
            found.setdefault(name, rules)
    return found


def _table(draft: Draft, key: str, entry: TableEntry, name: TableName) -> TableRules:
    people: Literal["existing"] | tuple[Rule, ...] = "existing"
    clients: Literal["none", "read_as_person"] | tuple[Rule, ...]
    if not isinstance(entry.people, str):
        people = _rules(draft, entry.people, ("tables", key, "people"))
    clients = (
        entry.clients if isinstance(entry.clients, str) else _rules(draft, entry.clients, ("tables", key, "clients"))
    )
    span = draft.document.key_span("tables", key)
    return TableRules(name, people, clients, entry.force, span)


def _rules(draft: Draft, entries: Sequence[PeopleRule | ClientRule], path: tuple[Key, ...]) -> tuple[Rule, ...]:
    return tuple(_rule(draft, entry, (*path, index)) for index, entry in enumerate(entries))


def _rule(draft: Draft, entry: PeopleRule | ClientRule, path: tuple[Key, ...]) -> Rule:
    who: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    if isinstance(entry, ClientRule):
        who = tuple(dict.fromkeys(entry.who or ()))
        scopes = tuple(dict.fromkeys(entry.scope or ()))
        _known_classes(draft, entry.who or [], path)
        _known_scopes(draft, entry.scope or [], path)
    _conditions_fit(draft, entry, path)
    raw = entry.sql is not None
    rows = condition(draft, entry.sql if raw else entry.rows, (*path, "sql" if raw else "rows"), raw)
    check = condition(draft, entry.check, (*path, "check"))
    limit = columns(draft, entry, path)
    return Rule(frozenset(entry.allow or ()), who, scopes, rows, check, draft.document.span(*path), limit)


def _known_classes(draft: Draft, names: list[str], path: tuple[Key, ...]) -> None:
    for index, name in enumerate(names):
        if draft.knows("classes", name):
            continue
        hint = draft.nearest(name, draft.names("classes"))
        if name == "direct":
            hint = "what direct sessions may do is said under `people:`"
        draft.error("unknown-class", f'no class is named "{shown(name)}"', (*path, "who", index), hint)


def _known_scopes(draft: Draft, names: list[str], path: tuple[Key, ...]) -> None:
    for index, name in enumerate(names):
        if not draft.knows("scopes", name):
            hint = draft.nearest(name, draft.names("scopes"))
            if not hint and " " in name.strip():
                hint = "write several scopes as a list"
            draft.error("unknown-scope", f'no scope is named "{shown(name)}"', (*path, "scope", index), hint)


def _conditions_fit(draft: Draft, entry: PeopleRule | ClientRule, path: tuple[Key, ...]) -> None:
    """Errors for conditions that these commands don't take, or not together."""
    if entry.rows is not None and entry.sql is not None:
        draft.key_error("bad-value", '"sql" stands in place of "rows"; both are given', (*path, "sql"))
    if entry.check is None or not entry.allow:
        return
    rows = "sql" if entry.sql is not None else "rows"
    unchecked = [command for command in ("select", "delete") if command in entry.allow]
    if unchecked:
        message = f'"check" is asked of new rows, and {" and ".join(unchecked)} makes none'
        hint = 'use "rows", or a rule of its own for insert and update'
        draft.key_error("check-not-allowed", message, (*path, "check"), hint)
    elif "insert" in entry.allow and (entry.rows or entry.sql):
        message = f'insert has a new row only: give "{rows}" or "check", not both'
        hint = 'a rule of its own for update may have both: {allow: update, rows: "...", check: "..."}'
        draft.key_error("rows-and-check", message, (*path, "check"), hint)


def doors(draft: Draft) -> dict[str, str]:
    """Objects that may stay open to every client, with the reasons."""
    return {name: entry.reason for name, entry in draft.file.doors.items() if entry.reason is not None}
