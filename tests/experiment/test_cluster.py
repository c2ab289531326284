"""Runs on a Ray cluster of two local workers, one of them killed in the middle."""

import os
import signal
import time
from pathlib import Path

import pytest

from experiment.conftest import lines_of, starts
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
        "import os\n"
        'pids = f"{os.getppid()} {os.getpid()}"\n'
        'Path("worker-" + flags["config.seed"]).write_text(pids)',
    )
    trainer.write_text(text)
    return folder


def kill_worker(num_starts):
    """Kills the worker of slow, seed 0, and lets all runs go on after so many starts.

    The training of a killed worker ends with it, before the runs go on.
    """
    worker, training = map(int, Path("worker-0").read_text().split())
    os.kill(worker, signal.SIGKILL)
    end = time.monotonic() + 60
    while (len(starts()) < num_starts or is_running(training)) and time.monotonic() < end:
        time.sleep(0.05)
    Path("orphan").write_text(str(is_running(training)))
    Path("go").touch()


def is_running(process):
    """Returns whether a process runs, by its state: one that has ended may be a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_run_whose_worker_is_killed_goes_on_with_another(slow, workers, capsys):
    thread = when(lambda: len(starts()) == 2, lambda: kill_worker(num_starts=3))
    experiment = Experiment.read(slow)
    run_missing(experiment, experiment.configs(), [0, 1], workers)
    thread.join()
    assert workers.count == 2
    assert Path("orphan").read_text() == "False"
    assert sorted(starts()[:3]) == ["slow-seed0", "slow-seed0", "slow-seed1"]
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


def test_a_run_that_loses_more_workers_than_it_has_restarts_fails(slow, workers):
    assert workers.count == 2  # the cluster is there
    thread = when(lambda: len(starts()) == 1, lambda: kill_worker(num_starts=1))
    experiment = Experiment.read(slow)
    single = ray_workers.RayWorkers(1, cpus=1, gpus=0, retries=0)
    with pytest.raises(InputError, match=r"the run failed: python trainer\.py"):
        run_missing(experiment, experiment.configs(), [0], single)
    thread.join()
    assert starts() == ["slow-seed0"]


def test_a_cluster_without_the_resources_of_a_run_is_refused(monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed (the extra 'cluster')")
    monkeypatch.setattr(ray, "init", lambda **options: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    with (
        pytest.raises(InputError, match="needs 1 CPUs and 1 GPUs, and the cluster has 4 and 0"),
        ray_workers.connect("", None, 1, 1, 0),
    ):
        pass
    with ray_workers.connect("", 3, 2, 0, 0) as workers:
        assert workers.count == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("experiments/lesson", "--gpus=1"), "--gpus is of --cluster"),
        (("--cluster", "experiments/lesson"), "is followed by the folder experiments/lesson"),
        (("--check", "--cluster"), "--check runs no missing runs; leave --cluster out"),
        (("experiments/lesson", "--cluster", "--cpus=0"), "expected 1 or more"),
    ],
)
def test_invalid_command_lines_are_refused(folder, run_in_process, arguments, message):
    result = run_in_process("experiment", *arguments)
    assert (result.status, message in result.err) == (2, True), result.err
