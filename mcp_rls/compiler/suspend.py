"""mcp_rls.suspend and mcp_rls.resume: a migration's way past the policies that stand on a column, without opening it.

PostgreSQL refuses to change the type of a column, or to drop it, while a policy of any table reads it, or a guard of
columns watches it. So:

    select mcp_rls.suspend('public.tickets');     -- several: suspend('public.tickets', 'public.comments')
    alter table public.tickets alter column number type bigint;
    select mcp_rls.resume();

in one transaction is all of it, from any tool. A table that is suspended lets nobody pass but its owner and those whom
row security never binds. If the transaction is committed half way, that remains so until `resume`.

- Another type: as above. Policies are made again from what PostgreSQL prints for them. Where that no longer fits (text
  that became an enum), `resume` says which policy, and nothing is changed.
- Another name: nothing is needed, policies follow their columns and tables. Then the policy file follows, and a plan.
  Inside the brackets a table's or column's old name is the one that counts; rename outside them.
- No column any more: first the policy file without it, carried out; then the column can go, without any of this. To do
  it the other way round, give up what can't stand any longer, `resume(array['owner only on public.tickets'])`, or make
  such a policy anew before `resume`, which leaves alone what is there.

What is given up opens nothing: a permissive policy stays away, and a RESTRICTIVE one comes back with `false`, until a
plan writes it (ours) or somebody does (the app's).
"""

from __future__ import annotations

import json

from mcp_rls.compiler.helpers import AUTHOR_SETTINGS, function
from mcp_rls.state import PREFIX, SCHEMA, Function

SUSPENDED = f"{PREFIX}suspended"  # the policy that closes a table

# Constants are printed so that another session reads them as they were meant, whatever its DateStyle.
_SETTINGS = (
    AUTHOR_SETTINGS + "\n  set datestyle = 'ISO'\n  set intervalstyle = 'postgres'\n  set extra_float_digits = 1"
)

# Beside a plan that is carried out (database/apply.py takes the same), or beside another of these, neither would know
# what it has before it.
_ALONE = "perform pg_advisory_xact_lock(hashtext('mcp_rls.apply'));"

# The columns that the policy `p` reads, and their types. Text printed for one type means the same for another of its
# family; beyond it the compiler's own text could mean something else (text against citext, date against timestamp).
_COLUMNS = """(select jsonb_object_agg(concat(d.refobjid::regclass, ' ', a.attname), case
               when a.atttypid::regtype = any ('{smallint,integer,bigint,numeric}'::regtype[]) then 'a number'
               when a.atttypid::regtype = any ('{text,varchar}'::regtype[]) then 'a text'
               else format_type(a.atttypid, null) end)
             from pg_depend d join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
             where d.classid = 'pg_policy'::regclass and d.objid = p.oid and d.refclassid = 'pg_class'::regclass)"""

# The columns that the trigger `t` watches, in order; and, of such a list, what stands in its definition.
_WATCHED = """array(select a.attname::text from unnest(t.tgattr::int2[]) with ordinality w(number, position)
             join pg_attribute a on a.attrelid = t.tgrelid and a.attnum = w.number order by w.position)"""
_LIST = "(select string_agg(quote_ident(w.name), ', ' order by w.position) from unnest(policy.watched)"
_LIST += " with ordinality w(name, position))"
_STILL_THERE = (
    _LIST[:-1]
    + """ where exists (
        select from pg_attribute a where a.attrelid = held.relation and a.attname = w.name and not a.attisdropped))"""
)

# What reads a suspended table would find nothing in it, and "no such row" can open: so it is closed as well. The notes
# are rows of the manifest, for who may write those has them carried out.
_SUSPEND = f"""
declare
  shut regclass[] := '{{}}';
  relation regclass;
  policy record;
begin
  if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
    raise 'mcp_rls.suspend needs READ COMMITTED: an older snapshot may miss a policy'
      using errcode = 'active_sql_transaction';
  end if;
  {_ALONE}
  if exists (select from {SCHEMA}.manifest m where m.source = 'suspended') then
    raise '% is still there', (select min(m.object) from {SCHEMA}.manifest m where m.source = 'suspended')
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
    execute format('create policy %I on %s as restrictive using (false) with check (false)', '{SUSPENDED}', relation);
    shut := shut || relation;
  end loop;
  insert into {SCHEMA}.manifest (object, source, printed, place, facts)
  -- what was changed by hand is not vouched for afterwards either
  with known as (select m.object, to_jsonb(m) as entry from {SCHEMA}.manifest m join {SCHEMA}.printed(null) h
                 on h.object = m.object and (h.tree = m.tree or h.digest = m.printed))
  select format('suspended %s', s.relation::regclass), 'suspended', '', '', jsonb_build_object('oid', s.relation,
    'policies', (select coalesce(jsonb_agg(jsonb_build_object('name', p.polname, 'permissive', p.polpermissive,
      'command', case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update'
                 when 'd' then 'delete' else 'all' end,
      'roles', (select string_agg(case m.id when 0 then 'public' else m.id::regrole::text end, ', ')
                from unnest(p.polroles) m(id)),
      'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid),
      'comment', obj_description(p.oid, 'pg_policy'), 'columns', {_COLUMNS}, 'entry', e.entry)), '[]')
    from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
    left join known e on e.object = format('policy %s.%s %s', n.nspname, c.relname, p.polname)
    where p.polrelid = s.relation and p.polname <> '{SUSPENDED}'), 'triggers', (
    select coalesce(jsonb_agg(jsonb_build_object('name', t.tgname, 'definition', pg_get_triggerdef(t.oid), 'watched',
      {_WATCHED}, 'comment', obj_description(t.oid, 'pg_trigger'), 'entry', e.entry)), '[]')
    from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
    left join known e on e.object = format('trigger %s.%s %s', n.nspname, c.relname, t.tgname)
    where t.tgrelid = s.relation and t.tgparentid = 0 and starts_with(t.tgname::text, ' {PREFIX}')))
  from unnest(shut::oid[]) s(relation);
  for policy in
    select p.polname, p.polrelid::regclass as relation from pg_policy p
    where p.polrelid = any (shut) and p.polname <> '{SUSPENDED}'
  loop
    execute format('drop policy %I on %s', policy.polname, policy.relation);
  end loop;
  -- a trigger of ours stands on the columns that it watches, as a policy on those that it reads
  for policy in
    select t.tgname, t.tgrelid::regclass as relation from pg_trigger t
    where t.tgrelid = any (shut) and t.tgparentid = 0 and starts_with(t.tgname::text, ' {PREFIX}')
  loop
    execute format('drop trigger %I on %s', policy.tgname, policy.relation);
  end loop;
end
"""

_RESUME = f"""
declare
  held record;
  policy record;
  given_up boolean;
  entries jsonb := '[]';
begin
  {_ALONE}
  for held in
    -- a table may have been renamed since, or restored elsewhere
    select substr(m.object, 11) as name, m.facts ->> 'oid' as oid, m.facts -> 'policies' as policies,
      m.facts -> 'triggers' as triggers, (
      select s.polrelid::regclass from pg_policy s where s.polname = '{SUSPENDED}'
        and (s.polrelid::text = m.facts ->> 'oid' or s.polrelid::regclass::text = substr(m.object, 11))
      order by s.polrelid::text <> m.facts ->> 'oid' limit 1) as relation
    from {SCHEMA}.manifest m where m.source = 'suspended' order by m.object
  loop
    if held.relation is null and (to_regclass(held.name) is not null
        or exists (select from pg_class c where c.oid::text = held.oid)) then
      raise '% has lost its policy "{SUSPENDED}"', held.name using errcode = 'object_not_in_prerequisite_state',
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
        select {_COLUMNS} from pg_policy p where p.polrelid = held.relation and p.polname = policy.name
      ) then
        delete from {SCHEMA}.manifest m where m.object = policy.entry ->> 'object';  -- the next plan writes it
      else entries := entries || coalesce(policy.entry, '[]');
      end if;
    end loop;
    for policy in
      select x.* from jsonb_to_recordset(held.triggers) x(name text, definition text, watched text[], comment text,
        entry jsonb)
      where not exists (select from pg_trigger t where t.tgrelid = held.relation and t.tgname = x.name)
    loop
      -- of columns that are gone there is nothing to watch
      continue when policy.watched <> '{{}}' and {_STILL_THERE} is null;
      execute replace(policy.definition, format(' OF %s ON ', {_LIST}), format(' OF %s ON ', {_STILL_THERE}));
      if policy.comment <> '' then
        execute format('comment on trigger %I on %s is %L', policy.name, held.relation, policy.comment);
      end if;
      entries := entries || coalesce(policy.entry, '[]');
    end loop;
    execute format('drop policy %I on %s', '{SUSPENDED}', held.relation);
  end loop;
  perform {SCHEMA}.record(entries);
  delete from {SCHEMA}.manifest m where m.source = 'suspended';
end
"""


def _bracket(name: str, parameters: str, body: str, *, arguments: str, meaning: str) -> Function:
    """A function for whoever may drop the policies: it runs with the caller's own rights."""
    return function(
        name,
        parameters,
        "void",
        body,
        arguments=arguments,
        definer=False,
        volatility="volatile",
        settings=_SETTINGS,
        meaning=json.dumps({"value": meaning}),
    )


SUSPEND = _bracket(
    "suspend",
    "variadic tables regclass[]",
    _SUSPEND,
    arguments="regclass[]",
    meaning="closes tables and takes their policies away",
)
RESUME = _bracket(
    "resume",
    "without text[] default '{}'",
    _RESUME,
    arguments="text[]",
    meaning="makes the policies of suspended tables again",
)
