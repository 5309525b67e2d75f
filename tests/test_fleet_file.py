"""A fleet file: what it says, what of the environment goes into it, and what is said of its mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from mcp_rls.cli import main
from mcp_rls.database.fleet import Fleet, load_fleet
from mcp_rls.diagnostics import Diagnostics
from mcp_rls.resources import bundled

HELP_DESK = bundled("policy_templates") / "help-desk" / "policies.yaml"
SOUND = """\
mcp_rls_fleet: 1
parallel: 3
retries: 0
databases:
  eu-1: postgresql://deploy@db-1.internal/eu_1
  eu-2: postgresql://deploy:${DEPLOY_PASSWORD}@${EU_HOST}:5433/eu_2
  us-1: ${US_1_URL}
"""
ENVIRONMENT = {"DEPLOY_PASSWORD": "p@ss/w%rd", "EU_HOST": "db-2.internal", "US_1_URL": "postgres://u:p%40ss@db/us_1"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fleet.yaml"


def said(file: Path, text: str) -> list[str]:
    """Line, column, code, message and hints of each diagnostic."""
    file.write_text(text, encoding="utf-8")
    _, found = load_fleet(file)
    return [f"{d.span.line}:{d.span.column} {d.code} {d.message} | {' | '.join(d.hints)}" for d in found]


def sound(file: Path, text: str = SOUND) -> Fleet:
    file.write_text(text, encoding="utf-8")
    fleet, found = load_fleet(file)
    assert fleet is not None, list(found)
    assert not len(found), list(found)
    return fleet


def test_variables_come_from_the_environment(file: Path):
    """Percent-encoded as a part of a URL, and as it is where the variable is the whole of it."""
    fleet, diagnostics = sound(file), Diagnostics()
    assert (list(fleet.databases), fleet.parallel, fleet.retries) == (["eu-1", "eu-2", "us-1"], 3, 0)
    assert fleet.urls(fleet.databases, diagnostics, ENVIRONMENT) == {
        "eu-1": "postgresql://deploy@db-1.internal/eu_1",
        "eu-2": "postgresql://deploy:p%40ss%2Fw%25rd@db-2.internal:5433/eu_2",
        "us-1": "postgresql://u:p%40ss@db/us_1",
    }
    assert not len(diagnostics)


def test_only_the_databases_that_are_asked_for_need_their_variables(file: Path):
    """Each that is unset or empty is an error at the address, with the nearest name."""
    fleet, diagnostics = sound(file), Diagnostics()
    environment = {"DEPLOY_PASWORD": "x", "EU_HOST": ""}
    assert list(fleet.urls(["eu-1"], diagnostics, environment)) == ["eu-1"]
    assert not len(diagnostics)
    assert list(fleet.urls(fleet.databases, diagnostics, environment)) == ["eu-1"]
    assert [(d.code, d.span.line, d.span.column) for d in diagnostics] == [
        ("unset-variable", 6, 9), ("unset-variable", 6, 9), ("unset-variable", 7, 9),
    ]  # fmt: skip
    assert 'did you mean "DEPLOY_PASWORD"?' in [hint for d in diagnostics for hint in d.hints]


def test_all_mistakes_come_out_in_one_run(file: Path):
    """Each with its place, what was expected and the nearest name."""
    found = said(
        file,
        "mcp_rls_fleet: 2\nparalell: 3\nparallel: 0\nretries: often\ndatabases:\n"
        "  a: not a url\n  b: 5\n  c: postgresql://h/${}\n  d: ~\n  e: {url: x}\n",
    )
    assert [line.split()[:2] for line in found] == [
        ["1:16", "wrong-type"], ["2:1", "unknown-key"], ["3:11", "bad-value"], ["4:10", "wrong-type"],
        ["6:6", "bad-value"], ["7:6", "wrong-type"], ["8:6", "bad-value"], ["9:6", "wrong-type"],
        ["10:6", "wrong-type"],
    ]  # fmt: skip
    assert 'did you mean "parallel"?' in found[1]
    assert "a whole number, 1 or more" in found[2]
    assert "postgresql://deploy:${PASSWORD}@host/name" in found[4]


@pytest.mark.parametrize(
    ("text", "key"),
    [("databases: {a: postgresql://h/a}", "mcp_rls_fleet"), ("mcp_rls_fleet: 1", "databases")],
)
def test_a_needed_key_is_missed(file: Path, text: str, key: str):
    """With what it is for."""
    (found,) = said(file, text)
    assert f'missing-key the key "{key}" is missing' in found


def test_a_fleet_without_a_database_is_none(file: Path):
    """There would be nothing to do, and nothing to show for it."""
    (found,) = said(file, "mcp_rls_fleet: 1\ndatabases: {}")
    assert found.startswith("2:12 bad-value")


@pytest.mark.parametrize(
    "url", ["postgresql://u:SECRET@h/a", "postgresql://u@h/a?sslmode=require&password=SECRET", "postgresql://:SECRET@h"]
)
def test_a_password_in_the_file_is_warned_of(file: Path, url: str):
    """At its place, and never shown; a variable in its place isn't."""
    (found,) = said(file, f"mcp_rls_fleet: 1\ndatabases:\n  a: {url}\n")
    assert found.startswith("3:6 password-in-file a: ")
    assert "SECRET" not in found
    sound(file, f"mcp_rls_fleet: 1\ndatabases:\n  a: {url.replace('SECRET', '${S}')}\n")


def test_a_database_stands_there_once(file: Path):
    """Also where one of both is named by a variable, and written for SQLAlchemy."""
    fleet = sound(file, "mcp_rls_fleet: 1\ndatabases: {a: 'postgresql://h/a', b: '${B}', c: 'postgresql://h/c'}")
    diagnostics = Diagnostics()
    fleet.urls(fleet.databases, diagnostics, {"B": "postgresql+psycopg://h/a"})
    assert [d.message for d in diagnostics] == ["b is the same database as a"]


def test_no_url_is_shown(file: Path):
    """Neither by a representation nor by a message about a variable that holds none."""
    fleet = sound(file, "mcp_rls_fleet: 1\ndatabases: {a: '${A}'}")
    diagnostics = Diagnostics()
    assert fleet.urls(["a"], diagnostics, {"A": "postgresql://u:SEC@RET@h/a"}) == {}
    (error,) = diagnostics.errors
    assert "SEC" not in str(error)
    assert "SEC" not in repr(sound(file, SOUND.replace("${DEPLOY_PASSWORD}", "${SECRET}")))


# --- on the command line


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0 or not result.stdout
    return result.exit_code, result.stderr


@pytest.mark.parametrize("command", ["plan", "apply", "drift"])
def test_a_fleet_file_with_mistakes_is_no_answer(file: Path, command: str):
    """Exit 2, whatever the command; the line that a password stands in isn't shown."""
    file.write_text("mcp_rls_fleet: 1\ndatabases:\n  a: postgresql://u:SECRET@h/a\n  b: postgresql://u:SECRET@h@i\n")
    code, text = run(command, HELP_DESK, "--fleet", file)
    assert code == 2
    assert "bad-value" in text
    assert "password-in-file" in text
    assert "SECRET" not in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--parallel", "2"], "--fleet"),
        (["--only", "a"], "--fleet"),
        (["--fleet", "fleet.yaml", "--database", "postgresql://h/a"], "name one of them"),
        (["--fleet", "fleet.yaml", "--parallel", "0"], "--parallel"),
        (["--fleet", "there-is-no-such-file.yaml"], "there-is-no-such-file.yaml"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: list[str], words: str):
    """As wrong usage is."""
    code, text = run("plan", HELP_DESK, *options)
    assert code == 2
    assert words in text


def test_an_unknown_name_gets_the_nearest(file: Path):
    """And nothing is done to the others."""
    file.write_text(SOUND, encoding="utf-8")
    code, text = run("apply", HELP_DESK, "--fleet", file, "--only", "eu-1", "--only", "eu-3")
    assert code == 2
    assert 'did you mean "eu-' in text
