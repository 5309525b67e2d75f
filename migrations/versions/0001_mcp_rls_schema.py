"""The schema mcp_rls: its manifest, its table of client ids, and the functions that are the same everywhere.

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
    # neither: make function mcp_rls.printed()
    # neither: make function mcp_rls.record(jsonb)
    # neither: note in the manifest what changed
    for statement in (
        "select set_config('mcp_rls.search_path', current_setting('search_path'), true), set_config('search_path', 'pg_catalog', true), set_config('mcp_rls.lock_timeout', current_setting('lock_timeout'), true), set_config('lock_timeout', '2s', true), set_config('mcp_rls.standard_conforming_strings', current_setting('standard_conforming_strings'), true), set_config('standard_conforming_strings', 'on', true)",
        "create schema mcp_rls",
        "revoke all on schema mcp_rls from public",
        r"""create table mcp_rls.manifest (
  object text primary key,
  source text not null,
  printed text not null,
  place text not null
)""",
        "revoke all on table mcp_rls.manifest from public",
        r"""create or replace function mcp_rls.claims() returns jsonb
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
$mcp_rls$""",
        "revoke all on function mcp_rls.claims() from public",
        r"""create or replace function mcp_rls.printed() returns TABLE(object text, digest text)
language plpgsql stable parallel safe security invoker
  set search_path = pg_catalog, pg_temp
as $mcp_rls$
begin
  return query
  select format('function %s.%s(%s)', n.nspname, f.proname, oidvectortypes(f.proargtypes)),
         md5(pg_get_functiondef(f.oid) || coalesce(f.proacl::text, ''))
  from pg_proc f join pg_namespace n on n.oid = f.pronamespace
  where n.nspname = 'mcp_rls' and f.prokind = 'f'
  union all
  select format('policy %s.%s %s', n.nspname, c.relname, p.polname),
         md5(concat_ws(chr(10), p.polpermissive, p.polcmd,
           (select string_agg(coalesce(r.rolname, 'public'), ',' order by r.rolname)
            from unnest(p.polroles) member(oid) left join pg_roles r on r.oid = member.oid),
           'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid)))
  from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
  where starts_with(p.polname::text, 'mcp_rls: ');
end
$mcp_rls$""",
        "revoke all on function mcp_rls.printed() from public",
        r"""create or replace function mcp_rls.record(entries jsonb) returns void
language plpgsql volatile parallel safe security invoker
  set search_path = pg_catalog, pg_temp
as $mcp_rls$
begin
  insert into mcp_rls.manifest (object, source, printed, place)
  select e.object, e.source, coalesce(p.digest, ''), e.place
  from jsonb_to_recordset(entries) e(object text, source text, place text)
  left join mcp_rls.printed() p on p.object = e.object
  where p.object is not null or e.source = 'revoked'
  on conflict on constraint manifest_pkey do update
    set source = excluded.source, printed = excluded.printed, place = excluded.place;
end
$mcp_rls$""",
        "revoke all on function mcp_rls.record(jsonb) from public",
        r"""select mcp_rls.record('[{"object": "function mcp_rls.claims()", "source": "95941fec6f512a1de0928f987fa5d653", "place": ""}, {"object": "function mcp_rls.printed()", "source": "208ad3486311c69d562e2508a8252ae3", "place": ""}, {"object": "function mcp_rls.record(jsonb)", "source": "19013604468d7302a028f5e9fec91652", "place": ""}]')""",
        "select set_config('search_path', current_setting('mcp_rls.search_path'), true), set_config('lock_timeout', current_setting('mcp_rls.lock_timeout'), true), set_config('standard_conforming_strings', current_setting('mcp_rls.standard_conforming_strings'), true)",
    ):
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    # neither: drop function mcp_rls.claims()
    # neither: drop function mcp_rls.printed()
    # neither: drop function mcp_rls.record(jsonb)
    # neither: remove the schema mcp_rls
    for statement in (
        "select set_config('mcp_rls.search_path', current_setting('search_path'), true), set_config('search_path', 'pg_catalog', true), set_config('mcp_rls.lock_timeout', current_setting('lock_timeout'), true), set_config('lock_timeout', '2s', true), set_config('mcp_rls.standard_conforming_strings', current_setting('standard_conforming_strings'), true), set_config('standard_conforming_strings', 'on', true)",
        "drop function mcp_rls.claims()",
        "drop function mcp_rls.printed()",
        "drop function mcp_rls.record(jsonb)",
        "drop table mcp_rls.manifest",
        "drop schema mcp_rls",
        "select set_config('search_path', current_setting('mcp_rls.search_path'), true), set_config('lock_timeout', current_setting('mcp_rls.lock_timeout'), true), set_config('standard_conforming_strings', current_setting('mcp_rls.standard_conforming_strings'), true)",
    ):
        op.execute(sa.text(statement.replace(":", r"\:")))
