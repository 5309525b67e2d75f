"""Plans as Alembic revisions: finished SQL both ways, that needs nothing of ours at upgrade time."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import create_engine, pool

from mcp_rls.compiler.lower import as_before
from mcp_rls.effect import Effect
from mcp_rls.plan import Plan, plan
from mcp_rls.state import State, Switches

# A revision runs in somebody else's transaction: what it sets, it puts back.
_SET = {"search_path": "pg_catalog", "lock_timeout": "2s", "standard_conforming_strings": "on"}
_BEGIN = "select " + ", ".join(
    f"set_config('mcp_rls.{name}', current_setting('{name}'), true), set_config('{name}', '{value}', true)"
    for name, value in _SET.items()
)
_END = "select " + ", ".join(f"set_config('{name}', current_setting('mcp_rls.{name}'), true)" for name in _SET)


class NotAtHead(Exception):
    """The database isn't where the revisions end, so a plan against it would be a plan against the wrong state."""


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


def write_revision(config_file: Path, message: str, up: Plan, down: Plan, *, database: str) -> Path:
    """Writes a revision after the head; its path.

    Raises NotAtHead when the database at `database` (a libpq URI) isn't at the head, CommandError as Alembic does.
    """
    config = Config(str(config_file), cmd_opts=Namespace(quiet=True))
    scripts = ScriptDirectory.from_config(config)
    _require_head(scripts, database)
    script = scripts.generate_revision(
        _next_id(scripts),
        message.replace("\\", "/").replace('"', "'"),  # it goes into a docstring
        head="head",
        upgrades=body(up),
        downgrades=body(down, guarded=True),
        imports="from alembic import context, util" if down.opens else "",
    )
    if script is None:
        raise CommandError("Alembic wrote no revision")
    return Path(script.path)


def _require_head(scripts: ScriptDirectory, database: str) -> None:
    """The database must be at the head; its version table is made if it wasn't there, as Alembic would."""
    engine = create_engine(sqlalchemy_url(database), poolclass=pool.NullPool)
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        at, heads = set(context.get_current_heads()), set(scripts.get_heads())
        if at != heads:
            raise NotAtHead(
                f"the database is at {', '.join(sorted(at)) or 'no revision'}, the revisions end at"
                f" {', '.join(sorted(heads)) or 'none'}: run `alembic upgrade head` first"
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


def body(way: Plan, *, guarded: bool = False) -> str:
    """The body of upgrade() or downgrade(), indented but for its first line, as Alembic's template wants it.

    The plan's words as comments, its statements verbatim. `guarded`: it refuses, before the first statement, to open
    what wasn't said to be opened.
    """
    if not way.operations:
        return "pass"
    lines = _guard(way) if guarded and way.opens else []
    told = [o for o in way.operations if o.effect is not Effect.NEITHER] or way.operations
    lines += [f"# {o.effect.value}: {line}" for o in told for line in o.words.splitlines()]
    lines.append("for statement in (")
    lines += [f"    {_quoted(statement)}," for statement in (_BEGIN, *way.statements, _END)]
    # text() would take :name for a bind parameter, in a string constant too
    lines += ["):", r"""    op.execute(sa.text(statement.replace(":", r"\:")))"""]
    return "\n    ".join(lines)


def _guard(way: Plan) -> list[str]:
    opened = "; ".join(o.words for o in way.opens[:5]) + (" ..." if len(way.opens) > 5 else "")
    return [
        'if context.get_x_argument(as_dictionary=True).get("mcp_rls_open") != "yes":',
        f"    raise util.CommandError({_quoted(f'this downgrade opens, and needs -x mcp_rls_open=yes: {opened}')})",
    ]


def _quoted(text: str) -> str:
    """A Python string constant that reads as the text itself where that can be."""
    plain = text.isprintable() or "\n" in text
    if plain and "\n" not in text and '"' not in text and "\\" not in text:
        return f'"{text}"'
    if plain and '"""' not in text and not text.endswith(('"', "\\")) and "\r" not in text:
        return f'r"""{text}"""'
    return repr(text)
