"""A small experiment with a fake trainer, in a temporary folder."""

import json
from pathlib import Path

import pytest

from rnnjax import config as config_lib
from rnnjax.experiment import plan
from rnnjax.experiment.records import append

TOML = """
flags = ["--config.epochs=2"]
seeds = [0, 1, 5]

[[entry]]
config = "configs/lstm.py"
about = "LSTM, no mask"
claims = { "test.accuracy" = [0.5, 0.6] }
beside = { "peer" = ".71" }

[[entry]]
config = "configs/gru.py"
"""
README = "# Question\n\n<!-- runs: begin -->\nold\n<!-- runs: end -->\n\nanswer\n"
CLAIMS = {"lstm": {"test.accuracy": [0.5, 0.6]}, "gru": {}}
CONFIG = '"""A network."""\n\n\ndef get_config():\n    return {"batch_size": 16}\n'

# Stands in for rnnjax.main: prints a config, or writes the folder of a run. It fails for
# configs/unseen.py. For configs/slow.py it waits for the file `go`, takes a while to save at
# SIGTERM, dies of a second one, and is resumed from step 7.
TRAINER = """
import hashlib, json, runpy, signal, sys, time
from pathlib import Path
from rnnjax.reporting.record_digest import with_digest

def save(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(0.2)
    print("saved")
    sys.exit(143)


flags = dict(flag.lstrip("-").split("=", 1) for flag in sys.argv[1:] if "=" in flag)
config = runpy.run_path(flags["config"])["get_config"]()
for name, value in flags.items():
    if name.startswith("config."):
        config[name.removeprefix("config.")] = json.loads(value)
if "--print_config" in sys.argv:
    print(json.dumps(config))
    sys.exit()
print("starts")
if "unseen" in flags["config"]:
    sys.exit("it cannot be trained")
workdir = Path(flags["workdir"])
resumed = workdir.exists()
workdir.mkdir(parents=True, exist_ok=True)
signal.signal(signal.SIGTERM, save)
with open("starts.txt", "a") as file:
    file.write(workdir.name + "\\n")
(workdir / "metrics.jsonl").write_text('{"step": 7, "epoch": 0.5, "split": "train"}\\n')
while "slow" in flags["config"] and not Path("go").exists():
    time.sleep(0.01)
score = 0.5 + config["seed"] / 100
data = {"name": "news", "fallback": "", "fingerprint": "f" * 64, "source": "s"}
data["rows"] = {"train": 48000, "validation": 0, "test": 7600}
result = {"test": {"accuracy": score, "macro_f1": score - 0.01, "loss": 0.5, "rows": 7600}}
result |= {"parameters": 1281348, "train_seconds": 10.0, "resumed_from": 7 * resumed, "steps": 9}
def files(name):
    return {"run": "r", "files": {name: hashlib.sha256((workdir / name).read_bytes()).hexdigest()}}


def write(name, values):
    (workdir / name).write_text(json.dumps(values))


write("config.json", {"name": "c", "config": config})
environment = {"platform": "p", "cpus": 2, "devices": ["cpu:0 cpu"], "data": data}
write("environment.json", with_digest({**environment, **files("config.json")}))
write("result.json", with_digest({**result, "data": data, **files("metrics.jsonl")}))
"""


def record(name, seed, accuracy, **values):
    """Returns the record of a run of the small experiment."""
    config = config_lib.parse({"batch_size": 16, "epochs": 2}).model_dump()
    del config["seed"]
    return {
        "name": name,
        "seed": seed,
        "config": config,
        "test": {"accuracy": accuracy, "macro_f1": accuracy - 0.01, "loss": 0.5, "rows": 7600},
        "parameters": 1_281_348,
        "resumed_from": 0,
        "train_seconds": 10.0,
        "data": {"name": "news", "fingerprint": "f" * 64, "rows": {"train": 48_000}},
        "environment": {"platform": "Linux", "cpus": 2, "devices": ["cpu:0 cpu"]},
        "alone": True,
        "claims": CLAIMS.get(name, {}),
        **values,
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Folder of an experiment with two configs and three seeds, without runs."""
    monkeypatch.chdir(tmp_path)
    folder = Path("experiments", "lesson")
    folder.mkdir(parents=True)
    (folder / "experiment.toml").write_text(TOML)
    (folder / "README.md").write_text(README)
    Path("configs").mkdir()
    for name in ("lstm", "gru"):
        Path("configs", f"{name}.py").write_text(CONFIG)
    Path("trainer.py").write_text(TRAINER)
    monkeypatch.setattr(plan, "TRAIN", ("trainer.py",))
    return folder


@pytest.fixture
def recorded(folder):
    """The same folder with all runs."""
    for entry in ("lstm", "gru"):
        for seed in (0, 1, 5):
            append(folder / "runs.jsonl", record(entry, seed, 0.5 + seed / 100))
    return folder


def edit(path, old, new):
    """Replaces a text that is in a file once."""
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


def starts():
    """Returns the names of the started trainings, in their order."""
    path = Path("starts.txt")
    return path.read_text().split() if path.exists() else []


def lines_of(path):
    """Parses the lines of a file of records."""
    return [json.loads(line) for line in path.read_text().splitlines()]
