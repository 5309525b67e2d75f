"""The major versions of PostgreSQL that tests meet, and where their programs are.

MCP_RLS_TEST_BINARIES=dir:dir    further directories with programs, beside those that the tool would find itself
MCP_RLS_TEST_MAJORS=15,16,17,18  these must be found, and every test that can runs on each (`make test-majors`)
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from mcp_rls.database import binaries
from mcp_rls.database.server import ServerError

REQUIRED = tuple(int(major) for major in os.environ.get("MCP_RLS_TEST_MAJORS", "").split(",") if major)
EVERY = bool(REQUIRED)

# What a test needs that a version's programs don't bring along: (test, major version) to why.
_DUMPS = "the usual version's pg_dump writes what it doesn't read"
LEFT_OUT = {
    ("test_operators_of_an_extension_mean_what_they_mean", 16): "its package has no citext",
    ("test_a_dump_and_restore_is_a_note", 15): _DUMPS,
    ("test_a_dump_and_restore_is_a_note", 16): _DUMPS,
}


@cache
def found_majors() -> dict[int, Path | None]:
    """Programs by major version: None for what an embedded server takes by itself, which stands first.

    Raises pytest.UsageError when one that is required isn't found.
    """
    account = binaries.server_account()
    found: dict[int, Path | None] = {}
    with suppress(ServerError):
        found[binaries.find_binaries(account, os.environ).major] = None
    named = os.environ.get("MCP_RLS_TEST_BINARIES", "").split(os.pathsep)
    for directory in (*(Path(name) for name in named if name), *binaries._candidates(os.environ)):
        with suppress(ServerError):
            known = binaries.find_binaries(account, os.environ, directory)
            found.setdefault(known.major, known.directory)
    missing = [str(major) for major in REQUIRED if major not in found]
    if missing:
        here = ", ".join(map(str, sorted(found))) or "none"
        raise pytest.UsageError(
            f"PostgreSQL {', '.join(missing)} is to be tested and not on this machine; here: {here}\n"
            f"install it (Debian, Ubuntu: apt-get install postgresql-{missing[0]}), or name where its programs are:"
            " MCP_RLS_TEST_BINARIES=/path/to/bin"
        )
    return found or {0: None}
