"""How a token stands: what the installed gate makes of it, asked of the database itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import psycopg

from mcp_rls import sql
from mcp_rls.compiler.helpers import json_text
from mcp_rls.compiler.model import PolicySet
from mcp_rls.harness.stage import Stage
from mcp_rls.state import SCHEMA


@dataclass(frozen=True)
class Standing:
    """`kind` 'client': of the class `class_name`, live, with `scopes` in force. 'unknown': the gate can't be asked."""

    kind: Literal["direct", "closed", "client", "unknown"]
    role: str
    class_name: str = ""
    scopes: frozenset[str] = frozenset()


def standing(stage: Stage) -> Standing:
    """How the acting token stands. Two sessions that stand alike meet the same case of every ceiling."""
    assert stage.bearer is not None, "somebody acts"
    role, policies = stage.bearer.role, stage.policies
    try:
        case, *held = stage.ask(_query(policies, role))[0][0]
    except psycopg.Error:
        return Standing("unknown", role)
    if case == -1:
        return Standing("direct", role)
    if not case:
        return Standing("closed", role)
    scopes = frozenset(name for name, answer in zip(policies.scopes, held, strict=True) if answer == case)
    return Standing("client", role, list(policies.classes)[case - 1], scopes)


def _query(policies: PolicySet, role: str) -> str:
    """Which class is open without a scope, then with each: a gate answers for all classes at once."""

    def asked(*scopes: str) -> str:
        rules = {name: [[number, *scopes]] for number, name in enumerate(policies.classes, 1)}
        return f"{SCHEMA}.gate({sql.literal(role)}, {sql.literal(json_text(rules))}::jsonb)"

    return f"select array[{', '.join([asked(), *map(asked, policies.scopes)])}]"
