"""Missing runs are trained, in parallel on demand, and recorded when they have finished."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from experiment.conftest import CLAIMS, CONFIG, edit, lines_of, record, starts
from rnnjax.cli.signals import Terminated, exit_status
from rnnjax.errors import InputError
from rnnjax.experiment import runner
from rnnjax.experiment.plan import Experiment
from rnnjax.experiment.records import append
from rnnjax.experiment.runner import lock_experiment, run_missing
from rnnjax.experiment.workers import LocalWorkers
from rnnjax.reporting import record_digest


def run(folder, seeds=(0, 1, 5), jobs=1):
    experiment = Experiment.read(folder)
    run_missing(experiment, experiment.configs(), seeds, LocalWorkers(jobs))


def add(folder, name, first=False):
    """Adds an entry, at the end or at the front."""
    Path("configs", f"{name}.py").write_text(CONFIG)
    path = folder / "experiment.toml"
    text, entry = path.read_text(), f'[[entry]]\nconfig = "configs/{name}.py"\n\n'
    path.write_text(text.replace("[[entry]]", f"{entry}[[entry]]", 1) if first else text + entry)


@pytest.fixture
def slow(folder):
    """The experiment with a first entry that trains until the file `go` exists."""
    add(folder, "slow", first=True)
    return folder


def when(condition, action):
    """Starts a thread that acts once a condition holds."""

    def wait():
        end = time.monotonic() + 20
        while not condition() and time.monotonic() < end:
            time.sleep(0.01)
        if condition():
            action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_missing_runs_are_run_and_recorded(folder):
    for line in (record("lstm", 1, 0.7), record("gru", 0, 0.6)):
        append(folder / "runs.jsonl", line)
    previous = (folder / "runs.jsonl").read_text()
    run(folder)
    assert starts() == ["lstm-seed0", "lstm-seed5", "gru-seed1", "gru-seed5"]
    assert (folder / "runs.jsonl").read_text().startswith(previous)
    _, _, lstm, *_ = lines = lines_of(folder / "runs.jsonl")
    assert [(line["name"], line["seed"]) for line in lines[2:]] == [
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
    assert [line["claims"] for line in lines[2:]] == [CLAIMS["lstm"]] * 2 + [{}] * 2
    assert all(line["alone"] and record_digest.has_valid_digest(line) for line in lines)
    run(folder)
    assert len(starts()) == 4


def test_requested_seeds_are_run(folder):
    run(folder, seeds=range(2))
    assert starts() == ["lstm-seed0", "lstm-seed1", "gru-seed0", "gru-seed1"]


def test_entries_of_one_config_differ_in_their_flags(folder):
    more = (
        '\n[[entry]]\nname = "mine"\nconfig = "configs/gru.py"\nflags = ["--config.log_every=7"]\n'
    )
    (folder / "experiment.toml").write_text((folder / "experiment.toml").read_text() + more)
    run(folder, seeds=[0])
    gru, mine = lines_of(folder / "runs.jsonl")[1:]
    assert ("--config.log_every=7" in mine["command"], mine["config"]["log_every"]) == (True, 7)
    assert "log_every" not in gru["command"]


def test_failed_run_is_named_with_its_output_and_stops_the_rest(folder):
    add(folder, "unseen")
    add(folder, "later")
    with pytest.raises(
        InputError, match=r"the run failed: python trainer.py .*unseen.py"
    ) as raised:
        run(folder, seeds=[0])
    assert "runs/lesson/unseen-seed0.log has its output" in str(raised.value)
    assert "its last line is: it cannot be trained" in str(raised.value)
    assert [line["name"] for line in lines_of(folder / "runs.jsonl")] == ["lstm", "gru"]
    assert starts() == ["lstm-seed0", "gru-seed0"]


def test_parallel_runs_finish_after_a_failure(slow):
    add(slow, "unseen", first=True)
    thread = when(lambda: starts() == ["slow-seed0"], lambda: (time.sleep(0.3), Path("go").touch()))
    with pytest.raises(InputError, match=r"unseen.py"):
        run(slow, seeds=[0], jobs=2)
    thread.join()
    assert [line["name"] for line in lines_of(slow / "runs.jsonl")] == ["slow"]


def test_parallel_runs_are_marked_and_recorded_as_they_finish(slow, capsys, monkeypatch):
    monkeypatch.setattr(runner, "_REPORT_SECONDS", 0.0)
    recorded = slow / "runs.jsonl"
    quick = [("lstm", 0), ("lstm", 1), ("gru", 0), ("gru", 1)]
    started = {"slow-seed0", "slow-seed1"}
    thread = when(
        lambda: started <= {*starts()} and recorded.exists() and len(lines_of(recorded)) == 4,
        lambda: (time.sleep(0.3), Path("go").touch()),
    )
    run(slow, seeds=[0, 1], jobs=3)
    thread.join()
    lines = lines_of(recorded)
    assert [(line["name"], line["seed"]) for line in lines[:4]] == quick
    assert {(line["name"], line["seed"]) for line in lines[4:]} == {("slow", 0), ("slow", 1)}
    assert not any(line["alone"] for line in lines)
    messages = capsys.readouterr().err
    assert "slow, seed 0: started, 1 of 6" in messages
    assert "slow, seed 0  25 %\nslow, seed 1  25 %\n0 of 6 wait\n" in messages
    assert "gru, seed 1: ended, 2 of 6 are left" in messages


def test_interrupted_runs_are_resumed_by_the_same_command(slow, capsys):
    thread = when(lambda: len(starts()) == 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Terminated):
        run(slow, seeds=[0, 1], jobs=2)
    thread.join()
    assert sorted(starts()) == ["slow-seed0", "slow-seed1"]
    assert not (slow / "runs.jsonl").exists()
    assert "the same command resumes them" in capsys.readouterr().err
    Path("go").touch()
    run(slow, seeds=[0, 1])
    lines = [line for line in lines_of(slow / "runs.jsonl") if line["name"] == "slow"]
    assert [(line["seed"], line["resumed_from"], line["alone"]) for line in lines] == [
        (0, 7, False),
        (1, 7, False),
    ]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_sigint_and_sighup_interrupt(slow, number, status):
    thread = when(lambda: starts(), lambda: os.kill(os.getpid(), number))
    with pytest.raises(KeyboardInterrupt) as raised:
        run(slow, seeds=[0])
    thread.join()
    assert exit_status(raised.value) == status


def test_experiment_is_locked(folder):
    with (
        lock_experiment(folder),
        pytest.raises(InputError, match="another process is running this experiment"),
        lock_experiment(folder),
    ):
        pass
    with lock_experiment(folder):
        pass


def test_invalid_config_is_named(folder):
    edit(Path("configs/gru.py"), "return", "raise ValueError('not one')  #")
    with pytest.raises(
        InputError, match=r"experiment.toml, gru: configs/gru.py: .* ValueError: not one"
    ):
        Experiment.read(folder).configs()


def test_replicates_are_refused(folder):
    edit(Path("configs/gru.py"), '"batch_size": 16', '"replicates": 3')
    with pytest.raises(InputError, match=r"gru ask for replicates"):
        Experiment.read(folder).configs()
