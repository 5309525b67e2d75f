"""What the commands share: options, the database they ask for, how findings are shown, and what ends as exit 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import click

from mcp_rls import report

if TYPE_CHECKING:
    from mcp_rls.compiler.model import PolicySet
    from mcp_rls.database.server import Server
    from mcp_rls.database.waiting import Connection
    from mcp_rls.diagnostics import Diagnostics
    from mcp_rls.harness.suite import Suite

_F = TypeVar("_F", bound=Callable[..., Any])
DATABASE_VARIABLE = "MCP_RLS_DATABASE_URL"
# Codes of a file that could not even be read as text: no answer, where any other error is the answer no.
UNREADABLE = frozenset({"file-unreadable", "file-too-large"})
_EXPLAINED = (  # exceptions whose message is all that there is to say, with their modules
    *("mcp_rls.harness.session", "CannotTest"),
    *("mcp_rls.database.waiting", "Refused"),
    *("mcp_rls.database.drift", "Unanswerable"),
)


class Problem(click.ClickException):
    """A message on stderr, and exit 2: the command could not answer."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        first, *rest = self.message.splitlines() or [""]
        click.echo("\n".join([f"mcp-rls: {first}", *(f"  {line}" for line in rest)]), file=file, err=file is None)


def problem_of(error: Exception) -> str | None:
    """What to tell the user about `error`; None when it is none of those that are foreseen."""
    if isinstance(error, ModuleNotFoundError):
        return _missing(error.name or "")
    from mcp_rls.database.server import ServerError

    if isinstance(error, ServerError):
        return str(error)
    # A class of a module that was never loaded was never raised; loading it here could fail for want of psycopg.
    if isinstance(error, _loaded(*_EXPLAINED)):
        return str(error)
    if isinstance(error, _loaded("psycopg", "Error")):
        return _refused_by_postgresql(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return None


def _loaded(*names: str) -> tuple[type, ...]:
    """The classes of modules that are loaded, named in pairs of module and class."""
    pairs = zip(names[::2], names[1::2], strict=True)
    return tuple(getattr(sys.modules[module], name) for module, name in pairs if sys.modules.get(module))


def _refused_by_postgresql(error: Any) -> str:
    """PostgreSQL's message with its detail and hint; of a failed connection the first line."""
    if error.diag.message_primary is None:
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    extras = [error.diag.message_detail, error.diag.message_hint and f"hint: {error.diag.message_hint}"]
    return "\n".join([f"PostgreSQL: {error.diag.message_primary}", *filter(None, extras)])


def _missing(module: str) -> str | None:
    """Which extra brings the library `module`."""
    library = module.partition(".")[0]
    extras = {
        "psycopg": "postgres",
        "pglast": "postgres",
        "alembic": "alembic",
        "sqlalchemy": "alembic",
        "testcontainers": "containers",
    }
    if library not in extras:
        return None
    hint = '\nwith a PostgreSQL of its own: pip install "mcp-rls[embedded]"' if library == "psycopg" else ""
    return f'this command needs {library}: pip install "mcp-rls[{extras[library]}]"{hint}'


# --- arguments and options --------------------------------------------------------------------------------------------


def policy_file(command: _F) -> _F:
    """FILE, which is policies.yaml in the current folder where nothing else is said."""
    return click.argument("file", required=False, type=click.Path(path_type=Path), callback=_or_here)(command)


def _or_here(ctx: click.Context, _: click.Parameter, file: Path | None) -> Path:
    here = Path("policies.yaml")
    if file is None and not here.is_file():
        raise click.UsageError(f"which policy file? name it: there is no {here} here", ctx)
    return file or here


def output_format(subject: report.Subject) -> Callable[[_F], _F]:
    """--format, with the formats that there are for `subject`."""
    choice = click.Choice(report.formats(subject))
    return click.option("--format", "format_", type=choice, default="text", show_default=True, help="How to print it.")


@dataclass(frozen=True)
class Place:
    """An open connection to the database to work in, and what to call it."""

    connection: Connection
    url: str = field(repr=False)  # may hold a password
    description: str


@dataclass(frozen=True)
class Target:
    """The database that the options ask for."""

    database: str | None
    container: str | None
    schema: tuple[Path, ...]

    @property
    def named(self) -> bool:
        """Whether any option asks for one."""
        return self.database is not None or self.container is not None or bool(self.schema)

    @property
    def given(self) -> bool:
        """Whether there is a database with a life of its own, by option or by environment."""
        return self.database is not None or bool(os.environ.get(DATABASE_VARIABLE) and self.container is None)

    def beside(self, file: Path) -> Target:
        """With `schema.sql` beside the policy file, where a scratch database would else be empty."""
        return self if self.schema or self.given else replace(self, schema=neighbour(file))

    @contextmanager
    def server(self) -> Iterator[Server]:
        from mcp_rls.database.server import open_server

        with open_server(self.database, container=self.container, progress=progress) as server:
            yield server

    @contextmanager
    def open(self) -> Iterator[Place]:
        """The database that was given, as it stands; else, and with schema files, a scratch one that holds them."""
        from mcp_rls.harness.project import connected

        with self.server() as server:
            if server.kind == "given" and not self.schema:
                with connected(server.url) as connection:
                    # what a policy says is printed under a lock on its table; who waits for it is told
                    connection.execute("set lock_timeout = '2s'")
                    yield Place(connection, server.url, server.description)
                return
            with server.scratch_database() as url, connected(url) as connection:
                for file in self.schema:
                    _load_schema(connection, url, file)
                names = ", ".join(file.name for file in self.schema) or "an empty database"
                yield Place(connection, url, f"{names} in {server.description}")


def neighbour(file: Path) -> tuple[Path, ...]:
    """The `schema.sql` beside a policy file, if there is one."""
    found = file.parent / "schema.sql"
    return (found,) if found.is_file() else ()


def _load_schema(connection: Connection, url: str, file: Path) -> None:
    """Runs a file of SQL, or brings the revisions of an alembic.ini to their head."""
    from mcp_rls.harness.project import run_sql_file, upgrade

    if file.suffix == ".ini":
        upgrade(file, url)
    else:
        run_sql_file(connection, file)


def target(default: str, *, scratch: bool = True) -> Callable[[_F], _F]:
    """--database and, where a `scratch` database will do, --container and --schema; passed on as one `target`."""

    def decorate(command: _F) -> _F:
        @wraps(command)
        def gathered(*args: Any, database: str | None, container: str | None = None, **options: Any) -> Any:
            schema = options.pop("schema", ())
            return command(*args, target=Target(database, container, schema), **options)

        wrapped: Any = gathered
        if scratch:
            wrapped = click.option(
                "--schema", type=click.Path(path_type=Path), multiple=True, metavar="FILE.sql",
                help="SQL that makes the tables, loaded into a scratch database. Repeatable.",
            )(wrapped)  # fmt: skip
            wrapped = click.option(
                "--container", metavar="IMAGE", help="A scratch database in a container, for example postgres:18."
            )(wrapped)
        url = click.option("--database", metavar="URL", help=f"postgresql://user@host/name. {default}")
        return cast("_F", url(wrapped))

    return decorate


# --- what they print --------------------------------------------------------------------------------------------------


def progress(message: str) -> None:
    click.echo(f"mcp-rls: {message}", err=True)


def load(file: Path) -> PolicySet:
    """The policies of a file; its errors are shown on stderr and end the command."""
    from mcp_rls.compiler.policy import load_policies

    policies, diagnostics = load_policies(file)
    if policies is None:
        fail(diagnostics, str(file))
    return policies


def load_cases(path: Path, policies: PolicySet) -> Suite:
    """The suite of a cases file; its errors are shown on stderr and end the command, its warnings are shown."""
    from mcp_rls.harness.suite import load_suite

    suite, diagnostics = load_suite(path, policies)
    if suite is None:
        fail(diagnostics, str(path))
    show_warnings(diagnostics, str(path))
    return suite


def fail(diagnostics: Diagnostics, checked: str) -> NoReturn:
    """Shows the findings on stderr and exits: 2 when a file could not be read, else 1."""
    report.write("findings", "text", report.Findings.of(diagnostics, checked), sys.stderr)
    sys.exit(exit_code(diagnostics))


def exit_code(diagnostics: Diagnostics) -> int:
    if any(d.code in UNREADABLE for d in diagnostics.errors):
        return 2
    return 1 if diagnostics.has_errors else 0


def show_warnings(diagnostics: Diagnostics, checked: str) -> None:
    """Errors and warnings on stderr, for a command whose result is something else; notes are left to `check`."""
    from mcp_rls.diagnostics import Diagnostics, Severity

    grave = Diagnostics([d for d in diagnostics if d.severity is not Severity.NOTE])
    if len(grave):
        report.write("findings", "text", report.Findings.of(grave, checked), sys.stderr)
