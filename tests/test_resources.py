"""Pages and folders that come with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_rls import resources


def test_every_code_has_its_page():
    """The codes are those that have one, in order."""
    assert list(resources.codes()) == sorted(resources.codes())
    assert "unknown-scope" in resources.codes()
    assert (resources.explanation("unknown-scope") or "").startswith("# unknown-scope\n")


@pytest.mark.parametrize("code", ["", "no-such-code", "../explanations/unknown-scope", "unknown-scope.md", "\0"])
def test_what_is_no_code_has_no_page(code: str):
    """A path is no code, even one that leads to a page."""
    assert resources.explanation(code) is None


def test_folders_beside_the_package_are_found():
    """In a checkout."""
    assert (resources.bundled("policy_templates") / "help-desk" / "policies.yaml").is_file()


def test_folders_inside_an_installed_package_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In a wheel they stand under _bundled, and beside the package stand other people's."""
    inside = tmp_path / "mcp_rls" / "_bundled" / "migrations"
    inside.mkdir(parents=True)
    (tmp_path / "migrations").mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "mcp_rls")
    assert resources.bundled("migrations") == inside


def test_a_folder_that_is_missing_is_said_to_be():
    """And not taken for an empty one."""
    with pytest.raises(FileNotFoundError, match="no such_folder/"):
        resources.bundled("such_folder")
