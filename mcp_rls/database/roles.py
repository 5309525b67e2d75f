"""Roles of the server, and what those of classes hold beside privileges on tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg

from mcp_rls.catalog import Role
from mcp_rls.state import LEFT, SCHEMA

ROLES = """
with recursive granted as (
  -- from 16 on each membership says whether it is inherited and whether the role may be taken; before, the member says
  -- the one, and the other goes without saying
  select m.member, m.roleid, coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, r.rolinherit) as inherits,
         coalesce((to_jsonb(m) ->> 'set_option')::boolean, true) as takes
  from pg_auth_members m join pg_roles r on r.oid = m.member
), reach as (
  select m.member, m.roleid from granted m where m.inherits
  union
  select reach.member, m.roleid from reach join granted m on m.member = reach.roleid where m.inherits
), taken as (
  select m.member, m.roleid from granted m where m.takes
  union
  select taken.member, m.roleid from taken join granted m on m.member = taken.roleid where m.takes
)
select r.rolname as name, r.rolsuper as superuser, r.rolbypassrls as bypass_rls, r.rolcanlogin as login,
       r.rolinherit as inherits, r.rolcreaterole as creates_roles,
       coalesce((select min(pg_describe_object(d.classid, d.objid, 0)) from pg_shdepend d
                 where d.refclassid = 'pg_authid'::regclass and d.refobjid = r.oid and d.deptype = 'o'
                   and d.dbid in (0, (select oid from pg_database where datname = current_database()))), '') as owns,
       coalesce((select array_agg(distinct g.rolname::text) from reach join pg_roles g on g.oid = reach.roleid
                 where reach.member = r.oid), '{}') as member_of,
       coalesce((select array_agg(g.rolname::text) from pg_auth_members m join pg_roles g on g.oid = m.roleid
                 where m.member = r.oid), '{}') as granted,
       coalesce((select array_agg(distinct g.rolname::text) from taken join pg_roles g on g.oid = taken.member
                 where taken.roleid = r.oid and g.rolcanlogin and not g.rolsuper and not g.rolbypassrls), '{}')
         as taken_by
from pg_roles r
"""
# who may take a role is said by the membership from 16 on; before, every member may
HELD = """
select r.rolname as role, 'schema' as kind, n.nspname as name, '' as schema
from pg_namespace n cross join aclexplode(n.nspacl) x join pg_roles r on r.oid = x.grantee
where x.privilege_type = 'USAGE' and r.rolname = any ({roles})
union all
select r.rolname, 'sequence', c.relname, n.nspname
from pg_class c join pg_namespace n on n.oid = c.relnamespace cross join aclexplode(c.relacl) x
join pg_roles r on r.oid = x.grantee
where c.relkind = 'S' and x.privilege_type = 'USAGE' and r.rolname = any ({roles})
union all
select u.rolname, 'role', r.rolname, ''
from pg_auth_members m join pg_roles r on r.oid = m.roleid join pg_roles u on u.oid = m.member
where coalesce((to_jsonb(m) ->> 'set_option')::boolean, true) and r.rolname = any ({roles})
"""


def role(row: Mapping[str, Any]) -> Role:
    """The role in a row of that query."""
    lists = ("member_of", "granted", "taken_by")
    return Role(**{**row, **{name: frozenset(row[name]) for name in lists}})


def class_roles_noted(conn: psycopg.Connection[Any], *, left: bool = False) -> frozenset[str]:
    """The class roles that were noted and are there; none for whom the manifest isn't readable. `left`: those whose
    class is gone from the file.
    """
    readable = f"""select from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = '{SCHEMA}' and c.relname = 'manifest' and has_schema_privilege(n.oid, 'usage')
          and has_table_privilege(c.oid, 'select')"""
    if conn.execute(readable.encode()).fetchone() is None:
        return frozenset()
    noted = f"""select r.rolname from pg_roles r join {SCHEMA}.manifest m on m.object = 'class role ' || r.rolname
        where m.source = '{LEFT if left else "granted"}'"""
    return frozenset(str(row[0]) for row in conn.execute(noted.encode()))
