"""The command as it is typed: what it does, what it says, and how it ends."""

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


def typed(*arguments):
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, arguments)], capture_output=True, text=True
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended


def test_an_experiment_is_run_rendered_judged_and_then_checked(folder):
    ended = typed(folder)
    assert ended.returncode == 0, ended.stderr
    assert len(lines_of(folder / "runs.jsonl")) == 6
    assert "6 runs in experiments/lesson/runs.jsonl, rendered in experiments/lesson" in ended.stderr
    assert "PASS          lstm, test.accuracy from 0.5 to 0.6: 0.5200, interval" in ended.stdout
    assert (folder / "seeds.svg").exists()
    # All experiments there are, of which it writes none; others are no experiments.
    Path("experiments", "speed").mkdir()
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    again = typed("--check")
    assert again.returncode == 0
    assert again.stdout.startswith(ended.stdout.rpartition("\n6 PASS")[0])
    assert "UNCHECKED" not in again.stdout.rpartition(", ")[0]
    assert again.stdout.endswith("\n8 PASS, 0 FAIL, 0 INCOMPARABLE, 0 UNCHECKED\n")
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()} == before


def test_what_fails_or_cannot_be_compared_ends_with_one(recorded):
    edit(recorded / PLAN, "[0.5, 0.6]", "[0.6, 0.7]")
    ended = typed("--check", recorded)
    assert ended.returncode == 1
    assert "FAIL          lstm, test.accuracy from 0.6 to 0.7" in ended.stdout
    edit(recorded / PLAN, "[0.6, 0.7]", "[0.5, 0.6]")
    edit(recorded / PLAN, "seeds = [0, 1, 5]", 'seeds = [0, 1, 5]\ndata = "eeee"')
    ended = typed(recorded, "--seal=of other data")  # renders too, and nothing else is amiss
    assert "sealed: lstm" in ended.stderr
    assert ended.returncode == 1
    assert "INCOMPARABLE  lstm, test.accuracy from" in ended.stdout
    assert ended.stdout.endswith("\n5 PASS, 0 FAIL, 1 INCOMPARABLE, 0 UNCHECKED\n")


def test_a_recorded_seed_is_trained_again_and_held_against_its_record(folder):
    typed(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    ended = typed(folder, "--repeat=1", "--entry=lstm")
    assert ended.returncode == 0, ended.stderr
    assert starts()[6:] == ["lstm-seed1"]
    assert Path("runs/lesson/repeat-1/lstm-seed1/result.json").exists()
    assert ended.stdout == (
        "lstm, seed 1\n"
        "  test loss: recorded 0.500000, repeated 0.500000, +0.000000\n"
        "  test accuracy: recorded 0.510000, repeated 0.510000, +0.000000\n"
        "  test macro_f1: recorded 0.500000, repeated 0.500000, +0.000000\n"
        "  environment: the same\n"
        "PASS          lstm, seed 1: every score of the test part is the same to the last bit\n"
        "1 PASS, 0 FAIL, 0 INCOMPARABLE, 0 UNCHECKED\n"
    )
    edit(Path("trainer.py"), '["seed"] / 100', '["seed"] / 100 + 0.2')
    ended = typed(folder, "--repeat=1")  # of all entries, in the next folder
    assert ended.returncode == 1
    assert starts()[7:] == ["lstm-seed1", "gru-seed1"]
    assert Path("runs/lesson/repeat-2/lstm-seed1/result.json").exists()
    assert (
        "FAIL          gru, seed 1: the numbers differ; test accuracy 0.7100 lies" in ended.stdout
    )
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_fewer_seeds_than_the_experiment_asks_for_are_run_and_said(folder):
    ended = typed(folder, "--seeds=2", "--jobs=2")
    assert ended.returncode == 1
    assert sorted(starts()) == ["gru-seed0", "gru-seed1", "lstm-seed0", "lstm-seed1"]
    assert "FAIL          lstm: lacks runs of seeds 5" in ended.stdout


def test_ctrl_c_reaches_the_runs_once_and_as_a_wish_to_save(folder):
    Path("configs", "slow.py").write_text(CONFIG)
    edit(folder / PLAN, "configs/lstm.py", "configs/slow.py")
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, folder], stderr=subprocess.PIPE, start_new_session=True
    )
    while not starts() and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=60)
    assert (process.returncode, starts()) == (130, ["slow-seed0"])
    assert b"the same command goes on" in said
    assert Path("runs", "lesson", "slow-seed0.log").read_text() == "begins\nsaved\n"


def test_what_was_recorded_is_rendered_also_if_a_later_run_fails(folder):
    Path("configs", "gru.py").rename(Path("configs", "unseen.py"))
    edit(folder / PLAN, "configs/gru.py", "configs/unseen.py")
    ended = typed(folder, "--seeds=1")
    assert (ended.returncode, starts()) == (2, ["lstm-seed0"])
    assert "at last it said: it cannot be trained" in ended.stderr
    assert "| `lstm` | 1,281,348 | **0.5000**" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
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
def test_what_does_not_fit_is_refused_before_anything_is_run(recorded, file, old, new, says):
    edit(recorded / file, old, new)
    before = (recorded / "README.md").read_text()
    ended = typed(recorded)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert (starts(), (recorded / "README.md").read_text()) == ([], before)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "expected one folder, experiments/lesson say"),
        (("experiments/lesson", "configs"), "expected one folder, experiments/lesson say"),
        (("configs",), "configs/experiment.toml: cannot be read"),
        (("--check", "configs"), "configs/experiment.toml: cannot be read"),
        (("--check", "--seeds=5"), "--check does not run what is lacking; leave --seeds out"),
        (("--check", "--seal=why"), "given --check and --seal, expected one of them"),
        (("experiments/lesson", "--entry=lstm"), "--entry is of --repeat"),
        (("experiments/lesson", "--seal= "), "--seal is empty; say why"),
        (("experiments/lesson", "--repeat=3"), "has no run of seed 3; recorded are seeds none"),
        (("experiments/lesson", "--jobs=0"), "jobs"),
    ],
)
def test_a_mistake_on_the_command_line_is_told(folder, arguments, says):
    ended = typed(*arguments)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert not Path("runs").exists()


def test_without_experiments_there_is_nothing_to_check(folder):
    (folder / PLAN).unlink()
    (folder / "README.md").unlink()
    ended = typed("--check")
    assert ended.returncode == 2
    assert "there is no experiments/*/experiment.toml here" in ended.stderr
