"""What each object that we make says, as JSON: kept beside it in the manifest, so that a plan can tell what changes.

A policy: {"may": {who: {"rules": [rule, ...], "sees": [rule, ...]}}, "values": {...}}, where `who` is a class or
'people', a rule is {"scopes", "rows", "new"} with conditions that must all be met, `sees` are the class's SELECT rules
where the policy repeats them, and `values` says where the token's values in these conditions come from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from mcp_rls.compiler import expression as e
from mcp_rls.compiler.helpers import json_text
from mcp_rls.compiler.model import Command, PolicySet
from mcp_rls.compiler.resolve import ResolvedPolicies, ResolvedRule, ResolvedTable

PEOPLE = "people"
_ALL_ROWS: dict[str, list[str]] = {"scopes": [], "rows": [], "new": []}
EVERYBODY = json_text({"may": {"everybody": {"rules": [_ALL_ROWS], "sees": []}}, "values": {}})
NOBODY = json_text({"may": {}, "values": {}})


def of_ceiling(resolved: ResolvedPolicies, table: ResolvedTable, command: Command, names: Iterable[str]) -> str:
    """What each of these classes of clients may do by this table's ceiling on `command`."""
    may: dict[str, list[list[ResolvedRule]]] = {}
    for name in names:
        mine = [r for r in table.clients if name in r.who]
        writes = [r for r in mine if command in r.commands]
        reads = [r for r in mine if "select" in r.commands] if command in ("update", "delete") else []
        if writes and (reads or command in ("select", "insert")):
            may[name] = [writes, reads]
    return _said(resolved.policies, command, may)


def of_people(policies: PolicySet, command: Command, rules: list[ResolvedRule]) -> str:
    """What people may do by their rules."""
    return _said(policies, command, {PEOPLE: [rules, []]})


def _said(policies: PolicySet, command: Command, may: dict[str, list[list[ResolvedRule]]]) -> str:
    rules = [r for lists in may.values() for rules in lists for r in rules]
    used = frozenset().union(*(_tokens(expr) for r in rules for expr in (r.rows, r.new_row)))
    values = {n: [*c.path, c.type] for n, c in policies.claims.items() if n in used}
    who = {
        name: {"rules": [_rule(r, command) for r in rules], "sees": [_rule(r, "select") for r in reads]}
        for name, (rules, reads) in may.items()
    }
    return json_text({"may": who, "values": values})


@lru_cache(maxsize=1024)  # a condition counts in up to four policies of a table
def _tokens(expr: e.Expr) -> frozenset[str]:
    """What it reads of the token."""
    return frozenset(n.name for n in expr.walk() if isinstance(n, e.Token))


def _rule(rule: ResolvedRule, command: Command) -> dict[str, Any]:
    old = () if command == "insert" else _conditions(rule.rows)
    new = _conditions(rule.new_row) if command in ("insert", "update") else ()
    return {"scopes": sorted(rule.scopes), "rows": old, "new": new}


@lru_cache(maxsize=1024)
def _conditions(expr: e.Expr) -> tuple[str | list[str], ...]:
    parts = expr.operands if isinstance(expr, e.Logic) and expr.op == "and" else (expr,)
    return tuple(_condition(p) for p in parts if p != e.TRUE)


def _condition(expr: e.Expr) -> str | list[str]:
    """Its text; of a column that must be one of some constants, the column and these, so that lists can be compared."""
    match expr:
        case e.In(e.Col() as column, items, False) if all(isinstance(i, e.Lit) for i in items):
            return [shown(column), *map(shown, items)]
        case e.Op("=", e.Col() as column, e.Lit() as constant):
            return [shown(column), shown(constant)]
    return shown(expr)


def shown(expr: e.Expr) -> str:
    """The condition as an author would write it."""
    text = e.render(expr, lambda n: f"token.{n.name}" if isinstance(n, e.Token) else n.name)
    return text[1:-1] if isinstance(expr, e.Op | e.Logic | e.In | e.Any | e.Test | e.Prefix) else text


# --- functions --------------------------------------------------------------------------------------------------------


GATE = "what mcp_rls.gate says"


def of_value(text: str, follows: str = "") -> str:
    """A function that computes one thing, said in `text`; what else it decides by `follows` what is told elsewhere."""
    return json_text({"value": " ".join(text.split())} | ({"follows": follows} if follows else {}))


def of_call(text: str) -> str:
    """A function that sessions have to call, for what is said in `text`; it decides as `gate` does."""
    return json_text({"value": text, "called": True, "follows": GATE})


def of_gate(policies: PolicySet, where: dict[str, str]) -> str:
    """Who is recognised as what. Client ids as digests: the manifest is for who applies policies, a revision isn't."""
    identity, consent = policies.identity, policies.consent
    classes: list[dict[str, Any]] = []  # in order of match, which the keys of a jsonb object would lose
    for c in policies.classes.values():
        registry = f"{c.registry.table} by {c.registry.id}" if c.registry else ""
        match = [c.client_id_url_prefix, registry, where.get(c.name)]
        said = {
            "name": c.name,
            "ids": [short_digest(i) for i in c.ids],
            "alone": c.client_id_url_prefix is None and c.registry is None,
            "match": match,
            "consent": policies.consent_required(c.name),
        }
        classes.append(said)
    person, direct = identity.person, identity.direct
    who = {
        "the person": f"{'.'.join(person.path)} as {person.type}",
        "the client": ", ".join(map(".".join, identity.client)),
        "scopes": ".".join(identity.scope) if identity.scope else "what was consented to",
        "direct sessions": " ".join([str(direct.kind), *sorted(map(short_digest, direct.ids))]),
        "nobody's roles": ", ".join(policies.anonymous),
    }
    columns = consent and [str(consent.table), consent.person, consent.client, consent.scopes, where.get("consent")]
    return json_text(
        {
            "classes": classes,
            "scopes": {s.name: sorted(s.closure) for s in policies.scopes.values()},
            "identity": who,
            "consent": columns,
        }
    )


def short_digest(text: str) -> str:
    """Enough to tell texts of one file apart: 16 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
