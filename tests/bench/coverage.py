"""The price of coverage: each template's suite, run with and without it in turn; the median of the ratios.

python tests/bench/coverage.py [--rounds 15] [template ...]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.policy import load_policies
from mcp_rls.database.server import open_server
from mcp_rls.harness.coverage.gathering import Gathering
from mcp_rls.harness.project import project_database
from mcp_rls.harness.run import run_suite
from mcp_rls.harness.session import Connection
from mcp_rls.harness.suite import Suite, load_suite
from mcp_rls.resources import bundled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("templates", nargs="*", default=sorted(p.name for p in bundled("policy_templates").iterdir()))
    options = parser.parse_args()
    print(f"{'template':<26}{'without':>9}{'with':>9}{'more':>8}")
    with open_server() as server:
        for name in options.templates:
            folder = bundled("policy_templates") / name
            policies, suite = _read(folder)
            with project_database(server, policies, [folder / "schema.sql"]) as conn:
                pairs = [_pair(conn, policies, suite, swapped=n % 2 == 1) for n in range(options.rounds + 1)][1:]
            plain, covered = (statistics.median(times) for times in zip(*pairs, strict=True))
            more = statistics.median(b / a for a, b in pairs) - 1
            print(f"{name:<26}{plain * 1000:>6.0f} ms{covered * 1000:>6.0f} ms{more:>+8.0%}")


def _read(folder: Path) -> tuple[PolicySet, Suite]:
    policies, _ = load_policies(folder / "policies.yaml")
    assert policies is not None
    suite, _ = load_suite(folder / "cases.yaml", policies)
    assert suite is not None
    return policies, suite


def _pair(conn: Connection, policies: PolicySet, suite: Suite, *, swapped: bool) -> tuple[float, float]:
    """Seconds without and with; who goes first changes, since a shared machine has its moods."""
    taken: dict[bool, float] = {}
    for covers in (True, False) if swapped else (False, True):
        begun = time.perf_counter()
        assert run_suite(conn, policies, suite, watcher=Gathering(policies) if covers else None).passed
        taken[covers] = time.perf_counter() - begun
    return taken[False], taken[True]


if __name__ == "__main__":
    main()
