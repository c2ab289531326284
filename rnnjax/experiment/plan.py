"""The folder of an experiment: its plan and its records.

`experiment.toml` lists configs, flags, seeds, claims and perhaps a sweep; `runs.jsonl` has a line
for each finished run, `search.jsonl` one for each trial of the sweep; `README.md` has parts that
are rendered from them.
"""

import dataclasses
import difflib
import functools
import tomllib
from pathlib import Path
from typing import Any

import pydantic

from rnnjax.cli.config_flags import load_config_flags
from rnnjax.config import Config
from rnnjax.config.sections import FilePath
from rnnjax.errors import InputError
from rnnjax.experiment.page_rendering import experiment_name
from rnnjax.experiment.records import Run, read_runs
from rnnjax.experiment.search import best_trial, read_trials
from rnnjax.experiment.sweep_plan import Range, Setting, Sweep, setting_flags
from rnnjax.input_files import load_text

PLAN, RECORDS, SEARCH = "experiment.toml", "runs.jsonl", "search.jsonl"
_REQUIRED_KEYS = (
    "alone",
    "config",
    "data",
    "environment",
    "parameters",
    "resumed_from",
    "train_seconds",
)
_TRIAL_KEYS = ("trial", "values", "state", "sweep")
_PARTS = ("runs", "sweep")
"""Marks of rendered tables."""
TRAIN = ("-m", "rnnjax.main")
"""Arguments of Python that train, before the flags."""


class Entry(pydantic.BaseModel):
    """A config of the experiment."""

    model_config = pydantic.ConfigDict(extra="forbid", use_attribute_docstrings=True)

    config: FilePath
    """File, relative to the working directory."""
    name: str = ""
    """Name in the tables; '' for the stem of the file."""
    about: str = ""
    """Short description for the README.md of the working directory, which then has to have the
    summary table."""
    flags: list[str] = []
    """Flags beside those of the experiment: ["--config.model.cell=my_cell:MyCell"]."""
    beside: dict[str, str] = {}
    """Published results, by the heading of their column."""
    claims: dict[str, tuple[float, float]] = {}
    """Range of the mean over the seeds by the path of a number in a line of runs.jsonl:
    {"test.accuracy" = [0.86, 0.90]}."""

    @pydantic.model_validator(mode="after")
    def _set_name(self) -> "Entry":
        self.name = self.name or Path(self.config).stem
        for metric, (low, high) in self.claims.items():
            if not low <= high:
                raise ValueError(
                    f"{self.name} claims {metric} from {low} to {high}; expected the lower first"
                )
        return self


class Plan(pydantic.BaseModel):
    """The file experiment.toml."""

    model_config = pydantic.ConfigDict(extra="forbid", use_attribute_docstrings=True)

    flags: list[str] = []
    """Flags of all runs, beside --config and --config.seed."""
    seeds: list[int] = pydantic.Field(min_length=1)
    """Seeds that all entries require. Runs with further seeds count as well."""
    scores: list[str] = pydantic.Field(default=["accuracy", "macro_f1"], min_length=1)
    """Test scores: the first is shown with its spread, the others by their means."""
    data: str = ""
    """Fingerprint of the data of the claims; '' for that of an entry's first seed."""
    timed: bool = True
    """Whether the table has training seconds; False if the machine was shared."""
    sentences: dict[str, str] = {}
    """Sentences of the README.md with values of the runs, by the names of their marks:
    {cost = "A run took {gru.cpu_seconds.max:.0f} seconds."}; see `rnnjax.experiment.pages`."""
    sweep: Sweep | None = None
    """The search for values of an entry, before it is trained."""
    entry: list[Entry]

    @pydantic.model_validator(mode="after")
    def _validate_names(self) -> "Plan":
        names = [entry.name for entry in self.entry]
        duplicates = sorted({name for name in names if names.count(name) > 1})
        if duplicates:
            raise ValueError(
                f"two entries are named {duplicates[0]!r}; give one of them another name"
            )
        if self.sweep and self.sweep.entry not in names:
            raise ValueError(
                f"sweep.entry is {self.sweep.entry!r}; expected the name of an entry, one of "
                f"{', '.join(names)}"
            )
        invalid = [name for name in self.sentences if name in _PARTS or not name.isidentifier()]
        if invalid:
            raise ValueError(
                f"a sentence is named {invalid[0]!r}; expected a word other than "
                f"{' and '.join(_PARTS)}"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds are {self.seeds}; expected each of them once")
        return self


def _explain(detail: Any) -> str:
    """Returns a mistake in an experiment.toml as a line: its key, the value, the expectation."""
    match location := detail["loc"]:
        case ("sweep", "keys", key, _, *rest):  # after the key is 'list' or 'range'
            model, location = Range, ("sweep", "keys", key, *rest)
        case ("sweep", _):
            model = Sweep
        case ("entry", _, _):
            model = Entry
        case _:
            model = Plan
    key = ".".join(map(str, location))
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(location[-1]), model.model_fields, n=1)
        names = ", ".join(model.model_fields)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {names}"
        return f"{key}: there is no such key; {hint}"
    if detail["type"] == "value_error":
        return f"{key}: {detail['ctx']['error']}" if key else str(detail["ctx"]["error"])
    if detail["type"] == "missing":
        return f"{key}: is missing"
    expected = detail["msg"].replace("Input should", "it should")
    return f"{key}: given {detail['input']!r}, {expected}"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Plan, recorded runs, and recorded trials of its sweep."""

    folder: Path
    plan: Plan
    runs: list[Run]
    trials: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> "Experiment":
        """Reads the folder of an experiment.

        Raises:
          InputError: it is no folder of an experiment, or a file in it is damaged.
        """
        path = folder / PLAN
        try:
            plan = Plan.model_validate(tomllib.loads(load_text(path)))
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); expected the folder of an experiment"
            ) from error
        except pydantic.ValidationError as error:
            raise InputError(f"{path}: {'; '.join(map(_explain, error.errors()))}") from None
        except (ValueError, RecursionError) as error:  # of too many digits or brackets, too
            raise InputError(f"{path}: {error}") from error
        runs = read_runs(folder / RECORDS, *_REQUIRED_KEYS)
        trials = read_trials(folder / SEARCH, *_TRIAL_KEYS) if plan.sweep else []
        return cls(folder, plan, runs, trials)

    @property
    def name(self) -> str:
        """The folder relative to the working directory."""
        return experiment_name(self.folder)

    @property
    def records(self) -> Path:
        """File of the recorded runs."""
        return self.folder / RECORDS

    @property
    def search_records(self) -> Path:
        """File of the recorded trials."""
        return self.folder / SEARCH

    @property
    def sweep(self) -> Sweep:
        """The sweep of an experiment that has one."""
        assert self.plan.sweep is not None
        return self.plan.sweep

    @functools.cached_property
    def chosen(self) -> dict[str, Any] | None:
        """The best trial of the sweep; None without one, or before all of them are recorded.

        Raises:
          InputError: no trial has ended.
        """
        if self.plan.sweep is None or len(self.trials) < self.sweep.budget:
            return None
        better = self.trial_config().task_schema.better(self.sweep.score)
        if (trial := best_trial(self.sweep, self.trials, better)) is None:
            raise InputError(
                f"{self.search_records}: no trial of {self.sweep.budget} was trained to its end; "
                "delete the lines, and search other values"
            )
        return dict(trial)

    def trial_entry(self, number: int, setting: Setting) -> Entry:
        """Returns the entry of a trial of the sweep."""
        entry = next(entry for entry in self.plan.entry if entry.name == self.sweep.entry)
        flags = [*entry.flags, *self.sweep.flags, *setting_flags(setting)]
        return Entry(config=entry.config, name=f"trial-{number}", flags=flags)

    def trial_config(self, setting: Setting | None = None) -> Config:
        """Returns the config of the trials of the sweep, by default without their values.

        Raises:
          InputError: it is none.
        """
        return self.load_config(self.trial_entry(0, setting or {}))

    def runs_of(self, entry: Entry) -> list[Run]:
        """Returns the runs of an entry by rising seed."""
        return sorted(
            (run for run in self.runs if run["name"] == entry.name), key=lambda run: run["seed"]
        )

    def train_arguments(self, entry: Entry, *more: str) -> list[str]:
        """Returns the arguments of `python` that train an entry."""
        return [*TRAIN, *self._flags(entry), *more]

    def _flags(self, entry: Entry) -> list[str]:
        """Returns the flags of an entry, with the values that the sweep has chosen for it."""
        is_searched = self.plan.sweep is not None and entry.name == self.sweep.entry
        chosen = setting_flags(self.chosen["values"]) if is_searched and self.chosen else []
        return [f"--config={entry.config}", *self.plan.flags, *entry.flags, *chosen]

    def configs(self) -> dict[str, Config]:
        """Returns the config that each entry asks for now, by its name; the seed means nothing.

        Raises:
          InputError: one of them is none, or asks for replicates.
        """
        configs = {entry.name: self.load_config(entry) for entry in self.plan.entry}
        several = [name for name, config in configs.items() if config.replicates > 1]
        if several:
            raise InputError(
                f"{self.folder}: {', '.join(several)} ask for replicates, and a record is of one "
                "seed that was trained by itself; leave config.replicates at 1 and list the seeds "
                f"in {PLAN}"
            )
        return configs

    def load_config(self, entry: Entry) -> Config:
        """Returns the config of an entry, or of a trial.

        Raises:
          InputError: it is none.
        """
        try:
            return load_config_flags(self._flags(entry))
        except InputError as error:
            raise InputError(f"{self.folder / PLAN}, {entry.name}: {error}") from None
