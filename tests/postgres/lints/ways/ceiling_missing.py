"""Tables without the ceilings that others have."""

from tests.postgres.lints.world import Ways

_FILE = """
tables:
  public.notes: {clients: [{who: helper, allow: select}]}
  public.keys: {clients: none}
"""
_CEILINGS = """
create table notes (id integer primary key);
create table keys (id integer primary key);
create table shut (id integer primary key);
alter table notes enable row level security;
grant select, insert on notes to authenticated;
grant select on keys to authenticated;
create policy "mcp_rls: keys closed" on keys as restrictive to authenticated using (false);
create policy "mcp_rls: notes select" on notes as restrictive for select to authenticated using (false);
create policy "mcp_rls: notes insert" on notes as restrictive for insert to authenticated with check (false);
"""

WAYS = [
    Ways(
        file=_FILE,
        near_miss="create table drafts (id integer primary key); grant select on drafts to authenticated;"
        "drop table drafts;" + _CEILINGS,
        bad='drop policy "mcp_rls: notes insert" on notes; grant select on shut to authenticated;',
        fix='create policy "mcp_rls: notes insert" on notes as restrictive for insert to authenticated'
        " with check (false);"
        'create policy "mcp_rls: shut closed" on shut as restrictive to authenticated using (false)',
        found=("table public.notes", "table public.shut"),
        details=("public.notes has no ceiling for insert,", "public.shut has no ceiling for select,"),
    ),
    Ways(
        name="before anything was applied; a role that no ceiling binds",
        file=_FILE,
        near_miss="create table notes (id integer primary key); grant select on notes to authenticated, anon;",
        bad='create policy "mcp_rls: notes closed" on notes as restrictive to authenticated using (false);',
        fix='alter policy "mcp_rls: notes closed" on notes to authenticated, anon',
        found=("table public.notes",),
    ),
]
