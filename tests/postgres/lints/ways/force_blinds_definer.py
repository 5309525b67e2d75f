"""Functions that were made to see more than whoever asks, and don't."""

from tests.postgres.lints.world import Ways

_TABLES = """
do $$ begin create role lint_keeper nologin; exception when duplicate_object then null; end $$;
create table tickets (id integer primary key, org integer);
create table members (org integer, person uuid);
grant select on tickets, members to authenticated;
alter table tickets enable row level security;
alter table members enable row level security;
create function is_member(o integer) returns boolean language sql stable security definer
  as $$ select exists (select from public.members where org = o) $$;
create policy see on tickets for select to authenticated using (is_member(org));
alter table tickets owner to lint_keeper;
alter table members owner to lint_keeper;
alter function is_member(integer) owner to lint_keeper;
"""
_UNASKED = """
create function unasked() returns bigint language sql security definer return (select count(*) from public.tickets);
alter table tickets force row level security;
"""

WAYS = [
    Ways(
        near_miss=_TABLES + _UNASKED,
        bad="alter table members force row level security",
        fix="alter table members no force row level security",
        found=("function public.is_member(o integer)",),
        details=("lint_keeper", "alter table public.members no force row level security"),
    ),
    Ways(
        name="a table of another owner, and a policy that opens it",
        near_miss=_TABLES,
        bad="alter table members owner to current_user; grant select on members to lint_keeper;",
        fix="create policy whole on members for select to lint_keeper using (true)",
        found=("function public.is_member(o integer)",),
        details=("create policy NAME on public.members for select to lint_keeper using (true)", "owner to"),
    ),
    Ways(
        name="the policy file asks for FORCE",
        file="tables: {public.members: {force: true, clients: none}}\n",
        near_miss="create table members (id integer)",
        bad="drop table members;" + _TABLES,
        fix="alter function is_member(integer) owner to current_user",
        found=("function public.is_member(o integer)",),
    ),
]
