"""Tables that decide, and who writes them."""

from tests.postgres.lints.world import Ways

_CLAIM = """
create function auth_uid() returns uuid language sql stable set search_path = pg_catalog, pg_temp
  as $$ select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
create table orgs (id integer primary key, owner uuid);
create table members (org integer not null, person uuid not null, role text default 'member');
create table tickets (id integer primary key, org integer);
create table remarks (id integer primary key, ticket integer);
alter table orgs enable row level security;
alter table members enable row level security;
alter table tickets enable row level security;
alter table remarks enable row level security;
grant select, insert, update, delete on orgs, members, tickets, remarks to authenticated;
create policy see on tickets for select to authenticated using
  (org in (select m.org from members m where m.person = (select auth_uid())) or org in (
    select o.id from orgs o where o.owner = (select auth_uid())));
create policy follow on remarks for select to authenticated using
  (exists (select from tickets t where t.id = ticket));
create policy add on tickets for insert to authenticated with check (true);
create policy own_orgs on orgs to authenticated using (owner = (select auth_uid()));
create policy seen on members for select to authenticated using (person = (select auth_uid()));
"""
_ADMINS = """
create table profiles (id uuid primary key, name text, is_admin boolean not null default false);
alter table profiles enable row level security;
grant select, update on profiles to authenticated;
create policy mine on profiles for select to authenticated using (id = auth_uid());
create function is_admin() returns boolean language sql stable security definer set search_path = public
  as $$ select exists (select from profiles where id = auth_uid() and is_admin) $$;
create policy admins on tickets for delete to authenticated using (is_admin());
"""
_FILE = """
sets: {my_orgs: {type: integer, query: "select org from public.members where person = token.person"},
       own_orgs: {type: integer, query: "select id from public.orgs where owner = token.person"}}
tables:
  public.tickets:
    clients:
      - {who: helper, allow: select, rows: "org in my_orgs or org in own_orgs"}
      - {who: helper, allow: insert}
  public.orgs:
    clients:
      - {who: helper, allow: [select, insert]}
  public.members:
    clients:
      - {who: helper, allow: select}
"""

_PARENTS = """
create table docs (id integer primary key, owner uuid, locked boolean);
create table pages (id integer primary key, doc integer);
create table orders (shop integer, id integer, owner uuid, state text, primary key (shop, id));
create table lines (shop integer, "order" integer);
alter table docs enable row level security;
alter table pages enable row level security;
alter table orders enable row level security;
alter table lines enable row level security;
grant select, insert, update on docs, pages, orders, lines to authenticated;
create policy own on docs to authenticated using (owner = auth_uid());
create policy own on orders to authenticated using (owner = (select auth_uid()));
create policy add on pages for insert to authenticated with check
  (exists (select from docs d where d.id = doc and d.owner = auth_uid() and not d.locked));
create policy change on pages for update to authenticated using
  (doc in (select d.id from docs d where d.owner = (select auth_uid()) and not d.locked));
create policy add on lines for insert to authenticated with check
  (exists (select from orders o where o.shop = lines.shop and o.id = "order"
    and o.owner = auth_uid() and o.state = 'new'));
create function open_doc(wanted integer) returns boolean language sql stable security definer set search_path = public
  as $$ select exists (select from docs where id = wanted and owner = auth_uid() and not locked) $$;
create policy see on pages for select to authenticated using (open_doc(doc));
"""
_PROFILES = """
create table people (id integer primary key, person uuid unique, mail text unique, is_admin boolean);
create table staff (shop integer, people integer);
alter table people enable row level security;
grant select, insert, update on people, staff to authenticated;
create policy own on people to authenticated using (person = auth_uid());
"""
_RUN_BY = """
create table run_by (org integer primary key references orgs, person uuid, active boolean);
alter table run_by enable row level security;
grant select, insert, update on run_by to authenticated;
create policy own on run_by to authenticated using (person = auth_uid())
  with check (org in (select o.id from orgs o where o.owner = auth_uid()));
create policy run on tickets for update to authenticated using
  (exists (select from run_by r where r.org = tickets.org and r.person = auth_uid() and r.active));
"""

WAYS = [
    Ways(
        name="joining by oneself",
        near_miss=_CLAIM
        + """
        create policy added on members for insert to authenticated
          with check (org in (select o.id from orgs o where o.owner = (select auth_uid())));
        """,
        bad="create policy joining on members for insert to authenticated with check (person = auth_uid())",
        fix="drop policy joining on members",
        found=("table public.members",),
        details=("policies let authenticated insert", "org"),
    ),
    Ways(
        name="the same in other words",
        near_miss=_CLAIM
        + """
        create policy added on members for insert to authenticated
          with check ((org in (select o.id from orgs o where o.owner = (select auth_uid()))) is true);
        """,
        bad="create policy joining on members for insert to authenticated"
        " with check (coalesce((person = (select auth_uid())) is true, false))",
        fix="drop policy joining on members",
        found=("table public.members",),
    ),
    Ways(
        name="a column of one's own row, asked by a function",
        near_miss=_CLAIM
        + _ADMINS
        + """
        revoke update on profiles from authenticated;
        grant update (name) on profiles to authenticated;
        create policy change on profiles for update to authenticated using (id = auth_uid());
        """,
        bad="grant update on profiles to authenticated",
        fix="revoke update on profiles from authenticated",
        found=("table public.profiles",),
        details=("policies let authenticated update", "is_admin"),
    ),
    Ways(
        name="a trigger or another policy guards the column",
        near_miss=_CLAIM
        + _ADMINS
        + """
        create function keep() returns trigger language plpgsql
          as $$ begin new.is_admin := old.is_admin; return new; end $$;
        create trigger keep before update on profiles for each row execute function keep();
        create policy change on profiles for update to authenticated using (id = auth_uid());
        create policy never on members as restrictive for insert to authenticated
          with check (role = 'guest' and org = 1);
        create policy joining on members for insert to authenticated with check (person = auth_uid());
        """,
        bad="drop trigger keep on profiles",
        fix="drop policy change on profiles",
        found=("table public.profiles",),
    ),
    Ways(
        name="roles told by an argument",
        near_miss=_CLAIM
        + """
        create table user_roles (person uuid, role text);
        alter table user_roles enable row level security;
        grant select, insert, update on user_roles to authenticated;
        create function has_role(who uuid, what text) returns boolean language sql stable security definer
          as $$ select exists (select 1 from public.user_roles where person = who and role = what) $$;
        create policy admins on tickets for delete to authenticated using (has_role(auth_uid(), 'admin'));
        create policy by_admins on user_roles to authenticated using (has_role(auth_uid(), 'admin'));
        """,
        bad="create policy claim on user_roles for insert to authenticated"
        " with check (auth_uid() is not null and person = auth_uid())",
        fix="drop policy claim on user_roles",
        found=("table public.user_roles",),
        details=("role",),
    ),
    Ways(
        name="an argument that says who asks, and a column that is who writes",
        near_miss=_CLAIM
        + """
        create table admins (person uuid);
        create table blocks (blocker uuid, blocked uuid);
        alter table admins enable row level security;
        alter table blocks enable row level security;
        grant select, insert, update on admins, blocks to authenticated;
        create function is_admin(who uuid) returns boolean language sql stable security definer
          as $$ select exists (select from public.admins where person = $1) $$;
        create policy admins on tickets for delete to authenticated using (is_admin(auth_uid()));
        create policy unblocked on tickets as restrictive for select to authenticated using
          (not exists (select from blocks b where b.blocked = auth_uid() and b.blocker is not null));
        create policy block on blocks for insert to authenticated with check (blocker = auth_uid());
        """,
        bad="create policy rise on admins for insert to authenticated with check (person = auth_uid())",
        fix="drop policy rise on admins",
        found=("table public.admins",),
        details=("policies let authenticated insert",),
    ),
    Ways(
        name="a parent that is one's own, and one that anybody may take",
        near_miss=_CLAIM + _PARENTS,
        bad="alter policy own on docs using (true) with check (owner = auth_uid());"
        "alter policy own on orders using (true)",
        fix="alter policy own on docs using (owner = auth_uid());alter policy own on orders using (owner = auth_uid())",
        found=("table public.docs", "table public.orders"),
        details=("locked", "state"),
    ),
    Ways(
        name="a row of one's own that decides about the rows of others",
        near_miss=_CLAIM + _PARENTS + _PROFILES,
        bad="create policy admins on pages for delete to authenticated using"
        " (exists (select from people p where p.person = auth_uid() and p.mail is not null and p.is_admin));"
        "create policy desk on orders for delete to authenticated using (exists (select from staff s"
        " join people p on p.id = s.people where s.shop = orders.shop and p.person = auth_uid() and p.is_admin))",
        fix="drop policy admins on pages; drop policy desk on orders",
        found=("table public.people",),
        details=("is_admin",),
    ),
    Ways(
        name="a key that is another table's",
        near_miss=_CLAIM + _PARENTS + _RUN_BY,
        bad="alter policy own on run_by with check (person = auth_uid())",
        fix="alter policy own on run_by with check (org in (select o.id from orgs o where o.owner = auth_uid()))",
        found=("table public.run_by",),
        details=("let authenticated insert", "active"),
    ),
    Ways(
        name="a row of one's own that is only asked for its key",
        near_miss=_CLAIM + _PARENTS + _PROFILES,
        bad="create policy admins on pages for delete to authenticated using"
        " ((select p.id from people p where p.person = auth_uid() and p.is_admin) is not null)",
        fix="drop policy admins on pages",
        found=("table public.people",),
    ),
    Ways(
        name="rules of a file",
        file=_FILE,
        near_miss=_CLAIM,
        bad="",
        fix="",
        found=(),
    ),
    Ways(
        name="rules of a file that let clients join",
        file=_FILE.replace(
            "      - {who: helper, allow: select}\n", "      - {who: helper, allow: [select, insert]}\n"
        ),
        near_miss="create table tickets (id integer); create table orgs (id integer primary key, owner uuid);",
        bad="create table members (org integer, person uuid)",
        fix="drop table members",
        found=("table public.members",),
        details=("rules let helper insert", "clients: read_as_person"),
    ),
    Ways(
        name="rules of a file that say into what",
        file=_FILE.replace(
            "      - {who: helper, allow: select}\n",
            '      - {who: helper, allow: select}\n      - {who: helper, allow: insert, check: "org in own_orgs"}\n',
        ),
        near_miss=_CLAIM,
        bad="create policy one on remarks for select using"
        " (exists (select from members m where m.person = auth_uid() and m.role = 'admin'))",
        fix="drop policy one on remarks",
        found=("table public.members",),
        details=("role",),
    ),
]
