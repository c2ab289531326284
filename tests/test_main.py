"""Training as a user types it: from another folder, interrupted, and with mistakes."""

import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import run_command, start_command
from training.small_runs import assert_trees_equal, news_config, read_metrics, restore_state

from rnnjax import training
from rnnjax.cli import launcher
from rnnjax.config import defaults
from rnnjax.tasks.classification.data import load_corpus

CONFIGS = Path(__file__).parents[1] / "configs"
LSTM = f"--config={CONFIGS / 'lstm.py'}"


@pytest.fixture
def small_config(news, tmp_path):
    """A config file of 225 steps, and its config."""
    config = news_config(news, epochs=15, learning_rate=0.001, checkpoint__every=10, log_every=25)
    path = tmp_path / "small.py"
    path.write_text(
        "import ml_collections\n"
        f"def get_config():\n    return ml_collections.ConfigDict({config.model_dump()!r})\n"
    )
    return path, config


def stop(process, workdir, step, number):
    """Sends a signal once there is a checkpoint of a step, and returns the end of the process."""
    deadline = time.monotonic() + 60
    while not (workdir / "checkpoints" / str(step)).exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    err = process.communicate(timeout=60)[1].decode()
    assert "Traceback" not in err
    return process.returncode, err


def test_signals_and_a_kill_change_nothing_and_the_command_that_is_named_goes_on(
    small_config, tmp_path
):
    path, config = small_config
    workdir = tmp_path / "my runs" / "one"
    path_of_python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def pasted(command):
        return subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            cwd=tmp_path,
            env={**os.environ, "PATH": path_of_python},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    process = start_command(
        "main", "--config", path.name, "--workdir", str(workdir), folder=tmp_path
    )
    status, err = stop(process, workdir, 20, signal.SIGINT)
    assert status == 130, err
    assert "SIGINT after step " in err
    assert (
        "saved, without scores. The network as it is can be used with:\n"
        f"  python -m rnnjax.predict '--workdir={workdir}' \"text\"\n"
        f"  python -m rnnjax.evaluate '--workdir={workdir}' --data FILE.csv\nGo on with:\n"
    ) in err
    command = err.splitlines()[-1].strip()
    assert shlex.split(command)[:3] == ["python", "-m", "rnnjax.main"]
    before = max(int(path.name) for path in (workdir / "checkpoints").iterdir())

    status, err = stop(pasted(command), workdir, before // 10 * 10 + 30, signal.SIGHUP)
    assert status == 129, err
    assert f"going on from step {before}" in err
    assert "SIGHUP after step " in err
    command = err.splitlines()[-1].strip()
    before = max(int(path.name) for path in (workdir / "checkpoints").iterdir())

    status, _ = stop(pasted(command), workdir, before // 10 * 10 + 30, signal.SIGKILL)
    assert status == -signal.SIGKILL
    process = pasted(command)
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()  # as `| head` does, which is no reason to end
    assert process.wait(timeout=60) == 0
    assert (workdir / "report.html").exists()

    undisturbed = tmp_path / "undisturbed"
    training.train(config, "small", undisturbed)
    assert_trees_equal(restore_state(config, workdir), restore_state(config, undisturbed))
    assert read_metrics(workdir) == read_metrics(undisturbed)


def test_a_run_without_a_workdir_makes_one_and_keys_can_be_set(news, tmp_path):
    keys = {
        "config.data.dir": os.path.relpath(news, tmp_path),
        "config.data.take": 32,
        "config.model.features": 4,
        "config.data.vocabulary.size": 50,
        "config.data.fallback": "",
    }
    ended = run_command("main", LSTM, *(f"--{k}={v}" for k, v in keys.items()), folder=tmp_path)
    assert ended.status == 0, ended.err
    (workdir,) = (tmp_path / "runs").iterdir()
    assert workdir.name.startswith("lstm-")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]
    config = json.loads((workdir / "config.json").read_text())["config"]
    assert (config["data"]["take"], config["model"]["features"]) == (32, 4)
    environment = json.loads((workdir / "environment.json").read_text())
    assert "--config.model.features=4" in environment["command"]
    folder = workdir.relative_to(tmp_path)
    assert f"report: {folder}/report.html" in ended.err
    assert f'next: python -m rnnjax.predict --workdir={folder} "text"\n' in ended.err
    assert ended.err.rstrip().endswith(f"see both with rnnjax report {folder} RUN")


def test_a_config_without_changes_is_a_config(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("plain.py").write_text("import ml_collections\nget_config = ml_collections.ConfigDict\n")
    assert launcher.run_command("train", ["--config=plain.py", "--print_config"]) == 0
    assert json.loads(capsys.readouterr().out) == defaults()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=no/such.py"], "no/such.py"),
        ([LSTM, "--config.learning_rat=0.1"], "did you mean --config.learning_rate?"),
        ([LSTM, "--config.batch_size=0"], "config.batch_size: given 0"),
        ([LSTM, "--config.early_stopping.patience=3"], "set data.validation"),
        ([LSTM, "--config.data.dir=nowhere"], "'nowhere': there is no such folder"),
        ([LSTM, "--wordkir=runs/a"], "did you mean --workdir?"),
        ([LSTM, f"--workdir={'a' * 300}"], "File name too long"),
        ([LSTM, "runs/a"], "given 'runs/a', expected flags alone"),
        ([f"--config={CONFIGS}"], "Is a directory"),
        ([LSTM, "--config.model.layers=1000000"], "less than or equal to 128"),
    ],
)
def test_mistakes_are_short_and_leave_nothing(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert launcher.run_command("train", arguments) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("error: ")
    assert message in streams.err
    assert len(streams.err) < 600
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "there are no rows"),
        (b'"1","a","b"\n"2","c"\n', "test.csv, line 2: 2 columns"),
        (b'"1","caf\xe9","b"\n', "test.csv, line 1: byte 0xe9 is not UTF-8"),
    ],
)
def test_unreadable_news_leave_no_folder(news, tmp_path, monkeypatch, capsys, content, message):
    folder = tmp_path / "news"
    folder.mkdir()
    (folder / "train.csv").write_bytes((news / "train.csv").read_bytes())
    if content is not None:
        (folder / "test.csv").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    assert launcher.run_command("train", [LSTM, "--config.data.dir=news", "--workdir=run"]) == 2
    error = capsys.readouterr().err
    assert "test.csv" in error
    assert message in error
    assert not Path("run").exists()


def test_a_checkpoint_that_does_not_fit_is_an_error_of_one_line(small_config, tmp_path):
    path, config = small_config
    load_corpus(config.data)  # into the cache, whose files are larger
    arguments = (f"--config={path}", f"--workdir={tmp_path / 'run'}")
    process = start_command("main", *arguments, folder=tmp_path)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (8_000, 8_000))
    err = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 2
    assert "Traceback" not in err
    assert (
        "step 10 could not be saved (File too large); raise the limit on the size"
        in err.splitlines()[-1]
    )
