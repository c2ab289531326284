"""A sample of the campaign of damaged inputs and disturbed trainings, and of its controls."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import controls
import damaged_caches
import damaged_configs
import damaged_files
import damaged_runs
import damaged_tables
import records
import references
from verdicts import attempt, classify_call, classify_refusal
from workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
TRIALS = {
    "configs": damaged_configs.run_trial,
    "files": damaged_files.run_trial,
    "runs": damaged_runs.run_trial,
    "caches": damaged_caches.run_trial,
    "tables": damaged_tables.run_trial,
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("faults") / "workspace")


@pytest.mark.parametrize(
    ("kind", "count"),
    [("configs", 60), ("files", 60), ("runs", 30), ("caches", 30), ("tables", 60)],
)
def test_damaged_inputs_have_no_failure(workspace: Workspace, kind: str, count: int):
    outcomes = [TRIALS[kind](workspace, random.Random(f"{kind} {n}")) for n in range(count)]
    assert [(n, *outcome) for n, outcome in enumerate(outcomes) if outcome.failed] == []


def test_killed_trainings_equal_an_undisturbed_one(tmp_path: Path):
    script = ROOT / "experiments" / "faults" / "run.py"
    typed = [sys.executable, str(script), "--kind=kills", "--count=2", f"--folder={tmp_path}"]
    ended = subprocess.run(typed, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert ended.returncode == 0, ended.stderr
    _, chunk = records.read(tmp_path)
    assert (chunk["kind"], chunk["verdicts"]) == ("kills", {"identical": 2})


@pytest.mark.parametrize(
    "name",
    [
        "two lines of vectors may be one",
        "columns of a cache are not compared",
        "a label that is no class is the first class",
        "a checkpoint of another seed is read",
    ],
)
def test_injected_fault_is_detected(workspace: Workspace, name: str):
    control = controls.CONTROLS[name]

    def verdicts() -> set[str]:
        draws = (random.Random(f"{control.kind} {number}") for number in range(8))
        return {TRIALS[control.kind](workspace, rng, control.fault).verdict for rng in draws}

    unmodified = verdicts()
    with control.inject():
        assert verdicts() & {*control.verdicts}
    assert not unmodified & {*control.verdicts}


@pytest.mark.parametrize("name", controls.CONTROLS)
def test_controls_replace_existing_attributes(name: str):
    with controls.CONTROLS[name].inject():
        pass


def _diverge() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("function", "expected", "verdict"),
    [
        (lambda: 1, 1, "unchanged"),
        (lambda: 2, 1, "silent"),
        (lambda: print("WARNING: it is damaged") or 2, 1, "warned"),
        (lambda: print("WARNING: it is damaged") or 1, 1, "recovered"),
        (_diverge, 1, "traceback"),
        (lambda: sys.exit(2), 1, "traceback"),
        (lambda: bytearray(2**34), 1, "memory"),
    ],
)
def test_verdict_on_a_call(function, expected, verdict: str):
    assert classify_call("fault", attempt(function), expected, ["name"]).verdict == verdict


def test_hang_ends_at_the_deadline(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    assert attempt((tmp_path / "pipe").read_bytes, 0.2).verdict == "hang"


def test_deadline_excludes_queued_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("verdicts._queued_seconds", iter([1.0, 1.5, 1.5]).__next__)
    assert attempt(lambda: time.sleep(0.3), 0.2).verdict == ""
    monkeypatch.setattr("verdicts._queued_seconds", lambda: 1.0)
    assert attempt(lambda: time.sleep(0.3), 0.2).verdict == "hang"


def test_verdict_on_a_message():
    assert classify_refusal("fault", "config.epochs: given 0", ["epochs"]).verdict == "refused"
    assert classify_refusal("fault", "it is damaged", ["epochs"]).verdict == "unclear"
    assert classify_refusal("fault", "epochs: 1\n" * 1_000, ["epochs"]).verdict == "unclear"


def test_damaged_record_is_refused(tmp_path: Path):
    records.add(tmp_path, {"control": "a", "found": False})
    path = tmp_path / records.RECORDS
    path.write_text(path.read_text().replace("false", "true"))
    with pytest.raises(ValueError, match="not as it was recorded"):
        records.read(tmp_path)


def test_text_vectors_with_a_control_character_are_not_binary():
    content = b"2 3\ngoal 1 2 3\nsea\x1b[31mson 4 5 6\n"
    vectors = references.vectors(content, {"goal", "sea\x1b[31mson"}, 3, str)
    assert set(vectors or {}) == {"goal", "sea\x1b[31mson"}


def test_joined_lines_of_vectors_are_refused():
    line = b"goal 1 2 3 striker 4 5 6\n"
    assert references.vectors(line, {"goal"}, 3, str) is None
    halves = line.replace(b" striker", b"\nstriker")
    assert set(references.vectors(halves, {"goal", "striker"}, 3, str) or {}) == {"goal", "striker"}
