"""Policies that nobody asks."""

from tests.postgres.lints.world import Ways

_TABLES = """
create table notes (id integer primary key, owner uuid);
alter table notes enable row level security;
create policy own on notes using (owner is not null);
create table plain (id integer);
grant select on notes, plain to authenticated;
"""

WAYS = [
    Ways(
        near_miss=_TABLES,
        bad="create policy positive on plain using (id > 0)",
        fix="alter table plain enable row level security",
        found=("table public.plain",),
        details=('"positive"', "alter table public.plain enable row level security"),
    ),
    Ways(
        name="with a policy file it would be taken for open",
        file="tables: {public.notes: {clients: none}, public.plain: {clients: none}}\n",
        near_miss=_TABLES
        + "create schema side; create table side.a (id integer); create policy p on side.a using (true);",
        bad="alter table notes disable row level security",
        fix="drop policy own on notes",
        found=("table public.notes",),
    ),
]
