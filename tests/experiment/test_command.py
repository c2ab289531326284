"""The command in a subprocess: files, output and exit status."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiment.conftest import CONFIG, edit, lines_of, starts
from rnnjax.experiment.plan import PLAN

COMMAND = (
    "import runpy; from rnnjax.experiment import plan; plan.TRAIN = ('trainer.py',); "
    "runpy.run_module('rnnjax.experiment', run_name='__main__')"
)
"""`python -m rnnjax.experiment`, with the small trainer."""


def run(*arguments):
    process = subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, arguments)], capture_output=True, text=True
    )
    assert "Traceback" not in process.stderr, process.stderr
    return process


def test_experiment_is_run_rendered_and_checked(folder):
    process = run(folder)
    assert process.returncode == 0, process.stderr
    assert len(lines_of(folder / "runs.jsonl")) == 6
    assert (
        "6 runs in experiments/lesson/runs.jsonl, rendered in experiments/lesson" in process.stderr
    )
    assert "PASS          lstm, test.accuracy from 0.5 to 0.6: 0.5200, interval" in process.stdout
    assert (folder / "seeds.svg").exists()
    # --check writes nothing, and skips folders without plan and page.
    Path("experiments", "speed").mkdir()
    previous = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    check = run("--check")
    assert check.returncode == 0
    assert check.stdout.startswith(process.stdout.rpartition("\n6 PASS")[0])
    assert "UNCHECKED" not in check.stdout.rpartition(", ")[0]
    assert check.stdout.endswith("\n8 PASS, 0 FAIL, 0 INCOMPARABLE, 0 UNCHECKED\n")
    assert {
        path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()
    } == previous


def test_failed_and_incomparable_claims_exit_with_one(recorded):
    edit(recorded / PLAN, "[0.5, 0.6]", "[0.6, 0.7]")
    process = run("--check", recorded)
    assert process.returncode == 1
    assert "FAIL          lstm, test.accuracy from 0.6 to 0.7" in process.stdout
    edit(recorded / PLAN, "[0.6, 0.7]", "[0.5, 0.6]")
    edit(recorded / PLAN, "seeds = [0, 1, 5]", 'seeds = [0, 1, 5]\ndata = "eeee"')
    process = run(recorded, "--seal=a wider range")
    assert "sealed: nothing, all claims are as recorded" in process.stderr
    assert process.returncode == 1
    assert "INCOMPARABLE  lstm, test.accuracy from" in process.stdout
    assert process.stdout.endswith("\n5 PASS, 0 FAIL, 1 INCOMPARABLE, 0 UNCHECKED\n")


def test_repeated_seed_is_compared_with_its_record(folder):
    run(folder)
    previous = {path: path.read_bytes() for path in folder.iterdir()}
    process = run(folder, "--repeat=1", "--entry=lstm")
    assert process.returncode == 0, process.stderr
    assert starts()[6:] == ["lstm-seed1"]
    assert Path("runs/lesson/repeat-1/lstm-seed1/result.json").exists()
    assert process.stdout == (
        "lstm, seed 1\n"
        "  test loss: recorded 0.500000, repeated 0.500000, +0.000000\n"
        "  test accuracy: recorded 0.510000, repeated 0.510000, +0.000000\n"
        "  test macro_f1: recorded 0.500000, repeated 0.500000, +0.000000\n"
        "  environment: the same\n"
        "PASS          lstm, seed 1: every test score is the same to the last bit\n"
        "1 PASS, 0 FAIL, 0 INCOMPARABLE, 0 UNCHECKED\n"
    )
    edit(Path("trainer.py"), '["seed"] / 100', '["seed"] / 100 + 0.2')
    process = run(folder, "--repeat=1")  # all entries, in the next folder
    assert process.returncode == 1
    assert starts()[7:] == ["lstm-seed1", "gru-seed1"]
    assert Path("runs/lesson/repeat-2/lstm-seed1/result.json").exists()
    assert (
        "FAIL          gru, seed 1: the numbers differ; test accuracy 0.7100 lies" in process.stdout
    )
    assert {path: path.read_bytes() for path in folder.iterdir()} == previous


def test_seeds_flag_runs_fewer_seeds_than_the_plan(folder):
    process = run(folder, "--seeds=2", "--jobs=2")
    assert process.returncode == 1
    assert sorted(starts()) == ["gru-seed0", "gru-seed1", "lstm-seed0", "lstm-seed1"]
    assert "FAIL          lstm: lacks runs of seeds 5" in process.stdout


def test_ctrl_c_saves_the_active_runs(folder):
    Path("configs", "slow.py").write_text(CONFIG)
    edit(folder / PLAN, "configs/lstm.py", "configs/slow.py")
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, folder], stderr=subprocess.PIPE, start_new_session=True
    )
    while not starts() and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, messages = process.communicate(timeout=60)
    assert (process.returncode, starts()) == (130, ["slow-seed0"])
    assert b"the same command resumes them" in messages
    assert Path("runs", "lesson", "slow-seed0.log").read_text() == "starts\nsaved\n"


def test_records_are_rendered_after_a_failed_run(folder):
    Path("configs", "gru.py").rename(Path("configs", "unseen.py"))
    edit(folder / PLAN, "configs/gru.py", "configs/unseen.py")
    process = run(folder, "--seeds=1")
    assert (process.returncode, starts()) == (2, ["lstm-seed0"])
    assert "its last line is: it cannot be trained" in process.stderr
    assert "| `lstm` | 1,281,348 | **0.5000**" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("runs.jsonl", '"lstm", "seed": 5', '"lstm", "seed": 6', "is not as it was recorded"),
        ("runs.jsonl", '{"name": "lstm", "seed": 5', '"name": "lstm', "runs.jsonl, line 3: given"),
        ("experiment.toml", "epochs=2", "epochs=9", "seeds 0, 1, 5 are of another config"),
        ("experiment.toml", "[0, 1, 5]", "[0, 1, 5, 6]\nsedes = 1", "sedes"),
        ("experiment.toml", "[0, 1, 5]", "[0, 1, 1]", "expected each of them once"),
        ("experiment.toml", "[0.5, 0.6]", "[0.6, 0.5]", "expected the lower first"),
        ("experiment.toml", "/gru.py", '/gru.py"\nname = "lstm', "two entries are named 'lstm'"),
        ("README.md", "<!-- runs: begin -->", "", "expected one line <!-- runs: begin -->"),
    ],
)
def test_invalid_files_are_refused_before_training(recorded, file, old, new, message):
    edit(recorded / file, old, new)
    previous = (recorded / "README.md").read_text()
    process = run(recorded)
    assert process.returncode == 2
    assert message in process.stderr
    assert (starts(), (recorded / "README.md").read_text()) == ([], previous)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected one folder, experiments/lesson say"),
        (("experiments/lesson", "configs"), "expected one folder, experiments/lesson say"),
        (("configs",), "configs/experiment.toml: cannot be read"),
        (("--check", "configs"), "configs/experiment.toml: cannot be read"),
        (("--check", "--seeds=5"), "--check runs no missing runs; leave --seeds out"),
        (("--check", "--seal=why"), "given --check and --seal, expected one of them"),
        (("experiments/lesson", "--entry=lstm"), "--entry is of --repeat"),
        (("experiments/lesson", "--seal= "), "--seal is empty; say why"),
        (("experiments/lesson", "--repeat=3"), "has no run of seed 3; recorded are seeds none"),
        (("experiments/lesson", "--jobs=0"), "jobs"),
    ],
)
def test_invalid_command_lines_are_refused(folder, arguments, message):
    process = run(*arguments)
    assert process.returncode == 2
    assert message in process.stderr
    assert not Path("runs").exists()


def test_check_without_experiments_is_refused(folder):
    (folder / PLAN).unlink()
    (folder / "README.md").unlink()
    process = run("--check")
    assert process.returncode == 2
    assert "there is no experiments/*/experiment.toml here" in process.stderr
