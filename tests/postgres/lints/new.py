"""Starts a lint: `make lint-new NAME=some-name` writes its file and the file of its ways.

What it writes works, and its tests pass: it finds tables called `replace_me`. Put the fault in the place of that. It
prints the line for `perturbations.py` that a lint needs besides.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

_LINT = '''"""A table is called `replace_me`.

## What

What is wrong, and what a client gains by it.

## Fix

The statement that mends it.

## What it doesn't catch

What looks alike and is left out, and why.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.diagnostics import Severity
from mcp_rls.lints import Found, World

SEVERITY = Severity.WARNING


def find(world: World) -> Iterator[Found]:
    """Tables with the fault."""
    for table in world.tables:
        if table.name.name == "replace_me":
            yield Found(str(table), f"{table.name} has the fault", (f"drop table {table.name}",), table.name)
'''
_WAYS = '''"""What the fault looks like, and what only looks like it."""

from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss="create table fine (id integer);",
        bad="create table replace_me (id integer);",
        fix="drop table replace_me",
        found=("table public.replace_me",),
        details=("has the fault",),
    ),
    Ways(
        name="in another way",
        near_miss="create table fine (id integer);",
        bad="alter table fine rename to replace_me",
        fix="alter table replace_me rename to fine",
        found=("table public.replace_me",),
    ),
]
'''


def write(name: str, root: Path = ROOT) -> list[Path]:
    """The two files that were written. Raises ValueError for what can't be a lint's name, or is one's already."""
    if not re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", name):
        raise ValueError(f"{name!r} is no name for a lint: words in lower case, with hyphens between them")
    module = name.replace("-", "_") + ".py"
    texts = {root / "mcp_rls" / "lints" / module: _LINT, root / "tests" / "postgres" / "lints" / "ways" / module: _WAYS}
    for path in texts:
        if path.exists():
            raise ValueError(f"{path.relative_to(root)} is there already")
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def line(name: str) -> str:
    """What is still to be said in `perturbations.py`: everything that is found in the sound schema with the fault."""
    return f'P("a table to replace", "create table replace_me (id integer)", "{name} table public.replace_me"),'


def main() -> int:
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        for path in write(name):
            print(path.relative_to(ROOT))
        print(f"and in BY_HAND of tests/postgres/lints/perturbations.py a line:\n    {line(name)}")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
