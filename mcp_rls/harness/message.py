"""The text that a person reads when a check didn't pass: facts first, each on its line, plain enough for any report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import psycopg

from mcp_rls import sql
from mcp_rls.catalog import Table
from mcp_rls.compiler.model import Command, PolicySet
from mcp_rls.harness import rows
from mcp_rls.harness.facts import RoleFacts
from mcp_rls.harness.matrix.reasons import Fact, Reasons, SqlRow, constants, opening, reasons
from mcp_rls.harness.observe import Observation
from mcp_rls.harness.session import CannotTest
from mcp_rls.harness.stage import Stage
from mcp_rls.harness.suite import TokenSpec, show_value
from mcp_rls.harness.token import Bearer, shown_claims
from mcp_rls.harness.verdict import Check, Finding

_ROWS = 5  # shown at most
_WIDTH = 10


def compose(stage: Stage, check: Check, finding: Finding, expected: str, observation: Observation | None) -> str:
    """The whole message about the acting token: the headline, then one fact a line."""
    assert stage.bearer is not None, "somebody acts"
    bearer, table = stage.bearer, stage.table(check.table)
    lines = [finding.headline]
    lines += _block("token", token_facts(stage.policies, bearer))
    lines += _block("table", [f"{table.name}, {check.command}"])
    lines += _block("expected", [expected])
    if observation is not None:
        lines += _block("got", [_got(observation, table)])
    lines += _rows(stage, table, finding)
    lines += _deciding(stage, check, finding, observation)
    lines += _block("if meant", [finding.hint] if finding.hint else [])
    if observation is not None and observation.statement:
        lines += _block("statement", [observation.statement])
    return "\n".join([*lines, *place(check)])


def untried(check: Check, expected: str, problem: str) -> str:
    """The message for a check that nobody could act in."""
    first, *rest = problem.splitlines()
    lines = [f"UNDECIDED: {first}", *(f"  {line}" for line in rest)]
    lines += _block("token", [check.token])
    lines += _block("table", [f"{check.table}, {check.command}"])
    lines += _block("expected", [expected])
    return "\n".join([*lines, *place(check)])


def place(check: Check) -> list[str]:
    return _block("case" if check.case else "token at", [str(check.span)] if check.span.path else [])


def token_facts(policies: PolicySet, bearer: Bearer) -> list[str]:
    """Who the token is, then what was brought for it."""
    spec, identity = bearer.spec, bearer.identity
    parts = [f"person {spec.person or identity.person}" if identity.person else "no valid person"]
    if identity.kind == "direct":
        parts.append("direct session" + (f" of {identity.client}" if identity.client else ""))
    elif identity.client is not None:
        member = f"class {bearer.class_name}" if bearer.class_name else "of no class"
        parts.append(f"client {show_value(identity.client)} ({member})")
    else:
        parts.append("no client" if identity.kind == "nobody" else "no valid client")
    parts += _scope(policies, spec)
    parts.append(f"role {bearer.role}")
    claims = f"claims {shown_claims(bearer.claims)}"
    return [f"{spec.name}: {', '.join(parts)}", claims, *(f"brought {n}" for n in bearer.notes)]


def _scope(policies: PolicySet, spec: TokenSpec) -> list[str]:
    if spec.scope is None:
        return []
    words = spec.scope if isinstance(spec.scope, str) else list(spec.scope)
    return [f"scope {words!r}{' (in the consent)' if policies.identity.scope is None else ''}"]


def _got(observation: Observation, table: Table) -> str:
    if observation.allowed:
        return f"{observation}: [{', '.join(rows.show(k, table) for k in observation.keys)}]"
    return "no error, and no row (hidden)" if observation.hidden else str(observation)


def _rows(stage: Stage, table: Table, finding: Finding) -> list[str]:
    there = stage.snapshot(table)
    found = [rows.show_row(there[k], table) for k in finding.keys if k in there]
    if finding.new is not None:
        found = [rows.show_data(finding.new), *(f"a copy of {row}" for row in found)]
    more = [f"and {len(found) - _ROWS} more"] if len(found) > _ROWS else []
    return _block("row" if len(found) == 1 else "rows", [*found[:_ROWS], *more])


def _block(title: str, lines: Iterable[str]) -> list[str]:
    """The lines under each other, the title before the first."""
    return [f"  {title if i == 0 else '':<{_WIDTH}}{line}" for i, line in enumerate(lines)]


# --- what decided it --------------------------------------------------------------------------------------------------


def _deciding(stage: Stage, check: Check, finding: Finding, observation: Observation | None) -> list[str]:
    """Who let the row through or kept it, and what to change; where no row tells, who was asked."""
    assert stage.bearer is not None, "somebody acts"
    table, facts = stage.table(check.table), stage.facts(stage.bearer.role)
    remedy = _block("fix", [finding.remedy] if finding.remedy else [])
    if finding.kind == "VACUOUS" or observation is None:
        return remedy
    asked = deciding_facts(stage.policies, facts, stage.bearer, table, check.command)
    if observation.refused_by_grant:
        return [
            *asked,
            *_block("fix", [opening(facts, table, check.command) or f"grant {check.command} on all its columns"]),
        ]
    reach = facts.reach.get(table.name)
    if reach is not None and not reach.row_security:
        return [*asked, *_block("fix", [f"alter table {sql.table(table.name)} enable row level security"])]
    return _told(stage, check, finding, observation) or [*asked, *remedy]


def _told(stage: Stage, check: Check, finding: Finding, observation: Observation) -> list[str]:
    """Who let the first row through, kept it or choked on it; nothing where there is no telling."""
    try:
        if finding.kind == "LEAK":
            return [line for found in _about(stage, check, finding) for line in _facts(found.letting_in())]
        if finding.kind == "DENIED":
            return [line for found in _about(stage, check, finding) for line in _facts(found.keeping())]
        if observation.errored and not observation.constraint:
            return _raised(stage, check, finding)
    except (psycopg.Error, CannotTest):
        pass  # it is told without
    return []


def _about(stage: Stage, check: Check, finding: Finding) -> list[Reasons]:
    """What decided about the first row that the finding is about."""
    old, new = _subject(stage, check, finding)
    return [reasons(stage, stage.table(check.table), check.command, old, new)] if old or new else []


def _subject(stage: Stage, check: Check, finding: Finding) -> tuple[SqlRow | None, SqlRow | None]:
    """The first row that the finding is about, before and after the statement."""
    table = stage.table(check.table)
    there = stage.snapshot(table)
    key = next((key for key in finding.keys if key in there), None)
    old = constants(table, there[key].data) if key is not None and check.command != "insert" else None
    if check.command == "insert":
        return None, _inserted(stage, check, finding)
    if check.command == "update" and old is not None:
        given = rows.literals(table, check.case.values) if check.case is not None else {}
        return old, {**old, **given}
    return old, None


def _inserted(stage: Stage, check: Check, finding: Finding) -> SqlRow | None:
    """The new row: as it was made, or as PostgreSQL would make it past row security."""
    table = stage.table(check.table)
    if finding.new is not None or check.case is None:
        return constants(table, finding.new) if finding.new is not None else None
    statement = rows.insert(table, rows.literals(table, check.case.values))
    columns = ", ".join(f"{sql.ident(column.name)}::text" for column in table.columns)
    (made,) = stage.ask(f"{statement} returning array[{columns}]")[0]
    return constants(table, dict(zip((column.name for column in table.columns), made, strict=True)))


def _facts(facts: Iterable[Fact]) -> list[str]:
    return [line for title, lines in facts for line in _block(title, lines)]


def _raised(stage: Stage, check: Check, finding: Finding) -> list[str]:
    """Whose condition ends in an error, for the first row that it does so for."""
    keys = list(stage.snapshot(stage.table(check.table)))[:_ROWS] if check.command != "insert" else [()]
    for key in keys:
        for found in _about(stage, check, replace(finding, keys=(key,))):
            if found.unclear:
                told = ("raised by", tuple(voice.says for voice in found.unclear))
                return _facts([told, ("fix", tuple(voice.remedy for voice in found.unclear if voice.remedy))])
    return []


def deciding_facts(policies: PolicySet, facts: RoleFacts, bearer: Bearer, table: Table, command: Command) -> list[str]:
    """The rules of the file that could allow it, and the policies that PostgreSQL asked."""
    rules = [r for r in policies.client_rules(table.name) if command in r.commands and bearer.class_name in r.who]
    if bearer.identity.kind == "client":
        lines = _block("rules", [str(r) for r in rules] or [_no_rule(policies, bearer, table, command)])
    else:
        lines = []
    reach = facts.reach.get(table.name)
    if reach is None or not reach.may(command):
        return [*lines, *_block("grants", [f"{facts.role} has no {command.upper()} privilege on {table.name}"])]
    if not reach.row_security:
        return [*lines, *_block("policies", [f"row security is OFF on {table.name}: no policy is asked"])]
    shown = [
        f'"{p.name}" ({"permissive" if p.permissive else "restrictive"})' for p in facts.binding(table.name, command)
    ]
    return [*lines, *_block("policies", shown or [f"none for {command} and {facts.role}: everything is denied"])]


def _no_rule(policies: PolicySet, bearer: Bearer, table: Table, command: Command) -> str:
    if bearer.class_name is None:
        return "none: the client is of no class"
    listed = policies.tables.get(table.name)
    if listed is None:
        return f"none: {policies.path} doesn't list {table.name}"
    return f"{listed.span}: none lets {bearer.class_name} {command}"
