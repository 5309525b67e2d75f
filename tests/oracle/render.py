"""A world as text: the policy file, the schema, the statements."""

from __future__ import annotations

import json
from typing import Any

from .expressions import Expr, Row, literal, quoted
from .world import ANON, USER, AppPolicy, ClientClass, Path, Registry, Rule, Table, World

_SQL_TYPE = {"int": "integer", "bool": "boolean"}


def sql_type(kind: str) -> str:
    return _SQL_TYPE.get(kind, kind)


def named(table: str) -> str:
    return f"app.{quoted(table)}"


def policy_file(world: World) -> str:
    """The YAML text: block style for the parts, flow style below them."""
    lines = ["mcp_rls: 1", f"platform: {world.platform}", "schemas: [app]", f"roles: [{USER}, {ANON}]"]
    if world.anonymous:
        lines.append(f"anonymous: [{ANON}]")
    if world.resolved:
        lines.append("resolved: true")
    lines += _section("identity", _identity(world))
    lines += _section("claims", {name: _claim(c.path, c.type) for name, c in world.claims.items()})
    lines += _section("classes", {kind.name: _class(kind) for kind in world.classes})
    if world.consent:
        columns = {"person": world.consent.person, "client": world.consent.client}
        if world.consent.scopes:
            columns["scopes"] = world.consent.scopes
        consent = {"table": named(world.consent.table), "columns": columns}
        lines += _section("consent", consent | _optional("where", world.consent.where))
    lines += _section("scopes", {name: _declared(name, implies) for name, implies in world.scopes.items()})
    lines += _section("sets", {name: _set(world, name) for name in world.sets})
    lines += _section("tables", {named(t.name): _table(t) for t in world.tables if t.listed})
    return "\n".join(lines) + "\n"


def _section(name: str, parts: dict[str, Any]) -> list[str]:
    if not parts:
        return []
    return [f"{name}:", *(f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in parts.items())]


def _identity(world: World) -> dict[str, Any]:
    paths = [".".join(path) for path in world.client]
    return {
        "person": _claim(world.person.path, world.person.type),
        "client": {"claim": paths[0]} if len(paths) == 1 else {"claims": paths},
        "scopes": {"consent": True} if world.scope is None else {"claim": ".".join(world.scope)},
        "direct": "no_client" if world.direct is None else {"ids": list(world.direct)},
    }


def _claim(path: Path, kind: str) -> dict[str, Any]:
    return {"claim": ".".join(path), "type": kind}


def _optional(key: str, condition: Expr | None) -> dict[str, Any]:
    return {} if condition is None else {key: condition.sql()}


def _class(kind: ClientClass) -> dict[str, Any]:
    match: dict[str, Any] = {}
    if kind.ids:
        match["ids"] = list(kind.ids)
    if kind.prefix is not None:
        match["client_id_url_prefix"] = kind.prefix
    if kind.registry:
        match["registry"] = _registry(kind.registry)
    return {"match": match} | ({"consent": "required"} if kind.consent_required else {})


def _registry(registry: Registry) -> dict[str, Any]:
    return {"table": named(registry.table), "id": registry.id} | _optional("where", registry.where)


def _declared(name: str, implies: tuple[str, ...]) -> dict[str, Any]:
    return {"text": f"Use {name}"} | ({"implies": list(implies)} if implies else {})


def _set(world: World, name: str) -> dict[str, Any]:
    found = world.sets[name]
    query = f"select {quoted(found.column)} from {named(found.table)} where {found.where.sql()}"
    return {"type": sql_type(found.type), "query": query}


def _table(table: Table) -> dict[str, Any]:
    people = table.people if isinstance(table.people, str) else [_rule(rule) for rule in table.people]
    clients = table.clients if isinstance(table.clients, str) else [_rule(rule) for rule in table.clients]
    force = {"force": True} if table.force else {}
    return ({} if people == "existing" else {"people": people}) | {"clients": clients} | force


def _rule(rule: Rule) -> dict[str, Any]:
    """One name is written bare, several as a list."""
    parts: dict[str, Any] = {"allow": _bare(rule.commands)}
    if rule.who:
        parts = {"who": _bare(rule.who)} | parts
    if rule.scopes:
        parts["scope"] = _bare(rule.scopes)
    parts |= _optional("sql" if rule.raw else "rows", rule.rows) | _optional("check", rule.check)
    if rule.columns:
        names = list(rule.columns.names)
        parts["columns"] = {"except": names} if rule.columns.excluded else names
    return parts


def _bare(names: tuple[str, ...]) -> str | list[str]:
    return names[0] if len(names) == 1 else list(names)


def schema(world: World) -> str:
    """The app as it was before: tables, rows, grants, row security and policies."""
    parts = ["create schema app", f"grant usage on schema app to {USER}, {ANON}"]
    for table in world.tables:
        columns = ", ".join(
            f"{quoted(c.name)} {sql_type(c.type)}{' not null' if c.not_null else ''}" for c in table.columns
        )
        parts.append(f"create table {named(table.name)} ({columns}, primary key (id))")
        parts.append(f"grant {', '.join(table.granted)} on {named(table.name)} to {USER}, {ANON}")
        parts += [insert(table, row) for row in table.rows]
        if table.row_security:
            parts.append(f"alter table {named(table.name)} enable row level security")
    parts += [_app_policy(table, policy) for table in world.tables for policy in table.policies]
    return ";\n".join(parts) + ";\n"


def _app_policy(table: Table, policy: AppPolicy) -> str:
    kind = "" if policy.permissive else " as restrictive"
    using = f" using ({policy.using.sql()})" if policy.using and policy.command != "insert" else ""
    check = f" with check ({policy.check.sql()})" if policy.check else ""
    head = f'create policy "{policy.name}" on {named(table.name)}{kind} for {policy.command}'
    return f"{head} to {', '.join(policy.roles)}{using}{check}"


def values(table: Table, row: Row) -> str:
    return ", ".join(_value(row[c.name], c.type) for c in table.columns)


def _value(value: Any, kind: str) -> str:
    if isinstance(value, tuple):
        return "array[" + ", ".join(literal(item) for item in value) + "]::text[]"
    return literal(value, kind)


def insert(table: Table, row: Row) -> str:
    columns = ", ".join(quoted(c.name) for c in table.columns)
    return f"insert into {named(table.name)} ({columns}) values ({values(table, row)})"


def assignments(table: Table, changed: Row) -> str:
    return ", ".join(f"{quoted(k)} = {_value(v, table.column(k).type)}" for k, v in changed.items())
