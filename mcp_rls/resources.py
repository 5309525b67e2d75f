"""Files that come with the package: the pages that explain codes, and folders that a checkout has beside it."""

from __future__ import annotations

import ast
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_PAGES = _PACKAGE / "explanations"
_LINTS = _PACKAGE / "lints"  # each lint's page is its docstring


def codes() -> tuple[str, ...]:
    """Every diagnostic code that has a page, in alphabetical order."""
    lints = (file.stem.replace("_", "-") for file in _LINTS.glob("[a-z]*.py"))
    return tuple(sorted([*(page.stem for page in _PAGES.glob("*.md")), *lints]))


def explanation(code: str) -> str | None:
    """The page of `code`, as Markdown; None when there is no such code."""
    if code not in codes():
        return None
    lint = _LINTS / f"{code.replace('-', '_')}.py"
    if lint.is_file():
        return f"# {code}\n\n{_lint_page(lint)}\n"
    return (_PAGES / f"{code}.md").read_text(encoding="utf-8")


def summary(code: str) -> str:
    """The first sentence of a code's page, with its severity: 'Error. A role reaches a covered table ...'."""
    page = explanation(code)
    assert page is not None, "asked of a known code"
    first = page.split("\n\n")[1]
    return " ".join(first.replace("**", "").split())


def _lint_page(file: Path) -> str:
    """A lint's severity and docstring, read and not imported: its libraries may not be there."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    severity = next(
        node.value.attr.capitalize()
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute)
        if [ast.unparse(target) for target in node.targets] == ["SEVERITY"]
    )
    return f"**{severity}.** {ast.get_docstring(tree)}"


def bundled(name: str) -> Path:
    """The folder `name` (policy_templates, migrations): inside an installed package, or beside it in a checkout.

    Raises: FileNotFoundError, when the package was installed without it.
    """
    for folder in (_PACKAGE / "_bundled" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"this installation of mcp_rls has no {name}/")
