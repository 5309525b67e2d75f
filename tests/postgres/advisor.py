"""What Supabase's database advisor says of policies and functions, written anew from what its rules are said to mean.

A rule is asked of the facts of a database and the roles that tokens arrive as, and gives the objects that it names. Its
INFO about policies for `authenticated` (anonymous sign-ins) is left out: it names every such policy that there is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

from mcp_rls.inspection.facts import PUBLIC, Facts, Policy, Relation
from mcp_rls.inspection.reading import COMMANDS

Roles = tuple[str, ...]
Rule = Callable[[Facts, Roles], Iterator[str]]

_CALL = r"(auth\.(uid|jwt|role|email)\(\)|current_setting\()"
_PER_ROW = re.compile(rf"(?<!select ){_CALL}")
_NULL = re.compile(rf"{_CALL}[^()]*\)? is null")
_METADATA = re.compile(r"(auth\.jwt\(\)|request\.jwt\.claims).*user_metadata")
_SENSITIVE = {"password", "secret", "token", "api_key", "ssn", "credit_card"}  # some of them
_ALWAYS = {"true", "(true)", "1 = 1", "(1 = 1)"}


def _policies(facts: Facts) -> Iterator[tuple[Relation, Policy]]:
    return ((t, p) for t in facts.relations.values() if t.is_table for p in t.policies)


def _printed(policy: Policy) -> str:
    """Both clauses on one line, in lower case."""
    return " ".join(f"{policy.using or ''} {policy.check or ''}".lower().split())


def _reached(facts: Facts, roles: Roles, relation: Relation) -> bool:
    return any(facts.holds(role, relation.grants, "SELECT") for role in roles)


def auth_rls_initplan(facts: Facts, _: Roles) -> Iterator[str]:
    """A claim is read for every row: not the first thing after SELECT, as PostgreSQL prints it."""
    yield from (f"{t.name} {p.name}" for t, p in _policies(facts) if t.row_security and _PER_ROW.search(_printed(p)))


def multiple_permissive_policies(facts: Facts, _: Roles) -> Iterator[str]:
    """Two permissive policies of a table for one role, by name or by PUBLIC, and one command."""
    ordinary = [r.name for r in facts.roles.values() if not r.name.startswith("pg_") and not r.bypass_rls]
    for table in (r for r in facts.relations.values() if r.kind == "table"):
        held = Counter(
            (role, command)
            for p in table.policies
            if p.permissive
            for command in COMMANDS
            if p.is_for(command)
            for role in (ordinary if PUBLIC in p.roles else p.roles)
        )
        yield from sorted({f"{table.name} {command}" for (_, command), number in held.items() if number > 1})


def policy_exists_rls_disabled(facts: Facts, _: Roles) -> Iterator[str]:
    yield from (str(t.name) for t in facts.relations.values() if t.policies and not t.row_security)


def rls_enabled_no_policy(facts: Facts, _: Roles) -> Iterator[str]:
    yield from (str(t.name) for t in facts.relations.values() if t.row_security and not t.policies)


def rls_disabled_in_public(facts: Facts, _: Roles) -> Iterator[str]:
    tables = (t for t in facts.relations.values() if t.kind == "table" and t.name.schema == "public")
    yield from (str(t.name) for t in tables if not t.row_security)


def security_definer_view(facts: Facts, roles: Roles) -> Iterator[str]:
    views = (v for v in facts.relations.values() if v.kind == "view" and not v.option("security_invoker"))
    yield from (str(v.name) for v in views if _reached(facts, roles, v))


def relation_in_api(facts: Facts, roles: Roles) -> Iterator[str]:
    """A materialized view or a foreign table that a token's role reads: row security has no part in it."""
    apart = (r for r in facts.relations.values() if r.kind in ("materialized view", "foreign table"))
    yield from (str(r.name) for r in apart if _reached(facts, roles, r))


def function_search_path_mutable(facts: Facts, _: Roles) -> Iterator[str]:
    """Whatever its body is stored as, and whoever calls it."""
    for function in facts.functions.values():
        if not any(setting.startswith("search_path=") for setting in function.settings):
            yield str(function)


def definer_function_executable(facts: Facts, roles: Roles) -> Iterator[str]:
    """A SECURITY DEFINER function that a token's role has EXECUTE on, in a schema that it may enter or not."""
    for function in facts.functions.values():
        if function.definer and any(facts.holds(role, function.execute, "EXECUTE") for role in roles):
            yield str(function)


def rls_references_user_metadata(facts: Facts, _: Roles) -> Iterator[str]:
    yield from (f"{t.name} {p.name}" for t, p in _policies(facts) if _METADATA.search(_printed(p)))


def rls_policy_always_true(facts: Facts, roles: Roles) -> Iterator[str]:
    """A permissive policy that lets everything be written; one for SELECT alone may be meant so."""
    for table, policy in _policies(facts):
        if not (table.row_security and policy.permissive and {PUBLIC, *roles} & set(policy.roles)):
            continue
        old = policy.command in ("update", "delete", "all") and (policy.using or "true").lower() in _ALWAYS
        if old or (policy.check or "").lower() in _ALWAYS:
            yield f"{table.name} {policy.name}"


def rls_policy_null_auth_disjunct(facts: Facts, roles: Roles) -> Iterator[str]:
    """A permissive policy for reading that admits because nobody is signed in."""
    for table, policy in _policies(facts):
        reading = policy.permissive and policy.is_for("select") and {PUBLIC, *roles} & set(policy.roles)
        if table.row_security and reading and " or " in _printed(policy) and _NULL.search(_printed(policy)):
            yield f"{table.name} {policy.name}"


def sensitive_columns_exposed(facts: Facts, roles: Roles) -> Iterator[str]:
    """A table that a token's role reads without row security, with a column of such a name."""
    for table in facts.relations.values():
        if table.kind == "table" and not table.row_security and _reached(facts, roles, table):
            yield from (f"{table.name} {c.name}" for c in table.columns if c.name in _SENSITIVE)


RULES: tuple[Rule, ...] = (
    auth_rls_initplan, multiple_permissive_policies, policy_exists_rls_disabled, rls_enabled_no_policy,
    rls_disabled_in_public, security_definer_view, relation_in_api, function_search_path_mutable,
    definer_function_executable, rls_references_user_metadata, rls_policy_always_true, rls_policy_null_auth_disjunct,
    sensitive_columns_exposed,
)  # fmt: skip


def advice(facts: Facts, roles: Roles) -> set[str]:
    """What all rules say: 'rule object'."""
    return {f"{rule.__name__} {found}" for rule in RULES for found in rule(facts, roles)}
