"""Tables that another session has locked: `plan` and `apply` go on trying, and say in the end which they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from mcp_rls.cli import main
from mcp_rls.database import apply
from mcp_rls.database.fleet import applying, planning
from mcp_rls.database.waiting import Locked, Progress, patiently
from tests.postgres.scratch import HEAD, NOTES, Scratch, helper, policies

pytestmark = pytest.mark.postgres

FILE = HEAD + "tables: {public.notes: {clients: [{who: helper, allow: select, rows: id = %s}]}}"


@contextmanager
def locked(scratch: Scratch) -> Iterator[psycopg.Connection[Any]]:
    """While this lasts, or until the session that it gives ends its transaction, nobody may read the table."""
    with psycopg.connect(scratch.url) as other:
        other.execute("lock table public.notes in access exclusive mode")
        yield other


@pytest.fixture
def applied(scratch: Scratch) -> Scratch:
    scratch.run(NOTES)
    scratch.install(FILE % 1)
    scratch.run("set lock_timeout = '20ms'")
    return scratch


def looked(scratch: Scratch, patience: float, waiting: Progress) -> object:
    conn = scratch.connection
    return patiently(conn, lambda: apply.prepare(conn, policies(FILE % 2)), patience, waiting)


def by_table(scratch: Scratch, patience: float, waiting: Progress) -> object:
    limits: Any = {"lock_timeout": "20ms", "patience": patience, "waiting": waiting}
    return apply.apply_by_table(scratch.connection, policies(FILE % 2), **limits)


def in_a_fleet(scratch: Scratch, patience: float, waiting: Progress) -> object:
    work = applying(policies(FILE % 2), lock_timeout="20ms", patience=patience)
    return work(scratch.connection, waiting)


def planned_in_a_fleet(scratch: Scratch, patience: float, waiting: Progress) -> object:
    return planning(policies(FILE % 2))(scratch.connection, waiting)


WAYS = (looked, by_table, in_a_fleet, planned_in_a_fleet)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_locked_is_read_as_soon_as_it_is_free(applied: Scratch, way: Callable[..., object]):
    """Tried again and again, each wait told with the table."""
    told: list[str] = []
    with locked(applied) as other:

        def waiting(line: str) -> None:
            told.append(line)
            if len(told) == 2:
                other.rollback()

        assert way(applied, 60, waiting)
        assert len(told) >= 2
        assert all(f"public.notes (ACCESS EXCLUSIVE, pid {other.info.backend_pid} in" in line for line in told)


@pytest.mark.parametrize("way", WAYS[:-1])
def test_what_stays_locked_is_named(applied: Scratch, way: Callable[..., object]):
    """When the patience is over, with nothing changed."""
    with (
        locked(applied),
        pytest.raises(Locked, match=r"public\.notes .* in 0\.1 s of trying; nothing was changed"),
    ):
        way(applied, 0.1, lambda _: None)
    assert applied.sees(helper()) == [1]


def test_another_apply_is_named(applied: Scratch):
    """Not a table that happens to be locked."""
    wanted = applied.prepare(FILE % 2).plan
    carry = partial(apply.apply_plan, applied.connection, policies(FILE % 2), wanted, lock_timeout="20ms", patience=0)
    with psycopg.connect(applied.url) as other:
        other.execute("select pg_advisory_xact_lock(hashtext('mcp_rls.apply'))")
        with pytest.raises(Locked, match="another apply is at work here"):
            carry()
    carry()
    assert applied.sees(helper()) == [2]


def test_from_the_command_line(applied: Scratch, tmp_path: Path):
    """`plan` and `apply` wait for it longer than for one lock; `apply` no longer than it may, exit 2."""
    file = tmp_path / "policies.yaml"
    file.write_text(FILE % 2, encoding="utf-8")
    run = partial(CliRunner().invoke, main, catch_exceptions=False)
    with locked(applied) as other:
        result = run(["apply", str(file), "--database", applied.url, "--patience", "0"])
        assert (result.exit_code, result.stdout) == (2, "")
        assert "another session has locked public.notes" in result.stderr
        timer = threading.Timer(2.5, other.rollback)
        timer.start()
        result = run(["plan", str(file), "--database", applied.url])
        timer.join()
    assert result.exit_code == 1
    assert "public.notes" in result.stderr
    assert "change policy" in result.stdout
