"""Runs that are compared: where they are found, whether they may be compared, how they differ."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pydantic

from rnnjax import config as config_lib
from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.reporting import metrics_log, record_digest, run_files, run_schema

RUNS = (
    "expected the folder of a run or of replicates, a quoted pattern of folders ('runs/gru-seed*'),"
    " an experiment that was recorded (experiments/lesson), or one name of it "
    "(experiments/lesson:gru)"
)
_OF_EACH_RUN = ("seed", "data.dir")
"""Keys that may differ between the runs of a side: the fingerprint says what the data is."""
_OF_TEXTS = ("bleu", "chrf", "exact")
"""Scores of what is written; the others of a network that writes are of its own tokens."""
_OF_NO_MATTER = ("started", "command", "resumed", "data")


class RecordedRun(NamedTuple):
    """A finished run.

    Attributes:
      source: where it was found, for messages.
      seed: of it.
      config: what was asked.
      scores: by the part of the data, 'test' or 'validation'.
      environment: what it was made with.
      data: what it read.
    """

    source: str
    seed: int
    config: Config
    scores: dict[str, run_schema.Scores]
    environment: run_schema.Environment
    data: run_schema.DataSummary


class RunGroup(NamedTuple):
    """Runs of one config that differ in their seeds.

    Attributes:
      name: as it was given.
      runs: at least one, by rising seed.
    """

    name: str
    runs: tuple[RecordedRun, ...]

    def scores(self, metric: str) -> dict[int, float]:
        """Returns a score of each run by its seed.

        Raises:
          InputError: a run has no such score, or it is not finite.
        """
        return {run.seed: _score(run, metric) for run in self.runs}


class _Line(run_schema.RecordModel):
    """A run in the runs.jsonl of an experiment."""

    name: str
    seed: int
    config: dict[str, Any]
    test: run_schema.Scores
    validation: run_schema.Scores | None = None
    environment: run_schema.Environment
    data: run_schema.DataSummary


def read_run_groups(given: Sequence[str]) -> list[RunGroup]:
    """Returns the sides that are named on a command line, each once.

    Args:
      given: of each, as `RUNS` says. An experiment without a name is a side for each name in it.

    Raises:
      InputError: there are no such runs, they are not finished or damaged, or those of one side
        differ in more than their seeds.
    """
    found: dict[str, RunGroup] = {}
    for each in given:
        for name, runs in _read(each).items():
            found.setdefault(name, _side(name, runs))
    return list(found.values())


def check_comparable(sides: Sequence[RunGroup], metric: str) -> None:
    """Raises InputError if the scores of two sides are not of the same rows, or the same tokens.

    A network that writes is scored by the token: one that knows fewer words meets fewer to miss.
    """
    part, _, name = metric.partition(".")
    first, *others = (side.runs[0] for side in sides)
    for other in others:
        one, two = (
            {
                "fingerprint of the data": run.data.fingerprint[:12],
                "stand-in for the data": run.data.fallback,
                f"{part} rows": run.scores[part].rows,
                "config.data.validation": run.config.data.validation * (part == "validation"),
                "config.data.vocabulary": _tokens(run.config) if name not in _OF_TEXTS else "",
            }
            for run in (first, other)
        )
        differing = [f"{key}: {one[key]}, {two[key]}" for key in one if one[key] != two[key]]
        if differing:
            raise InputError(
                f"{first.source} and {other.source} cannot be compared: their {metric} is not of "
                f"the same rows and tokens ({'; '.join(differing)}). Train both on the same data"
            )


def config_differences(first: RunGroup, other: RunGroup) -> list[str]:
    """Returns a line `key: ours, theirs` for each key in which the configs of two sides differ."""
    return _config_differences(first.runs[0].config, other.runs[0].config)


def environment_differences(first: RunGroup, other: RunGroup) -> list[str]:
    """Returns a line `key: ours | theirs` for each thing with which the sides were not made alike.

    So does what differs within a side. What only one side's runs have recorded is named in a line.
    """
    first_environments, other_environments = (
        [run.environment.model_dump(exclude_unset=True) for run in side.runs]
        for side in (first, other)
    )
    return compare_environments(first_environments, other_environments)


def compare_environments(
    first: Iterable[Mapping[str, Any]], other: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Returns the same lines of two groups of environments, as environment.json has them."""
    one, two = _made_with(first), _made_with(other)
    lines = [
        _difference(key, one[key], two[key])
        for key in one
        if key in two and (one[key] != two[key] or len(one[key]) > 1)
    ]
    alone = dict.fromkeys(key.split(".")[0] for key in [*one, *two] if (key in one) != (key in two))
    return [*lines, *([f"recorded of one side alone: {', '.join(alone)}"] if alone else [])]


def _difference(key: str, one: list[Any], two: list[Any]) -> str:
    """Returns the line of a difference; of two lists, only the items that one of them lacks."""
    if len(one) == len(two) == 1 and isinstance(one[0], tuple) and isinstance(two[0], tuple):
        a, b = one[0], two[0]
        one, two = ([tuple(item for item in x if item not in y)] for x, y in ((a, b), (b, a)))
    return f"{key}: {_in_words(one)} | {_in_words(two)}"


def _in_words(values: list[Any]) -> str:
    texts = (", ".join(value) if isinstance(value, tuple) else value for value in values)
    return " and ".join(sorted(text or "none" for text in texts))


def _tokens(config: Config) -> str:
    """Returns which tokens a network is scored by, '' if it writes none."""
    if config.task not in ("language_modeling", "translation"):
        return ""
    wanted = config.data.vocabulary
    return f"{wanted.unit}s of {wanted.rows or 'all'} rows, at most {wanted.size}"


def _score(run: RecordedRun, metric: str) -> float:
    part, _, name = metric.partition(".")
    scores = {} if part not in run.scores else run.scores[part].model_dump(exclude_unset=True)
    if name not in scores or name == "rows":
        known = [
            f"{part}.{name}"
            for part, each in run.scores.items()
            for name in each.model_dump(exclude_unset=True)
            if name != "rows"
        ]
        raise InputError(f"{run.source}: has no {metric}; --metric may be {', '.join(known)}")
    try:
        value = math.nan if scores[name] is None else float(scores[name])
    except (TypeError, ValueError):
        raise InputError(f"{run.source}: {metric} is no number: {scores[name]!r}") from None
    if not math.isfinite(value):
        raise InputError(
            f"{run.source}: {metric} is not finite, and no mean can be taken of it; leave the run "
            "out and say so, or compare another --metric"
        )
    return value


def _read(given: str) -> dict[str, list[RecordedRun]]:
    """Returns the runs of each side that an argument names."""
    path = Path(given)
    before, colon, name = given.partition(":")
    if lines := _record(path):
        return _recorded(lines)
    if path.is_dir():
        return {str(path): _of_folder(path)}
    if colon and (lines := _record(Path(before))):
        found = _recorded(lines)
        for side, runs in found.items():
            if side.partition(":")[2] == name:
                return {side: runs}
        names = ", ".join(side.partition(":")[2] for side in found)
        raise InputError(f"{given}: no run is recorded as {name!r}; there are {names}")
    start = Path(path.anchor)
    if folders := sorted(start.glob(str(path.relative_to(start)))):
        return {given: [run for folder in folders for run in _of_folder(folder)]}
    raise InputError(f"{given}: there are no such runs; {RUNS}")


def _record(path: Path) -> Path | None:
    """Returns the file of an experiment's runs, if a path names one."""
    path = path / "runs.jsonl" if path.is_dir() else path
    return path if path.suffix == ".jsonl" and path.exists() else None


def _recorded(path: Path) -> dict[str, list[RecordedRun]]:
    """Returns the runs of each name in a file, by the shortest way to name them."""
    experiment = path.parent if path.name == "runs.jsonl" else path
    found: dict[str, list[RecordedRun]] = {}
    for number, values in enumerate(metrics_log.read(path), start=1):
        if not record_digest.has_valid_digest(values):
            raise InputError(f"{path}, line {number}: {record_digest.BROKEN}")
        try:
            line = _Line.model_validate(values)
        except pydantic.ValidationError as error:
            detail = error.errors()[0]
            where = ".".join(map(str, detail["loc"]))
            raise InputError(
                f"{path}, line {number}: {where}: {detail['msg']}; expected a run as "
                "rnnjax.experiment records it"
            ) from None
        parts = {"test": line.test, "validation": line.validation}
        source = f"{path}, line {number}"
        run = RecordedRun(
            source,
            line.seed,
            config_lib.parse(line.config, f"{source}: config"),
            {part: scores for part, scores in parts.items() if scores},
            line.environment,
            line.data,
        )
        found.setdefault(f"{experiment}:{line.name}", []).append(run)
    if not found:
        raise InputError(f"{path}: no run is recorded yet; run the experiment")
    return found


def _of_folder(folder: Path) -> list[RecordedRun]:
    """Returns the run of a folder, or its replicates."""
    replicates = sorted(folder.glob("seed-*/config.json"))
    if replicates:
        return [run for path in replicates for run in _of_folder(path.parent)]
    told = run_files.read(folder)
    config = config_lib.parse(told.config.config, f"{folder / run_files.CONFIG}: config")
    parts = {"test": told.result.test, "validation": told.result.validation}
    scores = {part: each for part, each in parts.items() if each}
    environment = told.environment.environment
    return [RecordedRun(str(folder), config.seed, config, scores, environment, told.data)]


def _side(name: str, runs: Iterable[RecordedRun]) -> RunGroup:
    runs = sorted(runs, key=lambda run: run.seed)
    for one, two in itertools.pairwise(runs):
        if one.seed == two.seed:
            raise InputError(
                f"{name}: {one.source} and {two.source} both have seed {one.seed}; a seed counts "
                "once, so leave one of them out"
            )
        if differing := _config_differences(one.config, two.config):
            raise InputError(
                f"{name}: {one.source} and {two.source} are of different configs "
                f"({'; '.join(differing[:3])}); runs of one side differ in their seeds alone"
            )
    check_comparable([RunGroup(name, (run,)) for run in runs], "test.loss")
    return RunGroup(name, tuple(runs))


def _config_differences(one: Config, two: Config) -> list[str]:
    lines = config_lib.differences(one, two)
    return [line for line in lines if line.split(":")[0] not in _OF_EACH_RUN]


def _made_with(environments: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Returns the values of everything that runs were made with, each once, as texts.

    A list is a tuple of texts.
    """
    found: dict[str, list[Any]] = {}
    for environment in environments:
        kept = {key: value for key, value in environment.items() if key not in _OF_NO_MATTER}
        for key, value in config_lib.flat(kept):
            text = tuple(map(str, value)) if isinstance(value, list) else str(value)
            if text not in found.setdefault(key, []):
                found[key].append(text)
    return {key: sorted(values, key=str) for key, values in found.items()}
