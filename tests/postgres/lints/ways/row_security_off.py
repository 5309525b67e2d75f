"""Tables among others that have row security."""

from tests.postgres.lints.world import Ways

_TABLES = """
create table notes (id integer primary key);
alter table notes enable row level security;
grant select on notes to authenticated;
create table nobody_s (id integer);
create table codes (id integer);
create table late (id integer);
create schema open_one;
create table open_one.plain (id integer);
grant usage on schema open_one to authenticated;
grant select on open_one.plain to authenticated;
"""

WAYS = [
    Ways(
        near_miss=_TABLES,
        bad="grant select on codes to public; grant insert (id) on late to authenticated;",
        fix="revoke all on codes from public; alter table late enable row level security;",
        found=("table public.codes", "table public.late"),
        details=("alter table public.late enable row level security", "revoke all on public.codes from public"),
    ),
    Ways(
        name="in a schema of its own, with the first policed table",
        near_miss=_TABLES,
        bad="create table open_one.first (id integer); alter table open_one.first enable row level security;",
        fix="alter table open_one.plain enable row level security",
        found=("table open_one.plain",),
    ),
    Ways(
        name="with a policy file apply enables it",
        file="tables: {public.notes: {clients: none}}\n",
        near_miss=_TABLES,
        bad="grant select on codes to authenticated",
        fix="",
        found=(),
    ),
]
