"""What a session carries when `resolved: true`: settings that mcp_rls.resolve makes of its claims, once a transaction.

A policy then reads settings, which costs a fifth of reading claims. They are the transaction's own, so a session that
hasn't resolved in its transaction is closed; they are as easy to forge as the claims themselves, no easier. They say
the same as the functions that read claims, for `resolve` asks those.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from mcp_rls import sql
from mcp_rls.compiler import helpers as h
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.shapes import DIRECT, GateRules
from mcp_rls.state import SCHEMA

RESOLVE = f"{SCHEMA}.resolve(name)"  # its signature


def setting(name: str) -> str:
    """SQL for what a setting holds; NULL or '' when this transaction hasn't resolved."""
    return f"current_setting({sql.literal(f'{SCHEMA}.{name}')}, true)"


def value(policies: PolicySet, name: str, type_: str, *, sure: bool) -> str:
    """SQL for a token's value; `sure`: NULL if the claims are others by now, which else a ceiling asks."""
    text = f"nullif({setting(name)}, '')"
    typed = text if type_ == "text" else f"{text}::{type_}"
    return f"case when {_same_claims(policies)} then {typed} end" if sure else typed


@dataclass(frozen=True)
class Gate:
    """How ceilings ask which case is open to a session; notes what `resolve` must answer beforehand."""

    policies: PolicySet
    asked: dict[str, GateRules] = field(default_factory=dict)  # setting -> rules

    def case(self, rules: GateRules, *, direct: bool = True) -> str:
        """SQL for the open case: an integer, or with `resolved` its text; see gate.py."""
        if not self.policies.resolved:
            return f"{SCHEMA}.gate(current_user, {sql.literal(h.json_text(rules))}::jsonb)"
        return f"case when {_still_true(self.policies)} then {self._stored(rules, direct)} end"

    def number(self, rules: GateRules) -> str:
        """The same as an integer in either way, NULL for a session that hasn't resolved."""
        case = self.case(rules)
        return f"nullif({case}, '')::integer" if self.policies.resolved else case

    def arm(self, case: int) -> str:
        """A case as `case` gives it."""
        return f"'{case}'" if self.policies.resolved else str(case)

    def opened(self, rules: GateRules, cases: int, *, direct: bool) -> str:
        """SQL for what isn't NULL where any of so many cases is open, or the session is a `direct` one."""
        if self.policies.resolved:
            return f"case when {_still_true(self.policies)} then nullif({self._stored(rules, direct)}, '') end"
        arms = [DIRECT] * direct + list(range(1, cases + 1))
        among = f"in ({', '.join(map(str, arms))})" if len(arms) > 1 else f"= {arms[0]}"
        return f"case when {self.case(rules)} {among} then true end"

    def _stored(self, rules: GateRules, direct: bool) -> str:
        """What a session has stored of these rules. One setting is for who passes every ceiling, the other for them."""
        names = ["open"] * direct
        if rules:
            names.append(f"open_{hashlib.sha256(h.json_text(rules).encode()).hexdigest()[:16]}")
            self.asked[names[-1]] = rules
        return f"concat({', '.join(map(setting, names))})" if len(names) > 1 else setting(names[0])


def _same_claims(policies: PolicySet) -> str:
    """Whether the session's claims are those that were resolved; none are the same as none."""
    claims = "current_setting('request.jwt.claims', true)"
    now = f"coalesce({claims}, '')" if policies.anonymous else claims
    return f"{setting('claims')} = {now}"


def _still_true(policies: PolicySet) -> str:
    """Whether what was resolved still says which case is open: in another role nobody may see something else."""
    role = f" and {setting('role')} = current_user" if policies.anonymous else ""
    return _same_claims(policies) + role
