"""Pieces of SQL that the cases of lints about policies and functions by hand start from."""

from __future__ import annotations

CLAIMS = """
create schema app;
grant usage on schema app to authenticated, anon;
create function app.claims() returns jsonb language sql stable parallel safe
  return nullif(current_setting('request.jwt.claims', true), '')::jsonb;
create function app.me() returns uuid language sql stable parallel safe
  return (app.claims() ->> 'sub')::uuid;
"""
NOTES = """
create table notes (id integer primary key, owner uuid not null, org_id integer, status text not null, title text);
create index on notes (owner);
alter table notes enable row level security;
grant select, insert, update, delete on notes to authenticated;
"""
MEMBERS = """
create table members (org_id integer not null, user_id uuid not null, approved boolean, primary key (user_id, org_id));
alter table members enable row level security;
create policy own on members for select to authenticated using (user_id = (select app.me()));
grant select on members to authenticated;
"""
BASE = CLAIMS + NOTES


def policy(name: str, using: str, command: str = "select", table: str = "notes", *, kind: str = "permissive") -> str:
    """A policy for authenticated; of an INSERT the condition is the check."""
    clause = "with check" if command == "insert" else "using"
    return f"create policy {name} on {table} as {kind} for {command} to authenticated {clause} ({using});\n"


def alter(name: str, using: str, table: str = "notes") -> str:
    return f"alter policy {name} on {table} using ({using});\n"


def function(name: str, body: str, options: str = "", returns: str = "boolean") -> str:
    """A function in SQL whose body stands in a string, stable and safe in every other way."""
    kind = f"returns {returns} language sql stable parallel safe {options}"
    return f"create or replace function {name} {kind} as $$ {body} $$;\n"


SCOPE = "(select app.claims()) ->> 'scope'"
CLIENT = "(select app.claims()) ->> 'client_id'"

# more rows than a table may have unnoticed
ROWS = """
insert into notes select n, '00000000-0000-4000-8000-00000000000a', n % 10, 'open', 'a' from generate_series(1, 1500) n;
analyze notes;
"""
FEW_ROWS = """
insert into notes select n, '00000000-0000-4000-8000-00000000000a', n % 10, 'open', 'a' from generate_series(1, 10) n;
analyze notes;
"""
