"""What a test finds, or doesn't, where it runs: a directory for every user, and an engine for containers."""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcp_rls.database import binaries, container, embedded
from mcp_rls.database.server import ServerError


@contextmanager
def made_open_directory() -> Iterator[Path]:
    """A directory that every user may enter and write to, unlike pytest's own; in memory if there is room."""
    parent = embedded._parent_directory(binaries.server_account(), {})
    path = Path(tempfile.mkdtemp(prefix="mcp-rls-test-", dir=parent))
    path.chmod(0o1777)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def engine_is_missing() -> bool:
    """Whether no Docker engine answers. A client that can't connect drops its socket unclosed."""
    try:
        container.probe_engine()
    except ServerError:
        gc.collect()
        return True
    return False
