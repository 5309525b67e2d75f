"""Comments on policies and triggers of ours: which of them aren't what was written with them. Takes no lock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg

from mcp_rls.state import PREFIX, comment

_COMMENTS = f"""
select format('policy %s.%s %s', n.nspname, c.relname, p.polname) as object,
       obj_description(p.oid, 'pg_policy')
from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
where starts_with(p.polname::text, '{PREFIX}')
union all
select format('trigger %s.%s %s', n.nspname, c.relname, t.tgname), obj_description(t.oid, 'pg_trigger')
from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
where starts_with(t.tgname::text, ' {PREFIX}') and t.tgparentid = 0
"""


def changed_comments(conn: psycopg.Connection[Any], places: Mapping[str, str]) -> dict[str, str]:
    """The comment ('' for none) of each object that has another one than was written; `places` as the manifest says."""
    found = {object_: text or "" for object_, text in conn.execute(_COMMENTS.encode()).fetchall()}
    return {o: text for o, text in sorted(found.items()) if o in places and text != comment(places[o])}
