"""Copies of rows that are protected where they came from."""

from tests.postgres.lints.world import Ways

_NOTES = """
create table notes (id integer primary key, owner uuid);
alter table notes enable row level security;
create policy own on notes for select to authenticated using (owner is not null);
grant select on notes to authenticated;
"""

WAYS = [
    Ways(
        near_miss=_NOTES
        + """
        create materialized view nobody_s as select * from notes;
        create materialized view of_nothing as select 1 as one;
        grant select on of_nothing to authenticated;
        create schema shut;
        create materialized view shut.counts as select count(*) from notes;
        grant select on shut.counts to authenticated;
        """,
        bad="grant select on nobody_s to authenticated",
        fix="revoke select on nobody_s from authenticated",
        found=("materialized view public.nobody_s",),
        details=("public.notes", "authenticated", "revoke select on public.nobody_s from authenticated"),
    ),
    Ways(
        name="through a view, through PUBLIC, and by a function; a door is accepted",
        file="tables: {public.notes: {clients: none}}\ndoors: {public.sums: {reason: sums only}}\n",
        near_miss=_NOTES
        + """
        create view all_notes as select * from notes;
        create function counted() returns bigint language sql stable security definer
          return (select count(*) from public.notes);
        revoke execute on function counted() from public;
        create materialized view sums as select count(*) from notes;
        grant select on sums to authenticated;
        """,
        bad="""
        create materialized view copies as select * from all_notes;
        create materialized view counts as select counted();
        grant select on copies, counts to public;
        """,
        fix="revoke select on copies, counts from public",
        found=("materialized view public.copies", "materialized view public.counts"),
        details=("revoke select on public.copies from public",),
    ),
]
