"""The schema mcp_rls: its manifest, and the functions that are the same everywhere.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = ("mcp_rls",)
depends_on = None


def upgrade() -> None:
    # neither: make the schema mcp_rls
    # neither: make function mcp_rls.claims()
    # neither: make function mcp_rls.note(text[], text[])
    # neither: make function mcp_rls.printed(text[])
    # neither: make function mcp_rls.record(jsonb)
    # neither: note in the manifest what changed
    op.execute(
        sa.text(
            r"""do $mcp_rls1$ declare was jsonb := (select jsonb_object_agg(n, current_setting(n)) from unnest('{search_path,lock_timeout,standard_conforming_strings,transform_null_equals}'::text[]) n);
    begin set local search_path = pg_catalog; set local lock_timeout = '2s'; set local standard_conforming_strings = on; set local transform_null_equals = off;
    create schema mcp_rls;
    revoke all on schema mcp_rls from public;
    create table mcp_rls.manifest (
      object text primary key,
      source text not null,
      printed text not null,
      tree text not null default '',
      place text not null,
      facts jsonb
    );
    revoke all on table mcp_rls.manifest from public;
    create or replace function mcp_rls.claims() returns jsonb
    language plpgsql stable parallel safe security definer
      set search_path = pg_catalog, pg_temp
    as $mcp_rls$
    declare
      raw constant text := nullif(current_setting('request.jwt.claims', true), '');
      document jsonb;
      shape text;
      folded text;
    begin
      if raw is null then return null; end if;
      -- Deep nesting would exhaust the stack, an error that no soft check catches.
      if length(raw) > 2000 and (length(raw) > 65536 or length(raw) - length(translate(raw, '[{', '')) > 1000) then
        return null;
      end if;
      if current_setting('server_version_num')::integer >= 160000 then
        if not pg_input_is_valid(raw, 'jsonb') then return null; end if;
      else
        shape := regexp_replace(raw, E'"(?:[^"\\\\\\x01-\\x1f]|\\\\["\\\\/bfnrt]|\\\\u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4}|\\\\u[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2})*"', '""', 'g');
        if shape ~ E'[0-9a-zA-Z".+-][ \\t\\r\\n]+[0-9a-zA-Z".+-]|"{4}' then return null; end if;
        shape := regexp_replace(shape, E'[ \\t\\r\\n]+', '', 'g');
        shape := regexp_replace(shape, '(?<![0-9a-zA-Z.+"-])(?:-?(?:0|[1-9][0-9]{0,99})(?:[.][0-9]{1,99})?(?:[eE][+-]?[0-9]{1,4})?|true|false|null)(?![0-9a-zA-Z.+"-])', '0', 'g');
        loop
          folded := regexp_replace(shape, E'\\[(?:(?:0|"")(?:,(?:0|""))*)?\\]|\\{(?:"":(?:0|"")(?:,"":(?:0|""))*)?\\}', '0', 'g');
          exit when folded = shape;
          shape := folded;
        end loop;
        if shape <> '0' and shape <> '""' then return null; end if;
      end if;
      document := raw::jsonb;
      if jsonb_typeof(document) = 'object' then return document; end if;
      return null;
    end
    $mcp_rls$;
    revoke all on function mcp_rls.claims() from public;
    create or replace function mcp_rls.note(schemas text[], roles text[]) returns void
    language plpgsql volatile parallel safe security invoker
      set search_path = pg_catalog, pg_temp
    as $mcp_rls$
    begin
      delete from mcp_rls.manifest where source = 'seen';
      insert into mcp_rls.manifest (object, source, printed, place, facts)
      select s.object, 'seen', '', '', s.facts from (
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
                 from pg_policy p where p.polrelid = c.oid and not starts_with(p.polname::text, 'mcp_rls: ')), '{}'),
               'grants', coalesce((select jsonb_object_agg(g.said, true) from (
                 select concat_ws(' ', coalesce(r.rolname, 'public'), x.privilege_type, nullif(x.name, '')) as said
                 from (select '' as name, t.* from aclexplode(c.relacl) t
                       union all
                       select a.attname, t.* from pg_attribute a cross join aclexplode(a.attacl) t
                       where a.attrelid = c.oid and a.attacl is not null and not a.attisdropped) x
                 left join pg_roles r on r.oid = x.grantee
                 where x.grantee <> c.relowner
                   and coalesce(r.rolname, 'public') = any (roles || 'public'::text)) g), '{}')
             ) as facts
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname = any (schemas)
      union all
      select format('role %s', r.rolname),
             jsonb_build_object('superuser', r.rolsuper, 'bypassrls', r.rolbypassrls, 'member_of', coalesce(
               (select jsonb_agg(g.rolname order by g.rolname) from pg_auth_members m join pg_roles g on g.oid = m.roleid
                where m.member = r.oid), '[]'))
      from pg_roles r where r.rolname = any (roles)
    ) s;
    end
    $mcp_rls$;
    revoke all on function mcp_rls.note(text[], text[]) from public;
    create or replace function mcp_rls.printed(objects text[]) returns TABLE(object text, digest text, tree text)
    language plpgsql stable parallel safe security invoker
      set search_path = pg_catalog, pg_temp
    as $mcp_rls$
    begin
      return query
      select t.object, case when t.polrelid is null then t.tree else
               md5(concat_ws(' ', split_part(t.tree, ' using ', 1), 'using', pg_get_expr(p.polqual, p.polrelid),
                             'check', pg_get_expr(p.polwithcheck, p.polrelid))) end,
             t.tree
      from (
      select p.oid, p.polrelid, format('policy %s.%s %s', n.nspname, c.relname, p.polname) as object,
             concat_ws(' ', case when p.polpermissive then 'permissive' else 'restrictive' end, p.polcmd,
               (select string_agg(coalesce(r.rolname, 'public'), ',' order by r.rolname)
                from unnest(p.polroles) member(oid) left join pg_roles r on r.oid = member.oid),
               'using', md5(p.polqual::text), 'check', md5(p.polwithcheck::text)) as tree
      from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
      where starts_with(p.polname::text, 'mcp_rls: ')
      union all
      select f.oid, null, format('function %s.%s(%s)', n.nspname, f.proname, oidvectortypes(f.proargtypes)),
             md5(concat_ws(' ', pg_get_functiondef(f.oid), f.proacl))
      from pg_proc f join pg_namespace n on n.oid = f.pronamespace
      where n.nspname = 'mcp_rls' and f.prokind = 'f'
    ) t left join pg_policy p on p.oid = t.oid and t.polrelid is not null
      where objects is null or t.object = any (objects);
    end
    $mcp_rls$;
    revoke all on function mcp_rls.printed(text[]) from public;
    create or replace function mcp_rls.record(entries jsonb) returns void
    language plpgsql volatile parallel safe security invoker
      set search_path = pg_catalog, pg_temp
    as $mcp_rls$
    begin
      insert into mcp_rls.manifest (object, source, printed, tree, place, facts)
      select e.object, e.source, coalesce(p.digest, ''), coalesce(p.tree, ''), e.place, e.facts
      from jsonb_to_recordset(entries) e(object text, source text, place text, facts jsonb)
      left join mcp_rls.printed(array(select i ->> 'object' from jsonb_array_elements(entries) i)) p on p.object = e.object
      where p.object is not null or e.source = 'revoked'
      on conflict on constraint manifest_pkey do update
        set source = excluded.source, printed = excluded.printed, tree = excluded.tree, place = excluded.place,
            facts = coalesce(excluded.facts, manifest.facts);
    end
    $mcp_rls$;
    revoke all on function mcp_rls.record(jsonb) from public;
    perform mcp_rls.record('[{"object": "function mcp_rls.claims()", "source": "95941fec6f512a1de0928f987fa5d653", "place": "", "facts": {"value": "the claims"}}, {"object": "function mcp_rls.note(text[], text[])", "source": "85cd9fadd7c9a81634e041e159e34834", "place": "", "facts": {"value": "keeps the manifest: note"}}, {"object": "function mcp_rls.printed(text[])", "source": "40c7552d4767ea89f2bb7936c10aebd8", "place": "", "facts": {"value": "what PostgreSQL prints"}}, {"object": "function mcp_rls.record(jsonb)", "source": "6df13313b3e0320493203502a3c7028f", "place": "", "facts": {"value": "keeps the manifest: record"}}]');
    perform set_config(key, value, true) from jsonb_each_text(was); end $mcp_rls1$""".replace("\n    ", "\n").replace(
                ":", r"\:"
            )
        )
    )


def downgrade() -> None:
    # neither: drop function mcp_rls.claims()
    # neither: drop function mcp_rls.note(text[], text[])
    # neither: drop function mcp_rls.printed(text[])
    # neither: drop function mcp_rls.record(jsonb)
    # neither: remove the schema mcp_rls
    op.execute(
        sa.text(
            r"""do $mcp_rls$ declare was jsonb := (select jsonb_object_agg(n, current_setting(n)) from unnest('{search_path,lock_timeout,standard_conforming_strings,transform_null_equals}'::text[]) n);
    begin set local search_path = pg_catalog; set local lock_timeout = '2s'; set local standard_conforming_strings = on; set local transform_null_equals = off;
    drop function mcp_rls.claims();
    drop function mcp_rls.note(text[], text[]);
    drop function mcp_rls.printed(text[]);
    drop function mcp_rls.record(jsonb);
    drop table mcp_rls.manifest;
    drop schema mcp_rls;
    perform set_config(key, value, true) from jsonb_each_text(was); end $mcp_rls$""".replace("\n    ", "\n").replace(
                ":", r"\:"
            )
        )
    )
