"""What `check`, `compile` and `plan` take for files of many tables, and what it takes to start at all.

    python tests/bench/compile_scale.py [--tables 10 100 1000] [--rules 20] [--no-plan]

Each is a process of its own; CPU is that process's alone, so a busy machine changes little. `growth` is the CPU for a
table, less what starting takes, over that of the line above: 1.0 where twice the tables take twice the time. A plan
from nothing, in a scratch database; what PostgreSQL does meanwhile is in the wall time only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mcp_rls import libyaml
from mcp_rls.database.server import open_server
from tests.bench.plan_scale import COMMANDS, schema

ROOT = Path(__file__).resolve().parents[2]
WORDS = "('open', 'pending')"
CONDITIONS = (
    "status = 'open'",
    "owner = token.person",
    f"rank > {{n}} and status in {WORDS}",
    "id in mine",
    f"status in {WORDS} and owner = token.person and rank < {{n}}",
)
HEAD = """\
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated]
identity: {direct: no_client}
scopes:
  "t:read": {text: Read your rows}
  "t:write": {text: Change your rows, implies: ["t:read"]}
sets:
  mine: {type: integer, query: "select id from public.t0000 where owner = token.person"}
"""
MAIN = "from mcp_rls.cli import main; main()"
IN_PYTHON = f"import mcp_rls.libyaml; mcp_rls.libyaml.loader = lambda: None; {MAIN}"


def file(tables: int, rules: int) -> str:
    """A policy file: on each table every class has a rule for each command, with conditions that differ by table."""
    names = range(-(-rules // len(COMMANDS)))
    classes = "".join(f"  c{name}: {{match: {{ids: [client-{name}]}}}}\n" for name in names)
    return HEAD + "classes:\n" + classes + "tables:\n" + "".join(_table(n, rules) for n in range(tables))


def _table(n: int, rules: int) -> str:
    lines = []
    for rule in range(rules):
        name, command = divmod(rule, len(COMMANDS))
        scope = "t:read" if COMMANDS[command] == "select" else "t:write"
        rows = CONDITIONS[name % len(CONDITIONS)].format(n=n)
        lines.append(f'      - {{who: c{name}, allow: {COMMANDS[command]}, scope: "{scope}", rows: "{rows}"}}\n')
    return f"  public.t{n:04}:\n    clients:\n" + "".join(lines)


@dataclass(frozen=True)
class Run:
    cpu: float
    wall: float
    memory: float  # MB, at its peak


def run(*arguments: str) -> Run:
    """What a Python with these arguments takes; it must end with 0, or with 1 where something is pending."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sys.path[1:]))}
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    )
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stderr.close()
    assert child.returncode in (0, 1), said.decode()[-2000:]
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Run(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / unit)


def starting() -> None:
    """Prints what it takes to start, the least of several runs, and how many times as much as a bare Python."""
    print(f"{'':<32}{'CPU':>8}{'wall':>9}{'ratio':>8}")
    bare = 0.0
    for name, code in (("python -c pass", "pass"), ("import mcp_rls", "import mcp_rls"), ("mcp-rls --help", MAIN)):
        runs = [run("-c", code, "--help") for _ in range(7)]
        cpu, wall = min(r.cpu for r in runs), min(r.wall for r in runs)
        bare = bare or cpu
        print(f"{name:<32}{cpu:7.3f} s{wall:7.3f} s{cpu / bare:8.1f}")


def told(name: str, runs: dict[int, Run], start: float) -> None:
    """Prints the runs of one command, by number of tables."""
    pairs = [(a, b) for a, b in pairwise(runs) if a >= 50]  # of few tables, to start is all that there is
    growth = {b: (runs[b].cpu - start) / b / ((runs[a].cpu - start) / a) for a, b in pairs}
    for tables, taken in runs.items():
        times = f"{growth[tables]:8.2f}" if tables in growth else ""
        print(f"{name:<24}{tables:>8}{taken.cpu:7.2f} s{taken.wall:7.2f} s{taken.memory:7.0f} MB{times}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, nargs="+", default=[10, 100, 1000], help="(%(default)s)")
    parser.add_argument("--rules", type=int, default=20, help="for each table (%(default)s)")
    parser.add_argument("--no-plan", action="store_true", help="leave out what needs a database")
    asked = parser.parse_args()
    starting()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = {tables: folder / f"{tables}.yaml" for tables in sorted(asked.tables)}
        for tables, path in files.items():
            path.write_text(file(tables, asked.rules), encoding="utf-8")
        (folder / "least.yaml").write_text(file(1, 1), encoding="utf-8")
        least = run("-c", MAIN, "compile", str(folder / "least.yaml")).cpu
        print(f"\n{asked.rules} rules a table{'tables':>14}{'CPU':>9}{'wall':>9}{'memory':>10}{'growth':>8}")
        for command in ("check", "compile"):
            told(command, {n: run("-c", MAIN, command, str(path)) for n, path in files.items()}, least)
        if libyaml.loader() is not None:
            runs = {n: run("-c", IN_PYTHON, "compile", str(path)) for n, path in files.items()}
            told("compile without libyaml", runs, least)
        if not asked.no_plan:
            server = stack.enter_context(open_server())
            urls = {n: stack.enter_context(server.scratch_database()) for n in files}
            for n, url in urls.items():
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute(schema(n).encode())
            plans = {n: run("-c", MAIN, "plan", str(path), "--database", urls[n]) for n, path in files.items()}
            told("plan", plans, least)


if __name__ == "__main__":
    main()
