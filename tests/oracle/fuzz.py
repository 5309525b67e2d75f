"""python tests/oracle/fuzz.py --judgements 100000 [--seed N]: PostgreSQL against the evaluator, as long as you like.

Exit 0: no disagreement, and enough was allowed to mean something. 1: a disagreement, printed in full, or too little
allowed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

# Found from the root, when this is started as a script too.
import psycopg  # noqa: E402

from mcp_rls.database.server import open_server  # noqa: E402
from tests.oracle.campaign import Campaign  # noqa: E402
from tests.oracle.run import Tally, prepare  # noqa: E402
from tests.oracle.world import COMMANDS  # noqa: E402


def main() -> int:
    arguments = _arguments()
    progress = _Progress(arguments.judgements)
    with (
        open_server(arguments.database) as server,
        server.scratch_database() as url,
        psycopg.connect(url, prepare_threshold=None) as connection,
    ):
        prepare(connection)
        campaign = Campaign(connection)
        finding = campaign.run(arguments.judgements, arguments.seed, progress, not arguments.no_shrink)
    print(file=sys.stderr)
    if finding:
        print(finding)
    print(_summary(campaign, arguments.seed, time.monotonic() - progress.start, 1 if finding else 0))
    weak = [] if finding else campaign.unhealthy()
    for line in weak:
        print(f"too little was allowed to prove anything: {line}")
    return 1 if finding or weak else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judgements", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--database", help="URL of a server to use, as superuser; without it an embedded one")
    parser.add_argument("--no-shrink", action="store_true", help="print the first disagreement as it was found")
    return parser.parse_args()


class _Progress:
    """One line on stderr, rewritten at most five times a second."""

    def __init__(self, target: int) -> None:
        self.target, self.start, self.shown = target, time.monotonic(), 0.0

    def __call__(self, tally: Tally) -> None:
        now = time.monotonic()
        if now - self.shown > 0.2:
            self.shown = now
            rate = tally.judgements / max(now - self.start, 0.001)
            line = (
                f"\r{tally.judgements:>9,} of {self.target:,} judgements, {tally.worlds} worlds, {rate:,.0f} a second "
            )
            print(line, end="", file=sys.stderr, flush=True)


def _summary(campaign: Campaign, seed: int, seconds: float, findings: int) -> str:
    tally = campaign.tally
    made = f"{tally.judgements:,} judgements, {tally.worlds:,} worlds, {tally.tokens:,} tokens"
    lines = [
        f"{made}, {findings} disagreements (seed {seed}, {seconds:.0f} s)",
        f"policy files rightly refused: {campaign.refusals} {dict(tally.refused) or ''}".rstrip(),
    ]
    for command in COMMANDS:
        for who, shares in (("clients of a known class", tally.shares), ("all sessions", tally.all_shares)):
            allowed, denied = shares[command, True], shares[command, False]
            share = tally.share(command, shares)
            lines.append(f"  {command:<6} {who:<24} {allowed:>8,} allowed {denied:>8,} denied ({share:.1%} allowed)")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
