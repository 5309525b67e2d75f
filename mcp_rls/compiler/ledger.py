"""The schema mcp_rls and its manifest: what we made, what PostgreSQL held for it then, and what else decides who reads.

All of it is the same in every database. `printed` is what a plan and `record` read; `note` writes down the rest, which
`drift` compares.
"""

from __future__ import annotations

import json

from mcp_rls.abridged import PEOPLE
from mcp_rls.compiler.helpers import CLAIMS, function
from mcp_rls.compiler.suspend import RESUME, SUSPEND
from mcp_rls.state import SCHEMA, Function

LOCK_TIMEOUT = "300ms"  # whoever wants to read waits behind a waiting ALTER POLICY, so it must not wait for long
PATIENCE = 30.0  # seconds in which locks are asked for again and again

# One source of the schema itself, for direct plans; the shipped first revision holds a frozen copy.
INSTALL = (
    f"create schema {SCHEMA}",
    f"revoke all on schema {SCHEMA} from public",
    f"""create table {SCHEMA}.manifest (
  object text primary key,
  source text not null,
  printed text not null,
  tree text not null default '',
  place text not null,
  facts jsonb
)""",
    f"revoke all on table {SCHEMA}.manifest from public",
)
UNINSTALL = (
    f"drop table {SCHEMA}.manifest",
    f"drop schema {SCHEMA}",
)


# What PostgreSQL holds for each object of ours. `tree` tells a policy's parts apart and needs no lock on its table; a
# rename leaves it as it is, a dump and restore doesn't. `digest` is of the printed text, where it is the reverse. The
# body of an SQL function (BEGIN ATOMIC) isn't printed: that locks what it reads, and none of ours has one.
TREES = f"""
  select p.oid, p.polrelid, format('policy %s.%s %s', n.nspname, c.relname, p.polname) as object,
         concat_ws(' ', case when p.polpermissive then 'permissive' else 'restrictive' end, p.polcmd,
           (select string_agg(coalesce(r.rolname, 'public'), ',' order by r.rolname)
            from unnest(p.polroles) member(oid) left join pg_roles r on r.oid = member.oid),
           'using', md5(p.polqual::text), 'check', md5(p.polwithcheck::text)) as tree
  from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
  where starts_with(p.polname::text, 'mcp_rls: ')
  union all
  select f.oid, null, format('function %s.%s(%s)', n.nspname, f.proname, oidvectortypes(f.proargtypes)),
         concat_ws(' ', 'text', case when f.prosqlbody is null then md5(pg_get_functiondef(f.oid)) end,
           'owner', pg_get_userbyid(f.proowner), 'execute',
           (select string_agg(coalesce(r.rolname, 'public'), ',' order by r.rolname)
            from aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) x left join pg_roles r on r.oid = x.grantee
            where x.grantee <> f.proowner))
  from pg_proc f join pg_namespace n on n.oid = f.pronamespace
  where n.nspname = '{SCHEMA}' and f.prokind = 'f'
  union all
  select t.oid, t.tgrelid, format('trigger %s.%s %s', n.nspname, c.relname, t.tgname),
         concat_ws(' ', 'trigger', case when not exists (
             with recursive copies as (
               select t.oid, t.tgenabled
               union all select s.oid, s.tgenabled from copies join pg_trigger s on s.tgparentid = copies.oid)
             select from copies where copies.tgenabled not in ('O', 'A')) then 'enabled' else 'disabled' end,
           'text', md5(concat_ws(' ', t.tgtype, t.tgattr, t.tgfoid, t.tgargs, t.tgqual)))
  from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
  where starts_with(t.tgname::text, ' mcp_rls: ') and t.tgparentid = 0
"""
_PRINTED = f"""
begin
  return query
  select t.object, case when t.polrelid is null then t.tree
           when starts_with(t.object, 'trigger ') then
             md5(concat_ws(' ', split_part(t.tree, ' text ', 1), 'text', pg_get_triggerdef(t.oid)))
           else md5(concat_ws(' ', split_part(t.tree, ' using ', 1), 'using', pg_get_expr(p.polqual, p.polrelid),
                         'check', pg_get_expr(p.polwithcheck, p.polrelid))) end,
         t.tree
  from ({TREES}) t
  left join pg_policy p on p.oid = t.oid and p.polrelid = t.polrelid and starts_with(t.object, 'policy ')
  where objects is null or t.object = any (objects);
end
"""

# Policies that say their rules together (abridged.py) become rows of their own, with what is theirs of these, and those
# by which their rows are seen.
_RECORD = f"""
declare
  each_alone jsonb;
begin
  select jsonb_agg(jsonb_build_object('object', format('policy %s %s', s.said ->> 'policies', w.key),
    'place', concat(s.said ->> 'file', ':', substring(w.value from '(.*) ')),
    'source', substring(w.value from '[^ ]*$'),
    'facts', jsonb_strip_nulls(jsonb_build_object('may', coalesce(m.may, '{{}}'), 'values', (
      select jsonb_object_agg(v.key, v.value) from jsonb_each(s.said -> 'values') v
      where strpos(m.may::text, 'token.' || v.key) > 0))))) into each_alone
  from jsonb_array_elements(entries) s(said) cross join jsonb_each_text(s.said -> 'written') w cross join lateral (
    select jsonb_object_agg(k.who, k.facts) as may from (
      select r.key as who, jsonb_object_agg(p.part, p.rules) as facts
      from jsonb_each(s.said -> 'rules') r cross join lateral (
        select c.part, (
          select jsonb_agg(jsonb_build_object('scopes', e.rule -> 'scopes',
            'rows', case when c.command <> 'insert' then nullif(e.rule -> 'rows', '[]') end,
            'new', case when c.command in ('insert', 'update') then
              nullif(coalesce(e.rule -> 'new', e.rule -> 'rows'), '[]') end) order by e.position)
          from jsonb_array_elements(r.value) with ordinality e(rule, position)
          where e.rule -> 'may' ? c.command) as rules
        from (values ('rules', w.key), ('sees',
          case when w.key in ('update', 'delete') and r.key <> '{PEOPLE}' then 'select' end)) c(part, command)
      ) p group by r.key having bool_or(p.part = 'rules' and p.rules is not null)) k) m;
  select coalesce(each_alone, '[]') || coalesce(jsonb_agg(e), '[]') into each_alone
  from jsonb_array_elements(entries) e where not e ? 'policies';
  insert into {SCHEMA}.manifest (object, source, printed, tree, place, facts)
  select e.object, e.source, coalesce(p.digest, ''), coalesce(p.tree, ''), e.place, e.facts
  from jsonb_to_recordset(each_alone) e(object text, source text, place text, facts jsonb)
  left join {SCHEMA}.printed(array(select i ->> 'object' from jsonb_array_elements(each_alone) i)) p
    on p.object = e.object
  where p.object is not null or e.source in ('revoked', 'granted')
  on conflict on constraint manifest_pkey do update
    set source = excluded.source, printed = excluded.printed, tree = excluded.tree, place = excluded.place,
        facts = coalesce(excluded.facts, manifest.facts);
end
"""

# Carries statements out, all or none. Locks are taken first, asking again and again with short waits, as readers queue
# up behind a waiting lock; not where the transaction holds such a lock already: those readers would wait all the time.
_CHANGE = f"""
declare
  statement text;
begin
  while tables <> '' loop
    begin
      execute format('lock table %s in access exclusive mode', tables);
      exit;
    exception when lock_not_available then
      if clock_timestamp() > statement_timestamp() + '{PATIENCE:g}s'
        or exists (select from pg_locks where pid = pg_backend_pid() and mode = 'AccessExclusiveLock') then raise;
      end if;
      perform pg_sleep(0.1 + random());
    end;
  end loop;
  foreach statement in array statements loop
    execute case when parts = '{{}}' then statement else format(statement, variadic parts) end;
  end loop;
end
"""
# What a revision's text, and PostgreSQL's own print, mean by themselves; it all ends with the function.
_OWN = f"""
  set lock_timeout = '{LOCK_TIMEOUT}'
  set standard_conforming_strings = on
  set transform_null_equals = off"""

# All schemas and sequences, which a role may use.
USABLE = """select oid, 'schema ' || nspname as said, nspacl as acl from pg_namespace
           union all
           select oid, format('sequence %s.%s', relnamespace::regnamespace, relname), relacl
           from pg_class where relkind = 'S'"""
# What else decides who reaches a row, in the covered schemas: noted when a plan is carried out, compared by `drift`. Of
# the role of a class also who may take it or give it away, and what it may use in the whole database: nothing but what
# its rules need. From 16 on a membership says whether the role may be taken; before, every member may.
# {schemas} and {roles} are text[] expressions.
SEEN = """
  select format('table %s.%s', n.nspname, c.relname) as object,
         jsonb_build_object(
           'kind', c.relkind, 'owner', pg_get_userbyid(c.relowner),
           'row_security', c.relrowsecurity, 'force', c.relforcerowsecurity,
           'security_invoker', coalesce(lower(substring(array_to_string(c.reloptions, ',') from
             'security_invoker=([a-zA-Z0-9]+)')) in ('true', 'on', 'yes', '1'), false),
           'parents', coalesce((select jsonb_agg(format('%s.%s', pn.nspname, pc.relname) order by 1)
             from pg_inherits h join pg_class pc on pc.oid = h.inhparent
             join pg_namespace pn on pn.oid = pc.relnamespace where h.inhrelid = c.oid), '[]'),
           'policies', coalesce((select jsonb_object_agg(p.polname, concat_ws(' ',
               case when p.polpermissive then 'permissive' else 'restrictive' end, p.polcmd,
               (select string_agg(coalesce(r.rolname, 'public'), ',' order by r.rolname)
                from unnest(p.polroles) member(oid) left join pg_roles r on r.oid = member.oid),
               'using', md5(p.polqual::text), 'check', md5(p.polwithcheck::text)))
             from pg_policy p where p.polrelid = c.oid and not starts_with(p.polname::text, 'mcp_rls: ')), '{{}}'),
           'grants', coalesce((select jsonb_object_agg(g.said, true) from (
             select concat_ws(' ', coalesce(r.rolname, 'public'), x.privilege_type, nullif(x.name, '')) as said
             from (select '' as name, t.* from aclexplode(c.relacl) t
                   union all
                   select a.attname, t.* from pg_attribute a cross join aclexplode(a.attacl) t
                   where a.attrelid = c.oid and a.attacl is not null and not a.attisdropped) x
             left join pg_roles r on r.oid = x.grantee
             where x.grantee <> c.relowner
               and coalesce(r.rolname, 'public') = any ({roles} || 'public'::text)) g), '{{}}')
         ) as facts
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname = any ({schemas})
  union all
  select format('role %s', r.rolname),
         jsonb_build_object('superuser', r.rolsuper, 'bypassrls', r.rolbypassrls, 'createrole', r.rolcreaterole,
           'login', r.rolcanlogin, 'member_of', (select jsonb_agg(distinct g.rolname)
           from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid))
         || case when k.object is null then '{{}}' else (
           select jsonb_build_object('givers', jsonb_agg(distinct g.rolname) filter (where m.admin_option),
             'members', jsonb_agg(distinct g.rolname) filter (
               where o ->> 'set_option' is distinct from 'false' or o ->> 'inherit_option' = 'true'))
           from pg_auth_members m join pg_roles g on g.oid = m.member, to_jsonb(m) o where m.roleid = r.oid
         ) || jsonb_build_object('uses', (
           select jsonb_object_agg(concat_ws(' ', x.privilege_type, 'on', u.said), u.oid)
           from ({usable}) u, aclexplode(u.acl) x where x.grantee = r.oid)) end
  from pg_roles r left join mcp_rls.manifest k on k.object = 'class role ' || r.rolname
  where r.rolname = any ({roles})
""".replace("{usable}", USABLE)
# the same for a driver, with the parameters `schemas` and `roles`
SEEN_OF = SEEN.replace("%", "%%").format(schemas="%(schemas)s::text[]", roles="%(roles)s::text[]")
# `printed` of a table: for each policy of others a digest of its text, by name, as JSON.
_NOTE = f"""
begin
  delete from {SCHEMA}.manifest where source = 'seen';
  insert into {SCHEMA}.manifest (object, source, printed, place, facts)
  select s.object, 'seen', coalesce(t.printed, ''), '', s.facts
  from ({SEEN.format(schemas="schemas", roles="roles")}) s left join (
    select format('table %s.%s', n.nspname, c.relname) as object, jsonb_object_agg(p.polname, md5(concat_ws(' ',
      'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid))))::text as printed
    from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = any (schemas) and not starts_with(p.polname::text, 'mcp_rls: ')
    group by 1) t on t.object = s.object;
end
"""

PRINTED = function(
    "printed",
    "objects text[]",
    "TABLE(object text, digest text, tree text)",
    _PRINTED,
    arguments="text[]",
    definer=False,
    meaning='{"value":"what PostgreSQL prints"}',
)


def _keeper(name: str, parameters: str, body: str, *, arguments: str, settings: str = "", said: str = "") -> Function:
    """A function that writes the manifest, or what it tells of, for whoever carries plans out."""
    meaning = json.dumps({"value": said or f"keeps the manifest: {name}"})
    return function(
        name,
        parameters,
        "void",
        body,
        arguments=arguments,
        definer=False,
        volatility="volatile",
        parallel="unsafe",
        settings=settings,
        meaning=meaning,
    )


RECORD = _keeper("record", "entries jsonb", _RECORD, arguments="jsonb")
NOTE = _keeper("note", "schemas text[], roles text[]", _NOTE, arguments="text[], text[]")
CHANGE = _keeper(
    "change",
    "tables text, statements text[], parts text[] default '{}'",
    _CHANGE,
    arguments="text, text[], text[]",
    settings=_OWN,
    said="carries plans out",
)

# what every database has, whatever its policy file says
STATIC = (CLAIMS, PRINTED, RECORD, NOTE, CHANGE, SUSPEND, RESUME)
