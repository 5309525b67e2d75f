"""The benchmark runs, and compares like with like; what it measures is nobody's test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.variants import VARIANTS
from tests.bench.workloads import WORDS

pytestmark = pytest.mark.postgres

BENCH = Path(__file__).with_name("bench.py")


def test_both_sides_see_and_change_the_same_rows(tmp_path):
    """Under every variant of the policies, each workload gives and leaves behind what it does with a WHERE by hand."""
    figures = tmp_path / "figures.json"
    options = ["--rows", "2000", "--rules", "1", "--rounds", "1", "--json", str(figures), "--variants", *VARIANTS]
    ran = subprocess.run([sys.executable, str(BENCH), *options], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    runs = json.loads(figures.read_text(encoding="utf-8"))["runs"]
    compared = {(run["variant"], name): figure["same"] for run in runs for name, figure in run["workloads"].items()}
    assert compared == {(variant, name): True for variant in VARIANTS for name in WORDS}
