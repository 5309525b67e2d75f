"""Tables of another server."""

from tests.postgres.lints.world import Ways

# a wrapper without a handler: enough for the catalog, and it reaches nothing
_ELSEWHERE = """
create foreign data wrapper elsewhere;
create server other foreign data wrapper elsewhere;
create foreign table invoices (id integer) server other;
create foreign table rates (id integer) server other;
create table notes (id integer primary key);
alter table notes enable row level security;
grant select on notes to authenticated;
"""

WAYS = [
    Ways(
        near_miss=_ELSEWHERE,
        bad="grant select on invoices to authenticated; grant insert (id) on rates to anon;"
        "grant select on notes to anon;",
        fix="revoke select on invoices from authenticated; revoke insert (id) on rates from anon",
        found=("foreign table public.invoices", "foreign table public.rates"),
        details=("revoke all on public.invoices from authenticated",),
    ),
    Ways(
        name="one is accepted as a door",
        file='tables: {public.notes: {clients: none}}\ndoors: {public.rates: {reason: "anybody may know"}}\n',
        near_miss=_ELSEWHERE + "grant select on rates to authenticated;",
        bad="grant select on invoices to public",
        fix="revoke all on invoices from public",
        found=("foreign table public.invoices",),
        details=("revoke all on public.invoices from public",),
    ),
]
