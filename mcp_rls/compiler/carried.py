"""What a session carries when `resolved: true`: settings that mcp_rls.resolve makes of its claims, once a transaction.

A policy then reads settings. PostgreSQL plans, copies and sets up each operator of a sub-select anew for each
statement, 2,000 to 5,000 instructions apiece, but of a function's body what is come to once a transaction: a look-up by
key, 180,000 instructions by hand, is 1.36 times that with a function for what a ceiling asks and the value alone
written out; 1.60 with all written out, and 1.56 with functions for both. The settings are the transaction's own, so a
session that hasn't resolved in its transaction is closed; they are as easy to forge as the claims themselves, no
easier. They say the same as the functions that read claims, for `resolve` asks those.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mcp_rls import sql
from mcp_rls.compiler import helpers as h
from mcp_rls.compiler.meaning import short_digest
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.shapes import CLOSED, GateRules
from mcp_rls.state import SCHEMA

RESOLVE, ENTRIES = f"{SCHEMA}.resolve(name)", f"{SCHEMA}.entries()"  # signatures
CLAIMS = "current_setting('request.jwt.claims', true)"
_WHILE_RESOLVED = sql.literal(f"{SCHEMA}.claims")  # a setting that only what was resolved has


def setting(name: str) -> str:
    """SQL for what a setting holds; NULL or '' when this transaction hasn't resolved."""
    return f"current_setting({sql.literal(f'{SCHEMA}.{name}')}, true)"


def held_name(name: str) -> str:
    """Of the function that gives that value of the token to who is let in."""
    return f"held_{name}"


def value(name: str, type_: str) -> str:
    """SQL for a token's value as it was resolved; whether that still counts is another question."""
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
            return f"{SCHEMA}.gate({_asked(rules)})"
        return f"{SCHEMA}.opened({self._setting(rules)}, {'true' if direct else 'false'})"

    def number(self, rules: GateRules) -> str:
        """The same as an integer in either way, NULL for a session that hasn't resolved."""
        case = self.case(rules)
        return f"{case}::integer" if self.policies.resolved else case

    def arm(self, case: int) -> str:
        """A case as `case` gives it."""
        return f"'{case}'" if self.policies.resolved else str(case)

    def opened(self, rules: GateRules, *, direct: bool) -> str:
        """SQL for what isn't NULL where some case is open, or the session is a `direct` one."""
        case = self.case(rules, direct=direct)
        if self.policies.resolved:
            return case
        return f"nullif({case if direct else f'greatest({case}, {CLOSED})'}, {CLOSED})"

    def held(self, rules: GateRules | None, name: str) -> str:
        """SQL for that value of the token where `opened` is not NULL, else NULL; where there are no `rules` to ask
        about, and with `resolved`, while what was resolved counts.
        """
        if rules is None:
            asked = _WHILE_RESOLVED
        elif self.policies.resolved:
            asked = self._setting(rules)
        else:
            # a name has the collation "C", which a function's text would have from it, and clash with a column's own
            asked = _asked(rules, 'current_user collate "default"')
        return f"{SCHEMA}.{sql.ident(held_name(name))}({asked})"

    def without_cases(self, condition: str, *, wrapped: bool) -> str:
        """The condition of a ceiling that asks for no case: with `resolved`, for who has resolved alone.

        To a session that hasn't, each value of its token is NULL, of which a condition may say more than of the value.
        """
        if not self.policies.resolved:
            return condition
        resolved = there(f"{SCHEMA}.opened({_WHILE_RESOLVED}, false)", wrapped=wrapped)
        return resolved if condition == "true" else f"{resolved} and ({condition})"

    def _setting(self, rules: GateRules) -> str:
        """The setting that holds which case of these rules is open, as a constant: NULL, where there is none to open.

        One other setting is for who passes every ceiling; and where nobody may pass them in some roles, one more names
        the role in which this one does.
        """
        if not rules:
            return "null"
        name = f"open_{short_digest(h.json_text(rules))}"
        self.asked[name] = rules
        return sql.literal(f"{SCHEMA}.{name}")


def _asked(rules: GateRules, acting: str = "current_user") -> str:
    """What `gate` is asked."""
    return f"{acting}, {sql.literal(h.json_text(rules))}::jsonb"
