"""Databases for the tests of the matrix: faults of the help desk, and schemas that are hard to make rows for."""

from __future__ import annotations

LEAKS = {
    "a ceiling is gone": ('drop policy "mcp_rls: tickets select" on public.tickets', "tickets", "select"),
    "a ceiling is wider": (
        'alter policy "mcp_rls: comments delete" on public.comments using (true)', "comments", "delete",
    ),
    "a check is wider": (
        'alter policy "mcp_rls: tickets insert" on public.tickets with check (true)', "tickets", "insert",
    ),
    "a closed table is open": ('drop policy "mcp_rls: mcp_grants closed" on public.mcp_grants', "mcp_grants", "update"),
    "an unlisted table is open": (
        'drop policy "mcp_rls: oauth_apps closed" on public.oauth_apps', "oauth_apps", "select",
    ),
    "a ceiling is permissive": (
        ('drop policy "mcp_rls: invoices select" on public.invoices;'
         "create policy \"mcp_rls: invoices select\" on public.invoices for select using (status = 'draft')"),
        "invoices", "select",
    ),
    "somebody's policy adds to rules for people": (
        "create policy wide on public.invoices using (true)", "invoices", "select",
    ),
    "somebody's policy is for clients alone": (
        ("create policy agents on public.tickets for select to authenticated using"
         " (current_setting('request.jwt.claims', true) like '%claude.ai%')"),
        "tickets", "select",
    ),
    "row security is off": ("alter table public.comments disable row level security", "comments", "update"),
    "a new row isn't looked at": (
        "alter policy \"mcp_rls: invoices update\" on public.invoices with check (true)", "invoices", "update",
    ),
}  # fmt: skip

STRICT = {
    "somebody's restrictive policy": (
        ("create policy people_only on public.tickets as restrictive for select using"
         " (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'client_id' is null)"),
        "tickets", "select", "(restrictive)",
    ),
    "a grant is missing": ("revoke update on public.tickets from authenticated", "tickets", "update", "privilege"),
    "a grant that rules for people need": (
        "revoke delete on public.members from authenticated", "members", "delete", "no DELETE privilege",
    ),
    "a ceiling is narrower": (
        ('alter policy "mcp_rls: orgs select" on public.orgs using'
         " ((select mcp_rls.gate(current_user, '{}'::jsonb)) = -1)"),
        "orgs", "select", "mcp_rls: orgs select",
    ),
}  # fmt: skip

# --- schemas that are hard to make rows for ---------------------------------------------------------------------------

ZOO = """
mcp_rls: 1
platform: postgres
schemas: [zoo]
identity:
  person: {claim: user.id, type: bigint}
  client: {claims: [act.client, azp]}
  scopes: {claim: scp}
  direct: {ids: [crm]}
roles: [authenticated, anon]
anonymous: [anon]
claims:
  tenant: {claim: app.tenant, type: integer}
  admin: {claim: app.admin, type: boolean}
classes:
  agents: {match: {ids: [agent-one, agent-two]}}
  listed: {match: {registry: {table: zoo.apps, id: id, where: "state = 'live' and until > now()"}}}
scopes:
  read: {text: Read}
  write: {text: Write, implies: [read]}
  extra: {text: Extra}
sets:
  teams: {type: bigint, query: "select team_id from zoo.memberships where person_id = token.person"}
tables:
  zoo.kinds:
    people: [{allow: [select, insert, update, delete], rows: "owner = token.person"}]
    clients:
      - {who: [agents, listed], allow: select, scope: read,
         rows: "mood in ('glad', 'calm') and size > 3 and not hidden"}
      - {who: agents, allow: update, scope: [write, extra], rows: "size between 2 and 5 and not hidden and size > 3"}
  zoo.tasks:
    people:
      - {allow: [select, update, delete], rows: "team_id in teams"}
      - {allow: insert, check: "team_id in teams and author = token.person"}
    clients:
      - {who: agents, allow: select, scope: read, rows: "starts_with(title, 'public') or due is null"}
      - {who: agents, allow: [insert, delete], scope: write, rows: "due > now() - interval '30 days'"}
  zoo.tenants:
    people: [{allow: [select, update], rows: "tenant = token.tenant or token.admin"}]
    clients:
      - {who: listed, allow: select, scope: read, rows: "tenant = token.tenant and tags @> array['open']"}
  zoo.events:
    people: [{allow: [select, insert], rows: "person = token.person"}]
    clients:
      - {who: agents, allow: [select, insert], scope: read, rows: "sql_kind is distinct from 'secret'"}
  zoo.notes:
    people: [{allow: [select, insert, delete], rows: "person = token.person"}]
    clients: [{who: agents, allow: [select, delete], scope: write, rows: "lower(label) = 'mine'"}]
  zoo.memberships: {clients: read_as_person}
"""
ZOO_SCHEMA = """
create schema zoo;
create type zoo.mood as enum ('sad', 'glad', 'calm');
create domain zoo.short as text check (length(value) < 40);
create table zoo.apps (id uuid primary key, state text not null check (state in ('new', 'live')), until timestamptz);
create table zoo.kinds (
  a integer, b text, owner bigint not null, mood zoo.mood not null, size smallint not null check (size > 0),
  hidden boolean, doubled integer generated always as (a * 2) stored, primary key (a, b));
create table zoo.teams (id bigint generated always as identity primary key, name varchar(6) not null unique);
create table zoo.memberships (team_id bigint references zoo.teams, person_id bigint, primary key (team_id, person_id));
create table zoo.tasks (
  id serial primary key, team_id bigint not null references zoo.teams, author bigint not null, title zoo.short not null,
  due timestamptz, code char(2) not null, parent integer references zoo.tasks);
create table zoo.tenants (id uuid primary key default gen_random_uuid(), tenant integer not null, tags text[] not null);
create table zoo.events (id bigint, person bigint not null, at date not null, sql_kind text) partition by range (at);
create table zoo.events_now partition of zoo.events for values from ('2000-01-01') to ('2100-01-01');
create table zoo.notes (person bigint, label text);
create table zoo.unlisted (id integer primary key);
grant usage on schema zoo to authenticated, anon;
grant select, insert, update, delete on all tables in schema zoo to authenticated;
grant usage on all sequences in schema zoo to authenticated;
alter table zoo.memberships enable row level security;
create policy mine on zoo.memberships using (
  person_id = (current_setting('request.jwt.claims', true)::jsonb #>> '{user,id}')::bigint);
"""

APP = """
mcp_rls: 1
platform: postgrest
schemas: [public]
roles: [authenticated, anon]
anonymous: [anon]
identity: {direct: no_client}
classes:
  writer: {match: {ids: [writer-app]}}
scopes:
  "docs:read": {text: r}
  "docs:write": {text: w, implies: ["docs:read"]}
tables:
  public.profiles: {clients: read_as_person}
  public.teams: {clients: read_as_person}
  public.team_members: {clients: read_as_person}
  public.docs:
    clients:
      - {who: writer, allow: select, scope: "docs:read", rows: "state in ('draft', 'final')"}
      - {who: writer, allow: [insert, update], scope: "docs:write", rows: "state = 'draft'"}
"""
APP_SCHEMA = """
create schema auth;
create function auth.uid() returns uuid language sql stable as
  $$ select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
create table auth.users (id uuid primary key, email text unique, created_at timestamptz default now());

create table public.profiles (
  id uuid primary key references auth.users on delete cascade, username text unique, bio text not null default '');
create table public.teams (
  id uuid primary key default gen_random_uuid(), name text not null,
  created_by uuid not null default auth.uid() references public.profiles);
create table public.team_members (
  team_id uuid references public.teams on delete cascade, user_id uuid references public.profiles,
  role text not null default 'member' check (role in ('owner', 'member')), primary key (team_id, user_id));
create table public.docs (
  id uuid primary key default gen_random_uuid(), team_id uuid not null references public.teams on delete cascade,
  author uuid not null default auth.uid() references public.profiles, title text not null, body jsonb not null
  default '{}', state text not null default 'draft', updated_at timestamptz not null default now(),
  deleted_at timestamptz);
create table public.audit (id bigserial primary key, doc uuid not null, who uuid, at timestamptz default now());

create function public.new_user() returns trigger language plpgsql security definer set search_path = '' as $$
begin insert into public.profiles (id, username) values (new.id, new.email); return new; end $$;
create trigger new_user after insert on auth.users for each row execute function public.new_user();
create function public.touch() returns trigger language plpgsql as
  $$ begin new.updated_at := now(); return new; end $$;
create trigger touch before update on public.docs for each row execute function public.touch();
create function public.log() returns trigger language plpgsql security definer set search_path = '' as $$
begin insert into public.audit (doc, who) values (new.id, auth.uid()); return null; end $$;
create trigger log after update or insert on public.docs for each row execute function public.log();
create function public.is_member(team uuid) returns boolean language sql security definer stable set search_path = ''
  as $$ select exists (select from public.team_members m where m.team_id = team and m.user_id = auth.uid()) $$;

alter table public.profiles enable row level security;
alter table public.teams enable row level security;
alter table public.team_members enable row level security;
alter table public.docs enable row level security;
alter table public.audit enable row level security;
create policy p1 on public.profiles for select using (true);
create policy p2 on public.profiles for update using (id = auth.uid());
create policy t1 on public.teams for select using (public.is_member(id) or created_by = auth.uid());
create policy t2 on public.teams for insert with check (created_by = auth.uid());
create policy m1 on public.team_members for select using (public.is_member(team_id));
create policy m2 on public.team_members for insert with check (
  team_id in (select t.id from public.teams t where t.created_by = auth.uid()));
create policy d1 on public.docs for select using (public.is_member(team_id) and deleted_at is null);
create policy d2 on public.docs for insert with check (public.is_member(team_id) and author = auth.uid());
create policy d3 on public.docs for update using (author = auth.uid()) with check (author = auth.uid());
create policy d4 on public.docs for delete using (author = auth.uid() and state = 'draft');
grant usage on schema auth to authenticated, anon;
grant select, insert, update, delete on all tables in schema public to authenticated, anon;
grant usage on all sequences in schema public to authenticated, anon;
"""
