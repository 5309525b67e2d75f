"""What reads the role that acts: in the role of its class a client must meet what its person meets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from mcp_rls.catalog import Catalog, ForeignPolicy, Table
from mcp_rls.compiler.model import Condition, PolicySet, TableRules
from mcp_rls.diagnostics import Diagnostics

_BY_ROLE = re.compile(
    r"\b(current_user|current_role|session_user|user|getpgusername|pg_has_role|has_\w+_privilege|auth\.role)\b"
    r"|'\{?role\}?'|'request\.jwt\.claim\.role'",
    re.IGNORECASE,
)
_CURRENT = re.compile(r"\b(current_user|current_role|user)\b", re.IGNORECASE)

_APART = "a session in a class role doesn't meet it as its person does"


def check_table(
    policies: PolicySet, catalog: Catalog, table: Table, rules: TableRules, diagnostics: Diagnostics
) -> None:
    """Adds class-role-people and class-role-trigger for a table that class roles use."""
    if not policies.class_roles:
        return
    if rules.people == "existing":
        hint = "give the table people rules, or make the policy for the class role too, and let it read claims alone"
        for policy, fault in _otherwise_met(policies, catalog, table):
            message = f'policy "{policy.name}" of table "{policy.table}" {fault}: {_APART}'
            diagnostics.error("class-role-people", message, rules.span, hint, subject=policy.object)
    hint = "let it ask claims for what it means: person and client have the same"
    for trigger, function in table.triggers:
        said = _role_read_by(catalog, "", [function])
        if said:
            message = f'trigger "{trigger}" of table "{table.name}" reads {said}: in a class role that is another'
            diagnostics.warning("class-role-trigger", message, rules.span, hint, subject=f"table {table.name}")


def check_sql(catalog: Catalog, condition: Condition, diagnostics: Diagnostics) -> None:
    """Adds class-role-people for SQL of a rule for people, which holds for class roles too."""
    said = _role_read_by(catalog, condition.text, ())
    if said:
        hint = "let it read claims alone"
        diagnostics.error("class-role-people", f"this reads {said}: {_APART}", condition.span, hint)


def _otherwise_met(policies: PolicySet, catalog: Catalog, table: Table) -> Iterator[tuple[ForeignPolicy, str]]:
    """The app's policies that a session in a class role wouldn't meet as its person does: of the table, and of those
    that aren't covered and are read by them."""
    touching = {who for rule in policies.client_rules(table.name) for who in rule.who}
    own = sorted(role for name, role in policies.class_roles.items() if name in touching)
    for policy in (p for t in _read(policies, catalog, table) for p in t.policies):
        said = _role_read_by(catalog, f"{policy.using or ''} {policy.check or ''}", policy.functions)
        if _apart(policies, catalog, policy, own):
            yield policy, f"is for {', '.join(policy.roles)}"
        elif said:
            yield policy, f"reads {said}"


def _read(policies: PolicySet, catalog: Catalog, table: Table) -> Iterator[Table]:
    """The table, and what its policies read outside the covered schemas, through others too."""
    todo, seen = [table], {table.name}
    while todo:
        found = todo.pop(0)
        yield found
        for name in sorted({name for policy in found.policies for name in policy.reads} - seen):
            seen.add(name)
            if name in catalog.tables and name.schema not in policies.schemas:
                todo.append(catalog.tables[name])


def _apart(policies: PolicySet, catalog: Catalog, policy: ForeignPolicy, own: list[str]) -> bool:
    """Whether some class role meets a policy otherwise than people; one that only narrows may narrow classes more."""
    named = {*policy.roles}
    people = [bool(named & catalog.acts_as(role)) for role in policies.people_roles]
    classes = [not named.isdisjoint({role, "public"}) for role in own]
    missed = any(people) and not all(classes)
    return missed or (policy.permissive and any(classes) and not all(people))


def _role_read_by(catalog: Catalog, text: str, functions: Iterable[str], seen: frozenset[str] = frozenset()) -> str:
    """What of the acting role some SQL reads, by itself or in functions that it calls; '' for nothing."""
    said = _BY_ROLE.search(text)
    if said is not None:
        return said[0]
    for name in functions:
        for function in catalog.functions.get(name, ()) if name not in seen else ():
            # one that runs as its owner is the owner, whoever calls it
            body = _CURRENT.sub("", function.body) if function.security_definer else function.body
            words = {*re.findall(r"[a-z_][\w$]*", body.lower())}
            called = [n for n in catalog.functions if n.rpartition(".")[2].lower() in words]
            found = _role_read_by(catalog, body, called, seen | {name})
            if found:
                return f"{found} in {name}()" if " in " not in found else found
    return ""
