"""A sample of the campaign of damaged inputs and disturbed trainings."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import damaged_caches
import damaged_configs
import damaged_files
import damaged_runs
import records
from verdicts import Outcome
from workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
TRIALS = {
    "configs": damaged_configs.trial,
    "files": damaged_files.trial,
    "runs": damaged_runs.trial,
    "caches": damaged_caches.trial,
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("faults") / "workspace")


def tried(workspace: Workspace, kind: str, count: int) -> Iterator[Outcome]:
    for number in range(count):
        yield TRIALS[kind](workspace, random.Random(f"{kind} {number}"))


@pytest.mark.parametrize(
    ("kind", "count"), [("configs", 40), ("files", 40), ("runs", 25), ("caches", 25)]
)
def test_no_damaged_input_fails(workspace: Workspace, kind: str, count: int):
    failed = [
        (number, *outcome)
        for number, outcome in enumerate(tried(workspace, kind, count))
        if outcome.failed
    ]
    assert failed == []


def test_two_killed_trainings_end_as_the_undisturbed_one(tmp_path: Path):
    script = ROOT / "experiments" / "faults" / "run.py"
    typed = [sys.executable, str(script), "--kind=kills", "--count=2", f"--folder={tmp_path}"]
    ended = subprocess.run(typed, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert ended.returncode == 0, ended.stderr
    _, chunk = records.read(tmp_path)
    assert (chunk["kind"], chunk["verdicts"]) == ("kills", {"identical": 2})
