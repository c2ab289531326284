"""What is missing is trained, side by side if that is asked for, and recorded when it has ended."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from experiment.conftest import CONFIG, edit, lines_of, record, starts
from rnnjax import command
from rnnjax.errors import InputError
from rnnjax.experiment import runner
from rnnjax.experiment.plan import Experiment
from rnnjax.experiment.records import append
from rnnjax.experiment.runner import run_missing, lock_experiment
from rnnjax.reporting import record_digest


def run(folder, seeds=(0, 1, 5), jobs=1):
    experiment = Experiment.read(folder)
    run_missing(experiment, experiment.configs(), seeds, jobs)


def add(folder, name, first=False):
    """Adds an entry, at the end or before all others."""
    Path("configs", f"{name}.py").write_text(CONFIG)
    path = folder / "experiment.toml"
    text, entry = path.read_text(), f'[[entry]]\nconfig = "configs/{name}.py"\n\n'
    path.write_text(text.replace("[[entry]]", f"{entry}[[entry]]", 1) if first else text + entry)


@pytest.fixture
def slow(folder):
    """The experiment with a first entry that trains until the file `go` is there."""
    add(folder, "slow", first=True)
    return folder


def when(condition, do):
    """Does something in a thread once a condition holds."""

    def wait():
        end = time.monotonic() + 20
        while not condition() and time.monotonic() < end:
            time.sleep(0.01)
        if condition():
            do()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_only_missing_runs_are_run_and_each_is_recorded(folder):
    kept = [record("lstm", 1, 0.7), record("gru", 0, 0.6)]
    for each in kept:
        append(folder / "runs.jsonl", each)
    before = (folder / "runs.jsonl").read_text()
    run(folder)
    assert starts() == ["lstm-seed0", "lstm-seed5", "gru-seed1", "gru-seed5"]
    assert (folder / "runs.jsonl").read_text().startswith(before)
    _, _, lstm, *_ = found = lines_of(folder / "runs.jsonl")
    assert [(each["name"], each["seed"]) for each in found[2:]] == [
        ("lstm", 0),
        ("lstm", 5),
        ("gru", 1),
        ("gru", 5),
    ]
    assert lstm["command"] == (
        "python trainer.py --config=configs/lstm.py --config.epochs=2 --config.seed=0 "
        "--workdir=runs/lesson/lstm-seed0"
    )
    assert lstm["config"] == {"batch_size": 16, "epochs": 2}
    assert lstm["test"]["accuracy"] == 0.5
    assert lstm["environment"] == {"platform": "p", "cpus": 2, "devices": ["cpu:0 cpu"]}
    assert lstm["data"]["rows"]["train"] == 48_000
    assert all(each["alone"] and record_digest.has_valid_digest(each) for each in found)
    run(folder)
    assert len(starts()) == 4


def test_other_seeds_are_run_where_they_are_asked_for(folder):
    run(folder, seeds=range(2))
    assert starts() == ["lstm-seed0", "lstm-seed1", "gru-seed0", "gru-seed1"]


def test_entries_of_one_config_are_told_apart_by_their_flags(folder):
    more = (
        '\n[[entry]]\nname = "mine"\nconfig = "configs/gru.py"\nflags = ["--config.log_every=7"]\n'
    )
    (folder / "experiment.toml").write_text((folder / "experiment.toml").read_text() + more)
    run(folder, seeds=[0])
    gru, mine = lines_of(folder / "runs.jsonl")[1:]
    assert ("--config.log_every=7" in mine["command"], mine["config"]["log_every"]) == (True, 7)
    assert "log_every" not in gru["command"]


def test_a_failed_run_is_named_with_what_it_said_and_none_is_begun_after_it(folder):
    add(folder, "unseen")
    add(folder, "later")
    with pytest.raises(InputError, match=r"the run failed: python trainer.py .*unseen.py") as said:
        run(folder, seeds=[0])
    assert "runs/lesson/unseen-seed0.log has what it printed" in str(said.value)
    assert "at last it said: it cannot be trained" in str(said.value)
    assert [each["name"] for each in lines_of(folder / "runs.jsonl")] == ["lstm", "gru"]
    assert starts() == ["lstm-seed0", "gru-seed0"]


def test_runs_beside_a_failed_one_come_to_their_end(slow):
    add(slow, "unseen", first=True)
    thread = when(lambda: starts() == ["slow-seed0"], lambda: (time.sleep(0.3), Path("go").touch()))
    with pytest.raises(InputError, match=r"unseen.py"):
        run(slow, seeds=[0], jobs=2)
    thread.join()
    assert [each["name"] for each in lines_of(slow / "runs.jsonl")] == ["slow"]


def test_runs_compare_runs_say_so_and_the_quick_do_not_wait_for_the_slow(slow, capsys, monkeypatch):
    monkeypatch.setattr(runner, "_REPORT_SECONDS", 0.0)
    recorded = slow / "runs.jsonl"
    quick = [("lstm", 0), ("lstm", 1), ("gru", 0), ("gru", 1)]
    begun = {"slow-seed0", "slow-seed1"}
    thread = when(
        lambda: begun <= {*starts()} and recorded.exists() and len(lines_of(recorded)) == 4,
        lambda: (time.sleep(0.3), Path("go").touch()),
    )
    run(slow, seeds=[0, 1], jobs=3)
    thread.join()
    found = lines_of(recorded)
    assert [(each["name"], each["seed"]) for each in found[:4]] == quick
    assert {(each["name"], each["seed"]) for each in found[4:]} == {("slow", 0), ("slow", 1)}
    assert not any(each["alone"] for each in found)
    said = capsys.readouterr().err
    assert "slow, seed 0: begun, 1 of 6" in said
    assert "slow, seed 0 (25 %), slow, seed 1 (25 %); 0 of 6 wait" in said
    assert "gru, seed 1: ended, 2 of 6 are left" in said


def test_interrupted_runs_are_told_once_and_the_same_command_goes_on(slow, capsys):
    thread = when(lambda: len(starts()) == 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(command.Terminated):
        run(slow, seeds=[0, 1], jobs=2)
    thread.join()
    assert sorted(starts()) == ["slow-seed0", "slow-seed1"]
    assert not (slow / "runs.jsonl").exists()
    assert "the same command goes on" in capsys.readouterr().err
    Path("go").touch()
    run(slow, seeds=[0, 1])
    found = [each for each in lines_of(slow / "runs.jsonl") if each["name"] == "slow"]
    assert [(each["seed"], each["resumed_from"], each["alone"]) for each in found] == [
        (0, 7, False),
        (1, 7, False),
    ]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_ctrl_c_and_a_closed_terminal_are_interruptions_too(slow, number, status):
    thread = when(lambda: starts(), lambda: os.kill(os.getpid(), number))
    with pytest.raises(KeyboardInterrupt) as raised:
        run(slow, seeds=[0])
    thread.join()
    assert command.status(raised.value) == status


def test_an_experiment_is_run_by_one_process(folder):
    with (
        lock_experiment(folder),
        pytest.raises(InputError, match="another process is running this experiment"),
        lock_experiment(folder),
    ):
        pass
    with lock_experiment(folder):
        pass


def test_a_config_that_is_none_is_told_with_its_command(folder):
    edit(Path("configs/gru.py"), "return", "raise ValueError('not one')  #")
    with pytest.raises(
        InputError, match=r"python trainer.py --config=configs/gru.py(?s:.*)not one"
    ):
        Experiment.read(folder).configs()


def test_replicates_are_no_records(folder):
    edit(Path("configs/gru.py"), '"batch_size": 16', '"replicates": 3')
    with pytest.raises(InputError, match=r"gru ask for replicates"):
        Experiment.read(folder).configs()
