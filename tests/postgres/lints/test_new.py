"""What `make lint-new` writes is a lint: clean, with its page, and its ways hold. So is the example of CONTRIBUTING."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from tests.postgres.lints import new
from tests.postgres.lints.perturbations import P, Perturbation
from tests.postgres.lints.sound import CEILING, ROWS, SCHEMA
from tests.postgres.lints.test_perturbed import found
from tests.postgres.lints.world import world_of
from tests.postgres.scratch import Scratch

pytestmark = pytest.mark.postgres


@pytest.fixture(params=["some-name", "all-commands"])
def written(tmp_path: Path, request: pytest.FixtureRequest) -> list[Path]:
    """The lint as it begins, and the one that CONTRIBUTING makes of such a beginning."""
    for folder in ("mcp_rls/lints", "tests/postgres/lints/ways"):
        (tmp_path / folder).mkdir(parents=True)
    paths = new.write(request.param, tmp_path)
    if request.param == "all-commands":
        blocks = re.findall(
            r"```python\n(.*?)```", (new.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL
        )
        for path, text in zip(paths, blocks, strict=True):
            path.write_text(text, encoding="utf-8")
    return paths


def test_it_works_as_it_is(written: list[Path], scratch: Scratch) -> None:
    """Each of its ways is silent, silent, found, silent."""
    lint, cases = map(_loaded, written)
    assert len({path.name for path in written}) == 1
    assert [part for part in ("## What", "## Fix", "## What it doesn't catch") if part not in lint.__doc__] == []
    for ways in cases.WAYS:
        subjects = []
        for statements in (ways.near_miss, ways.bad, ways.fix):
            scratch.run(statements)
            subjects.append(tuple(f.subject for f in lint.find(world_of(scratch))))
        assert subjects == [(), ways.found, ()]
        scratch.run("drop table if exists fine")


def test_the_line_for_perturbations_is_all(tmp_path: Path, scratch: Scratch) -> None:
    """In the sound schema it is what the new lint finds, and the others find nothing."""
    for folder in ("mcp_rls/lints", "tests/postgres/lints/ways"):
        (tmp_path / folder).mkdir(parents=True)
    begun = _loaded(new.write("some-name", tmp_path)[0])
    case: Perturbation = eval(new.line("some-name").rstrip(","), {"P": P})
    scratch.run(SCHEMA + ROWS + CEILING)
    assert found(scratch, case, None) == []
    scratch.run(case.sql)
    assert tuple(f"some-name {f.subject}" for f in begun.find(world_of(scratch))) == case.found


def test_it_is_clean(written: list[Path]) -> None:
    """By the rules and the format of this repository."""
    for command in (["check"], ["format", "--check"]):
        config = ["--config", str(new.ROOT / "pyproject.toml")]
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *config, *map(str, written)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", ["", "some_name", "Some-Name", "../x", "taken"])
def test_a_name_that_will_not_do(name: str, written: list[Path]) -> None:
    """It is refused, and so is one that is taken; nothing is written."""
    root = written[0].parents[2]
    name = written[0].stem.replace("_", "-") if name == "taken" else name
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
