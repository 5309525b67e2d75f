"""Where a PostgreSQL server comes from: a given URL, a container, or an embedded server of our own.

`open_server` is the one place that chooses. What it yields is the same `Server` in all three cases, so that
nothing behind it needs to know.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    import psycopg

Progress = Callable[[str], None]

# An '@' or '/' that isn't percent-encoded moves part of a password into the host, the port or the database,
# and libpq's messages quote those. Such a URL is refused before libpq sees it.
_URL = re.compile(
    r"(?:postgresql|postgres)(?:\+\w+)?://"
    r"(?P<who>[^@/]*@)?"
    r"(?P<hosts>(?:(?:[^@/?,:\[\]]*|\[[^@/?\]]*\])(?::\d*)?,?)*)"
    r"(?:/(?P<database>[^@/?]*))?"
    r"(?:\?(?P<query>.*))?"
)


class ServerError(Exception):
    """There is no server to work with. The message says what to do next; it never holds a password."""


_SCRATCH = "mcp_rls: scratch since "
# Of runs that were killed: an hour old, and nobody is there; a run that goes on is never without a connection so long.
_LEFT_BEHIND = f"""
select datname from (
  select d.oid, d.datname, substring(shobj_description(d.oid, 'pg_database')
           from '^{_SCRATCH}(\\d{{4}}-\\d\\d-\\d\\dT[0-9:.+]+)$') as since
  from pg_database d
  where d.datname ~ '^mcp_rls_[0-9a-f]{{12}}$' and pg_get_userbyid(d.datdba) = current_user and not d.datistemplate
) known
where case when since is not null then since::timestamptz < now() - interval '1 hour' end
  and not exists (select from pg_stat_activity a where a.datid = known.oid)
"""


@dataclass(frozen=True)
class Server:
    """A running PostgreSQL server.

    `url` is a libpq URI: of the database `postgres` as superuser when embedded or in a container, of the
    database and role that were named when given.
    """

    url: str = field(repr=False)  # may hold a password
    kind: str  # 'embedded' | 'given' | 'container'
    description: str  # one line for report headers: 'PostgreSQL 18.6, embedded'

    def url_of(self, database: str) -> str:
        """The URL of another database on the same server, as the same role."""
        found = url_parts(self.url)
        # `dbname` among the parameters would win over the path.
        parameters = [p for p in (found["query"] or "").split("&") if p and not p.startswith("dbname=")]
        tail = "?" + "&".join(parameters) if parameters else ""
        return f"postgresql://{found['who'] or ''}{found['hosts']}/{quote(database, safe='')}{tail}"

    @contextmanager
    def scratch_database(self, template: str | None = None) -> Iterator[str]:
        """Yields the URL of a fresh database, a copy of `template` if named, and drops it afterwards.

        Connections that are still open by then are ended. A database that was made a template meanwhile
        (IS_TEMPLATE) is dropped too.
        Raises: ServerError when the role may not create databases, or `template` is missing or in use.
        """
        name = f"mcp_rls_{secrets.token_hex(6)}"
        try:
            self._create(name, template)
            yield self.url_of(name)
        except BaseException:
            with suppress(ServerError):  # the first error is the one to see
                self._drop(name)
            raise
        self._drop(name)

    def _create(self, name: str, template: str | None) -> None:
        from psycopg import sql

        # Four times as fast as the default; it needs checkpoints, which cost nothing with fsync off.
        strategy = sql.SQL("strategy file_copy" if self.kind == "embedded" else "")
        names = sql.Identifier(name), sql.Identifier(template or "template0")
        with self._maintenance("create a database") as connection:
            if self.kind == "given":  # the others go with their server
                for left in connection.execute(_LEFT_BEHIND.encode()).fetchall():
                    connection.execute(sql.SQL("drop database if exists {}").format(sql.Identifier(left[0])))
            connection.execute(sql.SQL("create database {} template {} {}").format(*names, strategy))
            if self.kind == "given":
                since = sql.Literal(f"{_SCRATCH}{datetime.now(UTC).isoformat()}")
                connection.execute(sql.SQL("comment on database {} is {}").format(names[0], since))

    def _drop(self, name: str) -> None:
        from psycopg import sql

        look = sql.SQL("select datistemplate from pg_catalog.pg_database where datname = {}").format(name)
        with self._maintenance(f"drop the database {name}") as connection:
            found = connection.execute(look).fetchone()
            if found is None:
                return
            if found[0]:  # DROP DATABASE refuses a template
                connection.execute(sql.SQL("alter database {} is_template false").format(sql.Identifier(name)))
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    @contextmanager
    def _maintenance(self, purpose: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """A connection whose errors end as ServerError."""
        import psycopg

        with connect(self.url) as connection:
            try:
                yield connection
            except psycopg.Error as error:
                hint = ""
                if isinstance(error, psycopg.errors.InsufficientPrivilege):
                    hint = "\nhint: the role needs CREATEDB; name another one in the URL"
                raise ServerError(f"could not {purpose} on {self.description}: {one_line(error)}{hint}") from None


@contextmanager
def open_server(
    database: str | None = None,
    *,
    container: str | None = None,
    environ: Mapping[str, str] = os.environ,
    progress: Progress | None = None,
) -> Iterator[Server]:
    """Yields the server to use, and ends it afterwards unless it was given.

    The first of: the URL `database` (libpq or SQLAlchemy style), a container of the image `container`, the
    URL in MCP_RLS_DATABASE_URL, an embedded server. `progress` gets one line before anything slow.
    Raises: ServerError when there is none, or when both `database` and `container` are named.
    """
    if database is not None and container is not None:
        raise ServerError("a database URL and a container image are both named; name one of them")
    _require_psycopg()
    tell = progress or _silent
    if container is not None:
        from mcp_rls.database.container import in_container

        opened = in_container(container, tell)
    elif database is not None:
        opened = _given(database)
    elif from_environment := environ.get("MCP_RLS_DATABASE_URL"):
        opened = _given(from_environment)
    else:
        opened = _embedded(environ, tell)
    with opened as server:
        yield server


@contextmanager
def _given(url: str) -> Iterator[Server]:
    """The server at `url`, once it has answered."""
    url = normalised(url)
    with connect(url) as connection:
        where = f"{connection.info.host}:{connection.info.port}/{connection.info.dbname}"
        version = version_of(connection)
    yield Server(url, "given", f"PostgreSQL {version} at {where} (given)")


@contextmanager
def _embedded(environ: Mapping[str, str], progress: Progress) -> Iterator[Server]:
    """A private server from binaries on this machine, once it has answered."""
    if os.name != "posix":
        raise ServerError(
            "the embedded PostgreSQL needs Linux or macOS\nhint: name a running server with --database URL"
        )
    from mcp_rls.database.embedded import embedded

    with embedded(environ=environ, progress=progress) as server, _broken_service_hidden(server.url):
        connect(server.url).close()
        yield server


@contextmanager
def _broken_service_hidden(url: str) -> Iterator[None]:
    """Takes PGSERVICE away meanwhile, but only where libpq can't find that service.

    It would then fail every connection of this process, and nothing in a URL can switch it off. A service
    that does exist is harmless: the embedded server's URL is complete, and wins.
    """
    service = os.environ.get("PGSERVICE")
    if service is not None:
        try:
            connect(url).close()
            service = None
        except ServerError:
            del os.environ["PGSERVICE"]
    try:
        yield
    finally:
        if service is not None:
            os.environ["PGSERVICE"] = service


def normalised(url: str) -> str:
    """`url` as libpq takes it, without SQLAlchemy's driver. Raises ServerError when it isn't a URL."""
    url_parts(url)
    return re.sub(r"\Apostgres(?:ql)?(?:\+\w+)?:", "postgresql:", url)


def url_parts(url: str) -> re.Match[str]:
    """The parts of `url`. Raises ServerError that quotes nothing of it."""
    found = _URL.fullmatch(url)
    if found is None:
        raise ServerError(
            "the database URL can't be read; expected postgresql://user:password@host:port/database\n"
            "hint: in a name or password write @ as %40, / as %2F, : as %3A and % as %25"
        )
    return found


def connect(url: str, patience: int = 10) -> psycopg.Connection[tuple[Any, ...]]:
    """An autocommitting connection. Raises ServerError when nobody answers in `patience` seconds, or not to us."""
    import psycopg

    limit: dict[str, Any] = {} if "connect_timeout=" in url else {"connect_timeout": patience}
    try:
        # Unprepared: below PgBouncer 1.21 a prepared statement may bring another client's result.
        return psycopg.connect(url, autocommit=True, prepare_threshold=None, **limit)
    except psycopg.ProgrammingError:
        # libpq couldn't parse it, and its message quotes the part it stumbled on, which may be the password.
        raise ServerError(
            "the database URL can't be read; check its percent signs and the parameters after '?'"
        ) from None
    except psycopg.OperationalError as error:
        raise ServerError(
            f"the database doesn't answer: {one_line(error)}\n"
            "hint: check host, port, user and password in the URL (--database or MCP_RLS_DATABASE_URL)"
        ) from None


def version_of(connection: psycopg.Connection[tuple[Any, ...]]) -> str:
    """'18.6', or '16.4' of '16.4 (Debian 16.4-1.pgdg120+1)'."""
    return (connection.info.parameter_status("server_version") or "?").split()[0]


def _require_psycopg() -> None:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise ServerError(f'a database needs psycopg: pip install "mcp-rls[postgres]" ({one_line(error)})') from None


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _silent(message: str) -> None:
    """Progress that nobody wants to see."""
