"""What probes found as one JSON document."""

from __future__ import annotations

import json
from typing import TextIO

from mcp_rls.harness.probes.kit.verdict import Verdict
from mcp_rls.report import Probed


def write(probed: Probed, out: TextIO) -> None:
    """The counts, then every finding with its parts."""
    run = probed.run
    document = {
        "cases": run.path,
        "database": probed.database,
        "passed": run.exit_code == 0,
        "strict": run.strict,
        "counts": {verdict.name.lower(): len(run.of(verdict)) for verdict in Verdict},
        "tokens": run.tokens,
        "attempts": run.attempts,
        "seconds": round(run.seconds, 3),
        "findings": [
            {
                "probe": finding.probe,
                "title": run.titles[finding.probe],
                "verdict": finding.verdict.name.lower(),
                "failed": run.failed(finding),
                "object": finding.object,
                "words": finding.words,
                "row": finding.row,
                "tokens": list(finding.tokens),
                "remedy": finding.remedy,
                "reason": finding.reason,
            }
            for finding in run.findings
        ],
    }
    json.dump(document, out, indent=2, ensure_ascii=False)
    out.write("\n")
