"""A finding in words: who, what, which rows, why that isn't what the policy file says, and what PostgreSQL asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mcp_rls import sql
from mcp_rls.catalog import Table, TableName
from mcp_rls.compiler.model import Command, PolicySet, Rule, TableRules
from mcp_rls.diagnostics import Span
from mcp_rls.harness import rows
from mcp_rls.harness.facts import RoleFacts
from mcp_rls.harness.matrix import conditions as said
from mcp_rls.harness.matrix.arena import Arena
from mcp_rls.harness.matrix.field import COMMAND_OF, WORDS, Copy, Field, Item, Move, Subject
from mcp_rls.harness.matrix.judge import Holder
from mcp_rls.harness.matrix.reasons import SqlRow, constants, drifted, no_policy, opening, reasons_of
from mcp_rls.harness.matrix.result import Finding
from mcp_rls.harness.token import shown_claims

if TYPE_CHECKING:
    from mcp_rls.harness.matrix.findings import Token

_ROWS = 5  # shown at most
_VERBS = {"select": "sees", "insert": "inserts", "update": "updates", "delete": "deletes"}
Fact = tuple[str, tuple[str, ...]]


def explained(arena: Arena, token: Token, name: TableName, kind: str, items: Sequence[Item]) -> Finding:
    """The finding for items of one form."""
    form, command = items[0][0], COMMAND_OF[items[0][0]]
    field, facts = arena.fields[name], arena.facts(token.principal.role)
    subjects = [subject for _, subject in items]
    lines: list[Fact] = [("token", tuple(_token(arena.policies, token)))]
    lines.append(("rows" if len(subjects) > 1 else "row", tuple(_rows(field, subjects))))
    if kind == "LEAK":
        reasons, span = _why_not(arena, token.holder, name, items[0])
    else:
        reasons, span = _why(arena, token.holder, name, command)
        reasons = ["rows or none, and never an error"] if kind == "ERROR" else reasons
        lines.append(("got", (str(token.sight[name][items[0]]),)))
    lines.append(("expected", tuple(reasons)))
    told = _deciding(arena, token, field, kind, items[0]) if _reaches(facts, name, command) else ()
    lines += told or [*_policies(facts, field.table, command), _fix(arena, facts, field.table, command)]
    read = sorted({str(n) for policy in field.table.policies for n in policy.reads if n != name})
    lines += [("they read", (", ".join(read),))] if read and kind != "LEAK" else []
    by = "the rules for people" if token.holder.unlimited else "its rules and its person"
    sentence = f"{token.principal.name} {_sentence(kind, command, subjects, name, WORDS.get(form, ''), by)}"
    return Finding(
        kind, sentence, token.principal.name, name, command, tuple(_rows(field, subjects)), tuple(lines), span
    )


def of_no_use(arena: Arena, token: Token, name: TableName, command: Command, why: str) -> Finding:
    """The finding for rules that give nothing."""
    reasons, span = _why(arena, token.holder, name, command)
    lines: list[Fact] = [("token", tuple(_token(arena.policies, token))), ("expected", tuple(reasons)), ("got", (why,))]
    lines.append(_fix(arena, arena.facts(token.principal.role), arena.fields[name].table, command))
    sentence = f"{token.principal.name} can't {command} anything in {name}, though its rules may: {why}"
    return Finding("TOO STRICT", sentence, token.principal.name, name, command, (), tuple(lines), span)


def _sentence(kind: str, command: Command, subjects: Sequence[Subject], name: TableName, how: str, by: str) -> str:
    if subjects[0] == "":
        return f"may {'empty' if command == 'delete' else 'insert into'} {name} {how}, and must not"
    count = len(subjects)
    what = "1 row" if count == 1 else f"{count} rows"
    tail = f" {how}" if how else ""
    link = "into" if command == "insert" else "of"
    if kind == "LEAK":
        return f"{_VERBS[command]} {what} {link} {name}{tail}, and must not"
    verb = {"select": "see"}.get(command, command)
    if kind == "ERROR":
        return f"ends in an error when it would {verb} {what} {link} {name}{tail}"
    return f"can't {verb} {what} {link} {name}{tail}, though {by} may"


def _token(policies: PolicySet, token: Token) -> Iterator[str]:
    holder = token.holder
    scopes = f", scopes held: {' '.join(sorted(holder.scopes)) or 'none'}" if policies.scopes else ""
    if holder.kind == "client":
        yield f"client of {holder.class_name or 'no class'}{scopes}, role {holder.role}"
    else:
        yield f"{holder.kind}, role {holder.role}"
    yield f"claims {shown_claims(token.principal.claims)}"


def _rows(field: Field, subjects: Sequence[Subject]) -> Iterator[str]:
    for subject in subjects[:_ROWS]:
        yield show(field, subject)
    if len(subjects) > _ROWS:
        yield f"and {len(subjects) - _ROWS} more"


def show(field: Field, subject: Subject) -> str:
    """A row, copy or move as a person reads it."""
    if isinstance(subject, Copy):
        source = field.there[subject.source].data
        return "new: " + rows.show_data({**source, **{n: _plain(v) for n, v in subject.values}})
    if isinstance(subject, Move):
        changed = "null" if subject.value is None else subject.value
        row = rows.show_row(field.there[subject.key], field.table)
        return f"{row}; set {subject.column} = {changed}"
    row_ = field.there.get(subject) if isinstance(subject, tuple) else None
    return rows.show_row(row_, field.table) if row_ is not None else str(field.table.name)


def _plain(expression: str) -> str | None:
    return None if expression == "null" else expression.strip("'")


# --- why it is expected -----------------------------------------------------------------------------------------------


def _why_not(arena: Arena, holder: Holder, name: TableName, item: Item) -> tuple[list[str], Span]:
    """Why the file gives no such access, and where it says so."""
    policies, command = arena.policies, COMMAND_OF[item[0]]
    rules = policies.tables.get(name)
    if rules is None:
        return [f"{policies.path} doesn't list {name}: it is closed to every client"], Span(policies.path)
    if holder.unlimited:
        listed = [f"not true of it: {rule}" for rule in _of_people(rules, command)]
        return listed or [f"no rule for people in {name} is for {command} ({rules.span})"], rules.span
    if not holder.live:
        return [f"nothing: {holder.why or 'it is of no class'}"], rules.span
    mine = said.rules_for(policies, arena.fields[name].table, holder.class_name, command)
    if not mine:
        return [f"no rule of {name} lets {holder.class_name} {command} ({rules.span})"], rules.span
    unheld = [rule for rule in mine if not holder.scopes.issuperset(rule.scopes)]
    if len(unheld) == len(mine):
        return [f"its scopes open none of: {rule}" for rule in mine], mine[0].span
    failed = arena.meanings[name].fails(item, holder)
    if not failed:
        return ["a client never gets more than its person: the person's own session may not"], rules.span
    return [f"not true of it: {rule}" for rule in failed], failed[0].span


def _asked(arena: Arena, holder: Holder, name: TableName, command: Command) -> list[Rule]:
    """The rules that are open to the token and have a say in the command."""
    meaning = arena.meanings[name]
    found = list(meaning.open_rules(holder, command))
    return found + ([] if command in ("select", "insert") else list(meaning.open_rules(holder, "select")))


def _why(arena: Arena, holder: Holder, name: TableName, command: Command) -> tuple[list[str], Span]:
    """The rules that give the access."""
    if holder.unlimited:
        mine = _of_people(arena.policies.tables[name], command)
        return [str(rule) for rule in mine], arena.policies.tables[name].span
    found = _asked(arena, holder, name, command)
    return [str(rule) for rule in found], found[0].span if found else Span(arena.policies.path)


def _of_people(rules: TableRules, command: Command) -> list[Rule]:
    return [] if rules.people == "existing" else [rule for rule in rules.people if command in rule.commands]


def _policies(facts: RoleFacts, table: Table, command: Command) -> Iterator[Fact]:
    """What PostgreSQL asks, with what isn't as we would have it."""
    reach = facts.reach.get(table.name)
    if reach is None or not reach.may(command):
        yield "grants", (f"{facts.role} has no {command.upper()} privilege on {table.name}",)
        return
    if not reach.row_security:
        yield "policies", (f"row security is OFF on {table.name}: no policy is asked",)
        return
    binding = facts.binding(table.name, command)
    listed = [f'"{p.name}" ({"permissive" if p.permissive else "restrictive"})' for p in binding]
    if not any(p.name.startswith("mcp_rls: ") and not p.permissive for p in binding):
        listed.append(f"there is no ceiling for {command}")
    listed += [f'"{p.name}" is restrictive and none of ours' for p in binding if not p.permissive and not _ours(p.name)]
    yield "policies", tuple(listed)


def _reaches(facts: RoleFacts, name: TableName, command: Command) -> bool:
    """Whether policies are asked at all."""
    reach = facts.reach.get(name)
    return reach is not None and reach.may(command) and reach.row_security


def _fix(arena: Arena, facts: RoleFacts, table: Table, command: Command) -> Fact:
    """What else than a policy's condition may be amiss: a grant, any policy at all, or the database as a whole."""
    path, rules = arena.policies.path, arena.policies.tables.get(table.name)
    missing = opening(facts, table, command) or opening(facts, table, "select")
    existing = rules is None or rules.people == "existing"
    if not missing and existing and not any(p.permissive for p in facts.binding(table.name, command)):
        missing = no_policy(path)
    return "fix", (missing or drifted(path),)


def _deciding(arena: Arena, token: Token, field: Field, kind: str, item: Item) -> tuple[Fact, ...]:
    """Who let the first row through, or kept it; nothing where there is no telling."""
    old, new = _rows_of(field, item[1])
    if kind == "ERROR" or (old is None and new is None):
        return ()
    command, claims = COMMAND_OF[item[0]], token.principal.claims
    found = reasons_of(arena.stage, token.holder, claims, field.table, command, old, new)
    return found.letting_in() if kind == "LEAK" else found.keeping()


def _rows_of(field: Field, subject: Subject) -> tuple[SqlRow | None, SqlRow | None]:
    """The row before and after."""
    if isinstance(subject, Copy):
        return None, {**constants(field.table, field.there[subject.source].data), **dict(subject.values)}
    key = subject.key if isinstance(subject, Move) else subject
    row = field.there.get(key) if isinstance(key, tuple) else None
    if row is None:
        return None, None
    old = constants(field.table, row.data)
    if not isinstance(subject, Move):
        return old, None
    value = "null" if subject.value is None else sql.literal(subject.value)
    return old, {**old, subject.column: value}


def _ours(name: str) -> bool:
    return name.startswith("mcp_rls: ")
