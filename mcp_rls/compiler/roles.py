"""Roles in the database: does a ceiling bind every one that reaches a covered table, and row security every token's?"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.catalog import Catalog, Role, Table, TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.diagnostics import Diagnostics, Span, nearest


def check_roles(policies: PolicySet, catalog: Catalog, diagnostics: Diagnostics) -> None:
    """Adds unknown-role, unbound-role and class-role-unfit."""
    place = Span(policies.path)
    bound = {*policies.acting, *policies.trusted_roles}
    for name in sorted({*policies.roles, *policies.trusted_roles, *policies.taken_by} - catalog.roles.keys()):
        diagnostics.error("unknown-role", f'role "{name}" does not exist', place, nearest(name, catalog.roles))
    for class_name, role, fault in _unfit(policies, catalog):
        message = f'the role "{role}" of class "{class_name}" {fault}'
        hint = "take that from the role, or give the class another name"
        diagnostics.error("class-role-unfit", message, policies.classes[class_name].span, hint, subject=f"role {role}")
    for role, fault, hint in _unruly(policies, catalog):
        message = f'token role "{role}" {fault}, so row security does not bind it'
        diagnostics.error("unbound-role", message, place, hint, subject=f"role {role}")
    # the role of a class that is no more is bound until the plan takes all away from it
    for role, reached in _unbound(policies, catalog, bound | catalog.class_roles):
        more = f" and {len(reached) - 1} more" if len(reached) > 1 else ""
        message = f'role "{role}" reaches table "{reached[0]}"{more}, and no ceiling binds it'
        diagnostics.error("unbound-role", message, place, _way_out(catalog, role), subject=f"role {role}")


def _way_out(catalog: Catalog, role: str) -> str:
    if role not in catalog.left_roles or not catalog.roles[role].taken_by:
        return "list it under `roles`, revoke its grants, or say under `trusted_roles` why it may"
    takers = ", ".join(sorted(catalog.roles[role].taken_by))
    return f"its class is gone: revoke {role} from {takers}, or its grants and those of PUBLIC there"


def _covered(policies: PolicySet, catalog: Catalog) -> Iterator[Table]:
    for schema in policies.schemas:
        yield from (t for t in catalog.in_schema(schema) if t.kind in ("table", "partitioned", "partition"))


def _unbound(policies: PolicySet, catalog: Catalog, bound: set[str]) -> Iterator[tuple[str, list[TableName]]]:
    """Roles that reach covered tables and inherit no token role: they meet no ceiling there."""
    for role in catalog.roles.values():
        theirs = {role.name, *role.member_of}
        if role.superuser or role.bypass_rls or role.name.startswith("pg_") or theirs & bound:
            continue
        reached = _reached(policies, catalog, role)
        if reached:
            yield role.name, reached


def _reached(policies: PolicySet, catalog: Catalog, role: Role) -> list[TableName]:
    """Covered tables that the role has a privilege on and doesn't own."""
    theirs = {role.name, *role.member_of}
    everything = theirs & {"pg_read_all_data", "pg_write_all_data"}
    # what PUBLIC has counts for who can log in: others are reached through one of those. But tokens may arrive as the
    # role of a class that is gone, through a login role that is trusted just because it arrives as what they say
    arrives = role.login or (role.name in catalog.left_roles and role.taken_by)
    holders = theirs | {"public"} if arrives else theirs
    tables = _covered(policies, catalog)
    return [t.name for t in tables if t.owner not in theirs and (everything or t.reached_by & holders)]


def _unruly(policies: PolicySet, catalog: Catalog) -> Iterator[tuple[str, str, str]]:
    """Token roles that row security doesn't bind, why, and what to do: a superuser, one with BYPASSRLS, an owner
    without FORCE.
    """
    for role in (catalog.roles[name] for name in policies.roles if name in catalog.roles):
        theirs = {role.name, *role.member_of}
        tables = [t for t in _covered(policies, catalog) if t.owner in theirs]
        owned = [t.name for t in tables if not (t.force or _forced(policies, t.name))]
        if owned:
            hint = "let tokens arrive as a role of their own, or set `force: true` on a table that its owner reads"
            yield role.name, f'owns table "{owned[0]}"', hint
        if role.superuser or role.bypass_rls:
            hint = f"alter role {role.name} nosuperuser nobypassrls, or let tokens arrive as another role"
            yield role.name, "has BYPASSRLS or is a superuser", hint


def _forced(policies: PolicySet, table: TableName) -> bool:
    rules = policies.tables.get(table)
    return rules is not None and rules.force


# --- class roles ------------------------------------------------------------------------------------------------------


def _unfit(policies: PolicySet, catalog: Catalog) -> Iterator[tuple[str, str, str]]:
    """Class roles that exist and aren't fit for it: class, role, and what is wrong."""
    for class_name, name in policies.class_roles.items():
        role = catalog.roles.get(name)
        if role is None:
            continue
        if role.superuser or role.bypass_rls:
            yield class_name, name, "has BYPASSRLS or is a superuser"
        elif role.login:
            yield class_name, name, "can log in"
        elif role.granted:
            yield class_name, name, f"is a member of {', '.join(sorted(role.granted))}"
        elif role.creates_roles:
            yield class_name, name, "has CREATEROLE"
        elif role.owns:
            yield class_name, name, f"owns {role.owns}"
