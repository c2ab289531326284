"""Runs on a Ray cluster of two local workers, one of them killed in the middle."""

import os
import signal
import time
from pathlib import Path

import pytest

from experiment.conftest import lines_of, starts
from experiment.test_command import run
from experiment.test_runner import add, when
from rnnjax.cli.signals import Terminated
from rnnjax.errors import InputError
from rnnjax.experiment import ray_workers
from rnnjax.experiment.plan import Experiment
from rnnjax.experiment.runner import run_missing

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*:ResourceWarning",  # Ray leaves sockets and processes to the garbage collector
    "ignore:.*:pytest.PytestUnraisableExceptionWarning",
    "ignore:.*:FutureWarning",
)


@pytest.fixture(scope="module")
def workers():
    """Two workers of one CPU each, with one restart for each run."""
    ray = pytest.importorskip("ray", reason="Ray is not installed (the extra 'cluster')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", lambda init=ray.init, **options: init(**options, num_cpus=2))
        with ray_workers.connect("", None, 1, 0, 1) as workers:
            yield workers


@pytest.fixture
def slow(folder):
    """The experiment with a first entry that trains until `go` exists, and names its worker."""
    add(folder, "slow", first=True)
    trainer = Path("trainer.py")
    text = trainer.read_text().replace(
        'print("starts")',
        'import os\nPath("worker-" + flags["config.seed"]).write_text(str(os.getppid()))',
    )
    trainer.write_text(text)
    return folder


def test_a_run_whose_worker_is_killed_goes_on_with_another(slow, workers, capsys):
    def kill_worker():
        os.kill(int(Path("worker-0").read_text()), signal.SIGKILL)
        end = time.monotonic() + 20
        while len(starts()) < 3 and time.monotonic() < end:
            time.sleep(0.05)
        Path("go").touch()

    thread = when(lambda: len(starts()) == 2, kill_worker)
    experiment = Experiment.read(slow)
    run_missing(experiment, experiment.configs(), [0, 1], workers)
    thread.join()
    assert workers.count == 2
    assert starts()[:3] in (
        ["slow-seed0", "slow-seed1", "slow-seed0"],
        ["slow-seed1", "slow-seed0", "slow-seed0"],
    )
    lines = {(line["name"], line["seed"]): line for line in lines_of(slow / "runs.jsonl")}
    assert sorted(lines) == [(n, s) for n in ("gru", "lstm", "slow") for s in (0, 1)]
    assert [lines["slow", seed]["resumed_from"] for seed in (0, 1)] == [7, 0]
    assert lines["slow", 0]["command"].endswith("--workdir=runs/lesson/slow-seed0")
    assert "slow-seed0: its worker was lost" in capsys.readouterr().err


def test_an_interruption_ends_all_runs(slow, workers):
    thread = when(lambda: len(starts()) == 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    experiment = Experiment.read(slow)
    with pytest.raises(Terminated):
        run_missing(experiment, experiment.configs(), [0, 1], workers)
    thread.join()
    logs = [Path("runs", "lesson", f"slow-seed{seed}.log").read_text() for seed in (0, 1)]
    assert logs == ["saved\n", "saved\n"]
    assert not (slow / "runs.jsonl").exists()


def test_a_run_that_loses_too_many_workers_fails(slow, workers):
    def kill_workers():
        for count in (1, 2):
            end = time.monotonic() + 20
            while len(starts()) < count and time.monotonic() < end:
                time.sleep(0.05)
            os.kill(int(Path("worker-0").read_text()), signal.SIGKILL)

    thread = when(lambda: len(starts()) == 1, kill_workers)
    experiment = Experiment.read(slow)
    with pytest.raises(InputError, match="the run failed: python trainer.py"):
        run_missing(experiment, experiment.configs(), [0], workers)
    thread.join()


def test_a_cluster_without_the_resources_is_refused(workers):
    del workers  # it is connected already, and a second connection is refused
    with (
        pytest.raises(InputError, match=r"--cluster=nowhere:1: cannot be reached"),
        ray_workers.connect("nowhere:1", None, 1, 0, 1),
    ):
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("experiments/lesson", "--gpus=1"), "--gpus is of --cluster"),
        (("--cluster", "experiments/lesson"), "expected one folder"),
        (("--check", "--cluster"), "--check runs no missing runs; leave --cluster out"),
    ],
)
def test_invalid_command_lines_are_refused(folder, arguments, message):
    process = run(*arguments)
    assert (process.returncode, message in process.stderr) == (2, True), process.stderr
