"""Runs of two processes: the same bits in both, and as in one; the end of one of them; refusals."""

import dataclasses
import importlib.util
import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from rnnjax import training
from rnnjax.errors import InputError
from rnnjax.training import processes
from rnnjax.training.agreement import check_data
from rnnjax.training.processes import join_processes
from rnnjax.training.run_folder import RunFolder
from rnnjax.training.warm_start import read_warm_start

from .process_runs import flatten
from .sharded_runs import BILSTM, LANGUAGE_MODEL
from .small_runs import news_config, read_json, read_metrics, train, train_until_killed
from .test_language_runs import play_config
from .test_watching import FOLDER, read_events

TESTS = Path(__file__).resolve().parents[1]


class Ended(NamedTuple):
    """A process that has ended: its exit status and its standard error stream."""

    status: int
    err: str


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def run_pair(folder: Path, runs: list[tuple[str, Any, str]]) -> list[Ended]:
    """Trains runs in two processes, and returns how these ended.

    Args:
      folder: of the folders of the runs.
      runs: name, config and fault of each.
    """
    port = free_port()
    keys = ("name", "config", "fault")
    values = [
        dict(zip(keys, (name, config.model_dump(), fault), strict=True))
        for name, config, fault in runs
    ]
    (folder / f"{port}.json").write_text(json.dumps(values), encoding="utf-8")
    command = [sys.executable, "-m", "training.process_runs", str(folder), port]
    processes = [
        subprocess.Popen([*command, str(index)], stderr=subprocess.PIPE, cwd=TESTS)
        for index in range(2)
    ]
    errors = [process.communicate(timeout=400)[1].decode() for process in processes]
    print(*errors, sep="\n")  # shown where a test fails
    return [Ended(process.returncode, err) for process, err in zip(processes, errors, strict=True)]


def read_state(workdir: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of the newest checkpoint by path."""
    checkpoints = RunFolder(workdir).open_checkpoints()
    restored = checkpoints.restore(checkpoints.shapes())
    assert restored is not None
    return flatten(restored[1])


def read_states(workdir: Path) -> list[dict[str, np.ndarray]]:
    """Returns the arrays of the last state as each of two processes had them."""
    files = [np.load(workdir.with_name(f"{workdir.name}-{index}.npz")) for index in range(2)]
    return [dict(file) for file in files]


def differing(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> list[str]:
    """Returns the paths of arrays of which a bit differs."""
    assert len(actual) == len(expected) > 10
    return [path for path, leaf in expected.items() if actual[path].tobytes() != leaf.tobytes()]


@pytest.fixture(scope="module")
def configs(news, play) -> dict[str, Any]:
    options = {"replicates": 2, "devices__fsdp": 2, "epochs": 1, "data__take": 60}
    events = {"tensorboard": importlib.util.find_spec("tensorboardX") is not None}
    options |= events
    stream = {"deterministic_shards": 2, "data__take": 40, **events}
    return {
        "bilstm": news_config(news, deterministic_shards=2, **BILSTM),
        "stream": play_config(play, **stream, **LANGUAGE_MODEL),
        "replicates": news_config(news, data__buckets=1, averaging__decay=0.9, **options),
    }


@pytest.fixture(scope="module")
def single_process(configs, tmp_path_factory) -> Path:
    """The folders of runs of one process with one device."""
    folder = tmp_path_factory.mktemp("one")
    for name, config in configs.items():
        config = config.model_copy(update={"devices": type(config.devices)()})
        train(config, folder / name)
    return folder


def warm_start(configs, single_process) -> Any:
    """Returns the config of a run that begins with the parameters of another one."""
    return configs["bilstm"].model_copy(update={"init_from": str(single_process / "bilstm")})


@pytest.fixture(scope="module")
def process_pair(configs, single_process, tmp_path_factory) -> tuple[Path, list[Ended]]:
    """The folders of the same runs of two processes, and how these ended.

    'begun by one' is resumed by them, and in 'killed' the second one dies.
    """
    folder, bilstm = tmp_path_factory.mktemp("two"), configs["bilstm"]
    train_until_killed(bilstm, folder / "begun by one", 3)
    runs = [(name, config, "") for name, config in configs.items()]
    runs += [("begun by one", bilstm, ""), ("warm start", warm_start(configs, single_process), "")]
    runs += [(f"other {part}", bilstm, f"other {part}") for part in ("parameters", "config")]
    return folder, run_pair(folder, [*runs, ("killed", bilstm, "death")])


def assert_same_run(workdir: Path, expected: Path) -> None:
    assert differing(read_state(workdir), read_state(expected)) == []
    assert read_metrics(workdir) == read_metrics(expected)
    results = [read_json(path / "result.json") for path in (workdir, expected)]
    assert results[0]["test"] == results[1]["test"]


@pytest.mark.parametrize("name", ["bilstm", "stream"])
def test_same_bits_as_in_one_process(single_process, process_pair, name):
    folder, _ = process_pair
    first, second = read_states(folder / name)
    assert differing(first, second) == []
    assert differing(first, read_state(single_process / name)) == []
    assert_same_run(folder / name, single_process / name)


def test_sums_of_processes_differ_by_rounding_alone(single_process, process_pair):
    folder, _ = process_pair
    first, second = read_states(folder / "replicates")
    assert differing(first, second) == []
    expected = read_state(single_process / "replicates")
    assert len(differing(first, expected)) > 10
    for path, leaf in expected.items():
        np.testing.assert_allclose(first[path], leaf, rtol=2e-6, atol=2e-6)
    losses, expected_losses = (
        read_json(path / "replicates" / "result.json")["test"]["loss"]["by_seed"]
        for path in (folder, single_process)
    )
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    assert losses[0] != losses[1]


def test_event_files_of_processes_are_those_of_one(single_process, process_pair):
    pytest.importorskip("tensorboardX")
    folder, _ = process_pair
    for seed in (3, 4):
        actual, expected = (
            read_events(path / "replicates" / f"seed-{seed}" / FOLDER)
            for path in (folder, single_process)
        )
        tags = [tag for tag in expected if not tag.startswith(("resources/rows", "step_seconds/"))]
        assert {"train/loss", "resources/padding", "gradient_norm/embed"} <= set(tags)
        for tag in tags:
            assert actual[tag] == pytest.approx(expected[tag], rel=1e-4), tag
    samples = [
        read_events(path / "stream" / FOLDER)["sample/text_summary"]
        for path in (folder, single_process)
    ]
    assert samples[0] == samples[1]
    assert all(samples[0].values())


def test_run_of_one_process_is_resumed_by_two(single_process, process_pair):
    folder, _ = process_pair
    assert read_json(folder / "begun by one" / "result.json")["resumed_from"] == 2
    assert_same_run(folder / "begun by one", single_process / "bilstm")


def test_warm_start_is_that_of_one_process(configs, single_process, process_pair, tmp_path):
    folder, _ = process_pair
    train(warm_start(configs, single_process), tmp_path / "one")
    assert_same_run(folder / "warm start", tmp_path / "one")
    first = read_metrics(tmp_path / "one")[0]["loss"]
    assert first != read_metrics(single_process / "bilstm")[0]["loss"]


def test_death_of_a_process_ends_the_other_and_both_resume(
    configs, single_process, process_pair, tmp_path
):
    folder, (first, second) = process_pair
    assert second.status == -signal.SIGKILL
    assert first.status == 2
    assert first.err.splitlines()[-1].startswith("error: process 1 on ")
    assert "has ended, or cannot be reached" in first.err
    killed, bilstm = folder / "killed", configs["bilstm"]
    assert not (killed / "result.json").exists()
    for name in ("by one", "by two"):
        shutil.copytree(killed, tmp_path / name)
    assert train(bilstm, tmp_path / "by one")["resumed_from"] == 2
    run_pair(tmp_path, [("by two", bilstm, "")])
    for name in ("by one", "by two"):
        assert_same_run(tmp_path / name, single_process / "bilstm")
    assert training.load_run(tmp_path / "by two").predict(["goal striker"]).shape == (1, 4)


def test_differing_processes_are_refused(process_pair):
    folder, ended = process_pair
    for process in ended:
        assert "process 1 differs from process 0 in 1 values" in process.err
        assert "config.seed: 3, 4" in process.err
        assert "params/embed/embedding after step 2: ['float32', [64, 6], " in process.err
    assert not (folder / "other config").exists()
    assert not (folder / "other parameters" / "checkpoints").exists()


def test_parameters_of_a_warm_start_are_compared(configs, single_process, monkeypatch):
    first = read_warm_start(warm_start(configs, single_process))
    second = dataclasses.replace(first, digest="0" * 64)
    monkeypatch.setattr(processes, "num_processes", lambda: 2)
    others = [json.dumps({"parameters of config.init_from": second.digest})]
    monkeypatch.setattr(processes, "gather", lambda value: [value, *others])
    with pytest.raises(
        InputError, match=r"differs .* 1 values.*\n.*parameters of config.init_from"
    ):
        check_data([], first)
    others[:] = [json.dumps({"parameters of config.init_from": first.digest})]
    check_data([], first)


def test_process_that_never_comes_is_named(tmp_path):
    command = [sys.executable, "-m", "rnnjax.main", "--config=gru", "--workdir=run"]
    command += ["--distributed", f"--coordinator=127.0.0.1:{free_port()}", "--processes=2"]
    command += ["--process=0", "--start_timeout=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    message = done.stderr.splitlines()[-1]
    assert message.startswith("error: --distributed: the processes did not all come within 1 sec")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--process=1"], "--process: given without --distributed"),
        (["--distributed"], "--distributed: given without --workdir"),
        (
            ["--distributed", "--workdir=run", "--coordinator=host"],
            "--coordinator: given 'host', expected HOST:PORT",
        ),
    ],
)
def test_flags_that_do_not_go_together_are_refused(run_in_process, flags, message):
    result = run_in_process("train", "--config=gru", *flags)
    assert result.status == 2
    assert message in result.err


def test_taken_port_is_refused():
    with socket.create_server(("", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(InputError, match=r"its port cannot be used .*Address already in use"),
            join_processes(address, 2, 0, 1),
        ):
            pass


def test_lost_connection_is_recognized_below_other_errors(monkeypatch):
    monkeypatch.setattr(processes, "num_processes", lambda: 2)
    lost = ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer")
    not_saved = InputError("the checkpoint of step 4 could not be saved")
    assert not processes.is_connection_error(not_saved)
    not_saved.__cause__ = lost
    assert processes.is_connection_error(not_saved)
    assert not processes.is_connection_error(ValueError("shapes differ"))
    monkeypatch.setattr(processes, "num_processes", lambda: 1)
    assert not processes.is_connection_error(lost)
