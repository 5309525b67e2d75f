"""A streaming standby of an embedded server, from the same programs, and gone without a trace like it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from mcp_rls.database import embedded
from mcp_rls.database.binaries import find_binaries, server_account
from mcp_rls.database.server import Server

# Of the primary, and of the standby, which asks for as much as the primary has. A commit is sent on at once.
STREAMING = ("wal_level=replica", "max_wal_senders=4", "synchronous_commit=on")
_PATIENCE = 30.0  # seconds until the standby has what the primary wrote


@contextmanager
def standby_of(primary: Server) -> Iterator[Server]:
    """Yields a hot standby that streams from `primary`, an embedded server that was started with STREAMING."""
    account = server_account()
    binaries = find_binaries(account, os.environ)
    parent = embedded._parent_directory(account, os.environ)
    with embedded._guarded_directory(parent, account, binaries, STREAMING) as (directory, guard):
        copied = account.run(
            binaries.directory / "pg_basebackup",
            f"--dbname={primary.url}",
            f"--pgdata={directory / 'data'}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        )
        assert copied.returncode == 0, copied.stderr
        embedded._start(directory, guard)
        yield Server(embedded._url(directory), "embedded", f"PostgreSQL {binaries.version}, standby")


def catch_up(primary: psycopg.Connection, standby: psycopg.Connection) -> None:
    """Waits until the standby shows whatever the primary has committed."""
    written = primary.execute("select pg_current_wal_flush_lsn()").fetchone()
    deadline = time.monotonic() + _PATIENCE
    while not standby.execute("select pg_last_wal_replay_lsn() >= %s", written).fetchall()[0][0]:
        assert time.monotonic() < deadline, "the standby doesn't follow"
        time.sleep(0.02)
