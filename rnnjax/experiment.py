"""Runs what an experiment lacks, and renders what it found.

    python -m rnnjax.experiment experiments/lesson

The folder of an experiment holds `experiment.toml` (which configs, flags and seeds), `runs.jsonl`
(one line a run, appended when it has ended) and `README.md`, of which the part between the two
marks is rendered from the runs.
"""

import json
import shlex
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pydantic

from rnnjax import command
from rnnjax import config as config_lib
from rnnjax.errors import InputError
from rnnjax.reporting.files import encode, write_text
from rnnjax.reporting.progress import say

_BEGIN, _END = "<!-- runs: begin -->", "<!-- runs: end -->"


class Entry(pydantic.BaseModel):
    """A config that the experiment runs."""

    model_config = pydantic.ConfigDict(extra="forbid", use_attribute_docstrings=True)

    config: str
    """Its file, seen from where the command is typed."""
    name: str = ""
    """What the table calls it; '' for the file's name without its ending."""
    flags: list[str] = []
    """Given to its runs beside those of the experiment: ["--config.model.cell=my_cell:MyCell"]."""
    beside: dict[str, str] = {}
    """What others report, by the heading of its column."""

    @pydantic.model_validator(mode="after")
    def _named(self) -> "Entry":
        self.name = self.name or Path(self.config).stem
        return self


class Experiment(pydantic.BaseModel):
    """The file experiment.toml."""

    model_config = pydantic.ConfigDict(extra="forbid", use_attribute_docstrings=True)

    flags: list[str] = []
    """Given to every run, beside --config and --config.seed."""
    seeds: list[int]
    entry: list[Entry]

    @pydantic.model_validator(mode="after")
    def _names_differ(self) -> "Experiment":
        names = [entry.name for entry in self.entry]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two entries are named {twice[0]!r}; give one of them another name")
        return self


def main(arguments: list[str]) -> None:
    """Runs and renders the experiment of a folder."""
    if len(arguments) != 1:
        raise InputError(f"given {arguments}, expected one folder, experiments/lesson say")
    folder = Path(arguments[0])
    experiment = _read(folder / "experiment.toml")
    path = folder / "runs.jsonl"
    runs = read_runs(path)
    readme = folder / "README.md"
    _render(readme, experiment, runs)  # a README that cannot be rendered is found before the runs
    configs = {entry.name: _config(experiment, entry) for entry in experiment.entry}
    several = [name for name, config in configs.items() if config["replicates"] > 1]
    if several:
        raise InputError(
            f"{folder}: {', '.join(several)} ask for replicates, and a record is of one seed "
            "that was trained by itself; leave config.replicates at 1 and list the seeds in "
            "experiment.toml"
        )
    stale = [run for run in runs if _complete(run["config"]) != configs.get(run["name"])]
    if stale:
        names = ", ".join(dict.fromkeys(run["name"] for run in stale))
        raise InputError(
            f"{path}: {len(stale)} of {len(runs)} runs are of other configs than {folder} now asks "
            f"for ({names}). Delete these lines to run them again, or bring the configs back"
        )
    missing = [
        (entry, seed)
        for entry in experiment.entry
        for seed in experiment.seeds
        if not any((run["name"], run["seed"]) == (entry.name, seed) for run in runs)
    ]
    for number, (entry, seed) in enumerate(missing, start=1):
        say(f"run {number} of {len(missing)}: {entry.name}, seed {seed}")
        run = _run(folder.name, experiment, entry, seed)
        with path.open("a", encoding="utf-8") as file:
            file.write(encode(run) + "\n")
        runs.append(run)
    _render(readme, experiment, runs)
    say(f"{len(runs)} runs in {path}, rendered in {readme}")


def read_runs(path: Path) -> list[dict[str, Any]]:
    """Returns the recorded runs, none if there is no file.

    Raises:
      InputError: a line is not a JSON object.
    """
    if not path.exists():
        return []
    runs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            runs.append(json.loads(line))
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: is not JSON ({error}); bring the file back"
            ) from error
    return runs


def render(text: str, experiment: Experiment, runs: list[dict[str, Any]]) -> str:
    """Returns a README with the table of the runs between its two marks.

    Raises:
      InputError: the marks are not there.
    """
    if text.count(_BEGIN) != 1 or text.count(_END) != 1:
        raise InputError(f"README.md: expected one line {_BEGIN} and one line {_END}")
    before, rest = text.split(_BEGIN)
    _, after = rest.split(_END)
    return f"{before}{_BEGIN}\n{table(experiment, runs)}\n{_END}{after}"


def table(experiment: Experiment, runs: list[dict[str, Any]]) -> str:
    """Returns the runs as a Markdown table, a row for each config."""
    others = list(dict.fromkeys(name for entry in experiment.entry for name in entry.beside))
    heads = ["config", "parameters", "test accuracy, mean ± sd", "by seed", "macro-F1"]
    heads += ["training seconds, median", *others]
    rows = [heads, ["---"] * len(heads)]
    for entry in experiment.entry:
        own = [run for run in runs if run["name"] == entry.name]
        own = [run for run in own if run["seed"] in experiment.seeds]
        own = sorted(own, key=_seed)
        if not own:
            continue
        accuracies = [run["test"]["accuracy"] for run in own]
        spread = f" ± {statistics.stdev(accuracies):.4f}" if len(own) > 1 else ""
        rows.append(
            [
                f"`{entry.name}`",
                f"{own[0]['parameters']:,}",
                f"**{statistics.mean(accuracies):.4f}**{spread}",
                " ".join(f"{accuracy:.4f}" for accuracy in accuracies),
                f"{statistics.mean(run['test']['macro_f1'] for run in own):.4f}",
                _seconds(own),
                *(entry.beside.get(name, "") for name in others),
            ]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _seconds(runs: list[dict[str, Any]]) -> str:
    """Returns the median of the runs that one process trained from the start."""
    whole = [run["train_seconds"] for run in runs if not run["resumed_from"]]
    return f"{statistics.median(whole):.1f}" if whole else ""


def _render(readme: Path, experiment: Experiment, runs: list[dict[str, Any]]) -> None:
    try:
        text = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{readme}: cannot be read ({error.strerror}); write one that has a line {_BEGIN} and "
            f"a line {_END}"
        ) from error
    write_text(readme, render(text, experiment, runs))


def _seed(run: dict[str, Any]) -> int:
    return run["seed"]


def _read(path: Path) -> Experiment:
    try:
        return Experiment.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected the folder of an experiment"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _typed(experiment: Experiment, entry: Entry) -> list[str]:
    return ["-m", "rnnjax.main", f"--config={entry.config}", *experiment.flags, *entry.flags]


def _config(experiment: Experiment, entry: Entry) -> dict[str, Any]:
    """Returns the config that an entry asks for now, without its seed.

    Raises:
      InputError: it is none.
    """
    typed = [*_typed(experiment, entry), "--print_config"]
    ended = subprocess.run([sys.executable, *typed], check=False, capture_output=True, text=True)
    if ended.returncode:
        raise InputError(f"{shlex.join(['python', *typed])}\n{ended.stderr.strip()}")
    config = json.loads(ended.stdout)
    del config["seed"]
    return _complete(config)


def _complete(config: dict[str, Any], defaults: dict[str, Any] | None = None) -> dict[str, Any]:
    """Returns a recorded config with the keys that have come since, at their defaults."""
    known = dict(defaults or config_lib.defaults())
    known.pop("seed", None)  # a record has it beside its config
    for key, value in config.items():
        inside = known.get(key)
        nested = isinstance(value, dict) and isinstance(inside, dict)
        known[key] = _complete(value, inside) if nested else value
    return known


def _run(name: str, experiment: Experiment, entry: Entry, seed: int) -> dict[str, Any]:
    """Trains in a process of its own, by the command that the README gives, and returns the record.

    Raises:
      InputError: the run failed.
    """
    workdir = Path("runs", name, f"{entry.name}-seed{seed}")
    typed = [*_typed(experiment, entry), f"--config.seed={seed}", f"--workdir={workdir}"]
    if subprocess.run([sys.executable, *typed], check=False).returncode:
        raise InputError(f"the run failed: {shlex.join(['python', *typed])}")
    result = json.loads((workdir / "result.json").read_text(encoding="utf-8"))
    environment = json.loads((workdir / "environment.json").read_text(encoding="utf-8"))
    config = json.loads((workdir / "config.json").read_text(encoding="utf-8"))["config"]
    kept = ("test", "validation", "steps", "parameters", "resumed_from", "train_seconds")
    kept += ("cpu_seconds", "compilations", "buckets")
    return {
        "name": entry.name,
        "seed": seed,
        "command": shlex.join(["python", *typed]),
        "config": {key: value for key, value in config.items() if key != "seed"},
        **{key: result[key] for key in kept if key in result},
        "data": {key: result["data"][key] for key in ("name", "fallback", "fingerprint", "rows")},
        "environment": {key: value for key, value in environment.items() if key != "data"},
    }


if __name__ == "__main__":
    command.run(main)
