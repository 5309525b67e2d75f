"""Reads the facts of a database in a few queries; it waits for nobody's lock but of a table that is being changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import dict_row

from mcp_rls.catalog import TableName
from mcp_rls.inspection.facts import (
    PUBLIC,
    Check,
    Column,
    Facts,
    ForeignKey,
    Function,
    Grant,
    Index,
    Policy,
    Relation,
    Role,
    Rule,
    Shorthand,
    Trigger,
)
from mcp_rls.state import SCHEMA

_USER = "n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
# what an extension made is the extension's business
_NOT_OF_EXTENSION = (
    "not exists (select from pg_depend x where x.classid = '{catalog}'::regclass and x.objid = {oid}"
    " and x.deptype = 'e')"
)
# the functions of a dependency d: called by name, by an operator, by a cast
_CALLED = """
        left join pg_operator o on d.refclassid = 'pg_operator'::regclass and o.oid = d.refobjid
        left join pg_cast k on d.refclassid = 'pg_cast'::regclass and k.oid = d.refobjid
        join pg_proc callee on callee.oid = case d.refclassid
          when 'pg_proc'::regclass then d.refobjid else coalesce(o.oprcode, k.castfunc) end"""

_RELATIONS = f"""
select c.oid, n.nspname as schema, c.relname as name, c.relkind::text as kind, pg_get_userbyid(c.relowner) as owner,
       c.relrowsecurity as row_security, c.relforcerowsecurity as force, c.relispartition as is_partition,
       c.reltuples as rows, coalesce(c.reloptions, '{{}}') as options,
       case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) else '' end as definition,
       (select array_agg(array[pn.nspname::text, p.relname::text]) from pg_inherits h
        join pg_class p on p.oid = h.inhparent join pg_namespace pn on pn.oid = p.relnamespace
        where h.inhrelid = c.oid) as parents,
       (select array_agg(distinct d.refobjid::bigint) from pg_rewrite w
        join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
        where w.ev_class = c.oid and w.ev_type = '1' and d.refclassid = 'pg_class'::regclass
        and d.refobjid <> c.oid) as reads,
       (select array_agg(distinct callee.oid::bigint) from pg_rewrite w
        join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid {_CALLED}
        where w.ev_class = c.oid and w.ev_type = '1') as calls
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and {_USER} and n.nspname <> '{SCHEMA}'
  and {_NOT_OF_EXTENSION.format(catalog="pg_class", oid="c.oid")}
"""
_COLUMNS = f"""
select a.attrelid as oid, a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type,
       a.attnotnull as not_null,
       coalesce((select p.proleakproof from pg_type t
                 join pg_opclass k on k.opcintype = coalesce(nullif(t.typbasetype, 0), t.oid) and k.opcdefault
                 join pg_am m on m.oid = k.opcmethod and m.amname = 'btree'
                 join pg_amop o on o.amopfamily = k.opcfamily and o.amopstrategy = 3
                   and o.amoplefttype = k.opcintype and o.amoprighttype = k.opcintype
                 join pg_operator e on e.oid = o.amopopr join pg_proc p on p.oid = e.oprcode
                 where t.oid = a.atttypid limit 1),
         a.atttypid in ('text'::regtype, 'varchar'::regtype)) as leakproof_equality
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f') and {_USER}
order by a.attrelid, a.attnum
"""
_GRANTS = f"""
select c.oid, coalesce(r.rolname::text, '{PUBLIC}') as role, x.privilege_type as privilege, x.name::text as column,
       x.is_grantable as grantable
from pg_class c join pg_namespace n on n.oid = c.relnamespace
cross join lateral (
  select '' as name, t.*
  from aclexplode(coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's'::"char" else 'r' end, c.relowner))) t
  union all
  select a.attname, t.* from pg_attribute a cross join aclexplode(a.attacl) t
  where a.attrelid = c.oid and a.attacl is not null and not a.attisdropped
) x left join pg_roles r on r.oid = x.grantee
where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and {_USER}
"""
_INDEXES = f"""
with leaking as materialized (
  select k.oid as class, o.oprname::text as operator, f.oid::regprocedure::text as function
  from pg_opclass k join pg_am m on m.oid = k.opcmethod
  join pg_amop a on a.amopfamily = k.opcfamily and a.amoppurpose = 's' and a.amoplefttype = k.opcintype
    and (m.amname not in ('btree', 'hash', 'brin') or a.amoprighttype = k.opcintype)
  join pg_operator o on o.oid = a.amopopr join pg_proc f on f.oid = o.oprcode
  where not f.proleakproof and k.opcname !~ 'pattern_ops'
  union all
  select k.oid, '~~', f.oid::regprocedure::text from pg_opclass k cross join pg_proc f
  where k.opcname ~ 'pattern_ops' and f.oid = 'textlike(text, text)'::regprocedure and not f.proleakproof
)
select i.indrelid as oid, c.relname::text as name, i.indisunique as unique, i.indisprimary as primary,
       i.indisvalid as valid, i.indpred is not null as partial, m.amname::text as method,
       coalesce(pg_get_expr(i.indexprs, i.indrelid), '') as expressions,
       (select array_agg(coalesce(a.attname::text, '') order by k.position)
        from unnest(i.indkey::int2[]) with ordinality k(number, position)
        left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
        where k.position <= i.indnkeyatts) as columns,
       i.indisunique and i.indimmediate and i.indisvalid and i.indpred is null and i.indexprs is null and not exists (
         select from unnest(i.indkey::int2[], i.indclass::oid[], i.indcollation::oid[]) k(number, class, sorted)
         join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number join pg_opclass o on o.oid = k.class
         where not o.opcdefault or a.attcollation <> k.sorted or a.atttypid = 'timestamp'::regtype or (k.sorted <> 0
           and exists (select from pg_collation c where not c.collisdeterministic))) as key,
       -- btree and hash are searched by their first column, the others by any
       (select array_agg(distinct array[l.operator, l.function]) from leaking l
        where l.class = any (case when m.amname in ('btree', 'hash') then array[i.indclass[0]]
                             else i.indclass::oid[] end)) as leaking
from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam
join pg_namespace n on n.oid = c.relnamespace where {_USER}
"""
_FOREIGN_KEYS = f"""
select k.conrelid as oid, k.conname::text as name, n.nspname as schema, t.relname as target,
       k.confdeltype::text as on_delete, k.confupdtype::text as on_update,
       (select array_agg(a.attname::text order by x.position) from unnest(k.conkey) with ordinality x(number, position)
        join pg_attribute a on a.attrelid = k.conrelid and a.attnum = x.number) as columns,
       (select array_agg(a.attname::text order by x.position) from unnest(k.confkey) with ordinality x(number, position)
        join pg_attribute a on a.attrelid = k.confrelid and a.attnum = x.number) as referenced
from pg_constraint k join pg_class t on t.oid = k.confrelid join pg_namespace n on n.oid = t.relnamespace
where k.contype = 'f' and {_USER}
"""
_TRIGGERS = f"""
select t.tgrelid as oid, t.tgname::text as name, t.tgfoid::bigint as function, t.tgenabled <> 'D' as enabled,
       array(select e.name from (values (4, 'insert'), (8, 'delete'), (16, 'update'), (32, 'truncate')) e(bit, name)
             where t.tgtype & e.bit > 0) as events,
       case when t.tgqual is not null then pg_get_triggerdef(t.oid) else '' end as definition,
       (select array_agg(distinct callee.oid::bigint) from pg_depend d {_CALLED}
        where d.classid = 'pg_trigger'::regclass and d.objid = t.oid and callee.oid <> t.tgfoid) as calls
from pg_trigger t where not t.tgisinternal
"""
_RULES = f"""
select w.ev_class as oid, w.rulename::text as name, w.ev_type::text as event, pg_get_ruledef(w.oid) as definition,
       (select array_agg(distinct callee.oid::bigint) from pg_depend d {_CALLED}
        where d.classid = 'pg_rewrite'::regclass and d.objid = w.oid) as calls
from pg_rewrite w where w.ev_type <> '1' and w.ev_enabled <> 'D'
order by w.ev_class, w.rulename
"""
_CHECKS = f"""
with recursive typed as (
  select a.attrelid as oid, a.atttypid as type from pg_attribute a join pg_class c on c.oid = a.attrelid
  join pg_namespace n on n.oid = c.relnamespace where a.attnum > 0 and c.relkind in ('r', 'p') and {_USER}
  union select y.oid, coalesce(nullif(t.typbasetype, 0), t.typelem) from typed y join pg_type t on t.oid = y.type)
select coalesce(y.oid, x.conrelid) as oid, x.conname::text as name, pg_get_expr(x.conbin, x.conrelid) as text,
       array_agg(distinct callee.oid::bigint) as calls
from pg_constraint x left join typed y on y.type = x.contypid and y.type <> 0
join pg_depend d on d.classid = 'pg_constraint'::regclass and d.objid = x.oid {_CALLED} where x.contype = 'c'
  and coalesce((to_jsonb(x) ->> 'conenforced')::boolean, true) group by 1, 2, 3 order by 1, 2
"""
_POLICIES = f"""
select p.polrelid as oid, p.polname::text as name, p.polpermissive as permissive, p.polcmd::text as command,
       (select array_agg(coalesce(r.rolname::text, '{PUBLIC}') order by r.rolname)
        from unnest(p.polroles) m(oid) left join pg_roles r on r.oid = m.oid) as roles,
       pg_get_expr(p.polqual, p.polrelid) as using, pg_get_expr(p.polwithcheck, p.polrelid) as check,
       (select array_agg(distinct d.refobjid::bigint) from pg_depend d where d.classid = 'pg_policy'::regclass
        and d.objid = p.oid and d.refclassid = 'pg_class'::regclass and d.refobjid <> p.polrelid) as relations,
       (select array_agg(distinct callee.oid::bigint) from pg_depend d {_CALLED}
        where d.classid = 'pg_policy'::regclass and d.objid = p.oid) as functions
from pg_policy p order by p.polrelid, p.polname
"""
_FUNCTIONS = f"""
select f.oid, n.nspname::text as schema, f.proname::text as name,
       pg_get_function_identity_arguments(f.oid) as arguments, oidvectortypes(f.proargtypes) as types,
       pg_get_function_result(f.oid) as returns,
       pg_get_userbyid(f.proowner) as owner, l.lanname::text as language,
       f.prosecdef as definer, f.provolatile::text as volatility, f.proparallel::text as parallel,
       f.proleakproof as leakproof, coalesce(f.proconfig, '{{}}') as settings, coalesce(f.prosrc, '') as body,
       coalesce(pg_get_function_sqlbody(f.oid), '') as sql_body,
       f.prorettype in ('trigger'::regtype, 'event_trigger'::regtype) as is_trigger,
       (select array_agg(distinct callee.oid::bigint) from pg_depend d {_CALLED}
        where d.classid = 'pg_proc'::regclass and d.objid = f.oid and callee.oid <> f.oid) as calls,
       (select array_agg(array[coalesce(r.rolname::text, '{PUBLIC}'), x.is_grantable::text])
        from aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) x
        left join pg_roles r on r.oid = x.grantee) as execute
from pg_proc f join pg_namespace n on n.oid = f.pronamespace join pg_language l on l.oid = f.prolang
where {_USER} and f.prokind in ('f', 'p') and {_NOT_OF_EXTENSION.format(catalog="pg_proc", oid="f.oid")}
"""
_SHORTHANDS = f"""
select a.aggfnoid::oid as oid, 'aggregate' as kind, n.nspname::text as schema,
       f.proname::text as name, oidvectortypes(f.proargtypes) as types,
       array[aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, aggmtransfn, aggminvtransfn,
             aggmfinalfn]::oid[]::bigint[] as functions,
       (select array_agg(coalesce(r.rolname::text, '{PUBLIC}'))
        from aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) x
        left join pg_roles r on r.oid = x.grantee) as execute
from pg_aggregate a join pg_proc f on f.oid = a.aggfnoid join pg_namespace n on n.oid = f.pronamespace
where {_USER} and {_NOT_OF_EXTENSION.format(catalog="pg_proc", oid="f.oid")}
union all
select o.oid, 'operator', n.nspname::text, o.oprname::text,
       concat_ws(', ', format_type(nullif(o.oprleft, 0), null), format_type(o.oprright, null)),
       array[o.oprcode::oid::bigint], null
from pg_operator o join pg_namespace n on n.oid = o.oprnamespace
where {_USER} and {_NOT_OF_EXTENSION.format(catalog="pg_operator", oid="o.oid")}
union all
select k.oid, 'cast', '', '', format_type(k.castsource, null) || ' to ' || format_type(k.casttarget, null),
       array[k.castfunc::bigint], null
from pg_cast k join pg_proc f on f.oid = k.castfunc join pg_namespace n on n.oid = f.pronamespace
where {_USER} and {_NOT_OF_EXTENSION.format(catalog="pg_cast", oid="k.oid")}
"""
_ROLES = """
with recursive granted as (
  select m.member, m.roleid, coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, r.rolinherit) as inherits,
         coalesce((to_jsonb(m) ->> 'set_option')::boolean, true) as settable
  from pg_auth_members m join pg_roles r on r.oid = m.member
), inherited as (
  select member, roleid from granted where inherits
  union select i.member, g.roleid from inherited i join granted g on g.member = i.roleid where g.inherits
), becoming as (
  select member, roleid from granted where settable
  union select b.member, g.roleid from becoming b join granted g on g.member = b.roleid where g.settable
)
select r.rolname::text as name, r.rolsuper as superuser, r.rolbypassrls as bypass_rls, r.rolcanlogin as login,
       coalesce((select array_agg(distinct g.rolname::text) from inherited i join pg_roles g on g.oid = i.roleid
                 where i.member = r.oid), '{}') as inherits,
       coalesce((select array_agg(distinct g.rolname::text) from becoming b join pg_roles g on g.oid = b.roleid
                 where b.member = r.oid), '{}') as can_become
from pg_roles r
"""
_SCHEMAS = f"""
select n.nspname::text as name, pg_get_userbyid(n.nspowner) as owner, coalesce(r.rolname::text, '{PUBLIC}') as role,
       x.privilege_type as privilege, x.is_grantable as grantable
from pg_namespace n left join lateral aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) x on true
left join pg_roles r on r.oid = x.grantee where {_USER}
"""
_TEMPORARY = f"""
select coalesce(r.rolname::text, '{PUBLIC}') as role
from pg_database d cross join aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) x
left join pg_roles r on r.oid = x.grantee
where d.datname = current_database() and x.privilege_type = 'TEMPORARY'
"""
_KINDS = {
    "r": "table", "p": "partitioned", "v": "view", "m": "materialized view", "f": "foreign table", "S": "sequence"
}  # fmt: skip
_COMMANDS = {"*": "all", "r": "select", "a": "insert", "w": "update", "d": "delete"}
_COMMANDS_OF_RULES = {"2": "update", "3": "insert", "4": "delete"}
_VOLATILITY = {"i": "immutable", "s": "stable", "v": "volatile"}
_PARALLEL = {"s": "safe", "r": "restricted", "u": "unsafe"}
_ACTIONS = {"a": "no action", "r": "restrict", "c": "cascade", "n": "set null", "d": "set default"}

Row = Mapping[str, Any]
Rows = dict[int, list[Row]]


def read_facts(conn: psycopg.Connection[Any]) -> Facts:
    """The database as it stands, in one transaction that is rolled back. Raises psycopg.Error."""
    with conn.transaction(force_rollback=True):
        conn.execute("set local search_path = pg_catalog")
        parts = {
            name: _by_oid(_rows(conn, query))
            for name, query in {
                "columns": _COLUMNS, "grants": _GRANTS, "indexes": _INDEXES, "keys": _FOREIGN_KEYS,
                "triggers": _TRIGGERS, "policies": _POLICIES, "checks": _CHECKS, "rules": _RULES,
            }.items()
        }  # fmt: skip
        relations = [_relation(row, parts) for row in _rows(conn, _RELATIONS)]
        functions = [_function(row) for row in _rows(conn, _FUNCTIONS)]
        roles = _rows(conn, _ROLES)
        schemas = _rows(conn, _SCHEMAS)
        extensions = _rows(conn, "select extname::text as name from pg_extension")
        temporary = _rows(conn, _TEMPORARY)
        aggregates = _rows(conn, "select distinct proname::text as name from pg_proc where prokind in ('a', 'w')")
        shorthands = _rows(conn, _SHORTHANDS)
        users = _rows(conn, "select current_user::text as name")
    grants: dict[str, set[Grant]] = {row["name"]: set() for row in schemas}
    for row in schemas:
        if row["privilege"]:
            grants[row["name"]].add(Grant(row["role"], row["privilege"], "", row["grantable"]))
    return Facts(
        version=conn.info.server_version,
        relations={r.oid: r for r in sorted(relations, key=lambda r: r.name)},
        functions={f.oid: f for f in sorted(functions, key=str)},
        roles={r["name"]: _role(r) for r in roles},
        schemas={name: frozenset(held) for name, held in grants.items()},
        schema_owners={row["name"]: row["owner"] for row in schemas},
        extensions=frozenset(e["name"] for e in extensions),
        user=users[0]["name"],
        temporary=frozenset(row["role"] for row in temporary),
        aggregates=frozenset(row["name"] for row in aggregates),
        shorthands=tuple(
            _shorthand(row) for row in sorted(shorthands, key=lambda row: (row["kind"], row["name"], row["types"]))
        ),
    )


def _rows(conn: psycopg.Connection[Any], query: str) -> list[Row]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute(query.encode()).fetchall())


def _by_oid(rows: list[Row]) -> Rows:
    found: Rows = defaultdict(list)
    for row in rows:
        found[row["oid"]].append(row)
    return found


def _relation(row: Row, parts: Mapping[str, Rows]) -> Relation:
    oid, name = row["oid"], TableName(row["schema"], row["name"])
    return Relation(
        oid=oid,
        name=name,
        kind=_KINDS[row["kind"]],
        owner=row["owner"],
        row_security=row["row_security"],
        force=row["force"],
        options=dict(option.partition("=")[::2] for option in row["options"]),
        grants=frozenset(Grant(g["role"], g["privilege"], g["column"], g["grantable"]) for g in parts["grants"][oid]),
        columns=tuple(
            Column(c["name"], c["type"], c["not_null"], c["leakproof_equality"]) for c in parts["columns"][oid]
        ),
        indexes=tuple(_index(i) for i in parts["indexes"][oid]),
        foreign_keys=tuple(_foreign_key(k) for k in parts["keys"][oid]),
        triggers=tuple(map(_trigger, parts["triggers"][oid])),
        policies=tuple(_policy(name, p) for p in parts["policies"][oid]),
        parents=tuple(TableName(*pair) for pair in row["parents"] or ()),
        is_partition=row["is_partition"],
        definition=row["definition"] or "",
        reads=frozenset(row["reads"] or ()),
        calls=frozenset(row["calls"] or ()),
        rows=row["rows"],
        checks=tuple(Check(k["name"], k["text"], frozenset(k["calls"])) for k in parts["checks"][oid]),
        rules=tuple(
            Rule(w["name"], _COMMANDS_OF_RULES[w["event"]], w["definition"], frozenset(w["calls"] or ()))
            for w in parts["rules"][oid]
        ),
    )


def _index(row: Row) -> Index:
    return Index(
        row["name"], tuple(row["columns"] or ()), row["unique"], row["primary"], row["valid"], row["partial"],
        row["method"], row["expressions"], tuple((operator, function) for operator, function in row["leaking"] or ()),
        row["key"],
    )  # fmt: skip


def _foreign_key(row: Row) -> ForeignKey:
    return ForeignKey(
        row["name"], tuple(row["columns"]), TableName(row["schema"], row["target"]), tuple(row["referenced"]),
        _ACTIONS[row["on_delete"]], _ACTIONS[row["on_update"]],
    )  # fmt: skip


def _trigger(row: Row) -> Trigger:
    events, calls = frozenset(row["events"]), frozenset(row["calls"] or ())
    return Trigger(row["name"], row["function"], row["enabled"], events, row["definition"], calls)


def _policy(table: TableName, row: Row) -> Policy:
    return Policy(
        table, row["name"], row["permissive"], _COMMANDS[row["command"]], tuple(row["roles"]), row["using"],
        row["check"], frozenset(row["relations"] or ()), frozenset(row["functions"] or ()),
    )  # fmt: skip


def _function(row: Row) -> Function:
    return Function(
        oid=row["oid"],
        schema=row["schema"],
        name=row["name"],
        arguments=row["arguments"],
        returns=row["returns"] or "",
        owner=row["owner"],
        language=row["language"],
        definer=row["definer"],
        volatility=_VOLATILITY[row["volatility"]],
        parallel=_PARALLEL[row["parallel"]],
        leakproof=row["leakproof"],
        settings=tuple(row["settings"]),
        body=row["body"],
        sql_body=row["sql_body"],
        execute=frozenset(Grant(role, "EXECUTE", "", grantable == "true") for role, grantable in row["execute"] or ()),
        is_trigger=row["is_trigger"],
        types=row["types"],
        calls=frozenset(row["calls"] or ()),
    )


def _shorthand(row: Row) -> Shorthand:
    return Shorthand(
        row["oid"], row["kind"], row["schema"], row["name"], row["types"], frozenset(row["functions"]),
        frozenset(Grant(role, "EXECUTE") for role in row["execute"] or ()),
    )  # fmt: skip


def _role(row: Row) -> Role:
    return Role(
        row["name"], row["superuser"], row["bypass_rls"], row["login"], frozenset(row["inherits"]),
        frozenset(row["can_become"]),
    )  # fmt: skip
