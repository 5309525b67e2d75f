"""The benchmark runs, and compares like with like; what it measures is nobody's test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench.growth import CURVES, PARTITIONS
from tests.bench.platforms import PLATFORMS
from tests.bench.workloads import WORDS

pytestmark = pytest.mark.postgres

BENCH = Path(__file__).with_name("bench.py")


def run(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    usual = ["--rows", "2000", "--rules", "1", "--rounds", "1", "--out", str(out)]
    return subprocess.run([sys.executable, str(BENCH), *usual, *options], capture_output=True, text=True, check=False)


def test_both_sides_see_and_change_the_same_rows(tmp_path: Path):
    """On every platform, a workload gives and leaves behind what it does with a WHERE by hand; the picture has it."""
    grows = [name for name in CURVES if name != PARTITIONS]
    ran = run(tmp_path, "--platforms", *PLATFORMS, "--growth", *grows)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    compared = {(r["platform"], name): figure["same"] for r in found["runs"] for name, figure in r["workloads"].items()}
    assert compared == {(platform, name): True for platform in PLATFORMS for name in WORDS}
    steps = {(curve["platform"], curve["grows"]): [p["at"] for p in curve["points"]] for curve in found["curves"]}
    assert steps == {(platform, name): list(CURVES[name].steps) for platform in PLATFORMS for name in grows}
    for platform in PLATFORMS:
        words = ElementTree.parse(tmp_path / f"{platform}.svg").getroot().itertext()
        assert {*WORDS, "mean", "1 rule"} <= {word.strip() for word in words}


def test_a_goal_that_is_missed_is_told(tmp_path: Path):
    """Exit 1 and a line for a goal that can't be met; exit 0 where it is."""
    few = ("--platforms", "raw", "--workloads", "point", "--growth", "--goal")
    missed = run(tmp_path, *few, "point=0.001,mean=0.001")
    assert (missed.returncode, missed.stdout.count(", the goal 0.00")) == (1, 2), missed.stderr
    assert run(tmp_path, *few, "point=1000").returncode == 0
