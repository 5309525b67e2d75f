"""What is in a database: the Catalog of facts, and the State of what is ours. Reads only; takes no lock on a table."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from mcp_rls import sql
from mcp_rls.catalog import Catalog, Column, ForeignKey, ForeignPolicy, Function, Table, TableName
from mcp_rls.compiler.helpers import json_text
from mcp_rls.database.comments import changed_comments
from mcp_rls.database.roles import HELD, ROLES, class_roles_noted, role
from mcp_rls.database.triggers import OUR_TRIGGERS, our_trigger
from mcp_rls.state import LEFT, PREFIX, SCHEMA, Altered, Grant, Policy, Privilege, State, Switches, Trigger
from mcp_rls.state import Function as OurFunction

Row = Mapping[str, Any]
Ours = TypeVar("Ours", Policy, OurFunction, Trigger)

# Expressions are printed with this path, so that every name outside pg_catalog comes out qualified.
_PIN = "set local search_path = pg_catalog"
_USER_SCHEMA = "n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'mcp_rls')"

_TABLES = f"""
select c.oid, n.nspname as schema, c.relname as name, c.relkind::text as kind, c.relispartition as partition,
       pg_get_userbyid(c.relowner) as owner, c.relrowsecurity as row_security, c.relforcerowsecurity as force,
       exists (select from pg_policy p where p.polrelid = c.oid and not p.polpermissive
               and starts_with(p.polname::text, '{PREFIX}')) as ceilings,
       (select array_agg(a.attname::text order by k.position)
        from pg_index i cross join unnest(i.indkey::int2[]) with ordinality k(number, position)
        join pg_attribute a on a.attrelid = c.oid and a.attnum = k.number
        where i.indrelid = c.oid and i.indisprimary) as primary_key,
       (select array_agg(distinct a.attname::text) from pg_index i
        join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]
        where i.indrelid = c.oid and i.indisvalid) as indexed,
       (select array_agg(array[t.tgname::text, fn.nspname || '.' || f.proname] order by t.tgname) from pg_trigger t
        join pg_proc f on f.oid = t.tgfoid join pg_namespace fn on fn.oid = f.pronamespace
        where t.tgrelid = c.oid and not t.tgisinternal and fn.nspname not in ('pg_catalog', 'mcp_rls')) as triggers,
       (select array_agg(distinct array[sn.nspname::text, s.relname::text]) from pg_attrdef d
        join pg_depend k on k.classid = 'pg_attrdef'::regclass and k.objid = d.oid
        join pg_class s on k.refclassid = 'pg_class'::regclass and s.oid = k.refobjid and s.relkind = 'S'
        join pg_namespace sn on sn.oid = s.relnamespace where d.adrelid = c.oid) as sequences,
       (select array_agg(array[pn.nspname::text, p.relname::text]) from pg_inherits h
        join pg_class p on p.oid = h.inhparent join pg_namespace pn on pn.oid = p.relnamespace
        where h.inhrelid = c.oid) as parents
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and {_USER_SCHEMA}
"""
_COLUMNS = f"""
select a.attrelid as oid, a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as not_null,
       a.atthasdef or a.attidentity <> '' as has_default, a.attgenerated <> '' or a.attidentity = 'a' as generated,
       a.attgenerated <> '' as computed,
       format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null) as base_type,
       t.typtype = 'b' and t.typcategory <> 'A' and t.typnamespace <> 'pg_catalog'::regnamespace as own_operators
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
join pg_type t on t.oid = a.atttypid
where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f') and {_USER_SCHEMA}
order by a.attrelid, a.attnum
"""
_POLICY = """p.polrelid as relation, p.polname as name, p.polpermissive as permissive, p.polcmd::text as command,
       (select array_agg(coalesce(r.rolname::text, 'public') order by r.rolname)
        from unnest(p.polroles) m(oid) left join pg_roles r on r.oid = m.oid) as roles,
       pg_get_expr(p.polqual, p.polrelid) as using, pg_get_expr(p.polwithcheck, p.polrelid) as check"""
_OUR_POLICIES = f"select {_POLICY} from pg_policy p where starts_with(p.polname::text, '{PREFIX}')"
# To print a policy and to follow what it reads takes longest of all: those of the app are few, ours may be thousands.
_POLICIES = f"""
with recursive theirs as (
  select p.* from pg_policy p where not starts_with(p.polname::text, '{PREFIX}')
), direct as (
  select p.oid as policy, d.refobjid as relation
  from theirs p join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.oid
  where d.refclassid = 'pg_class'::regclass and d.deptype = 'n' and d.refobjid <> p.polrelid
  union
  -- dependencies don't tell a row's own column from a read of the table itself; the stored tree does
  select p.oid, p.polrelid from theirs p
  where strpos(concat(p.polqual::text, p.polwithcheck::text), format(':relid %s ', p.polrelid)) > 0
), through as (
  select policy, relation from direct
  union
  select t.policy, d.refobjid from through t
  join pg_rewrite r on r.ev_class = t.relation
  join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
  where d.refobjid <> t.relation
), listed as (
  select t.policy, array_agg(distinct array[tn.nspname::text, tc.relname::text]) as reads from through t
  join pg_class tc on tc.oid = t.relation join pg_namespace tn on tn.oid = tc.relnamespace group by t.policy
)
select {_POLICY}, listed.reads,
       (select array_agg(distinct fn.nspname || '.' || f.proname) from pg_depend d
        left join pg_operator o on d.refclassid = 'pg_operator'::regclass and o.oid = d.refobjid
        left join pg_cast k on d.refclassid = 'pg_cast'::regclass and k.oid = d.refobjid
        join pg_proc f on f.oid = case d.refclassid
          when 'pg_proc'::regclass then d.refobjid else coalesce(o.oprcode, k.castfunc) end
        join pg_namespace fn on fn.oid = f.pronamespace
        where d.classid = 'pg_policy'::regclass and d.objid = p.oid
          and fn.nspname not in ('pg_catalog', 'mcp_rls')) as functions
from theirs p left join listed on listed.policy = p.oid
"""
_FOREIGN_KEYS = """
select k.conrelid as oid, k.confrelid as target, k.confdeltype::text as on_delete, k.confupdtype::text as on_update,
       (select array_agg(a.attname::text order by x.position) from unnest(k.conkey) with ordinality x(number, position)
        join pg_attribute a on a.attrelid = k.conrelid and a.attnum = x.number) as columns,
       (select array_agg(a.attname::text order by x.position) from unnest(k.confkey) with ordinality x(number, position)
        join pg_attribute a on a.attrelid = k.confrelid and a.attnum = x.number) as referenced
from pg_constraint k where k.contype = 'f'
"""
_PRIVILEGES = f"""
select c.oid, n.nspname as schema, c.relname as name, coalesce(r.rolname, 'public') as role,
       x.privilege_type as privilege, x.is_grantable as grantable, x.column_name as column
from pg_class c join pg_namespace n on n.oid = c.relnamespace
cross join lateral (
  select '' as column_name, t.* from aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) t
  union all
  select a.attname, t.* from pg_attribute a cross join aclexplode(a.attacl) t
  where a.attrelid = c.oid and a.attacl is not null and not a.attisdropped
) x left join pg_roles r on r.oid = x.grantee
where c.relkind in ('r', 'p', 'v', 'm', 'f') and x.grantee <> c.relowner and {_USER_SCHEMA}
"""
_FUNCTIONS = f"""
select n.nspname as schema, f.proname as name, l.lanname as language, f.prosecdef as security_definer,
       coalesce(pg_get_function_sqlbody(f.oid), f.prosrc) as body
from pg_proc f join pg_namespace n on n.oid = f.pronamespace join pg_language l on l.oid = f.prolang
where {_USER_SCHEMA}
"""
_ENTERED = """
select coalesce(r.rolname, 'public') as role, n.nspname as schema
from pg_namespace n cross join aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) x
left join pg_roles r on r.oid = x.grantee where x.privilege_type = 'USAGE'
"""
_COUNTED = f"""
select coalesce(r.rolname, 'public') as role, n.nspname as schema, c.relname as name
from pg_class c join pg_namespace n on n.oid = c.relnamespace
cross join aclexplode(coalesce(c.relacl, acldefault('s', c.relowner))) x left join pg_roles r on r.oid = x.grantee
where c.relkind = 'S' and x.privilege_type = 'USAGE' and {_USER_SCHEMA}
"""
_KEPT = ("policy ", "function ", "trigger ", "privilege ", "class role ", "grant ")  # what the manifest keeps for plans
_KINDS = {"r": "table", "p": "partitioned", "v": "view", "m": "materialized view", "f": "foreign table"}
_COMMANDS = {"*": "all", "r": "select", "a": "insert", "w": "update", "d": "delete"}
_PARTS = re.compile(r" using(?P<using> [0-9a-f]{32})? check(?P<check> [0-9a-f]{32})?$")  # of a policy's tree
_ACTIONS = {"a": "no action", "r": "restrict", "c": "cascade", "n": "set null", "d": "set default"}


def _rows(conn: psycopg.Connection[Any], query: str) -> list[dict[str, Any]]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode()).fetchall()


def _names(pairs: Iterable[list[str]] | None) -> frozenset[TableName]:
    return frozenset(TableName(*pair) for pair in pairs or ())


def _grouped(rows: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["oid"]].append(row)
    return groups


def _unprinted(query: str) -> str:
    """The query with NULL for what PostgreSQL would print from a tree: that takes ACCESS SHARE on what it names."""
    return re.sub(r"pg_get_(expr\(p\.\w+, p\.polrelid|function_sqlbody\(f\.oid)\)", "null", query)


def read_catalog(conn: psycopg.Connection[Any], *, texts: bool = True) -> Catalog:
    """The facts of this database, all user schemas, in one transaction (a savepoint inside an open one).

    Without `texts`, policies and SQL bodies are as if empty, and no table is locked: enough to lower, not to check.
    """
    asked = (lambda query: query) if texts else _unprinted
    with conn.transaction():
        path = conn.execute("select current_setting('search_path')").fetchone()
        conn.execute(_PIN)
        tables, policies = _rows(conn, _TABLES), _rows(conn, asked(_POLICIES))
        columns, privileges = _grouped(_rows(conn, _COLUMNS)), _grouped(_rows(conn, _PRIVILEGES))
        keys, roles, functions = _rows(conn, _FOREIGN_KEYS), _rows(conn, ROLES), _rows(conn, asked(_FUNCTIONS))
        schemas = _rows(conn, "select nspname as name from pg_namespace n")
        entered, counted = _rows(conn, _ENTERED), _rows(conn, _COUNTED)
        user = conn.execute("select current_user").fetchone()
        classes, left = class_roles_noted(conn), class_roles_noted(conn, left=True)
        conn.execute("select set_config('search_path', %s, true)", path)
    names = {t["oid"]: TableName(t["schema"], t["name"]) for t in tables}
    theirs: dict[TableName, list[ForeignPolicy]] = defaultdict(list)
    for row in policies:
        if row["relation"] in names:
            theirs[names[row["relation"]]].append(_foreign_policy(names[row["relation"]], row))
    references: dict[int, list[ForeignKey]] = defaultdict(list)
    for row in keys:
        if row["oid"] in names and row["target"] in names:
            references[row["oid"]].append(_foreign_key(names[row["target"]], row))
    return Catalog(
        version=conn.info.server_version,
        user=str(user[0]) if user else "",
        tables={
            names[t["oid"]]: _table(
                t, columns[t["oid"]], privileges[t["oid"]], theirs[names[t["oid"]]], references[t["oid"]]
            )
            for t in sorted(tables, key=lambda t: (t["schema"], t["name"]))
        },
        roles={r["name"]: role(r) for r in roles},
        functions=_functions(functions),
        schemas=frozenset(s["name"] for s in schemas),
        entered=frozenset((e["role"], e["schema"]) for e in entered),
        counted=frozenset((c["role"], TableName(c["schema"], c["name"])) for c in counted),
        class_roles=classes,
        left_roles=left,
    )


def _table(
    row: Row, columns: list[dict[str, Any]], privileges: list[dict[str, Any]],
    policies: list[ForeignPolicy], keys: list[ForeignKey],
) -> Table:  # fmt: skip
    return Table(
        name=TableName(row["schema"], row["name"]),
        kind="partition" if row["partition"] and row["kind"] in "rp" else _KINDS[row["kind"]],
        owner=row["owner"],
        columns=tuple(Column(**{k: v for k, v in c.items() if k != "oid"}) for c in columns),
        primary_key=tuple(row["primary_key"] or ()),
        row_security=row["row_security"],
        force=row["force"],
        ceilings=row["ceilings"],
        policies=tuple(sorted(policies, key=lambda p: p.name)),
        foreign_keys=tuple(keys),
        triggers=tuple((name, function) for name, function in row["triggers"] or ()),
        indexed=frozenset(row["indexed"] or ()),
        parents=tuple(sorted(_names(row["parents"]))),
        sequences=tuple(sorted(_names(row["sequences"]))),
        grants=frozenset((p["role"], p["privilege"], p["column"]) for p in privileges),
        reached_by=frozenset(p["role"] for p in privileges),
    )


def _foreign_policy(table: TableName, row: Row) -> ForeignPolicy:
    return ForeignPolicy(
        table, row["name"], row["permissive"], _COMMANDS[row["command"]], tuple(row["roles"]), row["using"],
        row["check"], _names(row["reads"]), tuple(sorted(row["functions"] or ())),
    )  # fmt: skip


def _foreign_key(target: TableName, row: Row) -> ForeignKey:
    actions = _ACTIONS[row["on_delete"]], _ACTIONS[row["on_update"]]
    return ForeignKey(tuple(row["columns"]), target, tuple(row["referenced"]), *actions)


def _functions(rows: list[dict[str, Any]]) -> dict[str, tuple[Function, ...]]:
    """By 'schema.name'."""
    found: dict[str, list[Function]] = defaultdict(list)
    for row in rows:
        function = Function(row["schema"], row["name"], row["language"], row["body"] or "", row["security_definer"])
        found[f"{function.schema}.{function.name}"].append(function)
    return {name: tuple(overloads) for name, overloads in found.items()}


# --- what is ours -----------------------------------------------------------------------------------------------------

_OUR_FUNCTIONS = f"""
select f.proname as name, oidvectortypes(f.proargtypes) as arguments, pg_get_functiondef(f.oid) as definition,
       pg_get_function_result(f.oid) as returns,
       (select array_agg(coalesce(r.rolname::text, 'public') order by r.rolname)
        from aclexplode(f.proacl) x left join pg_roles r on r.oid = x.grantee where x.grantee <> f.proowner) as execute
from pg_proc f join pg_namespace n on n.oid = f.pronamespace
where n.nspname = '{SCHEMA}' and f.prokind = 'f'
"""


def read_state(
    conn: psycopg.Connection[Any],
    schemas: Iterable[str],
    roles: Iterable[str],
    class_roles: Iterable[str] = (),
    only: frozenset[TableName] | None = None,
) -> State:
    """What is ours in this database, with the switches and grants of every table in `schemas`. Of `class_roles`, that
    are to be, also what they may use although nobody noted them yet. `only`: policies and triggers of these tables
    alone, for to print them takes longest.

    A `source` comes from the manifest if PostgreSQL still holds or prints for the object what was recorded; else
    it is ''.
    """
    covered, token_roles = set(schemas), {*roles, "public"}
    with conn.transaction():
        path = conn.execute("select current_setting('search_path')").fetchone()
        conn.execute(_PIN)
        installed = bool(_rows(conn, f"select from pg_class where oid = to_regclass('{SCHEMA}.manifest')"))
        manifest, printed = _manifest(conn, only) if installed else ({}, {})
        classes = class_roles_noted(conn)
        token_roles |= classes
        own = tuple(sorted({*classes, *class_roles}))
        held = _rows(conn, HELD.format(roles=sql.array(own))) if own else []
        functions, policies = _rows(conn, _OUR_FUNCTIONS), _rows(conn, _OUR_POLICIES + _of(only))
        triggers = _rows(conn, OUR_TRIGGERS)
        commented = changed_comments(conn, {r["object"]: r["place"] for r in manifest.values()})
        tables, privileges = _rows(conn, _TABLES), _rows(conn, _PRIVILEGES)
        conn.execute("select set_config('search_path', %s, true)", path)
    everything = {t["oid"]: TableName(t["schema"], t["name"]) for t in tables}
    names = {t["oid"]: everything[t["oid"]] for t in tables if t["schema"] in covered and t["kind"] in "rp"}

    def known(thing: Ours) -> Ours:
        return _as_noted(thing, manifest.get(thing.object), printed.get(thing.object))

    ours = (_our_policy(everything[p["relation"]], p) for p in policies)
    return State(
        installed=installed,
        functions={f.signature: known(f) for f in map(_our_function, functions)},
        policies={(p.table, p.name): known(p) for p in ours},
        triggers={(t.table, t.name): known(t) for t in (our_trigger(everything, row) for row in triggers)},
        switches={n: Switches(n, t["row_security"], t["force"]) for t in tables if (n := names.get(t["oid"]))},
        privileges=frozenset(
            Privilege(TableName(p["schema"], p["name"]), p["role"], p["privilege"], p["column"], p["grantable"])
            for p in privileges
            if p["oid"] in names and p["role"] in token_roles
        ),
        revoked=frozenset(Privilege.named(row["object"]) for row in manifest.values() if row["source"] == "revoked"),
        schemas=tuple(sorted(covered)) if installed else (),
        roles=tuple(sorted(token_roles - {"public"})) if installed else (),
        class_roles=classes,
        # who else may become a class role is no business of ours
        grants=frozenset(g for g in (Grant(**h) for h in held) if g.kind != "role" or g.object in manifest),
        suspended=tuple(
            sorted(o.removeprefix("suspended ") for o, r in manifest.items() if r["source"] == "suspended")
        ),
        recorded=frozenset(o for o, r in manifest.items() if o.startswith(_KEPT) and r["source"] != LEFT),
        uncommented=frozenset(commented),
    )


def _as_noted(thing: Ours, row: Row | None, now: Row | None) -> Ours:
    """The object with what its `row` of the manifest says, as far as it is still what that row is about."""
    if row is None:
        return thing
    intact = now is not None and (row["tree"] == now["tree"] or row["printed"] == now["digest"])
    facts = row["facts"] if intact else None
    meaning = json_text(facts) if facts else ""
    altered = Altered(row["source"], _kept(row["tree"], now["tree"])) if now and not intact else None
    source = row["source"] if intact else ""
    return replace(thing, source=source, place=row["place"], meaning=meaning, altered=altered)


def _kept(was: str, now: str) -> frozenset[str]:
    """The parts of a policy that are held as they were."""
    before, after = _PARTS.search(was), _PARTS.search(now)
    return frozenset(part for part in _PARTS.groupindex if before and after and before[part] == after[part])


def _of(tables: frozenset[TableName] | None) -> str:
    """A condition that a policy `p` is of one of these tables."""
    if tables is None:
        return ""
    return f" and p.polrelid in (select to_regclass(t) from unnest({sql.array(tuple(map(sql.table, tables)))}) t)"


def _manifest(
    conn: psycopg.Connection[Any], only: frozenset[TableName] | None
) -> tuple[dict[str, Row], dict[str, Row]]:
    """What was recorded, and what PostgreSQL holds, by object; of `only` these tables all there is, if so asked."""
    told, objects = "source <> 'seen'", "null"
    if only is not None:
        named = ("function ", *(f"{kind} {table} " for table in only for kind in ("policy", "trigger")))
        told = f"exists (select from unnest({sql.array(named)}) name where starts_with(object, name))"
        objects = f"array(select object from {SCHEMA}.manifest where {told})"
    facts = f"case when {told} then facts end as facts"
    recorded = _rows(conn, f"select object, source, printed, tree, place, {facts} from {SCHEMA}.manifest")
    known = _rows(conn, f"select from pg_proc where oid = to_regprocedure('{SCHEMA}.printed(text[])')")
    printed = _rows(conn, f"select object, digest, tree from {SCHEMA}.printed({objects})") if known else []
    return {r["object"]: r for r in recorded}, {p["object"]: p for p in printed}


def _our_function(row: Row) -> OurFunction:
    return OurFunction(
        row["name"], row["arguments"], row["returns"], row["definition"].rstrip(), tuple(row["execute"] or ())
    )


def _our_policy(table: TableName, row: Row) -> Policy:
    roles = tuple(sorted(row["roles"]))
    using, check = (text and text.lstrip("\n") for text in (row["using"], row["check"]))
    return Policy(table, row["name"], row["permissive"], _COMMANDS[row["command"]], roles, using, check)
