"""What else in a database depends on a function that a plan drops: PostgreSQL refuses that as long as it is there."""

from __future__ import annotations

from typing import Any

import psycopg

from mcp_rls import sql
from mcp_rls.diagnostics import Diagnostics, Span
from mcp_rls.state import PREFIX, SCHEMA, State

# A view depends by its rule, which belongs to it. What is ours goes, or changes, before the function does.
_DEPENDENTS = f"""
select distinct pg_describe_object('pg_proc'::regclass, d.refobjid, 0) as function,
       coalesce(pg_describe_object(whole.refclassid, whole.refobjid, 0),
                pg_describe_object(d.classid, d.objid, d.objsubid)) as dependent
from unnest(%s::text[]) dropped(signature)
join pg_depend d on d.refclassid = 'pg_proc'::regclass and d.refobjid = to_regprocedure(dropped.signature)
                    and d.deptype = 'n'
left join pg_depend whole on d.classid = 'pg_rewrite'::regclass and whole.classid = d.classid
                             and whole.objid = d.objid and whole.deptype = 'i'
where not exists (select from pg_policy p where d.classid = 'pg_policy'::regclass and p.oid = d.objid
                  and starts_with(p.polname::text, '{PREFIX}'))
  and not exists (select from pg_trigger t where d.classid = 'pg_trigger'::regclass and t.oid = d.objid
                  and starts_with(t.tgname::text, ' {PREFIX}'))
  and not exists (select from pg_proc f join pg_namespace n on n.oid = f.pronamespace
                  where d.classid = 'pg_proc'::regclass and f.oid = d.objid and n.nspname = '{SCHEMA}')
order by 1, 2
"""


def warn(conn: psycopg.Connection[Any], actual: State, desired: State, diagnostics: Diagnostics) -> None:
    """Reports what keeps a function from being dropped on the way from one state to the other."""
    wanted = desired.functions
    going = [f for key, f in actual.functions.items() if key not in wanted or wanted[key].returns != f.returns]
    if not going:
        return
    with conn.transaction(force_rollback=True):
        conn.execute("set local search_path = pg_catalog")  # so that every name comes out qualified
        found = conn.execute(_DEPENDENTS.encode(), ([sql.signature(f) for f in going],)).fetchall()
    for function, dependent in found:
        message = f"{dependent} depends on {function}, which this plan drops: `apply` will be refused"
        hint = "drop it first, or let plpgsql make the call: `mcp-rls explain-code function-in-use`"
        diagnostics.warning("function-in-use", message, Span(), hint, subject=dependent)
