"""The folder of an experiment: its plan and its records.

`experiment.toml` lists configs, flags, seeds and claims; `runs.jsonl` has a line for each finished
run; `README.md` has parts that are rendered from it.
"""

import dataclasses
import tomllib
from pathlib import Path

import pydantic

from rnnjax.cli.config_flags import load_config_flags
from rnnjax.config import Config
from rnnjax.config.sections import FilePath
from rnnjax.errors import InputError
from rnnjax.experiment.page_rendering import experiment_name
from rnnjax.experiment.records import Run, read_runs
from rnnjax.input_files import load_text

PLAN, RECORDS = "experiment.toml", "runs.jsonl"
_REQUIRED_KEYS = (
    "alone",
    "config",
    "data",
    "environment",
    "parameters",
    "resumed_from",
    "train_seconds",
)
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
    entry: list[Entry]

    @pydantic.model_validator(mode="after")
    def _validate_names(self) -> "Plan":
        names = [entry.name for entry in self.entry]
        duplicates = sorted({name for name in names if names.count(name) > 1})
        if duplicates:
            raise ValueError(
                f"two entries are named {duplicates[0]!r}; give one of them another name"
            )
        invalid = [name for name in self.sentences if name == "runs" or not name.isidentifier()]
        if invalid:
            raise ValueError(f"a sentence is named {invalid[0]!r}; expected a word other than runs")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds are {self.seeds}; expected each of them once")
        return self


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Plan and recorded runs."""

    folder: Path
    plan: Plan
    runs: list[Run]

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
        except (ValueError, RecursionError) as error:  # of too many digits or brackets, too
            raise InputError(f"{path}: {error}") from error
        return cls(folder, plan, read_runs(folder / RECORDS, *_REQUIRED_KEYS))

    @property
    def name(self) -> str:
        """The folder relative to the working directory."""
        return experiment_name(self.folder)

    @property
    def records(self) -> Path:
        """File of the recorded runs."""
        return self.folder / RECORDS

    def runs_of(self, entry: Entry) -> list[Run]:
        """Returns the runs of an entry by rising seed."""
        return sorted(
            (run for run in self.runs if run["name"] == entry.name), key=lambda run: run["seed"]
        )

    def train_arguments(self, entry: Entry, *more: str) -> list[str]:
        """Returns the arguments of `python` that train an entry."""
        return [*TRAIN, f"--config={entry.config}", *self.plan.flags, *entry.flags, *more]

    def configs(self) -> dict[str, Config]:
        """Returns the config that each entry asks for now, by its name; the seed means nothing.

        Raises:
          InputError: one of them is none, or asks for replicates.
        """
        configs = {entry.name: self._load_config(entry) for entry in self.plan.entry}
        several = [name for name, config in configs.items() if config.replicates > 1]
        if several:
            raise InputError(
                f"{self.folder}: {', '.join(several)} ask for replicates, and a record is of one "
                "seed that was trained by itself; leave config.replicates at 1 and list the seeds "
                f"in {PLAN}"
            )
        return configs

    def _load_config(self, entry: Entry) -> Config:
        flags = [f"--config={entry.config}", *self.plan.flags, *entry.flags]
        try:
            return load_config_flags(flags)
        except InputError as error:
            raise InputError(f"{self.folder / PLAN}, {entry.name}: {error}") from None
