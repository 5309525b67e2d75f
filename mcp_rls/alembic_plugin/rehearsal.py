"""A revision's table changes tried out and taken back, to compile the policies for the tables as they will be.

All of it happens in a savepoint on Alembic's own connection. Without table changes that is reading, and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from alembic.autogenerate.api import AutogenContext
from alembic.operations import Operations, ops
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Enum, create_engine, inspect, pool
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mcp_rls import sql
from mcp_rls.alembic_plugin.changes import Changes, leaves
from mcp_rls.catalog import Catalog, TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.resolve import ResolvedPolicies
from mcp_rls.database.apply import prepare, state_for
from mcp_rls.database.introspect import read_catalog
from mcp_rls.database.waiting import Refused
from mcp_rls.diagnostics import Diagnostics
from mcp_rls.plan import shut
from mcp_rls.state import PREFIX, Policy, State

_log = logging.getLogger(__name__)

Key = tuple[TableName, str]  # a policy or a trigger of ours by its table and name

# Nobody waits long behind what is only tried.
_LIMITS = "select set_config('lock_timeout', '2s', true), set_config('statement_timeout', '30s', true)"

_BUSY = ("40", "55P03", "57")  # SQLSTATEs of a moment: a deadlock, a lock that is not to be had, too long
_NULLS = "23502"

# Our triggers and policies that stand on a column: PostgreSQL changes neither its type under them, nor drops it.
_GUARDS = """
select n.nspname, c.relname, t.tgname from pg_trigger t
join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
join pg_depend d on d.classid = 'pg_trigger'::regclass and d.objid = t.oid and d.refclassid = 'pg_class'::regclass
join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
where starts_with(t.tgname, ' mcp_rls: ') and t.tgparentid = 0 and d.refobjid = to_regclass(%s) and a.attname = %s
"""
_READERS = f"""
select n.nspname, c.relname, p.polname from pg_policy p
join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
where starts_with(p.polname, '{PREFIX}') and exists (
  select from pg_depend d join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
  where d.classid = 'pg_policy'::regclass and d.objid = p.oid and d.refclassid = 'pg_class'::regclass
    and d.refobjid = to_regclass(%s) and a.attname = %s)
"""


@dataclass(frozen=True)
class Rehearsal:
    """What is there when the policies change, and what they compile to for the tables as they are at the end."""

    before: State  # with what the revision adds, and with what it will drop
    closed: State  # the same, but policies closed that stand in the way of a column's new type
    resolved: ResolvedPolicies
    diagnostics: Diagnostics
    made: frozenset[TableName]
    dropped: frozenset[TableName]
    anew: State  # dropped tables when they are just made again
    theirs: tuple[Policy, ...]  # other people's policies on dropped tables


def rehearse(context: AutogenContext, changes: Changes, policies: PolicySet) -> Rehearsal:
    """What comes of the changes in this database, which stays as it is.

    Raises Invalid for errors in the policies, CommandError where the changes can't be tried.
    """
    with _on_psycopg(context) as migration:
        connection = migration.connection
        assert connection is not None, "Alembic compares with a database"
        raw: Any = connection.connection.driver_connection
        try:
            with raw.transaction(force_rollback=True):
                raw.execute(_LIMITS)
                return _Stage(raw, connection, migration, policies).rehearse(changes)
        except psycopg.Error as error:
            raise CommandError(f"the table changes could not be tried: {_in_words(error)}") from error
        except Refused as refused:
            raise CommandError(str(refused)) from refused


@contextmanager
def _on_psycopg(context: AutogenContext) -> Iterator[MigrationContext]:
    """Alembic's own connection where its driver is psycopg, else one of ours to the same database."""
    connection = context.connection
    assert connection is not None, "Alembic compares with a database"
    if connection.dialect.driver == "psycopg" and not connection.dialect.is_async:
        yield context.migration_context
        return
    with _own_connection(connection.engine.url) as own:
        migration = MigrationContext.configure(own, opts=context.migration_context.opts)
        _require_version_table(migration, own)
        yield migration


def _own_connection(url: URL) -> Connection:
    """A connection by psycopg to where `url` leads another driver, whose own options are left out."""
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    url = url.set(drivername="postgresql+psycopg").difference_update_query(url.query.keys() - known)
    try:
        return create_engine(url, poolclass=pool.NullPool).connect()
    except SQLAlchemyError as error:
        words = f"policies are compared by psycopg, which can't connect to {url.render_as_string()}: {error}"
        raise CommandError(words) from error


def _require_version_table(migration: MigrationContext, own: Connection) -> None:
    """It must be there for a second connection too: the first revision closes it to clients, like any table."""
    name, schema = migration.version_table, migration.version_table_schema
    if not inspect(own).has_table(name, schema):
        raise CommandError(f"there is no table {name} yet: make it first, with `alembic ensure_version`")


@dataclass(frozen=True)
class _Stage:
    raw: psycopg.Connection[Any]
    connection: Connection  # the same, as SQLAlchemy's
    migration: MigrationContext
    policies: PolicySet

    def rehearse(self, changes: Changes) -> Rehearsal:
        start = self.state()
        self.attempt_all(changes.first)
        before = self.state()
        catalog = read_catalog(self.raw) if changes.last else None
        retyped = changes.retyped_columns
        closed = _closed(before, self.readers(retyped), self.guards(retyped))
        for policy in set(closed.policies.values()) - set(before.policies.values()):
            self.raw.execute(sql.alter_policy(policy).encode())
        for key in before.triggers.keys() - closed.triggers.keys():
            self.raw.execute(sql.drop_trigger(before.triggers[key]).encode())
        self.attempt_all(changes.retyping)
        for key in self.readers(changes.dropped_columns):
            self.raw.execute(sql.drop_policy(before.policies[key]).encode())
        for key in self.guards(changes.dropped_columns):
            self.raw.execute(sql.drop_trigger(before.triggers[key]).encode())
        self.attempt_all(changes.last)
        prepared = prepare(self.raw, self.policies)
        made = prepared.actual.switches.keys() - start.switches.keys()
        dropped = start.switches.keys() - prepared.actual.switches.keys()
        for table in sorted(dropped):
            self.raw.execute(f"create table {sql.table(table)} ()".encode())
        return Rehearsal(
            before, closed, prepared.resolved, prepared.diagnostics, frozenset(made), frozenset(dropped),
            self.state() if dropped else State(), tuple(_theirs(catalog, dropped)) if catalog else (),
        )  # fmt: skip

    def state(self) -> State:
        return state_for(self.raw, self.policies)

    def readers(self, columns: Iterable[tuple[TableName, str]]) -> set[Key]:
        """Our policies that read one of the columns."""
        return self.standing(_READERS, columns)

    def guards(self, columns: Iterable[tuple[TableName, str]]) -> set[Key]:
        """Our triggers that watch one of the columns."""
        return self.standing(_GUARDS, columns)

    def standing(self, query: str, columns: Iterable[tuple[TableName, str]]) -> set[Key]:
        found = set()
        for table, column in columns:
            rows = self.raw.execute(query.encode(), (sql.table(table), column)).fetchall()
            found |= {(TableName(schema, name), thing) for schema, name, thing in rows}
        return found

    def attempt_all(self, operations: Iterable[ops.MigrateOperation]) -> None:
        for operation in leaves(operations):
            self.attempt(operation)

    def attempt(self, operation: ops.MigrateOperation) -> None:
        """Does one change, or says why it can't be done here and leaves it out: a revision is still to be edited.

        A new column that must not be NULL, in a table that has rows, is made without that.
        """
        try:
            with self.raw.transaction():
                self.invoke(operation)
        except DBAPIError as error:
            cause = error.orig
            if not isinstance(cause, psycopg.Error) or (cause.sqlstate or "57").startswith(_BUSY):
                raise cause or error from None
            if isinstance(operation, ops.AddColumnOp) and cause.sqlstate == _NULLS and not operation.column.nullable:
                self.attempt(_nullable(operation))
            else:
                _leave_out(_in_words(cause))
        except (SQLAlchemyError, ValueError, NotImplementedError) as error:  # an operation that can only be written
            _leave_out(str(error))

    def invoke(self, operation: ops.MigrateOperation) -> None:
        if isinstance(operation, ops.CreateTableOp):
            # not Alembic's own way, which makes an enum type though it is there
            operation.to_table(self.migration).create(self.connection)
            return
        for made in (getattr(operation, "column", None), operation):
            type_ = getattr(made, "type", getattr(made, "modify_type", None))
            if isinstance(type_, Enum):
                type_.create(self.connection, checkfirst=True)
        Operations(self.migration).invoke(operation)


def _closed(state: State, policies: set[Key], triggers: set[Key]) -> State:
    """The state with these policies shut, and without these triggers; who is held by them updates nothing."""
    held = {table for table, _ in triggers}

    def is_shut(key: Key, policy: Policy) -> bool:
        return key in policies or (policy.table in held and policy.command == "update" and not policy.permissive)

    return replace(
        state,
        policies={k: shut(p) if is_shut(k, p) else p for k, p in state.policies.items()},
        triggers={k: t for k, t in state.triggers.items() if k not in triggers},
    )


def _theirs(catalog: Catalog, tables: Iterable[TableName]) -> Iterator[Policy]:
    for table in sorted(tables):
        for p in catalog.tables[table].policies:
            yield Policy(table, p.name, p.permissive, p.command, p.roles, p.using, p.check)


def _nullable(operation: ops.AddColumnOp) -> ops.AddColumnOp:
    column = operation.column._copy()  # noqa: SLF001 - SQLAlchemy's public copy is deprecated in favour of it
    column.nullable = True
    return ops.AddColumnOp(operation.table_name, column, schema=operation.schema)


def _leave_out(why: str) -> None:
    _log.warning("policies are compared without one of the table changes: %s", why)


def _in_words(error: psycopg.Error) -> str:
    said = [error.diag.message_primary or str(error).strip(), error.diag.message_detail, error.diag.message_hint]
    return f"PostgreSQL: {' '.join(filter(None, said))}"
