"""A suite through both its doors, `mcp-rls test` and pytest, in a process of its own, which this module is too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Seen:
    """What came of a suite: `code` is an exit code, a verdict is a word."""

    code: int = 0
    checks: list[Mapping[str, Any]] = field(default_factory=list)  # of the command, less what no two runs share
    items: Mapping[str, str] = field(default_factory=dict)  # of pytest, by node id
    text: str = ""  # all that was printed


@dataclass(frozen=True)
class Doors:
    """The same suite through both."""

    uid: int
    command: Seen
    pytest: Seen
    printed: str = ""  # by pytest, for a reader


def through_doors(
    folder: Path,
    *,
    command: Sequence[str] = (),
    items: Sequence[str] = (),
    uid: int | None = None,
    gid: int | None = None,
    **environ: str,
) -> Doors:
    """What comes of the project in `folder` under options for each door; as another user, where root asks for one."""
    ask = {"folder": str(folder), "command": list(command), "items": list(items), "user": [uid, gid]}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MCP_RLS_", "PYTEST_"))}
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    ran = subprocess.run(
        [sys.executable, "-m", "tests.postgres.doors", json.dumps(ask)],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**clean, "PYTHONPATH": path, **environ},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    printed, _, told = ran.stdout.rstrip().rpartition("\n")
    seen = json.loads(told)
    return Doors(seen["uid"], Seen(**seen["command"]), Seen(**seen["pytest"]), printed)


class _Recorder:
    """Takes down what pytest reports."""

    def __init__(self) -> None:
        self.items: dict[str, str] = {}
        self.texts: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            self.items[report.nodeid] = report.outcome
            self.texts.append(report.longreprtext)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.items[report.nodeid] = "error"
            self.texts.append(report.longreprtext)


def _by_command(options: Sequence[str]) -> dict[str, Any]:
    from mcp_rls.cli import main

    result = CliRunner().invoke(main, ["test", "policies.yaml", "--format", "json", *options], catch_exceptions=False)
    checks = json.loads(result.stdout)["checks"] if result.stdout else []
    for check in checks:
        del check["seconds"], check["message"]  # a message shows the whole row, with the times in it
    return {"code": result.exit_code, "checks": checks, "text": result.output}


def _by_pytest(options: Sequence[str]) -> dict[str, Any]:
    recorder = _Recorder()
    plugin = [] if entry_points(group="pytest11", name="mcp_rls") else ["-p", "mcp_rls.pytest_plugin"]
    code = pytest.main([*plugin, "-q", "-p", "no:cacheprovider", *options], plugins=[recorder])
    return {"code": int(code), "items": recorder.items, "text": "\n".join(recorder.texts)}


def _both(command: Sequence[str], items: Sequence[str]) -> dict[str, Any]:
    return {"uid": os.geteuid(), "command": _by_command(command), "pytest": _by_pytest(items)}


def _main(folder: str, command: Sequence[str], items: Sequence[str], user: tuple[int | None, int | None]) -> None:
    os.chdir(folder)
    uid, gid = user
    if uid is not None and gid is not None and os.geteuid() == 0:
        _both(command, items)  # imports everything: the interpreter may lie where only root can read
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    print("\n" + json.dumps(_both(command, items)))


if __name__ == "__main__":
    _main(**json.loads(sys.argv[1]))
