"""Columns tied to a claim, on a large table."""

from tests.postgres.lints.snippets import BASE, FEW_ROWS, MEMBERS, ROWS, policy
from tests.postgres.lints.world import Ways

_FILE = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated]
identity: {direct: no_client}
sets: {my_orgs: {type: integer, query: "select m.org_id from public.members m where m.user_id = token.person"}}
consent: {table: public.grants, columns: {person: user_id, client: client}}
classes:
  partners: {match: {registry: {table: public.apps, id: client}}, consent: required}
tables:
  public.notes:
    people:
      - {allow: [select, delete], rows: "owner = token.person or org_id in my_orgs"}
    clients: [{who: partners, allow: select, rows: "title = 'a'"}]
  public.members: {clients: none}
  public.grants: {clients: none}
  public.apps: {clients: none}
"""
_LARGE = """
create table notes (id integer primary key, owner uuid, org_id integer, status text, title text);
create table members (org_id integer, user_id uuid);
create table grants (user_id uuid, client text);
create table apps (client text primary key);
insert into notes select n, null, n, 'a', 'a' from generate_series(1, 1500) n;
insert into members select n, gen_random_uuid() from generate_series(1, 1500) n;
insert into grants select gen_random_uuid(), n::text from generate_series(1, 1500) n;
insert into apps select n::text from generate_series(1, 1500) n;
analyze notes, members, grants, apps;
"""

WAYS = [
    Ways(
        near_miss=BASE
        + ROWS
        + policy("own", "owner = (select app.me()) and org_id = (select (app.claims() ->> 'org')::integer)")
        + policy("open", "status = 'open'"),
        bad=policy("org", "org_id = (select (app.claims() ->> 'org')::integer)"),
        fix="create index on notes (org_id, status)",
        found=("table public.notes",),
        details=("create index concurrently on public.notes (org_id)", "no index begins with it"),
    ),
    Ways(
        name="an array, an arm, and the table of a sub-select",
        near_miss=BASE
        + MEMBERS
        + FEW_ROWS
        + policy("orgs", "org_id = any (array(select m.org_id from members m where m.user_id = (select app.me())))")
        + policy("arms", "owner = (select app.me()) or title = (select app.claims() ->> 'name')"),
        bad="insert into notes select n, owner, 1, 'open' from notes, generate_series(100, 1300) n where id = 1;"
        "insert into members select n, gen_random_uuid() from generate_series(1, 1200) n;"
        "alter table members drop constraint members_pkey; create index on members (org_id); analyze notes, members",
        fix="create index on notes (org_id); create index on notes (title); create index on members (user_id)",
        found=("table public.notes", "table public.notes", "table public.members"),
    ),
    Ways(
        name="what the rules of a file look up: consents, a registry, a set, people's rows",
        file=_FILE,
        near_miss=_LARGE + "create index on notes (owner); create index on notes (org_id, title);"
        "create index on members (user_id); create index on grants (client, user_id);",
        bad="drop index notes_org_id_title_idx, grants_client_user_id_idx, members_user_id_idx;"
        "alter table apps drop constraint apps_pkey; create index on grants (client); create index on members (org_id);"
        "update pg_index set indisvalid = false where indexrelid = 'notes_owner_idx'::regclass;",
        fix="create index on notes (owner); create index on notes (org_id); create index on grants (user_id);"
        "create index on members (user_id); create index on apps (client);",
        found=(
            "table public.apps",
            "table public.grants",
            "table public.members",
            "table public.notes",
            "table public.notes",
        ),
        details=(
            "consents looks up public.grants by user_id",
            "create index concurrently on public.grants (user_id, client)",
            "policies.yaml:14:9: warning[index-missing] a rule for people looks up public.notes by owner",
        ),
    ),
    Ways(
        name="what no index serves, and what is small",
        file=_FILE.replace("org_id in my_orgs", "org_id in my_orgs and status = 'open'"),
        near_miss=_LARGE + "create index on notes (owner); create index on notes (org_id);"
        "create index on members (user_id); create index on grants (user_id);"
        "drop index notes_org_id_idx; truncate notes; analyze notes;",
        bad="insert into notes select n, null, n, 'a', 'a' from generate_series(1, 1500) n; analyze notes",
        fix="create index on notes (org_id)",
        found=("table public.notes",),
    ),
]
