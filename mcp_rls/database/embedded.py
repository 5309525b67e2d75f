"""A private PostgreSQL from programs on this machine: ready in a moment, and gone with its owner.

The steps, in order: find programs that run here; make a directory, with a guard that outlives us and removes
it; fill it, from a template in the cache or with initdb; start the server on a unix socket inside it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.parse import quote

from mcp_rls.database.binaries import (
    Account,
    Binaries,
    find_binaries,
    roots_directory,
    server_account,
)
from mcp_rls.database.server import Progress, Server, ServerError

_MEMORY = Path("/dev/shm")  # noqa: S108  # what we make in it is mkdtemp's
_SHORT = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108  # likewise
_MEMORY_NEEDED = 512 * 2**20  # bytes; a default container has 64 MB, too little for a few databases
_LONGEST_SOCKET = 103  # bytes: macOS takes 103, Linux 107
_PATIENCE = 60.0  # seconds from start to ready
_TEMPLATES_KEPT = 8  # 29 MB each
_ELSEWHERE = "hint: name a running server with --database URL"

_SETTINGS = (
    "listen_addresses=",
    "max_connections=100",
    "shared_buffers=32MB",
    # Nothing here outlives its owner, so nothing needs to survive a crash.
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum=off",
    "jit=off",
    "lc_messages=C",
    "timezone=UTC",
    "log_timezone=UTC",
    # The log lies in memory too, and a test of policies provokes thousands of errors.
    "log_min_messages=fatal",
)

# Holds the read end of a pipe whose write end only the owner has. However the owner ends, the guard reads the
# end of the file, stops the server and removes the directory. It starts the server itself, so that it knows
# its pid from the first moment, and heeds no signal. `rm` is repeated: an initdb may still be writing.
_GUARD = """
trap '' HUP INT TERM
directory=$1
shift
if read -r _; then
    "$@" </dev/null &
    exec >/dev/null
    read -r _
    kill -QUIT $!
    wait $!
fi
for _ in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$directory" 2>/dev/null && exit
    sleep 1
done
"""

_owner_ends: weakref.WeakSet[IO[bytes]] = weakref.WeakSet()


def _close_inherited_ends() -> None:
    for end in _owner_ends:
        end.close()


# A forked child that outlives us would keep the pipe open, and with it the server.
os.register_at_fork(after_in_child=_close_inherited_ends)


@contextmanager
def embedded(
    bin_dir: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cache: Path | None = None,
    progress: Progress | None = None,
    settings: Sequence[str] = (),
) -> Iterator[Server]:
    """Yields a new server of our own, ready, and removes every trace of it afterwards.

    Programs: `bin_dir`, else MCP_RLS_POSTGRES_BIN, else a wheel's, else those on PATH, else Debian's.
    `cache` is where the template lies that makes later starts fast; an unusable one only costs time. `settings`
    (`name=value`) win over ours.
    Raises: ServerError when there are no programs that run, or the server doesn't start.
    """
    account = server_account()
    binaries = find_binaries(account, environ, bin_dir)
    template = _template_path(binaries, account, cache or _cache_directory(account, environ))
    parent = _parent_directory(account, environ)
    with _guarded_directory(parent, account, binaries, settings) as (directory, guard):
        if not _copy_template(template, directory / "data", account):
            if progress:
                progress(f"preparing PostgreSQL {binaries.version} (the first time only)")
            _initialise(directory / "data", binaries, account)
            _keep_as_template(directory / "data", template, account)
        _start(directory, guard)
        yield Server(_url(directory), "embedded", f"PostgreSQL {binaries.version}, embedded")


def _url(directory: Path) -> str:
    """Complete, so that the caller's PGHOST, PGDATABASE and the like change nothing.

    `-E` is a switch that a server ignores when a client sends it; with none at all, PGOPTIONS would apply.
    """
    host = quote(os.fsencode(directory), safe="/")
    return f"postgresql://postgres@/postgres?host={host}&port=5432&hostaddr=&options=-E&target_session_attrs=any"


# A place for it --------------------------------------------------------------------------------------------


def _parent_directory(account: Account, environ: Mapping[str, str]) -> Path:
    """Where to make the server's directory: in memory if it has room, else TMPDIR, else a short path."""
    named = [Path(environ["TMPDIR"]).absolute()] if environ.get("TMPDIR") else []
    for path in (_MEMORY, *named, *_SHORT):
        if _is_suitable(path, account):
            return path
    raise ServerError(
        f"no place for the embedded server's data: none of {', '.join(map(str, [*named, *_SHORT]))} will do\n"
        "hint: set TMPDIR to a directory with a short path, or name a running server with --database URL"
    )


def _is_suitable(path: Path, account: Account) -> bool:
    if len(os.fsencode(path)) + len("/mcp-rls-12345678/.s.PGSQL.5432") > _LONGEST_SOCKET:
        return False
    if "," in str(path):  # libpq takes `host` for a list
        return False
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        return False
    if path == _MEMORY:
        room = os.statvfs(path)
        if room.f_bavail * room.f_frsize < _MEMORY_NEEDED:
            return False
    return not account.switched or _is_open_to_all(path.resolve())


def _is_open_to_all(path: Path) -> bool:
    """True when every user may enter `path`, and make and remove things there, as in /tmp."""
    entered = all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents))
    return bool(entered and path.stat().st_mode & stat.S_IWOTH)


@contextmanager
def _guarded_directory(
    parent: Path, account: Account, binaries: Binaries, settings: Sequence[str] = ()
) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """Yields a directory that only `account` may enter, and the guard that removes it when we are gone."""
    directory = Path(tempfile.mkdtemp(prefix="mcp-rls-", dir=parent))
    try:
        account.own(directory)
        guard = _start_guard(directory, account, _server_command(directory, binaries, settings))
    except BaseException as error:
        with suppress(OSError):  # a root without all its powers may not enter what it gave away
            os.chown(directory, os.geteuid(), os.getegid())
        shutil.rmtree(directory, ignore_errors=True)
        if isinstance(error, OSError):
            raise ServerError(f"the embedded server can't use its directory: {error}\n{_ELSEWHERE}") from None
        raise
    with guard:  # on leaving closes the pipe and waits until the guard has cleaned up
        yield directory, guard


def _start_guard(directory: Path, account: Account, server: Sequence[str | Path]) -> subprocess.Popen[bytes]:
    command = ["/bin/sh", "-c", _GUARD, "mcp-rls-guard", directory, *server]
    with (directory / "log").open("wb") as log:
        guard = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            start_new_session=True,  # away from the terminal's Ctrl-C
            **account.options(),
        )
    assert guard.stdin is not None, "asked for a pipe"
    _owner_ends.add(guard.stdin)
    return guard


def _server_command(directory: Path, binaries: Binaries, settings: Sequence[str]) -> list[str | Path]:
    quoted = str(directory).replace('"', '""')  # -k takes a list, in which a blank needs quotes
    command: list[str | Path] = [
        binaries.directory / "postgres",
        "-D",
        directory / "data",
        "-k",
        f'"{quoted}"',
    ]
    fewer = ("io_method=sync",) if binaries.major >= 18 else ()  # three processes fewer, and no slower in memory
    for setting in (*_SETTINGS, *fewer, *settings):
        command += ["-c", setting]
    return command


# Its data directory ----------------------------------------------------------------------------------------


def _initdb_options(major: int) -> tuple[str, ...]:
    """Locale C, so that machines don't differ; from 17 on with all letters, which need no locale there."""
    letters = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8") if major >= 17 else ()
    user = ("--username=postgres", "--auth=trust")  # the socket lies where only its owner may enter
    return (
        *user,
        "--encoding=UTF8",
        "--locale=C",
        *letters,
        "--wal-segsize=1",
        "--no-sync",
        "--no-instructions",
    )


def _initialise(data: Path, binaries: Binaries, account: Account) -> None:
    made = account.run(binaries.directory / "initdb", f"--pgdata={data}", *_initdb_options(binaries.major))
    if made.returncode != 0:
        raise ServerError(f"initdb failed: {_last_lines(made.stderr)}\n{_ELSEWHERE}")


def _cache_directory(account: Account, environ: Mapping[str, str]) -> Path | None:
    if account.switched:
        with suppress(ServerError, OSError):
            return roots_directory()
        return None
    for base in (Path(environ.get("XDG_CACHE_HOME", "")), Path(environ.get("HOME", ""), ".cache")):
        if base.is_absolute():
            return base / "mcp-rls"
    return None


def _template_path(binaries: Binaries, account: Account, cache: Path | None) -> Path | None:
    """Where the template for these programs lies or would lie: a directory with `data` and its `measure`."""
    if cache is None:
        return None
    return cache / f"template-{binaries.digest(str(account.uid), *_initdb_options(binaries.major))}"


def _copy_template(template: Path | None, data: Path, account: Account) -> bool:
    """Makes `data` a copy of the template. False when there is none, or it isn't whole."""
    if template is None or not _is_whole(template, account):
        return False
    if account.run("cp", "-R", template / "data", data).returncode == 0:
        return True
    shutil.rmtree(data, ignore_errors=True)  # initdb wants to make it
    return False


def _is_whole(template: Path, account: Account) -> bool:
    """True when it is ours, and no file is missing or cut short as after a power failure or a cleaner."""
    try:
        found = template.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid:
            return False
        return (template / "measure").read_text() == _measure(template / "data")
    except OSError:
        return False


def _measure(data: Path) -> str:
    sizes = [os.lstat(f"{folder}/{name}").st_size for folder, _, names in os.walk(data) for name in names]
    return f"{len(sizes)} files, {sum(sizes)} bytes"


def _keep_as_template(data: Path, template: Path | None, account: Account) -> None:
    """Stores a copy for later starts, unless somebody else is doing so, or the cache can't be written."""
    if template is None:
        return
    with suppress(OSError):
        template.parent.mkdir(parents=True, exist_ok=True)
        with (template.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _store(data, template, account)
            oldest_first = sorted(template.parent.glob("template-*"), key=os.path.getmtime)
            for old in oldest_first[:-_TEMPLATES_KEPT]:
                shutil.rmtree(old, ignore_errors=True)


def _store(data: Path, template: Path, account: Account) -> None:
    """Copies `data` beside the template and renames it, so that a template is never seen half-written."""
    making = template.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    try:
        making.mkdir(mode=0o700)
        account.own(making)
        if account.run("cp", "-R", data, making / "data").returncode == 0:
            with (making / "measure").open("x") as measure:
                measure.write(_measure(data))
            shutil.rmtree(template, ignore_errors=True)
            making.rename(template)
    finally:
        shutil.rmtree(making, ignore_errors=True)


# Its start -------------------------------------------------------------------------------------------------


def _start(directory: Path, guard: subprocess.Popen[bytes]) -> None:
    """Lets the guard start the server, and waits until it is ready.

    The pipe that guard and server print to ends when both are done with it: so a failed start shows at once.
    """
    assert guard.stdin is not None, "asked for a pipe"
    assert guard.stdout is not None, "asked for a pipe"
    os.set_blocking(guard.stdout.fileno(), False)
    with suppress(BrokenPipeError):  # the guard is gone: the loop says so
        guard.stdin.write(b"\n")
    deadline = time.monotonic() + _PATIENCE
    while not _is_ready(directory / "data" / "postmaster.pid"):
        if guard.stdout.read(1) == b"" or time.monotonic() > deadline:
            log = _last_lines((directory / "log").read_text(errors="replace"))
            raise ServerError(f"the embedded PostgreSQL doesn't start: {log or 'it gives no reason'}\n{_ELSEWHERE}")
        time.sleep(0.003)


def _is_ready(pid_file: Path) -> bool:
    """True once the server has written `ready` into line 8 of its pid file, where pg_ctl looks for it."""
    try:
        lines = pid_file.read_text().splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[7].strip() == "ready"


def _last_lines(text: str) -> str:
    return " ".join(text.split("\n")[-6:]).strip()
