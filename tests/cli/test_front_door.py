"""The program `rnnjax`: its table of commands, its overview, and where it runs."""

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rnnjax
from rnnjax import __main__ as front_door
from rnnjax.cli import launcher
from rnnjax.cli.commands import COMMANDS, summary
from rnnjax.cli.overview import overview
from rnnjax.config.catalog import config_names, recorded_result

ROOT = Path(__file__).resolve().parents[2]


def run(monkeypatch, *arguments):
    """Returns the exit status of `rnnjax` with arguments."""
    monkeypatch.setattr(sys, "argv", ["rnnjax", *arguments])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as end:
        front_door.main()
    return end.value.code


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_help_with_its_summary(name, capsys):
    assert launcher.run_command(name, ["--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: rnnjax {name} [flags]")
    assert summary(name) in text
    module = importlib.import_module(COMMANDS[name])
    assert (module.__doc__ or "").splitlines()[0] == summary(name)


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_without_a_command_it_lists_commands_and_configs(monkeypatch, capsys, arguments):
    assert run(monkeypatch, *arguments) == 0
    assert capsys.readouterr().out == overview() + "\n"
    lines = [line.split() for line in overview().splitlines() if line.startswith("  ")]
    names = [words[0] for words in lines]
    assert names == [*COMMANDS, "config", *config_names()]
    (bilstm,) = (words for words in lines if words[0] == "bilstm")
    assert bilstm[1:7] == ["accuracy", "0.8812", "±", "0.0042", "16", "s"]


def test_recorded_results_are_those_of_the_config_itself():
    result = recorded_result("translate")  # its docstring also has that of another entry
    assert result is not None
    assert (result.metric, result.score) == ("BLEU", "99.9108 ± 0.1545")
    assert recorded_result("word_lm") is None


def test_version(monkeypatch, capsys):
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"rnnjax {rnnjax.__version__}\n"


def test_an_unknown_command_gets_a_suggestion(monkeypatch, capsys):
    assert run(monkeypatch, "trian") == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("error: 'trian': there is no such command; did you mean train?")


def test_a_command_gets_the_other_arguments(monkeypatch):
    calls = []
    monkeypatch.setattr(front_door, "launch", lambda name: calls.append((name, sys.argv[1:])))
    monkeypatch.setattr(front_door, "_run_without_command", lambda name: 0)
    run(monkeypatch, "predict", "--workdir=runs/a", "text")
    assert calls == [("predict", ["--workdir=runs/a", "text"])]
    assert sys.path[0] == str(Path.cwd())  # as `python -m` has it


def test_the_console_script_is_the_front_door():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"rnnjax": "rnnjax.__main__:main"}


def test_configs_are_in_the_package():
    assert config_names() == sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
    assert (ROOT / "rnnjax" / "configs").resolve() == ROOT / "configs"


def test_it_runs_in_a_process_from_another_folder(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "rnnjax", "train", "--config=bilstm", "--print_config"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert '"bidirectional": true' in process.stdout


def test_mistakes_of_a_command_end_with_two(capsys):
    assert launcher.run_command("train", ["--epochs=2"]) == 2
    assert capsys.readouterr().err == (
        "error: --epochs: there is no such flag; did you mean --config.epochs?\n"
    )
    assert launcher.run_command("train", []) == 2
    assert "--config is missing; expected the path of a config file, or one of adding, " in (
        capsys.readouterr().err
    )
    assert launcher.run_command("predict", ["text"]) == 2
    assert "are required: --workdir" in capsys.readouterr().err
