"""An experiment runs what it lacks, and its README says what was found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rnnjax import experiment
from rnnjax.errors import InputError

TOML = """
flags = ["--config.epochs=1"]
seeds = [0, 1, 5]

[[entry]]
config = "configs/lstm.py"
beside = { "peer" = ".71" }

[[entry]]
config = "configs/gru.py"

[[entry]]
config = "configs/unseen.py"
"""
README = "# Question\n\n<!-- runs: begin -->\nold\n<!-- runs: end -->\n\nanswer\n"


def config_of(command):
    """Returns what a config would be, made of what is typed."""
    flags = [each for each in command if each.startswith("--config") and "seed" not in each]
    return {"typed": flags}


def record(name, seed, accuracy, seconds=10.0, resumed_from=0):
    return {
        "name": name,
        "config": config_of([f"--config=configs/{name}.py", "--config.epochs=1"]),
        "resumed_from": resumed_from,
        "seed": seed,
        "test": {"accuracy": accuracy, "macro_f1": accuracy - 0.01, "loss": 0.5},
        "parameters": 1_281_348,
        "train_seconds": seconds,
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("experiments", "lesson")
    folder.mkdir(parents=True)
    (folder / "experiment.toml").write_text(TOML)
    (folder / "README.md").write_text(README)
    return folder


@pytest.fixture
def ran(monkeypatch):
    """The command lines that an experiment started, each of which leaves a run."""
    commands = []

    def run(command, **_):
        if "--print_config" in command:
            config = {"seed": 0, **config_of(command)}
            return subprocess.CompletedProcess(command, 0, stdout=json.dumps(config))
        commands.append(command)
        flags = dict(each.split("=", 1) for each in command if "=" in each)
        if flags["--config"] == "configs/unseen.py":
            return subprocess.CompletedProcess(command, 2)
        workdir = Path(flags["--workdir"])
        workdir.mkdir(parents=True)
        data = {"name": "news", "fallback": "", "fingerprint": "f", "rows": {}, "source": "s"}
        found = record("", 0, 0.5 + int(flags["--config.seed"]) / 100)
        config = {"name": "n", "config": {"seed": 0, **config_of(command)}}
        (workdir / "config.json").write_text(json.dumps(config))
        (workdir / "result.json").write_text(json.dumps({**found, "steps": 9, "data": data}))
        environment = {"commit": "abc", "devices": ["cpu:0"], "data": data}
        (workdir / "environment.json").write_text(json.dumps(environment))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(experiment.subprocess, "run", run)
    return commands


def test_only_missing_runs_are_run_and_each_is_recorded_when_it_has_ended(folder, ran):
    kept = [record("lstm", 1, 0.7), record("gru", 0, 0.6)]
    runs = folder / "runs.jsonl"
    runs.write_text("".join(json.dumps(each) + "\n" for each in kept))
    with pytest.raises(InputError, match=r"the run failed: python .*unseen.py .*--config.seed=0"):
        experiment.main([str(folder)])
    lstm0 = [
        *(sys.executable, "-m", "rnnjax.main", "--config=configs/lstm.py", "--config.epochs=1"),
        *("--config.seed=0", "--workdir=runs/lesson/lstm-seed0"),
    ]
    assert ran[0] == lstm0
    asked = [("lstm", 0), ("lstm", 5), ("gru", 1), ("gru", 5), ("unseen", 0)]
    assert [command[-1] for command in ran] == [
        f"--workdir=runs/lesson/{name}-seed{seed}" for name, seed in asked
    ]
    found = experiment.read_runs(runs)
    assert found[:2] == kept
    assert [(run["name"], run["seed"]) for run in found[2:]] == asked[:-1]
    assert [run["config"] for run in found[2:]] == [
        record(name, seed, 0)["config"] for name, seed in asked[:-1]
    ]
    assert found[2]["command"] == "python " + " ".join(lstm0[1:])
    assert found[2]["test"]["accuracy"] == 0.5
    assert found[2]["environment"] == {"commit": "abc", "devices": ["cpu:0"]}
    ran.clear()
    with pytest.raises(InputError, match="the run failed"):
        experiment.main([str(folder)])
    assert len(ran) == 1


def test_an_experiment_without_missing_runs_only_renders(folder, ran):
    toml = (folder / "experiment.toml").read_text()
    (folder / "experiment.toml").write_text(toml.replace("configs/unseen.py", "configs/new.py"))
    experiment.main([str(folder)])
    assert len(ran) == 9
    rendered = (folder / "README.md").read_text()
    assert rendered.startswith("# Question\n\n<!-- runs: begin -->\n| config |")
    assert rendered.endswith("|\n<!-- runs: end -->\n\nanswer\n")
    assert "old" not in rendered
    ran.clear()
    experiment.main([str(folder)])
    assert ran == []
    assert (folder / "README.md").read_text() == rendered


def test_the_table_says_mean_spread_and_each_seed(folder):
    runs = [
        record("lstm", 5, 0.90, 30.0),
        record("lstm", 0, 0.80, 10.0),
        record("lstm", 1, 0.85, 2.0, resumed_from=70),
        record("lstm", 99, 0.10, 1.0),
        record("gru", 0, 0.75, 12.34),
        record("other", 0, 0.1),
    ]
    rows = experiment.table(experiment._read(folder / "experiment.toml"), runs).splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells[0][-1] == "peer"
    by_seed = "0.8000 0.8500 0.9000"
    assert cells[2:] == [
        ["`lstm`", "1,281,348", "**0.8500** ± 0.0500", by_seed, "0.8400", "20.0", ".71"],
        ["`gru`", "1,281,348", "**0.7500**", "0.7500", "0.7400", "12.3", ""],
    ]


def test_entries_of_one_config_are_told_apart_by_their_flags(folder, ran):
    mine = """
seeds = [0]

[[entry]]
config = "configs/gru.py"

[[entry]]
name = "mine"
config = "configs/gru.py"
flags = ["--config.model.cell=my_cell:MyCell"]
"""
    (folder / "experiment.toml").write_text(mine)
    known = {**record("gru", 0, 0.7), "config": config_of(["--config=configs/gru.py"])}
    (folder / "runs.jsonl").write_text(json.dumps(known) + "\n")
    experiment.main([str(folder)])
    (command,) = ran
    assert "--config.model.cell=my_cell:MyCell" in command
    assert command[-1] == "--workdir=runs/lesson/mine-seed0"
    rendered = (folder / "README.md").read_text()
    assert "| `gru` | 1,281,348 | **0.7000**" in rendered
    assert "| `mine` | 1,281,348 | **0.5000**" in rendered
    ran.clear()
    experiment.main([str(folder)])
    assert ran == []
    (folder / "experiment.toml").write_text(mine.replace('name = "mine"\n', ""))
    with pytest.raises(InputError, match="two entries are named 'gru'"):
        experiment.main([str(folder)])


def test_runs_of_another_config_are_not_passed_off_as_those_of_this_one(folder, ran):
    kept = [record("lstm", 0, 0.7), record("gru", 0, 0.6)]
    (folder / "runs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in kept))
    toml = (folder / "experiment.toml").read_text()
    (folder / "experiment.toml").write_text(toml.replace("epochs=1", "epochs=9"))
    with pytest.raises(InputError, match=r"2 of 2 runs are of other configs .*\(lstm, gru\)"):
        experiment.main([str(folder)])
    assert ran == []


@pytest.mark.parametrize("readme", ["# Question\n", README + README])
def test_a_readme_without_its_two_marks_is_refused(folder, readme):
    shown = experiment._read(folder / "experiment.toml")
    with pytest.raises(InputError, match="expected one line <!-- runs: begin -->"):
        experiment.render(readme, shown, [])


@pytest.mark.parametrize("readme", [None, "# Question\n"])
def test_a_readme_that_cannot_be_rendered_is_refused_before_anything_is_run(folder, ran, readme):
    (folder / "README.md").unlink()
    if readme is not None:
        (folder / "README.md").write_text(readme)
    with pytest.raises(InputError, match=r"README\.md"):
        experiment.main([str(folder)])
    assert ran == []


def test_a_record_from_before_a_key_was_there_is_of_its_default(folder, ran):
    toml = (folder / "experiment.toml").read_text()
    (folder / "experiment.toml").write_text(toml[: toml.index('[[entry]]\nconfig = "configs/gru')])
    runs = [record("lstm", seed, 0.7) for seed in (0, 1, 5)]
    runs[1]["config"]["data"] = {"take": 0}
    (folder / "runs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in runs))
    experiment.main([str(folder)])
    assert ran == []
    runs[1]["config"]["data"] = {"take": 5}
    (folder / "runs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in runs))
    with pytest.raises(InputError, match="1 of 3 runs are of other configs"):
        experiment.main([str(folder)])


def test_what_is_acknowledged_makes_no_other_config(folder, ran, monkeypatch):
    (folder / "experiment.toml").write_text('seeds = [0]\n[[entry]]\nconfig = "configs/gru.py"\n')
    (folder / "runs.jsonl").write_text(json.dumps({**record("gru", 0, 0.7), "config": {}}) + "\n")
    config = {"seed": 7, "acknowledged": {"padding_read": "to see it"}}
    ended = subprocess.CompletedProcess([], 0, stdout=json.dumps(config))
    monkeypatch.setattr(experiment.subprocess, "run", lambda *_, **__: ended)
    experiment.main([str(folder)])
    assert len(experiment.read_runs(folder / "runs.jsonl")) == 1


def test_replicates_are_no_records(folder, ran, monkeypatch):
    config = {"seed": 0, "replicates": 3}
    ended = subprocess.CompletedProcess([], 0, stdout=json.dumps(config))
    monkeypatch.setattr(experiment.subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(InputError, match=r"lstm, gru, unseen ask for replicates"):
        experiment.main([str(folder)])
    assert ran == []


def test_a_damaged_record_is_named_by_its_line(folder, ran):
    (folder / "runs.jsonl").write_text(json.dumps(record("a", 0, 0.5)) + '\n{"config": "b\n')
    with pytest.raises(InputError, match=r"runs.jsonl, line 2: is not JSON"):
        experiment.main([str(folder)])
    assert ran == []


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read"), ("seeds = [", "experiment.toml"), ("sedes = [1]", "sedes")],
)
def test_an_experiment_that_cannot_be_read_is_named(folder, content, says):
    (folder / "experiment.toml").unlink()
    if content is not None:
        (folder / "experiment.toml").write_text(content)
    with pytest.raises(InputError, match=says):
        experiment.main([str(folder)])
    with pytest.raises(InputError, match="expected one folder"):
        experiment.main([])
