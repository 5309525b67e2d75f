"""Children that run a command of ours and can be killed at any moment: forks of a process that has imported it all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# A child's end shows in its output's last line; one that was killed has none.
_PARENT = """
import contextlib, io, json, os, signal, sys
import mcp_rls.database.apply, mcp_rls.report
from mcp_rls.cli import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main(["check", sys.argv[1]])
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
for line in sys.stdin:
    arguments, output = json.loads(line)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in (1, 2):
            os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), number)
        code = 70
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            import traceback
            traceback.print_exc()
        sys.stdout.flush(); sys.stderr.flush()
        os.write(1, f"\\nexit {code}\\n".encode())
        os._exit(0)
    print(pid, flush=True)
"""
_PATIENCE = 60.0


@dataclass
class Child:
    """One run of `mcp-rls`, in a process of its own."""

    pid: int
    output: Path

    @property
    def is_running(self) -> bool:
        with suppress(ProcessLookupError):
            os.kill(self.pid, 0)
            return True
        return False

    @property
    def lines(self) -> int:
        """How many it has printed, but for those that go on with the one before."""
        printed = self.output.read_bytes()
        return printed.count(b"\n") - printed.count(b"\n ")

    def kill(self) -> None:
        """As `kill -9` does."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._ended()

    def wait(self) -> tuple[int | None, str]:
        """The exit code, None when it was killed, and what it printed."""
        self._ended()
        text, _, code = self.output.read_text(encoding="utf-8").rpartition("\nexit ")
        return (int(code), text) if code.strip().isdigit() else (None, text + code)

    def _ended(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while self.is_running:
            assert time.monotonic() < deadline, "the child doesn't end"
            time.sleep(0.002)


class Forks:
    """Makes children: as fast as a fork, without the half second of imports."""

    def __init__(self, parent: subprocess.Popen[str], directory: Path) -> None:
        self.parent, self.directory, self.number = parent, directory, 0

    def start(self, *arguments: str) -> Child:
        self.number += 1
        output = self.directory / f"{self.number}.txt"
        output.touch()
        return Child(int(self._ask(json.dumps([arguments, str(output)]))), output)

    def _ask(self, line: str) -> str:
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        print(line, file=self.parent.stdin, flush=True)
        return self.parent.stdout.readline()


@contextmanager
def forks(directory: Path, example: str) -> Iterator[Forks]:
    """A parent of children, for as long as this lasts; `example` is a policy file, read once for practice."""
    (directory / "policies.yaml").write_text(example, encoding="utf-8")
    command = [sys.executable, "-c", _PARENT, str(directory / "policies.yaml")]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        yield Forks(parent, directory)
        assert parent.stdin is not None
        parent.stdin.close()
