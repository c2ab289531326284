"""The sweep of an experiment: keys of a config with lists or ranges, and how they are searched."""

import math
from typing import Annotated, Any, Literal

import pydantic

from rnnjax.reporting.atomic_files import encode_json

_FIXED_KEYS = {
    "seed": "all trials are trained with one seed; set `seed` of the sweep",
    "replicates": "a trial is one training; leave it out",
    "task": "the scores of two tasks cannot be compared; search each in an experiment of its own",
}
"""Why a sweep does not search a key."""
_ROW_KEYS = ("dir", "file", "corpus", "take", "validation", "validation_file", "test_file")


def _check_value(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"given {value!r}; expected a truth value, a number or a text")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"given {value}; expected a finite number")
    return value


Value = Annotated[bool | int | float | str, pydantic.BeforeValidator(_check_value)]
"""A value of a key."""
Setting = dict[str, Value]
"""Values by key."""


class Range(pydantic.BaseModel):
    """A range of numbers, ends included; of whole numbers if both ends are."""

    model_config = pydantic.ConfigDict(extra="forbid", use_attribute_docstrings=True)

    low: int | float
    """The lowest."""
    high: int | float
    """The highest."""
    log: bool = False
    """Whether to search the logarithm."""

    @property
    def is_integer(self) -> bool:
        """Whether the numbers are whole."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @pydantic.model_validator(mode="after")
    def _check_ends(self) -> "Range":
        lowest = 0 if self.log else -math.inf
        if not (lowest < self.low < self.high < math.inf):
            above = " above 0" if self.log else ""
            raise ValueError(
                f"given {self.low} to {self.high}; expected finite numbers{above}, the lower first"
            )
        return self


def _values_kind(values: Any) -> str | None:
    if isinstance(values, dict | Range):
        return "range"
    return "list" if isinstance(values, list) else None


_Values = Annotated[
    Annotated[list[Value], pydantic.Tag("list")] | Annotated[Range, pydantic.Tag("range")],
    pydantic.Discriminator(
        _values_kind,
        custom_error_type="sweep_values",
        custom_error_message="expected a list of values, or a range {{low = ..., high = ...}}",
    ),
]


class Sweep(pydantic.BaseModel):
    """The table [sweep] of experiment.toml: the search for the values of an entry.

    Trials are trained with the flags of the entry and those of the sweep, and compared on the
    validation part. The entry is then trained with the best values over all seeds.
    """

    model_config = pydantic.ConfigDict(extra="forbid", use_attribute_docstrings=True)

    entry: str
    """Name of the entry."""
    search: Literal["grid", "random", "tpe"] = "grid"
    """All combinations of lists, random draws, or the tree-structured Parzen estimator of Optuna,
    which needs the extra 'sweep'."""
    trials: int = pydantic.Field(default=0, ge=0, le=10_000)
    """Number of trials, the budget; 0 for all combinations of a grid."""
    seed: int = pydantic.Field(default=0, ge=0)
    """Seed of the search, and of each trial's training."""
    score: str = "loss"
    """Score of the validation part."""
    prune: bool = False
    """Whether a trial is stopped when an evaluation is worse than the median of earlier trials
    there (Optuna's MedianPruner, once five trials are complete); of 'tpe' alone."""
    flags: list[str] = []
    """Flags of the trials alone: ["--config.data.validation=0.1"]."""
    keys: dict[str, _Values] = pydantic.Field(min_length=1)
    """Lists or ranges by key: {learning_rate = {low = 1e-4, high = 1e-2, log = true}}."""

    @property
    def grid_size(self) -> int:
        """Number of combinations of the lists."""
        return math.prod(len(values) for values in self.keys.values() if isinstance(values, list))

    @property
    def budget(self) -> int:
        """Number of trials."""
        return self.trials or self.grid_size

    def described(self) -> dict[str, Any]:
        """Returns the table as the records of trials have it, with the budget as `trials`."""
        return {**self.model_dump(), "trials": self.budget}

    def differences(self, recorded: Any) -> list[str]:
        """Returns a line `key: current, recorded` for each key in which a recorded table differs.

        The order of `keys` counts: the numbers of the trials follow from it.
        """
        recorded = recorded if isinstance(recorded, dict) else {}
        pairs = {
            key: (encode_json(value), encode_json(recorded.get(key)))
            for key, value in self.described().items()
        }
        return [f"{key}: {', '.join(pair)}" for key, pair in pairs.items() if pair[0] != pair[1]]

    @pydantic.model_validator(mode="after")
    def _check_search(self) -> "Sweep":
        for key, values in self.keys.items():
            section, _, name = key.rpartition(".")
            if key in _FIXED_KEYS:
                raise ValueError(f"keys has {key}: {_FIXED_KEYS[key]}")
            if section == "data" and name in _ROW_KEYS:
                raise ValueError(
                    f"keys has {key}: the trials of a sweep are compared on the same validation "
                    "rows; leave it out"
                )
            if isinstance(values, list) and (not values or len(set(values)) < len(values)):
                raise ValueError(f"{key} has {values}; expected values, each of them once")
        ranges = [key for key, values in self.keys.items() if isinstance(values, Range)]
        if self.search == "grid":
            if ranges:
                raise ValueError(
                    f"search is 'grid' and {ranges[0]} has a range; give it a list, or set "
                    "search='random'"
                )
            if self.trials > self.grid_size:
                raise ValueError(
                    f"trials is {self.trials}, and the grid has {self.grid_size} combinations; set "
                    "it to that or less, or to 0"
                )
        elif not self.trials:
            raise ValueError(f"search is {self.search!r} and trials is 0; set their number")
        if self.prune and self.search != "tpe":
            raise ValueError(f"prune is set and search is {self.search!r}; expected 'tpe'")
        if any(flag.startswith("--config.seed") for flag in self.flags):
            raise ValueError("flags has --config.seed; set `seed` of the sweep")
        return self


def setting_flags(setting: Setting) -> list[str]:
    """Returns the flags that set the values of a setting."""
    return [f"--config.{key}={value}" for key, value in setting.items()]


def describe_setting(setting: Setting) -> str:
    """Returns a setting in words: 'learning_rate=0.003, model.features=64'."""
    return ", ".join(
        f"{key}={f'{value:.4g}' if isinstance(value, float) else value}"
        for key, value in setting.items()
    )
