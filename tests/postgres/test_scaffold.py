"""`mcp-rls init`: a project from each template runs at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_rls.database.server import Server, open_server
from mcp_rls.scaffold import Template, make_project, templates

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with open_server() as opened:
        yield opened


def do(server: Server, directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A program in `directory`, as its user would start it, on this file's server."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV_"))}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=directory, env={**environment, "MCP_RLS_DATABASE_URL": server.url},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("template", templates(), ids=lambda t: t.name)
def test_a_new_project_runs_at_once(template: Template, server: Server, tmp_path: Path):
    """init, check against the schema, the cases, pytest, and an Alembic upgrade, with the commands that init prints."""
    made = do(server, tmp_path, "mcp_rls", "init", "--template", template.name, "project")
    assert made.returncode == 0, made.stderr
    assert "mcp-rls test policies.yaml" in made.stderr
    project = tmp_path / "project"
    assert sorted(made.stdout.split()) == sorted(
        str(p.relative_to(tmp_path)) for p in project.rglob("*") if p.is_file()
    )
    checked = do(server, project, "mcp_rls", "check", "policies.yaml", "--schema", "schema.sql")
    assert checked.returncode == 0, checked.stdout
    tested = do(server, project, "mcp_rls", "test", "policies.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    ran = do(server, project, "pytest", "-q", "-p", "no:cacheprovider")
    assert ran.returncode == 0, ran.stdout
    assert "passed" in ran.stdout
    assert "failed" not in ran.stdout


def test_the_readmes_test_holds(server: Server, tmp_path: Path):
    """In a project of the template that the README speaks of."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    make_project(next(t for t in templates() if t.name == "help-desk"), tmp_path)
    (tmp_path / "tests" / "test_readme.py").write_text(example, encoding="utf-8")
    ran = do(server, tmp_path, "pytest", "-q", "tests/test_readme.py")
    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout
