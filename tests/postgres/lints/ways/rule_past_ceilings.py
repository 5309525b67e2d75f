"""Rules of the old kind, which act as the owner of their table or view."""

from tests.postgres.lints.world import Ways

_FILE = "tables: {public.notes: {clients: none}, public.audit: {clients: none}}\n"
_TABLES = """
create table notes (id integer primary key, owner uuid);
create table audit (id integer, what text);
create schema side; create table side.log (id integer);
create view v with (security_invoker = true) as select 1 as id;
create view closed_one with (security_invoker = true) as select 1 as id;
create view bound with (security_invoker = true) as select 1 as id;
grant insert, update, delete on v, bound to authenticated; grant delete on notes to authenticated;
"""

WAYS = [
    Ways(
        file=_FILE,
        near_miss=_TABLES
        + """
        create rule nothing as on insert to v do instead nothing;
        create rule elsewhere as on update to v do instead insert into side.log values (new.id);
        create rule unreached as on delete to closed_one do instead delete from notes where id = old.id;
        alter view bound owner to authenticated;
        create rule as_a_token as on delete to bound do instead delete from audit where id = old.id;
        """,
        bad="""
        create rule away as on delete to v do instead delete from notes where id = old.id;
        create rule asked as on insert to v where exists (select from audit) do also insert into side.log values (1);
        create rule copied as on delete to notes do also insert into audit values (old.id, 'gone');
        """,
        fix="drop rule away on v; drop rule asked on v; drop rule copied on notes",
        found=("rule public.notes.copied", "rule public.v.asked", "rule public.v.away"),
        details=(
            "authenticated may delete rows of public.v",
            "deletes rows of public.notes",
            "reads rows of public.audit",
            "drop rule away on public.v",
        ),
    ),
    Ways(
        name="through a view of its owner, and on to another rule; one is accepted as a door",
        file=_FILE + "doors: {public.v.known: {reason: it keeps what happened}}\n",
        near_miss=_TABLES
        + """
        create rule known as on insert to v do instead insert into audit values (new.id, 'made');
        create rule away as on delete to closed_one do instead delete from notes where id = old.id;
        """,
        bad="""
        create view outer_one as table closed_one; grant delete on outer_one to authenticated;
        create rule further as on update to v do instead delete from closed_one where id = old.id;
        """,
        fix="revoke delete on outer_one from authenticated; drop rule further on v",
        found=("rule public.closed_one.away", "rule public.v.further"),
        details=("deletes rows of public.notes",),
    ),
    Ways(
        name="without a policy file: past row security, where it is on",
        near_miss=_TABLES
        + """
        create rule away as on delete to v do instead delete from notes where id = old.id;
        grant select on notes to authenticated;
        """,
        bad="alter table notes enable row level security",
        fix="drop rule away on v",
        found=("rule public.v.away",),
    ),
]
