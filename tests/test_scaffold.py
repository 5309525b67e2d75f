"""What `init` writes, and what it never touches."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mcp_rls.cli import main
from mcp_rls.compiler.policy import json_schema
from mcp_rls.resources import bundled
from mcp_rls.scaffold import SCHEMA_LINE, Template, make_project, templates


def init(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["init", *map(str, arguments)], catch_exceptions=False)


def test_every_template_is_listed_with_what_it_shows():
    """One line each."""
    lines = init("--list").stdout.splitlines()
    folders = sorted(path.name for path in bundled("policy_templates").iterdir() if path.is_dir())
    assert [line.split()[0] for line in lines] == folders
    assert all(len(line.split()) > 4 for line in lines)


@pytest.mark.parametrize("template", templates(), ids=lambda t: t.name)
def test_a_project_has_all_its_files(template: Template, tmp_path: Path):
    """The template's own, the schema for editors, Alembic's environment, a test, and settings."""
    written = {str(path) for path in make_project(template, tmp_path)}
    assert written == {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert written >= {"policies.yaml", "policies.schema.json", "schema.sql", "cases.yaml", "README.md", "alembic.ini"}
    assert written >= {"migrations/env.py", "migrations/script.py.mako", "migrations/versions/0001_mcp_rls_schema.py"}
    assert written >= {"tests/test_policies.py", "pytest.ini", ".gitignore"}
    assert (tmp_path / "policies.yaml").read_text(encoding="utf-8").startswith(SCHEMA_LINE)
    assert json.loads((tmp_path / "policies.schema.json").read_text(encoding="utf-8")) == json_schema()
    test = (tmp_path / "tests/test_policies.py").read_text(encoding="utf-8")
    ast.parse(test)
    assert all(len(line) < 110 for line in test.splitlines())


def test_nothing_is_overwritten(tmp_path: Path):
    """Files that are in the way are listed, and none is written."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_policies.py").write_text("mine", encoding="utf-8")
    (tmp_path / ".gitignore").symlink_to("nowhere")
    result = init(tmp_path)
    assert result.exit_code == 2
    assert "tests/test_policies.py" in result.stderr
    assert ".gitignore" in result.stderr
    assert (tmp_path / "tests/test_policies.py").read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "policies.yaml").exists()


def test_init_twice_refuses(tmp_path: Path):
    """The first makes the directory, parents too."""
    assert init("--template", "append-only-log", tmp_path / "a" / "b").exit_code == 0
    assert init("--template", "append-only-log", tmp_path / "a" / "b").exit_code == 2


def test_a_file_where_the_directory_should_be(tmp_path: Path):
    """Is named, and stays."""
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    result = init(tmp_path / "taken")
    assert (result.exit_code, "taken" in result.stderr) == (2, True)
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"
