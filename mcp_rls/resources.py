"""Files that come with the package: the pages that explain codes, and folders that a checkout has beside it."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_PAGES = _PACKAGE / "explanations"


def codes() -> tuple[str, ...]:
    """Every diagnostic code that has a page, in alphabetical order."""
    return tuple(sorted(page.stem for page in _PAGES.glob("*.md")))


def explanation(code: str) -> str | None:
    """The page of `code`, as Markdown; None when there is no such code."""
    return (_PAGES / f"{code}.md").read_text(encoding="utf-8") if code in codes() else None


def bundled(name: str) -> Path:
    """The folder `name` (policy_templates, migrations): inside an installed package, or beside it in a checkout.

    Raises: FileNotFoundError, when the package was installed without it.
    """
    for folder in (_PACKAGE / "_bundled" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"this installation of mcp_rls has no {name}/")
