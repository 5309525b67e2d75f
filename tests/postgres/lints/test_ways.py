"""Every lint on a real server in five ways: nothing, a near miss, the bad case, its fix, and nothing again."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

from mcp_rls import resources
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.read import read_facts
from mcp_rls.lints import World, lints, run
from tests.postgres.lints.world import Ways, subjects, world_of
from tests.postgres.scratch import Scratch

pytestmark = pytest.mark.postgres

FOLDER = Path(__file__).parent / "ways"
CASES = {
    f"{file.stem}-{number}": (file.stem.replace("_", "-"), ways)
    for file in sorted(FOLDER.glob("[a-z]*.py"))
    for number, ways in enumerate(import_module(f"tests.postgres.lints.ways.{file.stem}").WAYS, start=1)
}


@pytest.mark.parametrize(("lint", "ways"), CASES.values(), ids=CASES)
def test_five_ways(lint: str, ways: Ways, scratch: Scratch) -> None:
    """Silent, silent, found with nothing else, fixed, silent."""
    assert subjects(scratch, lint, ways.file, ways.version) == []
    scratch.run(ways.near_miss)
    assert subjects(scratch, lint, ways.file, ways.version) == []
    scratch.run(ways.bad)
    assert subjects(scratch, lint, ways.file, ways.version) == sorted(ways.found)
    world = world_of(scratch, ways.file, ways.version)
    said = "\n".join(str(d) for d in run(world, only=[lint]).diagnostics)
    assert [word for word in ways.details if word not in said] == []
    scratch.run(ways.fix)
    assert subjects(scratch, lint, ways.file, ways.version) == []


def test_a_lint_is_one_file_and_its_ways() -> None:
    """Each has its page with the usual parts, its severity, and a file of ways of the same name."""
    assert {lint for lint, _ in CASES.values()} == set(lints())
    for lint in lints().values():
        assert lint.severity in Severity
        assert lint.title.endswith(".")
        page = resources.explanation(lint.id) or ""
        assert page.startswith(f"# {lint.id}\n\n**{lint.severity.label.capitalize()}.** "), lint.id
        assert [part for part in ("## What", "## Fix", "## What it doesn't catch") if part not in page] == [], lint.id


def test_a_finding_is_accepted_by_its_key(scratch: Scratch) -> None:
    """With the reason; another key accepts nothing, and is reported when nothing has it."""
    (ways,) = (w for _, w in CASES.values() if w.found == ("view public.through",))
    scratch.run(ways.near_miss + ways.bad)
    world = World(read_facts(scratch.connection))
    key = "view-without-invoker view public.through"
    kept = run(world, {key: "counts only", f"{key}s": "gone"}, only=["view-without-invoker"])
    assert (kept.diagnostics, [reason for _, reason in kept.accepted]) == ((), ["counts only"])
    assert kept.unused == (f"{key}s",)
    (shown,) = run(world, only=["view-without-invoker"]).diagnostics
    assert any(key in hint for hint in shown.hints)


def test_a_lint_needs_no_other_file() -> None:
    """No module names a lint, so that adding one touches its own file and its ways alone."""
    package = Path(resources.__file__).parent
    names = {lint.replace("-", "_") for lint in lints()}
    for file in package.rglob("*.py"):
        imported = {
            alias.name for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names
        }  # fmt: skip
        assert not imported & names, file
