"""Ways to the tables that say who is who."""

from tests.postgres.lints.world import Ways

_FILE = """
consent: {table: public.grants, columns: {person: person, client: client}}
classes:
  partners: {match: {registry: {table: public.apps, id: client}}, consent: required}
tables:
  public.apps: {clients: none}
  public.grants: {clients: none}
  public.notes:
    clients:
      - {who: partners, allow: [select, insert]}
doors: {public.app_list: {reason: names only}, "public.agree(text)": {reason: the consent screen calls it}}
"""
_HEAD = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated]
identity: {direct: no_client}
"""
_TABLES = """
create table apps (client text primary key);
create table grants (person uuid, client text);
create table notes (id integer primary key, body text);
create view app_list as select client from apps;
grant select on app_list to authenticated;
create view careful with (security_invoker = true) as select * from grants;
grant insert on careful to authenticated;
create function agree(c text) returns void language sql security definer
  as $$ insert into public.grants (client) values (c) $$;
revoke execute on function agree(text) from public;
create function greet() returns trigger language plpgsql security definer
  as $$ begin perform count(*) from public.apps; return new; end $$;
create trigger greet before insert on notes for each row execute function greet();
"""

WAYS = [
    Ways(
        file=_HEAD + _FILE,
        near_miss=_TABLES,
        bad="grant insert on app_list to authenticated; grant execute on function agree(text) to public;",
        fix="revoke insert on app_list from authenticated; revoke execute on function agree(text) from public;",
        found=("table public.apps", "table public.grants"),
        details=(
            "view public.app_list",
            "function public.agree(c text)",
            "revoke execute on function public.agree(text)",
        ),
    ),
    Ways(
        name="a trigger on a table that clients may write",
        file=_HEAD + _FILE,
        near_miss=_TABLES,
        bad="""
        create function sign_up() returns trigger language plpgsql security definer
          as $$ begin insert into public.apps values (new.body); return new; end $$;
        create trigger sign_up after insert on notes for each row execute function sign_up();
        """,
        fix="drop trigger sign_up on notes",
        found=("table public.apps",),
        details=("trigger public.notes.sign_up",),
    ),
]
