"""The text that a person reads when a check didn't pass: facts first, each on its line, plain enough for any report."""

from __future__ import annotations

from collections.abc import Iterable

from mcp_rls.catalog import Table
from mcp_rls.compiler.model import Command, PolicySet, Rule
from mcp_rls.harness import rows
from mcp_rls.harness.facts import RoleFacts
from mcp_rls.harness.observe import Observation
from mcp_rls.harness.suite import TokenSpec, show_value
from mcp_rls.harness.token import Bearer
from mcp_rls.harness.verdict import Check, Finding

_ROWS = 5  # shown at most
_WIDTH = 10


def compose(
    check: Check,
    finding: Finding,
    expected: str,
    observation: Observation | None,
    bearer: Bearer,
    table: Table,
    there: rows.Snapshot,
    policies: PolicySet,
    facts: RoleFacts,
) -> str:
    """The whole message: the headline, then one fact a line."""
    lines = [finding.headline]
    lines += _block("token", token_facts(policies, bearer))
    lines += _block("table", [f"{table.name}, {check.command}"])
    lines += _block("expected", [expected])
    if observation is not None:
        lines += _block("got", [_got(observation, table)])
    found = [rows.show_row(there[k], table) for k in finding.keys if k in there]
    if finding.row:
        found = [finding.row, *(f"a copy of {row}" for row in found)]
    more = [f"and {len(found) - _ROWS} more"] if len(found) > _ROWS else []
    lines += _block("row" if len(found) == 1 else "rows", [*found[:_ROWS], *more])
    lines += deciding_facts(policies, facts, bearer, table, check.command)
    if observation is not None and observation.statement:
        lines += _block("statement", [observation.statement])
    lines += _block("if meant", [finding.hint] if finding.hint else [])
    lines += _block("case" if check.case else "token at", [str(check.span)] if check.span.path else [])
    return "\n".join(lines)


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
    claims = bearer.claims or "(none)"
    return [f"{spec.name}: {', '.join(parts)}", f"claims {claims}", *(f"brought {n}" for n in bearer.notes)]


def deciding_facts(policies: PolicySet, facts: RoleFacts, bearer: Bearer, table: Table, command: Command) -> list[str]:
    """The rules of the file that could allow it, and the policies that PostgreSQL asked."""
    rules = [r for r in policies.client_rules(table.name) if command in r.commands and bearer.class_name in r.who]
    if bearer.identity.kind == "client":
        none = "no rule of this class for this command" if bearer.class_name else "no class, so no rule"
        lines = _block("rules", [show_rule(r) for r in rules] or [none])
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


def show_rule(rule: Rule) -> str:
    """'policies.yaml:12:9: assistant, scope tickets:read, rows "status = 'open'"'."""
    parts = [", ".join(rule.who)]
    if rule.scopes:
        parts.append(f"scope {' '.join(rule.scopes)}")
    if rule.rows is not None:
        parts.append(f'rows "{rule.rows.text}"')
    if rule.check is not None:
        parts.append(f'check "{rule.check.text}"')
    return f"{rule.span}: {', '.join(parts)}"


def _scope(policies: PolicySet, spec: TokenSpec) -> list[str]:
    if spec.scope is None:
        return []
    words = spec.scope if isinstance(spec.scope, str) else list(spec.scope)
    return [f"scope {words!r}{' (in the consent)' if policies.identity.scope is None else ''}"]


def _got(observation: Observation, table: Table) -> str:
    if observation.allowed:
        return f"{observation}: [{', '.join(rows.show(k, table) for k in observation.keys)}]"
    return str(observation)


def _block(title: str, lines: Iterable[str]) -> list[str]:
    """The lines under each other, the title before the first."""
    return [f"  {title if i == 0 else '':<{_WIDTH}}{line}" for i, line in enumerate(lines)]
