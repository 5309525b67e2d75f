"""What `make lint-new` writes is a lint: clean, with its page, and its ways hold."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from tests.postgres.lints import new
from tests.postgres.lints.world import world_of
from tests.postgres.scratch import Scratch

pytestmark = pytest.mark.postgres


@pytest.fixture
def written(tmp_path: Path) -> list[Path]:
    for folder in ("mcp_rls/lints", "tests/postgres/lints/ways"):
        (tmp_path / folder).mkdir(parents=True)
    return new.write("some-name", tmp_path)


def test_it_works_as_it_is(written: list[Path], scratch: Scratch) -> None:
    """Each of its ways is silent, silent, found, silent."""
    lint, cases = map(_loaded, written)
    assert [path.name for path in written] == ["some_name.py", "some_name.py"]
    assert [part for part in ("## What", "## Fix", "## What it doesn't catch") if part not in lint.__doc__] == []
    for ways in cases.WAYS:
        found = []
        for statements in (ways.near_miss, ways.bad, ways.fix):
            scratch.run(statements)
            found.append(tuple(f.subject for f in lint.find(world_of(scratch))))
        assert found == [(), ways.found, ()]
        scratch.run("drop table if exists fine")


def test_it_is_clean(written: list[Path]) -> None:
    """By the rules and the format of this repository."""
    for command in (["check"], ["format", "--check"]):
        config = ["--config", str(new.ROOT / "pyproject.toml")]
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *config, *map(str, written)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", ["", "some_name", "Some-Name", "../x", "some-name"])
def test_a_name_that_will_not_do(name: str, written: list[Path]) -> None:
    """It is refused, and so is one that is taken; nothing is written."""
    root = written[0].parents[2]
    before = sorted(root.rglob("*.py"))
    with pytest.raises(ValueError, match=r"name|already"):
        new.write(name, root)
    assert sorted(root.rglob("*.py")) == before


def _loaded(path: Path) -> Any:
    spec = spec_from_file_location(f"started_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
