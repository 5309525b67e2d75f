"""The schema mcp_rls: its manifest, and the functions that are the same everywhere.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = ("mcp_rls",)
depends_on = None


def policies(lock, changes):  # one statement, done whole or not at all; no reader waits for it for long
    op.execute(rf"""do $policies$ declare was json; own json := '{{"search_path": "pg_catalog", "lock_timeout": "300ms", "standard_conforming_strings": "on",
    "transform_null_equals": "off"}}'; begin was := pg_catalog.json_object_agg(key, current_setting(key)) from json_each(own); perform set_config(key, value,
    true) from json_each_text(own); loop begin {lock} exit; exception when lock_not_available then if clock_timestamp() > statement_timestamp() + '30s' or
    exists (select from pg_locks where pid = pg_backend_pid() and mode = 'AccessExclusiveLock') then raise; end if; perform pg_sleep(0.1 + random()); end; end
    loop; {changes} perform set_config(key, value, true) from json_each_text(was); end $policies$""".replace("\n    ", "\n").replace(":", r"\:"))


def upgrade() -> None:
    # make the schema mcp_rls
    # make function mcp_rls.change(text, text[], text[])
    # make function mcp_rls.claims()
    # make function mcp_rls.note(text[], text[])
    # make function mcp_rls.printed(text[])
    # make function mcp_rls.record(jsonb)
    # make function mcp_rls.resume(text[])
    # make function mcp_rls.suspend(regclass[])
    # note in the manifest what changed
    policies('null;', r"""create schema mcp_rls;
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
    create or replace function mcp_rls.change(tables text, statements text[], parts text[] default '{}') returns void
    language plpgsql volatile parallel unsafe security invoker
      set search_path = pg_catalog, pg_temp
      set lock_timeout = '300ms'
      set standard_conforming_strings = on
      set transform_null_equals = off
    as $mcp_rls$
    declare
      statement text;
    begin
      while tables <> '' loop
        begin
          execute format('lock table %s in access exclusive mode', tables);
          exit;
        exception when lock_not_available then
          if clock_timestamp() > statement_timestamp() + '30s'
            or exists (select from pg_locks where pid = pg_backend_pid() and mode = 'AccessExclusiveLock') then raise;
          end if;
          perform pg_sleep(0.1 + random());
        end;
      end loop;
      foreach statement in array statements loop
        execute case when parts = '{}' then statement else format(statement, variadic parts) end;
      end loop;
    end
    $mcp_rls$;
    revoke all on function mcp_rls.change(text, text[], text[]) from public;
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
    language plpgsql volatile parallel unsafe security invoker
      set search_path = pg_catalog, pg_temp
    as $mcp_rls$
    begin
      delete from mcp_rls.manifest where source = 'seen';
      insert into mcp_rls.manifest (object, source, printed, place, facts)
      select s.object, 'seen', coalesce(t.printed, ''), '', s.facts
      from (
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
             jsonb_build_object('superuser', r.rolsuper, 'bypassrls', r.rolbypassrls, 'createrole', r.rolcreaterole,
               'login', r.rolcanlogin, 'member_of', (select jsonb_agg(distinct g.rolname)
               from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid))
             || case when k.object is null then '{}' else (
               select jsonb_build_object('givers', jsonb_agg(distinct g.rolname) filter (where m.admin_option),
                 'members', jsonb_agg(distinct g.rolname) filter (
                   where o ->> 'set_option' is distinct from 'false' or o ->> 'inherit_option' = 'true'))
               from pg_auth_members m join pg_roles g on g.oid = m.member, to_jsonb(m) o where m.roleid = r.oid
             ) || jsonb_build_object('uses', (
               select jsonb_object_agg(concat_ws(' ', x.privilege_type, 'on', u.said), u.oid)
               from (select oid, 'schema ' || nspname as said, nspacl as acl from pg_namespace
               union all
               select oid, format('sequence %s.%s', relnamespace::regnamespace, relname), relacl
               from pg_class where relkind = 'S') u, aclexplode(u.acl) x where x.grantee = r.oid)) end
      from pg_roles r left join mcp_rls.manifest k on k.object = 'class role ' || r.rolname
      where r.rolname = any (roles)
    ) s left join (
        select format('table %s.%s', n.nspname, c.relname) as object, jsonb_object_agg(p.polname, md5(concat_ws(' ',
          'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid))))::text as printed
        from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = any (schemas) and not starts_with(p.polname::text, 'mcp_rls: ')
        group by 1) t on t.object = s.object;
    end
    $mcp_rls$;
    revoke all on function mcp_rls.note(text[], text[]) from public;
    create or replace function mcp_rls.printed(objects text[]) returns TABLE(object text, digest text, tree text)
    language plpgsql stable parallel safe security invoker
      set search_path = pg_catalog, pg_temp
    as $mcp_rls$
    begin
      return query
      select t.object, case when t.polrelid is null then t.tree
               when starts_with(t.object, 'trigger ') then
                 md5(concat_ws(' ', split_part(t.tree, ' text ', 1), 'text', pg_get_triggerdef(t.oid)))
               else md5(concat_ws(' ', split_part(t.tree, ' using ', 1), 'using', pg_get_expr(p.polqual, p.polrelid),
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
             concat_ws(' ', 'text', case when f.prosqlbody is null then md5(pg_get_functiondef(f.oid)) end,
               'owner', pg_get_userbyid(f.proowner), 'execute',
               (select string_agg(coalesce(r.rolname, 'public'), ',' order by r.rolname)
                from aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) x left join pg_roles r on r.oid = x.grantee
                where x.grantee <> f.proowner))
      from pg_proc f join pg_namespace n on n.oid = f.pronamespace
      where n.nspname = 'mcp_rls' and f.prokind = 'f'
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
    ) t
      left join pg_policy p on p.oid = t.oid and p.polrelid = t.polrelid and starts_with(t.object, 'policy ')
      where objects is null or t.object = any (objects);
    end
    $mcp_rls$;
    revoke all on function mcp_rls.printed(text[]) from public;
    create or replace function mcp_rls.record(entries jsonb) returns void
    language plpgsql volatile parallel unsafe security invoker
      set search_path = pg_catalog, pg_temp
    as $mcp_rls$
    declare
      each_alone jsonb;
    begin
      select jsonb_agg(jsonb_build_object('object', format('policy %s %s', s.said ->> 'policies', w.key),
        'place', concat(s.said ->> 'file', ':', substring(w.value from '(.*) ')),
        'source', substring(w.value from '[^ ]*$'),
        'facts', jsonb_strip_nulls(jsonb_build_object('may', coalesce(m.may, '{}'), 'values', (
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
              case when w.key in ('update', 'delete') and r.key <> 'people' then 'select' end)) c(part, command)
          ) p group by r.key having bool_or(p.part = 'rules' and p.rules is not null)) k) m;
      select coalesce(each_alone, '[]') || coalesce(jsonb_agg(e), '[]') into each_alone
      from jsonb_array_elements(entries) e where not e ? 'policies';
      insert into mcp_rls.manifest (object, source, printed, tree, place, facts)
      select e.object, e.source, coalesce(p.digest, ''), coalesce(p.tree, ''), e.place, e.facts
      from jsonb_to_recordset(each_alone) e(object text, source text, place text, facts jsonb)
      left join mcp_rls.printed(array(select i ->> 'object' from jsonb_array_elements(each_alone) i)) p
        on p.object = e.object
      where p.object is not null or e.source in ('revoked', 'granted')
      on conflict on constraint manifest_pkey do update
        set source = excluded.source, printed = excluded.printed, tree = excluded.tree, place = excluded.place,
            facts = coalesce(excluded.facts, manifest.facts);
    end
    $mcp_rls$;
    revoke all on function mcp_rls.record(jsonb) from public;
    create or replace function mcp_rls.resume(without text[] default '{}') returns void
    language plpgsql volatile parallel safe security invoker
      set search_path = pg_catalog, pg_temp
      set standard_conforming_strings = on
      set transform_null_equals = off
      set datestyle = 'ISO'
      set intervalstyle = 'postgres'
      set extra_float_digits = 1
    as $mcp_rls$
    declare
      held record;
      policy record;
      given_up boolean;
      entries jsonb := '[]';
    begin
      perform pg_advisory_xact_lock(hashtext('mcp_rls.apply'));
      for held in
        -- a table may have been renamed since, or restored elsewhere
        select substr(m.object, 11) as name, m.facts ->> 'oid' as oid, m.facts -> 'policies' as policies,
          m.facts -> 'triggers' as triggers, (
          select s.polrelid::regclass from pg_policy s where s.polname = 'mcp_rls: suspended'
            and (s.polrelid::text = m.facts ->> 'oid' or s.polrelid::regclass::text = substr(m.object, 11))
          order by s.polrelid::text <> m.facts ->> 'oid' limit 1) as relation
        from mcp_rls.manifest m where m.source = 'suspended' order by m.object
      loop
        if held.relation is null and (to_regclass(held.name) is not null
            or exists (select from pg_class c where c.oid::text = held.oid)) then
          raise '% has lost its policy "mcp_rls: suspended"', held.name using errcode = 'object_not_in_prerequisite_state',
            hint = 'Its policies are noted in mcp_rls.manifest; make it suspended again, or delete the note.';
        end if;
        continue when held.relation is null;  -- dropped
        for policy in
          select x.* from jsonb_to_recordset(held.policies) x(name text, permissive boolean, command text, roles text,
            "using" text, "check" text, comment text, columns jsonb, entry jsonb)
          where not exists (select from pg_policy p where p.polrelid = held.relation and p.polname = x.name)
          order by x.permissive, x.name
        loop
          given_up := format('%s on %s', policy.name, held.relation) = any (without);
          continue when given_up and policy.permissive;
          begin
            execute format('create policy %I on %s as %s for %s to %s%s%s', policy.name, held.relation,
              case when policy.permissive then 'permissive' else 'restrictive' end, policy.command, policy.roles,
              ' using (' || case when given_up and policy."using" <> '' then 'false' else policy."using" end || ')',
              ' with check (' || case when given_up and policy."check" <> '' then 'false' else policy."check" end || ')');
          exception when others then
            raise 'policy % on % can''t be made again: %', quote_ident(policy.name), held.relation, sqlerrm
              using errcode = sqlstate, hint = format('Make it anew before mcp_rls.resume, or give it up:'
                ' select mcp_rls.resume(array[%L])', format('%s on %s', policy.name, held.relation));
          end;
          if policy.comment <> '' then
            execute format('comment on policy %I on %s is %L', policy.name, held.relation, policy.comment);
          end if;
          continue when given_up;
          if policy.columns is distinct from (
            select (select jsonb_object_agg(concat(d.refobjid::regclass, ' ', a.attname), case
                   when a.atttypid::regtype = any ('{smallint,integer,bigint,numeric}'::regtype[]) then 'a number'
                   when a.atttypid::regtype = any ('{text,varchar}'::regtype[]) then 'a text'
                   else format_type(a.atttypid, null) end)
                 from pg_depend d join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
                 where d.classid = 'pg_policy'::regclass and d.objid = p.oid and d.refclassid = 'pg_class'::regclass) from pg_policy p where p.polrelid = held.relation and p.polname = policy.name
          ) then
            delete from mcp_rls.manifest m where m.object = policy.entry ->> 'object';  -- the next plan writes it
          else entries := entries || coalesce(policy.entry, '[]');
          end if;
        end loop;
        for policy in
          select x.* from jsonb_to_recordset(held.triggers) x(name text, definition text, watched text[], comment text,
            entry jsonb)
          where not exists (select from pg_trigger t where t.tgrelid = held.relation and t.tgname = x.name)
        loop
          -- of columns that are gone there is nothing to watch
          continue when policy.watched <> '{}' and (select string_agg(quote_ident(w.name), ', ' order by w.position) from unnest(policy.watched) with ordinality w(name, position) where exists (
            select from pg_attribute a where a.attrelid = held.relation and a.attname = w.name and not a.attisdropped)) is null;
          execute replace(policy.definition, format(' OF %s ON ', (select string_agg(quote_ident(w.name), ', ' order by w.position) from unnest(policy.watched) with ordinality w(name, position))), format(' OF %s ON ', (select string_agg(quote_ident(w.name), ', ' order by w.position) from unnest(policy.watched) with ordinality w(name, position) where exists (
            select from pg_attribute a where a.attrelid = held.relation and a.attname = w.name and not a.attisdropped))));
          if policy.comment <> '' then
            execute format('comment on trigger %I on %s is %L', policy.name, held.relation, policy.comment);
          end if;
          entries := entries || coalesce(policy.entry, '[]');
        end loop;
        execute format('drop policy %I on %s', 'mcp_rls: suspended', held.relation);
      end loop;
      perform mcp_rls.record(entries);
      delete from mcp_rls.manifest m where m.source = 'suspended';
    end
    $mcp_rls$;
    revoke all on function mcp_rls.resume(text[]) from public;
    create or replace function mcp_rls.suspend(variadic tables regclass[]) returns void
    language plpgsql volatile parallel safe security invoker
      set search_path = pg_catalog, pg_temp
      set standard_conforming_strings = on
      set transform_null_equals = off
      set datestyle = 'ISO'
      set intervalstyle = 'postgres'
      set extra_float_digits = 1
    as $mcp_rls$
    declare
      shut regclass[] := '{}';
      relation regclass;
      policy record;
    begin
      if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
        raise 'mcp_rls.suspend needs READ COMMITTED: an older snapshot may miss a policy'
          using errcode = 'active_sql_transaction';
      end if;
      perform pg_advisory_xact_lock(hashtext('mcp_rls.apply'));
      if exists (select from mcp_rls.manifest m where m.source = 'suspended') then
        raise '% is still there', (select min(m.object) from mcp_rls.manifest m where m.source = 'suspended')
          using errcode = 'object_not_in_prerequisite_state', hint = 'Name all tables in one call of mcp_rls.suspend.'
            ' What was left suspended ends with select mcp_rls.resume().';
      end if;
      loop
        with recursive reached(relation) as (
          select unnest(tables)::oid
          union
          select further.relation from reached r cross join lateral (
            select h.inhrelid as relation from pg_inherits h where h.inhparent = r.relation
            union all
            select coalesce(p.polrelid, w.ev_class) from pg_depend d
            left join pg_policy p on d.classid = 'pg_policy'::regclass and p.oid = d.objid
            left join pg_rewrite w on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid
            where d.refclassid = 'pg_class'::regclass and d.refobjid = r.relation
              and d.classid in ('pg_policy'::regclass, 'pg_rewrite'::regclass)) further
        )
        select r.relation into relation from reached r
        where (r.relation = any (tables) or exists (select from pg_policy p where p.polrelid = r.relation))
          and r.relation <> all (shut)
        order by r.relation <> all (tables), r.relation limit 1;
        exit when not found;
        execute format('create policy %I on %s as restrictive using (false) with check (false)', 'mcp_rls: suspended', relation);
        shut := shut || relation;
      end loop;
      insert into mcp_rls.manifest (object, source, printed, place, facts)
      -- what was changed by hand is not vouched for afterwards either
      with known as (select m.object, to_jsonb(m) as entry from mcp_rls.manifest m join mcp_rls.printed(null) h
                     on h.object = m.object and (h.tree = m.tree or h.digest = m.printed))
      select format('suspended %s', s.relation::regclass), 'suspended', '', '', jsonb_build_object('oid', s.relation,
        'policies', (select coalesce(jsonb_agg(jsonb_build_object('name', p.polname, 'permissive', p.polpermissive,
          'command', case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update'
                     when 'd' then 'delete' else 'all' end,
          'roles', (select string_agg(case m.id when 0 then 'public' else m.id::regrole::text end, ', ')
                    from unnest(p.polroles) m(id)),
          'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid),
          'comment', obj_description(p.oid, 'pg_policy'), 'columns', (select jsonb_object_agg(concat(d.refobjid::regclass, ' ', a.attname), case
                   when a.atttypid::regtype = any ('{smallint,integer,bigint,numeric}'::regtype[]) then 'a number'
                   when a.atttypid::regtype = any ('{text,varchar}'::regtype[]) then 'a text'
                   else format_type(a.atttypid, null) end)
                 from pg_depend d join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
                 where d.classid = 'pg_policy'::regclass and d.objid = p.oid and d.refclassid = 'pg_class'::regclass), 'entry', e.entry)), '[]')
        from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
        left join known e on e.object = format('policy %s.%s %s', n.nspname, c.relname, p.polname)
        where p.polrelid = s.relation and p.polname <> 'mcp_rls: suspended'), 'triggers', (
        select coalesce(jsonb_agg(jsonb_build_object('name', t.tgname, 'definition', pg_get_triggerdef(t.oid), 'watched',
          array(select a.attname::text from unnest(t.tgattr::int2[]) with ordinality w(number, position)
                 join pg_attribute a on a.attrelid = t.tgrelid and a.attnum = w.number order by w.position), 'comment', obj_description(t.oid, 'pg_trigger'), 'entry', e.entry)), '[]')
        from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
        left join known e on e.object = format('trigger %s.%s %s', n.nspname, c.relname, t.tgname)
        where t.tgrelid = s.relation and t.tgparentid = 0 and starts_with(t.tgname::text, ' mcp_rls: ')))
      from unnest(shut::oid[]) s(relation);
      for policy in
        select p.polname, p.polrelid::regclass as relation from pg_policy p
        where p.polrelid = any (shut) and p.polname <> 'mcp_rls: suspended'
      loop
        execute format('drop policy %I on %s', policy.polname, policy.relation);
      end loop;
      -- a trigger of ours stands on the columns that it watches, as a policy on those that it reads
      for policy in
        select t.tgname, t.tgrelid::regclass as relation from pg_trigger t
        where t.tgrelid = any (shut) and t.tgparentid = 0 and starts_with(t.tgname::text, ' mcp_rls: ')
      loop
        execute format('drop trigger %I on %s', policy.tgname, policy.relation);
      end loop;
    end
    $mcp_rls$;
    revoke all on function mcp_rls.suspend(regclass[]) from public;
    perform mcp_rls.record(/* what each says, for later plans */ $json$[{"object":"function mcp_rls.change(text, text[], text[])",
      "source":"7ec1c0ed92c1cd070a389624783eb248","place":"","facts":{"value":"carries plans out"}},{"object":"function mcp_rls.claims()",
      "source":"95941fec6f512a1de0928f987fa5d653","place":"","facts":{"value":"the claims"}},{"object":"function mcp_rls.note(text[], text[])",
      "source":"0b046b88462526b6028a285dcfb47aa6","place":"","facts":{"value":"keeps the manifest: note"}},{"object":"function mcp_rls.printed(text[])",
      "source":"cab811820a17edd72a34ef4175426aa4","place":"","facts":{"value":"what PostgreSQL prints"}},{"object":"function mcp_rls.record(jsonb)",
      "source":"f2bd6efff63abf21c7f3307994223fd4","place":"","facts":{"value":"keeps the manifest: record"}},{"object":"function mcp_rls.resume(text[])",
      "source":"e12c2cb4f8b5845c4736f7808f390427","place":"","facts":{"value":"makes the policies of suspended tables again"}},
      {"object":"function mcp_rls.suspend(regclass[])","source":"bf8576f1c7d3d473b50fef27139350df","place":"",
      "facts":{"value":"closes tables and takes their policies away"}}]$json$);""")


def downgrade() -> None:
    # drop function mcp_rls.suspend(regclass[])
    # drop function mcp_rls.record(jsonb)
    # drop function mcp_rls.resume(text[])
    # drop function mcp_rls.change(text, text[], text[])
    # drop function mcp_rls.claims()
    # drop function mcp_rls.note(text[], text[])
    # drop function mcp_rls.printed(text[])
    # remove the schema mcp_rls
    policies('null;', r"""drop function mcp_rls.suspend(regclass[]);
    drop function mcp_rls.record(jsonb);
    drop function mcp_rls.resume(text[]);
    drop function mcp_rls.change(text, text[], text[]);
    drop function mcp_rls.claims();
    drop function mcp_rls.note(text[], text[]);
    drop function mcp_rls.printed(text[]);
    drop table mcp_rls.manifest;
    drop schema mcp_rls;""")
