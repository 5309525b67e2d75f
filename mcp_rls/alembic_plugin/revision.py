"""A plan and its way back, written as a revision after the head that the database is at."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import create_engine, pool

from mcp_rls.alembic_plugin.template import require_imports
from mcp_rls.alembic_plugin.text import body, preamble
from mcp_rls.catalog import TableName
from mcp_rls.compiler.lower import as_before
from mcp_rls.operation import Plan
from mcp_rls.plan import plan
from mcp_rls.state import State, Switches, same


class NotAtHead(Exception):
    """The database isn't where the revisions end, so a plan against it would be a plan against the wrong state."""


def there_and_back(actual: State, desired: State) -> tuple[Plan, Plan]:
    """The plan of a revision and its way back, the same whether or not a downgrade has been in this database."""
    start = without_leavings(actual, desired)
    return plan(unsure(start, desired), desired), way_back(start, desired)


def without_leavings(actual: State, desired: State) -> State:
    """The state without what a downgrade leaves on purpose: row security, under an `as before` policy.

    A revision runs on databases that no downgrade has been in, too, so it takes neither for given on a table that
    comes to us with it. Plans make that policy where it isn't there, or drop it where it is; row security that is on
    stays on.
    """
    come = {(p.table, p.name): p for p in map(as_before, _held(desired) - _held(actual))}
    left = {key for key, policy in come.items() if key in actual.policies and same(actual.policies[key], policy)}
    tables = {table for table, _ in left}
    return replace(
        actual,
        policies={key: p for key, p in actual.policies.items() if key not in left},
        switches={t: replace(s, row_security=s.row_security and t not in tables) for t, s in actual.switches.items()},
        recorded=actual.recorded - {come[key].object for key in left},
    )


def unsure(actual: State, desired: State) -> State:
    """The state with row security off on the tables that come to us: it may be so where a revision runs.

    A plan from it switches row security on, which does nothing where it is on; a ceiling binds nobody without.
    """
    come = _held(desired) - _held(actual)
    off = {t: replace(s, row_security=False) for t, s in actual.switches.items() if t in come}
    return replace(actual, switches={**actual.switches, **off})


def _held(state: State) -> set[TableName]:
    """The tables with a ceiling of ours."""
    return {p.table for p in state.policies.values() if not p.permissive}


def way_back(actual: State, desired: State) -> Plan:
    """The plan from `desired` to what was before, but for row security, which is never turned off again.

    A table whose row security was off keeps it on, under its `as before` policy.
    """
    switches = dict(actual.switches)
    policies = dict(actual.policies)
    for table, wanted in desired.switches.items():
        before = actual.switches.get(table, Switches(table, False, False))
        switches[table] = replace(before, row_security=before.row_security or wanted.row_security)
        if wanted.row_security and not before.row_security:
            policy = as_before(table)
            policies[table, policy.name] = policy
    return plan(desired, replace(actual, switches=switches, policies=policies))


def write_revision(config_file: Path, message: str, up: Plan, down: Plan, *, database: str, head: str = "head") -> Path:
    """Writes a revision after `head`, which must be named where there are several; its path.

    Raises NotAtHead when the database at `database` (a libpq URI) isn't at the heads, CommandError as Alembic does.
    """
    config = Config(str(config_file), cmd_opts=Namespace(quiet=True))
    scripts = ScriptDirectory.from_config(config)
    require_imports(scripts)
    _require_one(scripts, head)
    _require_head(scripts, database)
    script = scripts.generate_revision(
        _next_id(scripts),
        message.replace("\\", "/").replace('"', "'"),  # it goes into a docstring
        head=head,
        upgrades=body(up),
        downgrades=body(down, guarded=True),
        imports=preamble(up, down),
    )
    if script is None:
        raise CommandError("Alembic wrote no revision")
    return Path(script.path)


def _require_one(scripts: ScriptDirectory, head: str) -> None:
    heads = scripts.get_revisions("heads")
    if head == "head" and len(heads) > 1:
        named = (
            f"{r.revision} ({', '.join(sorted(r.branch_labels))})" if r.branch_labels else r.revision for r in heads
        )
        raise CommandError(
            f"the revisions have {len(heads)} heads: {', '.join(sorted(named))}\n"
            "say which one to go on from with --head REVISION, or --head LABEL@head; or join them: alembic merge heads"
        )


def _require_head(scripts: ScriptDirectory, database: str) -> None:
    """The database must be at the heads; its version table is made if it wasn't there, as Alembic would."""
    engine = create_engine(sqlalchemy_url(database), poolclass=pool.NullPool)
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        at, heads = set(context.get_current_heads()), set(scripts.get_heads())
        if at != heads:
            several = "heads" if len(heads) > 1 else "head"
            raise NotAtHead(
                f"the database is at {', '.join(sorted(at)) or 'no revision'}, the revisions end at"
                f" {', '.join(sorted(heads)) or 'none'}: run `alembic upgrade {several}` first"
            )
        context._ensure_version_table()  # noqa: SLF001 - the public way is to run a migration


def sqlalchemy_url(url: str) -> str:
    """A libpq URI as SQLAlchemy wants it, for the psycopg driver."""
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


def _next_id(scripts: ScriptDirectory) -> str:
    """'0002' after '0001' where revisions are numbered so, else Alembic's own random id."""
    from alembic.util import rev_id

    numbers = [r.revision for r in scripts.walk_revisions()]
    if numbers and all(n.isdigit() and len(n) == 4 for n in numbers):
        return f"{max(map(int, numbers)) + 1:04}"
    return rev_id()
