"""Who owns our functions, and what it sees of the tables that they read."""

from tests.postgres.lints.world import Ways

_ROLES = """
do $$ begin create role lint_keeper nologin; exception when duplicate_object then null; end $$;
do $$ begin create role lint_other nologin; exception when duplicate_object then null; end $$;
"""
_FILE = """
sets: {my_orgs: {type: integer, query: "select org from public.members where person = token.person"}}
consent: {table: public.grants, columns: {person: person, client: client}}
classes:
  partners: {match: {registry: {table: public.apps, id: client}}, consent: required}
  helper: {match: {ids: [helper]}}
tables:
  public.members: {PEOPLE, clients: [{who: partners, allow: select, rows: "org in my_orgs"}]}
  public.apps: {clients: none}
  public.grants: {clients: none}
"""
_HEAD = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated]
identity: {direct: no_client}
"""
_TABLES = (
    _ROLES
    + """
create schema mcp_rls;
create table members (org integer, person uuid);
create table apps (client text primary key);
create table grants (person uuid, client text);
create function mcp_rls.gate() returns integer language sql security definer return 1;
alter table apps enable row level security;
alter table grants enable row level security;
alter table members owner to lint_keeper;
alter table apps owner to lint_keeper;
alter table grants owner to lint_keeper;
alter function mcp_rls.gate() owner to lint_keeper;
"""
)

WAYS = [
    Ways(
        file=_HEAD + _FILE.replace("PEOPLE", "people: existing"),
        near_miss=_TABLES,
        bad="""
        alter table grants force row level security;
        alter table apps owner to lint_other;
        grant select on apps to lint_keeper;
        alter table members owner to lint_other;
        """,
        fix="""
        alter table grants no force row level security;
        create policy keeper on apps for select to lint_keeper using (true);
        grant select on members to lint_keeper;
        """,
        found=("table public.apps", "table public.grants", "table public.members"),
        details=(
            "is bound by row security of public.apps",
            "has no privilege on public.members",
            "no force row level security",
        ),
    ),
    Ways(
        name="people's rules of the file show the owner nothing",
        file=_HEAD + _FILE.replace("PEOPLE", 'people: [{allow: select, rows: "person = token.person"}]'),
        near_miss=_TABLES,
        bad="alter table members owner to lint_other; grant select on members to lint_keeper;",
        fix="alter table members owner to lint_keeper",
        found=("table public.members",),
        details=("the set my_orgs",),
    ),
]
