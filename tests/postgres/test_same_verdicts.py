"""One suite, one answer: whatever door it goes through, whatever server it meets, and whoever runs it."""

from __future__ import annotations

import os
import pwd
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from mcp_rls.compiler.policy import load_policies
from mcp_rls.database import binaries
from mcp_rls.database.apply import install
from mcp_rls.database.server import Server, open_server
from mcp_rls.resources import bundled
from tests.postgres.doors import Doors, through_doors
from tests.postgres.places import engine_is_missing, made_open_directory

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

# The help desk with mistakes planted in it: a row too few, a row too many, and a right that no case gives any more.
PLANTED = [
    ("as: ann-claude, select: public.tickets, sees: [1, 5, 6]", "as: ann-claude, select: public.tickets, sees: [1, 6]"),
    ("as: ann, select: public.orgs, sees: [1, 3, 4]", "as: ann, select: public.orgs, sees: [1, 2, 3, 4]"),
    ("  - {as: ann-ledgerly, select: public.invoices, sees: [1, 4]}\n", ""),
]
# Through the plain interface of Python, by pytest's fixture: one test that holds and one that doesn't.
TEST = """\
def test_sees(rls):
    rls.token(person="ann", class_="assistant", scope="tickets:read").sees("public.tickets", [1, 2, 5, 6])


def test_sees_too_much(rls):
    rls.token(person="ann", class_="assistant", scope="tickets:read").sees_nothing("public.tickets")
"""


def project(folder: Path, template: str) -> Path:
    for name in ("policies.yaml", "schema.sql", "cases.yaml"):
        shutil.copy(bundled("policy_templates") / template / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def open_directory() -> Iterator[Path]:
    with made_open_directory() as path:
        yield path


@pytest.fixture(scope="module")
def help_desk(open_directory: Path) -> Path:
    """The help desk where any user may read it."""
    (open_directory / "help-desk").mkdir()
    folder = project(open_directory / "help-desk", "help-desk")
    cases = (folder / "cases.yaml").read_text(encoding="utf-8")
    for right, wrong in PLANTED:
        assert right in cases
        cases = cases.replace(right, wrong, 1)
    (folder / "cases.yaml").write_text(cases, encoding="utf-8")
    (folder / "test_rls.py").write_text(TEST, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def embedded(help_desk: Path) -> Doors:
    """What the embedded server says, which every other way is held to."""
    return through_doors(help_desk)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with open_server() as opened:
        yield opened


def same(found: Doors, expected: Doors) -> None:
    """Check by check and item by item: verdict, outcome, the rows, the policy that was named."""
    assert found.command.checks == expected.command.checks
    assert found.pytest.items == expected.pytest.items
    assert (found.command.code, found.pytest.code) == (expected.command.code, expected.pytest.code)


def test_both_doors(embedded: Doors) -> None:
    """An item of pytest passes when each check of the command that it stands for does, and not else."""
    by_case: defaultdict[int, set[str]] = defaultdict(set)
    by_cell: defaultdict[str, set[str]] = defaultdict(set)
    named = {name.split()[1].rstrip(":") for name in names(embedded) if name.endswith(": nothing else")}
    for check in embedded.command.checks:
        table = check["table"] if check["table"] in named else "other tables"
        where = by_cell[f"{check['token']} {table}"] if check["case"] is None else by_case[check["case"]]
        where.add(check["verdict"])
    cells = {name: outcome for name, outcome in names(embedded).items() if name.partition(": nothing")[1]}
    cases = [outcome for name, outcome in names(embedded).items() if name not in cells]

    def word(verdicts: set[str]) -> str:
        return "passed" if verdicts <= {"passed"} else "failed"

    assert cases == [word(by_case[number]) for number in sorted(by_case)]
    assert {name.partition(": nothing")[0]: outcome for name, outcome in cells.items()} == {
        # where the files name each table that there is, nothing is left to this item
        **{f"{name.split()[0]} other tables": "passed" for name in cells if name.split()[1] == "other"},
        **{name: word(verdicts) for name, verdicts in by_cell.items()},
    }
    assert (embedded.command.code, embedded.pytest.code) == (1, pytest.ExitCode.TESTS_FAILED)
    assert embedded.pytest.items["test_rls.py::test_sees"] == "passed"
    assert embedded.pytest.items["test_rls.py::test_sees_too_much"] == "failed"
    assert {check["verdict"] for check in embedded.command.checks} == {"passed", "failed"}
    assert len(embedded.command.checks) > 700


def names(doors: Doors) -> dict[str, str]:
    """The items of the cases file, less its name."""
    found = ((node.partition("::"), outcome) for node, outcome in doors.pytest.items.items())
    return {name: outcome for (file, _, name), outcome in found if file == "cases.yaml"}


@pytest.fixture(scope="module")
def installed(server: Server, help_desk: Path) -> Iterator[str]:
    """A database that holds the tables and the policies already."""
    policies, _ = load_policies(help_desk / "policies.yaml")
    assert policies is not None
    with server.scratch_database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute((help_desk / "schema.sql").read_bytes())
            install(connection, policies)
        yield url


def test_a_given_server(server: Server, help_desk: Path, embedded: Doors) -> None:
    """A database without tables is a server to make others on."""
    with server.scratch_database() as url:
        seen = through_doors(help_desk, command=["--database", url], items=[f"--rls-database={url}"])
    same(seen, embedded)


def test_a_given_database(installed: str, help_desk: Path, embedded: Doors) -> None:
    seen = through_doors(help_desk, command=["--database", installed], items=[f"--rls-database={installed}"])
    same(seen, embedded)


def test_workers(help_desk: Path, embedded: Doors) -> None:
    """Two workers of xdist, each with a server of its own."""
    same(through_doors(help_desk, items=["-n", "2"]), embedded)


def test_workers_in_one_database(installed: str, help_desk: Path, embedded: Doors) -> None:
    """They take turns."""
    items = ["-n", "2", f"--rls-database={installed}"]
    same(through_doors(help_desk, command=["--database", installed], items=items), embedded)


def test_an_ordinary_user(help_desk: Path, embedded: Doors, open_directory: Path) -> None:
    """Root, who has the embedded server run by somebody else, and a user who runs it as himself."""
    user = pwd.getpwuid(os.geteuid() or pwd.getpwnam("nobody").pw_uid)
    home = open_directory / "home"
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    found = binaries.find_binaries(binaries.server_account(), os.environ)
    seen = through_doors(
        help_desk,
        uid=user.pw_uid,
        gid=user.pw_gid,
        HOME=str(home),
        XDG_CACHE_HOME="",
        MCP_RLS_POSTGRES_BIN=str(found.directory),
    )
    assert (seen.uid, embedded.uid) == (user.pw_uid, os.geteuid())
    same(seen, embedded)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.container
def test_a_container(help_desk: Path, embedded: Doors) -> None:
    """Both doors open one; where there is no engine, both say so, and nothing passes."""
    seen = through_doors(
        help_desk,
        command=["--container", "postgres:18"],
        items=["--rls-postgres=container:postgres:18", "cases.yaml"],
        TESTCONTAINERS_RYUK_DISABLED="true",
    )
    if engine_is_missing():
        assert (seen.command.code, seen.pytest.code) == (2, pytest.ExitCode.TESTS_FAILED)
        assert set(seen.pytest.items.values()) == {"failed"}
        for door in (seen.command, seen.pytest):
            assert "no Docker engine answers" in door.text
        return
    assert seen.command.checks == embedded.command.checks
    assert names(seen) == names(embedded)


def test_a_template_as_it_is_shipped(server: Server, open_directory: Path) -> None:
    """Everything holds, everywhere."""
    (open_directory / "owner-rows").mkdir()
    folder = project(open_directory / "owner-rows", "owner-rows")
    alone = through_doors(folder)
    assert (alone.command.code, alone.pytest.code) == (0, 0)
    assert {check["verdict"] for check in alone.command.checks} == {"passed"}
    assert set(alone.pytest.items.values()) == {"passed"}
    with server.scratch_database() as url:
        given = through_doors(folder, command=["--database", url], items=[f"--rls-database={url}"])
    same(given, alone)
