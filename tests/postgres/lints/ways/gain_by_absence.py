"""Rows that a client doesn't see, and what then admits more."""

from tests.postgres.lints.world import Ways

_TABLES = """
create table notes (id integer primary key, owner uuid);
create table blocks (note integer, kind text);
create table shut (id integer primary key);
create table lists (id integer primary key);
create schema app;
create table app.hidden (note integer);
alter table notes enable row level security;
alter table blocks enable row level security;
alter table shut enable row level security;
alter table app.hidden enable row level security;
create policy readable on blocks for select using (true);
grant select, insert, update, delete on notes, blocks, shut, lists to authenticated;
grant select on app.hidden to authenticated;
do $$ begin create role lint_staff nologin; exception when duplicate_object then null; end $$;
create function app.blocked(n integer) returns boolean language sql stable security definer
  as 'select exists (select from public.blocks b where b.note = n)';
create function app.listed(n integer) returns boolean language sql stable
  as 'select exists (select from public.blocks b where b.note = n)';
create function app.by_hand(n integer) returns boolean language plpgsql stable
  as $$ declare c bigint; begin execute 'select count(*) from ' || n into c; return c > 0; end $$;
"""
_READ = "select from blocks b where b.note = id"
_FILE = """
tables:
  public.notes: {clients: [{who: helper, allow: [select, insert]}]}
  public.blocks: {clients: [{who: helper, allow: select, rows: "kind = 'plain'"}]}
  public.lists: {clients: read_as_person}
"""
_WRITES = """
create function app.noted() returns trigger language plpgsql as $$
  begin insert into public.blocks values (new.id, 'plain'); return new; end $$;
create function app.full() returns trigger language plpgsql as $$
  begin if (select count(*) from public.blocks) > 9 then raise 'full'; end if; return new; end $$;
create function app.missing() returns trigger language plpgsql as $$
  begin if not exists (select from public.blocks b where b.note = new.id) then raise 'missing'; end if; return new;
  end $$;
"""

WAYS = [
    Ways(
        name="in a policy",
        file=_FILE,
        # positive, past row security, nobody's that a client can be, or nothing that it may do
        near_miss=_TABLES
        + f"""
        create policy positive on notes for select using (exists ({_READ}) and app.listed(id));
        create policy twice on notes for select using (not (id <> all (select b.note from blocks b)));
        create policy past on notes for select using (not app.blocked(id));
        create policy whole on notes for select using (not exists (select from lists l where l.id = notes.id));
        create policy staff on notes for select to lint_staff using (not exists ({_READ}));
        create policy closed on notes for delete using (not exists ({_READ}));
        create policy closed on shut for select using (not exists ({_READ}));
        """,
        bad=f"""
        create policy free on notes for select using (not exists ({_READ}));
        create policy quota on notes for insert with check ((select count(*) from blocks) < 3);
        create policy unknown on notes for select using (app.by_hand(id));
        """,
        fix="""
        alter policy free on notes using (not app.blocked(id));
        alter policy quota on notes with check (not app.blocked(id));
        drop policy unknown on notes;
        """,
        found=("policy public.notes free", "policy public.notes quota", "policy public.notes unknown"),
        details=(
            "it reads public.blocks where a row that is missing may admit",
            "can't be analysed",
            "function app.by_hand(n integer) runs SQL that it puts together",
            "public.blocks: {clients: read_as_person}",
        ),
    ),
    Ways(
        name="in a table between that isn't covered",
        file=_FILE,
        near_miss=_TABLES
        + "create policy free on app.hidden using (exists (select from blocks b where b.note = hidden.note));",
        bad="create policy seen on notes for select using (not exists (select from app.hidden h where h.note = id))",
        fix="drop policy seen on notes; drop policy free on app.hidden;"
        "create policy seen on notes for select using (not exists (select from app.hidden h where h.note = id))",
        found=("policy public.notes seen",),
        details=("it reads app.hidden",),
    ),
    Ways(
        name="of what is read as the person, in a table that isn't covered",
        file=_FILE,
        near_miss=_TABLES + "create policy free on app.hidden using (exists (select from lists l where l.id = note));",
        bad="create policy free_too on app.hidden using (not exists (select from lists l where l.id = note))",
        fix="drop policy free_too on app.hidden",
        found=("policy app.hidden free_too",),
        details=("it reads public.lists", "list app under `schemas`, and public.lists: {clients: read_as_person}"),
    ),
    Ways(
        name="in a trigger",
        file=_FILE + "  public.log: {clients: [{who: helper, allow: [select, insert]}]}\n",
        # it refuses by what is missing, writes only, or is set off by nothing that a client may do
        near_miss=_TABLES
        + _WRITES
        + """
        create table log (day integer) partition by range (day);
        create table log_1 partition of log for values from (1) to (2);
        create trigger missing before insert on notes for each row execute function app.missing();
        create trigger noted after insert on notes for each row execute function app.noted();
        create trigger unfilled before delete on notes for each row execute function app.full();
        create trigger off before insert on notes for each row execute function app.full();
        alter table notes disable trigger off;
        """,
        bad="create trigger filled before insert on notes for each row execute function app.full();"
        "create trigger filled before insert on log for each row execute function app.full()",
        fix="alter function app.full() security definer",
        found=("trigger public.notes.filled", "trigger public.log.filled"),
    ),
    Ways(
        name="in the file's own rule",
        file=_FILE.replace(
            "public.notes: {",
            'public.notes: {people: [{allow: select, sql: "exists (select from public.blocks b where b.note = id)"},'
            ' {allow: insert, sql: "not exists (select from public.lists l where l.id = notes.id)"}], ',
        ),
        near_miss=_TABLES,
        bad="alter table lists enable row level security;"
        "create policy part on lists using (exists (select from blocks b where b.note = lists.id))",
        fix="drop policy part on lists",
        found=("table public.notes",),
        details=("policies.yaml:", "it reads public.lists"),
    ),
]
