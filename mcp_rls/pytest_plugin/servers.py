"""The workshop of a test session, with its server, and the files of the project that a test belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mcp_rls.pytest_plugin import options

if TYPE_CHECKING:
    from mcp_rls.harness.coverage.result import Coverage
    from mcp_rls.harness.workshop import Project, Workshop

_WORKSHOP = pytest.StashKey["Workshop"]()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _WORKSHOP in config.stash:
        config.stash[_WORKSHOP].close()


def workshop(config: pytest.Config) -> Workshop:
    """The one workshop of this process."""
    if _WORKSHOP not in config.stash:
        from mcp_rls.harness.workshop import Workshop

        config.stash[_WORKSHOP] = Workshop(*options.source(config), coverage=options.covers(config))
    return config.stash[_WORKSHOP]


def gathered(config: pytest.Config) -> list[Coverage]:
    """The coverage of this process, if anything ran."""
    return config.stash[_WORKSHOP].coverage() if _WORKSHOP in config.stash else []


def foreseen() -> tuple[type[Exception], ...]:
    """Problems whose message is all that a person needs."""
    from mcp_rls.database.server import ServerError
    from mcp_rls.database.waiting import Refused
    from mcp_rls.diagnostics import Invalid
    from mcp_rls.harness.session import CannotTest

    return (CannotTest, Invalid, Refused, ServerError)


def policies_file(config: pytest.Config, near: Path) -> Path | None:
    """The policy file for a file in the folder `near`: there, or in the nearest folder above, up to the root."""
    name = options.setting(config, "policies")
    folders = [near, *near.parents]
    if config.rootpath in folders:
        folders = folders[: folders.index(config.rootpath) + 1]
    folders += [config.invocation_params.dir]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def project(config: pytest.Config, policies: Path) -> Project:
    """The policy file with what makes its tables."""
    from mcp_rls.harness.workshop import Project

    named = options.explicit(config, "schema")
    paths = [_beside(config, policies, name) for name in options.setting(config, "schema").split()]
    return Project(policies, tuple(p for p in paths if named is not None or p.is_file()))


def starting_cases(config: pytest.Config, policies: Path) -> Path | None:
    """The cases file whose people and fixtures a test starts with."""
    name = options.setting(config, "cases")
    path = _beside(config, policies, name)
    if name == "none" or (options.explicit(config, "cases") is None and not path.is_file()):
        return None
    return path


def _beside(config: pytest.Config, policies: Path, name: str) -> Path:
    """The file beside the policy file, else below the root."""
    near = policies.parent / name
    return near if near.is_file() else config.rootpath / name
