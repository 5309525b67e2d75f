"""Parts of a table that can be asked for by themselves."""

from tests.postgres.lints.world import Ways

_TABLES = """
create table log (day integer, owner uuid) partition by range (day);
create table log_1 partition of log for values from (1) to (2);
create table log_2 partition of log for values from (2) to (3);
create table log_3 partition of log for values from (3) to (4);
create table log_4 partition of log for values from (4) to (5);
alter table log enable row level security;
create policy own on log for select using (owner is not null);
create policy narrow on log as restrictive for select to authenticated using (day > 0);
grant select on log to authenticated;
alter table log_2 enable row level security;
alter table log_3 enable row level security;
create policy own on log_3 for select using (owner is not null);
create policy narrow on log_3 as restrictive for select to authenticated using (day > 0);
grant select on log_2, log_3 to authenticated;
create table plain (id integer);
create table plain_child () inherits (plain);
grant select on plain, plain_child to authenticated;
"""

WAYS = [
    Ways(
        near_miss=_TABLES,
        bad="grant select on log_1, log_4 to authenticated; drop policy narrow on log_3;",
        fix="alter table log_1 enable row level security; revoke select on log_4 from authenticated;"
        "drop policy own on log_3",
        found=("table public.log_1", "table public.log_3", "table public.log_4"),
        details=("has row security off", "has fewer restrictive policies", "enable row level security"),
    ),
    Ways(
        name="an inheritance child of a child",
        near_miss="""
        create table a (id integer, owner uuid);
        create table b () inherits (a);
        create table c () inherits (b);
        alter table a enable row level security;
        alter table b enable row level security;
        create policy own on a using (owner is not null);
        grant select on a, b to authenticated;
        """,
        bad="grant insert on c to public",
        fix="revoke all on c from public",
        found=("table public.c",),
        details=("unlike public.b", "revoke all on public.c from public"),
    ),
    Ways(
        name="with a policy file: made after the last apply",
        file="tables: {public.log: {clients: none}}\n",
        near_miss=_TABLES,
        bad="""create policy "mcp_rls: log closed" on log as restrictive to authenticated using (false);
        create policy "mcp_rls: log_2 closed" on log_2 as restrictive to authenticated using (false);""",
        fix="""create policy "mcp_rls: log_3 closed" on log_3 as restrictive to authenticated using (false);""",
        found=("table public.log_3",),
        details=("has no ceiling", "mcp-rls apply"),
    ),
]
