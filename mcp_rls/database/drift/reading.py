"""What `drift` reads: the manifest and the catalog, by queries that take no lock on a table of anybody's.

Nothing of the schema mcp_rls is called: somebody may have replaced it. Only `expressions` asks PostgreSQL to print a
policy, which takes ACCESS SHARE; it leaves out what another session has locked, and gives back what it took at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import namedtuple_row

from mcp_rls.compiler.helpers import json_text
from mcp_rls.compiler.ledger import SEEN_OF, TREES
from mcp_rls.compiler.suspend import SUSPENDED
from mcp_rls.state import PREFIX, SCHEMA

Connection = psycopg.Connection[Any]
Facts = Mapping[str, Any]

_MANIFEST = f"select object, source, printed, tree, place, facts from {SCHEMA}.manifest"
_INSTALLED = f"""
select from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = '{SCHEMA}' and c.relname = 'manifest' and c.relkind = 'r'
"""
_SCHEMAS_OF = """
select distinct n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = any (%s)
"""
# ACCESS EXCLUSIVE alone stands in the way of ACCESS SHARE; who waits for it does too.
LOCKED = """
select distinct c.oid, format('%s.%s', n.nspname, c.relname) as name, l.pid
from pg_locks l join pg_class c on c.oid = l.relation join pg_namespace n on n.oid = c.relnamespace
where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock' and l.pid is distinct from pg_backend_pid()
  and l.database = (select d.oid from pg_database d where d.datname = current_database())
"""
# Every policy, with its table and what its expressions read: that is what printing them locks.
_READS = """
select p.oid, format('%s.%s', n.nspname, c.relname) as table, p.polname as name,
       array(select p.polrelid union select d.refobjid from pg_depend d where d.classid = 'pg_policy'::regclass
             and d.objid = p.oid and d.refclassid = 'pg_class'::regclass) as reads
from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
"""
# `digest` is computed as the function `printed` does.
_EXPRESSIONS = f"""
select p.oid, pg_get_expr(p.polqual, p.polrelid) as using, pg_get_expr(p.polwithcheck, p.polrelid) as check,
       md5(concat_ws(' ', split_part(t.tree, ' using ', 1), 'using', pg_get_expr(p.polqual, p.polrelid),
                     'check', pg_get_expr(p.polwithcheck, p.polrelid))) as digest
from pg_policy p left join ({TREES.replace("%", "%%")}) t on t.oid = p.oid and t.polrelid = p.polrelid
                                                                      and starts_with(t.object, 'policy ')
where p.oid = any (%s)
"""


ANOTHER_RELEASE = "the manifest in this database was written by another release of mcp_rls"


class Unanswerable(Exception):
    """There is no telling whether this database drifted; the message says why, and what would help."""


class Name(NamedTuple):
    """A policy by its table ('schema.table') and its name."""

    table: str
    name: str

    @property
    def ours(self) -> bool:
        return self.name.startswith(PREFIX)

    @property
    def object(self) -> str:
        return f"policy {self.table} {self.name}"


@dataclass(frozen=True)
class Recorded:
    """A row of the manifest."""

    source: str
    printed: str
    tree: str
    place: str
    facts: Facts | None

    @property
    def meaning(self) -> str:
        return json_text(self.facts) if self.facts else ""


@dataclass(frozen=True)
class Stored:
    """An object of ours as PostgreSQL holds it; `table` is a policy's or a trigger's."""

    oid: int
    table: int | None
    tree: str


@dataclass(frozen=True)
class Printed:
    """A policy's expressions as text, and the digest that the manifest keeps of such text."""

    using: str | None
    check: str | None
    digest: str


@dataclass(frozen=True)
class Unreadable:
    """Expressions that could not be printed: these tables are locked."""

    tables: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.tables)} {'is' if len(self.tables) == 1 else 'are'} locked"


Text = Printed | Unreadable
Texts = Mapping[Name, Text]


@dataclass(frozen=True)
class Look:
    """A database at one moment: what was applied to it, and what it holds. Tables go by 'schema.table'."""

    manifest: Mapping[str, Recorded]
    stored: Mapping[str, Stored]  # what is named 'mcp_rls: ...', and functions in mcp_rls, by object
    seen: Mapping[str, Facts]  # tables of the covered schemas, and token roles, by object
    elsewhere: Mapping[str, Facts]  # tables of other schemas in which policies of ours stand: moved there?
    roles: tuple[str, ...]  # that tokens arrived as when it was applied
    locked: Mapping[int, str]  # tables that another session holds, or waits for, in ACCESS EXCLUSIVE

    def noted(self, prefix: str) -> dict[str, Facts]:
        """What was noted of tables ('table ') or roles ('role ') when it was applied."""
        noted = ((o, r) for o, r in self.manifest.items() if o.startswith(prefix) and r.source == "seen")
        return {o: r.facts or {} for o, r in noted}

    @property
    def suspended(self) -> frozenset[str]:
        """Tables that mcp_rls.suspend closed, and took the policies from, until mcp_rls.resume."""
        if not any(r.source == "suspended" for r in self.manifest.values()):
            return frozenset()
        ours = (policy_name(o) for o in self.stored if o.startswith("policy "))
        return frozenset(p.table for p in ours if p.name == SUSPENDED)

    def grant(self, said: str) -> tuple[str, str, str]:
        """Role, privilege and column ('': the whole) of a grant as it is noted: 'role PRIVILEGE column'."""
        known = sorted((*self.roles, "public"), key=len, reverse=True)
        role = next((r for r in known if said.startswith(f"{r} ")), said.partition(" ")[0])
        privilege, _, column = said.removeprefix(f"{role} ").partition(" ")
        return role, privilege, column


def policy_name(object_: str) -> Name:
    """The policy of ours that the manifest calls `object_`."""
    table, _, rest = object_.removeprefix("policy ").partition(f" {PREFIX}")
    return Name(table, PREFIX + rest)


def trigger_table(object_: str) -> str:
    """The table, as 'schema.table', of the trigger of ours that the manifest calls `object_`."""
    return object_.removeprefix("trigger ").partition(f"  {PREFIX}")[0]


def read(conn: Connection) -> Look:
    """The manifest and the catalog."""
    if not rows(conn, _INSTALLED):
        raise Unanswerable("there is no manifest in this database: nothing was applied here; see `mcp-rls apply`")
    manifest = _manifest(conn)
    stored = {r.object: Stored(r.oid, r.polrelid, r.tree) for r in rows(conn, TREES)}
    # a schema that a policy file covers has no dot in its name
    covered = {o.removeprefix("table ").partition(".")[0] for o in manifest if o.startswith("table ")}
    roles = tuple(sorted(o.removeprefix("role ") for o in manifest if o.startswith("role ")))
    homes = {r.nspname for r in rows(conn, _SCHEMAS_OF, ([s.table for s in stored.values() if s.table],))}
    elsewhere = {o: f for o, f in _seen(conn, homes - covered, roles).items() if o.startswith("table ")}
    locked = {r.oid: r.name for r in rows(conn, LOCKED)}
    return Look(manifest, stored, _seen(conn, covered, roles), elsewhere, roles, locked)


def _manifest(conn: Connection) -> dict[str, Recorded]:
    try:
        found = rows(conn, _MANIFEST)
    except psycopg.errors.InsufficientPrivilege as error:
        needed = f"USAGE on the schema {SCHEMA} and SELECT on {SCHEMA}.manifest"
        raise Unanswerable(f"this role may not read the manifest; it needs {needed}") from error
    except psycopg.errors.UndefinedColumn as error:
        raise Unanswerable(ANOTHER_RELEASE) from error
    return {r.object: Recorded(r.source, r.printed, r.tree, r.place, r.facts) for r in found}


def _seen(conn: Connection, schemas: Iterable[str], roles: Iterable[str]) -> dict[str, Facts]:
    given = {"schemas": sorted(schemas), "roles": sorted(roles)}
    return {r.object: r.facts for r in rows(conn, SEEN_OF, given)}


def expressions(conn: Connection, look: Look, names: Iterable[Name]) -> Texts:
    """What these policies say, as far as it can be read without waiting for another session."""
    wanted = set(names)
    policies = [r for r in rows(conn, _READS) if (r.table, r.name) in wanted] if wanted else []
    found: dict[Name, Text] = {}
    for row in policies:
        if held := sorted(look.locked[oid] for oid in row.reads if oid in look.locked):
            found[Name(row.table, row.name)] = Unreadable(tuple(held))
    free = {r.oid: Name(r.table, r.name) for r in policies if (r.table, r.name) not in found}
    return found | _printed(conn, free)


def _printed(conn: Connection, policies: Mapping[int, Name]) -> dict[Name, Text]:
    """The texts of all at once; table by table if one of them was locked in the meantime."""
    if not policies:
        return {}
    try:
        with conn.transaction(force_rollback=True):  # which gives back the locks
            printed = rows(conn, _EXPRESSIONS, (list(policies),))
    except psycopg.errors.LockNotAvailable:
        tables = {name.table for name in policies.values()}
        if len(tables) == 1:
            return {name: Unreadable((name.table,)) for name in policies.values()}
        found: dict[Name, Text] = {}
        for table in tables:
            found |= _printed(conn, {oid: name for oid, name in policies.items() if name.table == table})
        return found
    return {policies[r.oid]: Printed(r.using, r.check, r.digest) for r in printed}


def rows(conn: Connection, query: str, given: Any = None) -> list[Any]:
    """The rows of a query, their columns by name. Without `given`, a % in it is just that."""
    with conn.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(query.encode(), given).fetchall()
