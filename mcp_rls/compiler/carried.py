"""What a session carries when `resolved: true`: settings that mcp_rls.resolve makes of its claims, once a transaction.

A policy then reads settings, which costs a fifth of reading claims. They are the transaction's own, so a session that
hasn't resolved in its transaction is closed; they are as easy to forge as the claims themselves, no easier. They say
the same as the functions that read claims, for `resolve` asks those.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mcp_rls import sql
from mcp_rls.compiler import helpers as h
from mcp_rls.compiler.meaning import short_digest
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.shapes import DIRECT, GateRules
from mcp_rls.state import SCHEMA

RESOLVE, ENTRIES = f"{SCHEMA}.resolve(name)", f"{SCHEMA}.entries()"  # signatures


def setting(name: str) -> str:
    """SQL for what a setting holds; NULL or '' when this transaction hasn't resolved."""
    return f"current_setting({sql.literal(f'{SCHEMA}.{name}')}, true)"


def value(name: str, type_: str) -> str:
    """SQL for a token's value as it was resolved; whether that still counts is for the ceilings to ask, and they do."""
    text = f"nullif({setting(name)}, '')"
    return text if type_ == "text" else f"{text}::{type_}"


def there(call: str, *, wrapped: bool) -> str:
    """SQL for whether a call gives anything: asked once a statement where it is wrapped; see `expression.probably`."""
    return f"(({f'select {call}' if wrapped else call}) is not null)"


@dataclass(frozen=True)
class Gate:
    """How ceilings ask which case is open to a session; notes what `resolve` must answer beforehand."""

    policies: PolicySet
    asked: dict[str, GateRules] = field(default_factory=dict)  # setting -> rules

    def case(self, rules: GateRules, *, direct: bool = True) -> str:
        """SQL for the open case: an integer, or with `resolved` its text; see gate.py."""
        if not self.policies.resolved:
            return f"{SCHEMA}.gate(current_user, {sql.literal(h.json_text(rules))}::jsonb)"
        return f"case when {self._same_claims(direct)} then {self._stored(rules, direct)} end"

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
            return f"case when {self._same_claims(direct)} then nullif({self._stored(rules, direct)}, '') end"
        arms = [DIRECT] * direct + list(range(1, cases + 1))
        among = f"in ({', '.join(map(str, arms))})" if len(arms) > 1 else f"= {arms[0]}"
        return f"case when {self.case(rules)} {among} then true end"

    def without_cases(self, condition: str, *, wrapped: bool) -> str:
        """The condition of a ceiling that asks for no case: with `resolved`, for who has resolved alone.

        To a session that hasn't, each value of its token is NULL, of which a condition may say more than of the value.
        """
        if not self.policies.resolved:
            return condition
        same = f"case when {self._same_claims(direct=False)} then true end"
        return f"{there(same, wrapped=wrapped)} and ({condition})"

    def _stored(self, rules: GateRules, direct: bool) -> str:
        """What a session has stored of these rules. One setting is for who passes every ceiling, the other for them;
        and where nobody may pass them in some roles, one names the role in which this one does.
        """
        stored = [setting("open")] * direct
        if rules:
            name = f"open_{short_digest(h.json_text(rules))}"
            self.asked[name] = rules
            stored.append(setting(name))
        if direct and self.policies.anonymous:
            stored.append(f"case {setting('nobody')} when current_user then '{DIRECT}' end")
        return f"concat({', '.join(stored)})" if len(stored) > 1 else stored[0]

    def _same_claims(self, direct: bool) -> str:
        """Whether claims were resolved and are the same by now; who may be nobody has none, then and now."""
        claims = "current_setting('request.jwt.claims', true)"
        if direct and self.policies.anonymous:
            return f"{setting('claims')} = coalesce({claims}, '')"
        return f"nullif({setting('claims')}, '') = {claims}"
