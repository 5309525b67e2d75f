"""What policies read and clients don't."""

from tests.postgres.lints.world import Ways

_TABLES = """
create table tickets (id integer primary key, org integer);
create table notes (id integer primary key, org integer);
create table shut (id integer primary key, org integer);
create table members (org integer, person uuid, kind text);
create table groups (org integer);
create function claim() returns uuid language sql stable
  as $$ select (current_setting('request.jwt.claims', true)::jsonb ->> 'sub')::uuid $$;
alter table tickets enable row level security;
alter table notes enable row level security;
alter table members enable row level security;
alter table shut enable row level security;
create policy hidden on shut for select using (exists (select from members m where m.person = claim()));
grant select on tickets, notes, members, shut to authenticated;
"""
_POLICY = """
create policy see on tickets for select to authenticated
  using (org in (select m.org from members m where m.person = claim()));
"""
_FILE = """
scopes: {r: {text: read}, s: {text: more}}
tables:
  public.tickets:
    clients:
      - {who: helper, allow: select, scope: r}
  public.notes:
    clients:
      - {who: helper, allow: select, scope: r}
  public.members: {clients: CLIENTS}
"""

WAYS = [
    Ways(
        file=_FILE.replace("CLIENTS", "none"),
        near_miss=_TABLES
        + """
        create schema inside;
        create function inside.orgs() returns setof integer language sql stable security definer
          as $$ select org from public.members where person = public.claim() $$;
        create policy see_notes on notes for select to authenticated using (org in (select inside.orgs()));
        """,
        bad=_POLICY,
        fix="drop policy see on tickets;"
        "create policy see on tickets for select to authenticated using (org in (select inside.orgs()))",
        found=("table public.members",),
        details=("is closed to helper", "public.tickets", "clients: read_as_person"),
    ),
    Ways(
        name="read as the person",
        file=_FILE.replace("CLIENTS", "read_as_person"),
        near_miss=_TABLES + _POLICY,
        bad="create policy mine on members for select using (exists (select from groups g where g.org = members.org))",
        fix="drop policy mine on members",
        found=("table public.groups",),
        details=("public.members", "public.tickets"),
    ),
    Ways(
        name="narrowed, and read by a function that runs as whoever asks",
        file=_FILE.replace("CLIENTS", "[{who: helper, allow: select, rows: \"kind = 'plain'\"}]"),
        near_miss=_TABLES,
        bad="""
        create function orgs() returns setof integer language plpgsql stable
          as $$ begin return query select org from public.members where person = public.claim(); end $$;
        create policy see on tickets for select to authenticated using (org in (select orgs()));
        """,
        fix="alter function orgs() security definer",
        found=("table public.members",),
        details=("is narrowed for helper",),
    ),
    Ways(
        name="another scope",
        file=_FILE.replace("CLIENTS", "[{who: helper, allow: select, scope: s}]"),
        near_miss=_TABLES,
        bad="create view mine with (security_invoker = on) as select * from members where person = claim();"
        "create policy see on tickets for select using (org in (select m.org from mine m))",
        fix="drop policy see on tickets",
        found=("table public.members",),
        details=("is narrowed for helper",),
    ),
]
