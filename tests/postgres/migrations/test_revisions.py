"""Migrations as real revisions: written by `mcp-rls revision`, carried out by `alembic`, up, down and up again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic.config import main as alembic_main
from click.testing import CliRunner
from sqlalchemy.exc import OperationalError

from mcp_rls.cli import main
from mcp_rls.resources import bundled
from tests.postgres.migrations import conditions, schemas, tokens
from tests.postgres.migrations.migration import Migration, clients, file, rule
from tests.postgres.migrations.observer import Looker, free_readers, looker
from tests.postgres.migrations.run import Run
from tests.postgres.scratch import Scratch, make_roles

pytestmark = pytest.mark.postgres

CHOSEN = (
    "what quotes a text elsewhere",
    "a set of another type under rules for people",
    "two classes swap their names",
    "a name with what quotes",
    "a first column of the app's, a first table, and the first rules",
    "policies as Supabase names them",
    "privileges that come back with the rules that use them",
)
CASES = tuple(c for c in (*conditions.CASES, *tokens.CASES, *schemas.CASES) if c.name in CHOSEN)


class Project:
    """The shipped environment in a directory, with a policy file beside it, and one database."""

    def __init__(self, directory: Path, url: str) -> None:
        self.file, self.ini, self.url = directory / "policies.yaml", directory / "migrations" / "alembic.ini", url
        shutil.copytree(bundled("migrations"), directory / "migrations", ignore=shutil.ignore_patterns("__pycache__"))

    def alembic(self, *arguments: str) -> None:
        alembic_main(["-q", "-c", str(self.ini), "-x", f"url={self.url}", *arguments])

    def mcp_rls(self, command: str, *arguments: str) -> str:
        """What the command prints."""
        result = CliRunner().invoke(
            main, [command, str(self.file), "--database", self.url, *arguments], catch_exceptions=False
        )
        assert result.exit_code == 0, result.output
        return result.stdout

    def write(self, text: str | None) -> None:
        """A revision of what the file changes."""
        assert text is not None, "one can only write what a file says"
        self.file.write_text(text, encoding="utf-8")
        assert Path(self.mcp_rls("revision", "-m", "next", "--config", str(self.ini)).strip()).exists()


def test_up_down_and_up(case: Migration, case_scratch: Scratch, tmp_path: Path, record_property: Callable[..., None]):
    """Each way, with readers that look on, to the states that the plan leads to; and to the bottom."""
    make_roles(case_scratch.connection, "agent")
    project, run = Project(tmp_path, case_scratch.url), Run(case_scratch, case)
    case_scratch.run(case.schema)
    project.alembic("upgrade", "head")
    if case.before is not None:
        project.write(case.before)
        project.alembic("upgrade", "head")
    case_scratch.run(case.first.there)
    run.start = run.state()
    run.resolve()
    run.up, run.down = run.planned()
    project.write(case.after)
    with looker(case_scratch.url, case) as looking:
        _up_down_and_up(run, project, looking)
        reads = looking.reads
    with free_readers(case_scratch.url, case.sessions, case.reads, "revision") as readers:
        readers.settle()
        project.alembic("-x", "mcp_rls_open=yes", "downgrade", "-1")
        readers.settle()
        project.alembic("upgrade", "head")
        readers.settle()
    for reader, free in readers.readers.items():
        assert free.errors == [], reader
        for (_, query), seen in free.seen.items():
            assert seen == run.allowed(reader, query), (reader, query)
    record_property("reads", reads + readers.reads)
    project.alembic("-x", "mcp_rls_open=yes", "downgrade", "base")
    assert case_scratch.run("select from pg_namespace where nspname = 'mcp_rls'") == []
    assert (
        case_scratch.run(
            "select polname from pg_policy where polname like 'mcp\\_rls: %' and polname not like '% as before'"
        )
        == []
    )


def _up_down_and_up(run: Run, project: Project, looking: Looker) -> None:
    start = looking.look()
    project.alembic("upgrade", "head")
    assert "nothing pending" in project.mcp_rls("plan")
    run.reached, run.ends = run.state(), (start, looking.look())
    run.assert_told()
    if run.down.opens:
        with pytest.raises(SystemExit):
            project.alembic("downgrade", "-1")
    run.assert_arrived()
    project.alembic("-x", "mcp_rls_open=yes", "downgrade", "-1")
    run.assert_back(run.start)
    assert looking.look() == start
    project.alembic("upgrade", "head")
    run.assert_arrived()


TWO = "".join(
    f"create table public.{name} (id integer); grant select on public.{name} to authenticated;" for name in ("t1", "t2")
)


def two(first: int, second: int) -> str:
    """A policy file with a rule for each of two tables."""
    rules = (f"public.t{n}: {clients(rule(f'id = {value}'))}" for n, value in enumerate((first, second), 1))
    return file(f"{{{', '.join(rules)}}}")


def test_readers_hardly_wait_behind_two_revisions(scratch: Scratch, tmp_path: Path):
    """The first changed a table, and the next, in the same transaction, needs another that is in use: it gives up, with
    nothing changed, before those who read the first have waited for long; and goes through when the table is free.
    """
    project = Project(tmp_path, scratch.url)
    scratch.run(TWO)
    project.alembic("upgrade", "head")
    for text in (two(1, 1), two(2, 1), two(2, 2)):
        project.write(text)
        project.alembic("upgrade", "head")
    project.alembic("-x", "mcp_rls_open=yes", "downgrade", "-2")
    waiting = "select count(*) > 0 from pg_locks where not granted and relation = 'public.t2'::regclass"
    with psycopg.connect(scratch.url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("select from public.t2")
        upgraded = pool.submit(project.alembic, "upgrade", "head")
        while not scratch.value(waiting):
            time.sleep(0.005)
        scratch.run("set lock_timeout = '1s'")
        try:
            scratch.run("select from public.t1")
            with pytest.raises(OperationalError, match="lock timeout"):
                upgraded.result(timeout=30)
        finally:
            other.rollback()
    project.alembic("upgrade", "head")
    assert scratch.left(two(2, 2)) == []
