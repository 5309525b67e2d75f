"""What stands in schemas that the file doesn't cover."""

from tests.postgres.lints.world import Ways

_FILE = 'tables: {public.notes: {clients: none}}\ndoors: {side.rates: {reason: "anybody may know"}}\n'
_SCHEMAS = """
create table notes (id integer primary key);
grant select on notes to authenticated;
create schema side;
create schema shut;
create table side.rates (id integer);
create table side.plans (id integer);
create table shut.plans (id integer);
grant usage on schema side to authenticated;
grant select on side.rates, shut.plans to authenticated;
"""

WAYS = [
    Ways(
        file=_FILE,
        near_miss=_SCHEMAS,
        bad="grant update (id) on side.plans to authenticated",
        fix="revoke update (id) on side.plans from authenticated",
        found=("table side.plans",),
        details=("add side to `schemas:`",),
    ),
    Ways(
        name="without a privilege on it: through a view",
        file=_FILE,
        near_miss=_SCHEMAS
        + """
        create view careful with (security_invoker = true) as select * from shut.plans;
        create view nobody_s as select * from shut.plans;
        grant select on careful to authenticated;
        """,
        bad="create view through as select * from nobody_s; grant select on through to authenticated;",
        fix="alter view through set (security_invoker = true)",
        found=("table shut.plans",),
        details=("view public.through", "alter view public.through set (security_invoker = true)"),
    ),
]
