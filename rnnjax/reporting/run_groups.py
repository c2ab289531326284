"""Groups of finished runs: reads them, checks that they can be compared, lists differences."""

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
    " an experiment with recorded runs (experiments/lesson), or one entry of it "
    "(experiments/lesson:gru)"
)
_RUN_KEYS = ("seed", "data.dir", "data.file", "data.validation_file", "data.test_file")
"""Config keys that may differ within a group: the fingerprint identifies the data."""
_IGNORED_ENVIRONMENT = ("started", "command", "resumed", "data")


class RecordedRun(NamedTuple):
    """A finished run.

    Attributes:
      source: its folder, or file and line, for messages.
      seed: random seed.
      config: complete config.
      scores: by split, 'test' or 'validation'.
      environment: software and hardware.
      data: summary of the data.
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
      name: the argument that names the group.
      runs: at least one, by rising seed.
    """

    name: str
    runs: tuple[RecordedRun, ...]

    def scores(self, metric: str) -> dict[int, float]:
        """Returns a score of the runs by seed.

        Raises:
          InputError: a run has no such score, or it is not finite.
        """
        return {run.seed: _score(run, metric) for run in self.runs}


class _RecordLine(run_schema.RecordModel):
    """A line of the runs.jsonl of an experiment."""

    name: str
    seed: int
    config: dict[str, Any]
    test: run_schema.Scores
    validation: run_schema.Scores | None = None
    environment: run_schema.Environment
    data: run_schema.DataSummary


def read_run_groups(arguments: Sequence[str]) -> list[RunGroup]:
    """Reads the groups that command line arguments name, without duplicates.

    Args:
      arguments: as `RUNS` says. An experiment is a group for each of its entries.

    Raises:
      InputError: there are no such runs, they are unfinished or damaged, or those of one group
        differ in more than their seeds.
    """
    groups: dict[str, RunGroup] = {}
    for argument in arguments:
        for name, runs in _read(argument).items():
            groups.setdefault(name, _group(name, runs))
    return list(groups.values())


def group_folders(name: str, folders: Sequence[Path]) -> RunGroup:
    """Reads the runs of some folders as one group.

    Raises:
      InputError: as of `read_run_groups`.
    """
    return _group(name, [run for folder in folders for run in _read_folder(folder)])


def check_comparable(groups: Sequence[RunGroup], metric: str) -> None:
    """Raises InputError if the scores of two groups are of different rows or tokens.

    Generating tasks are scored by the token: a smaller vocabulary makes more tokens unknown.
    """
    split, _, name = metric.partition(".")

    def evaluation(run: RecordedRun) -> dict[str, Any]:
        return {
            "fingerprint of the data": run.data.fingerprint[:12],
            "fallback data": run.data.fallback,
            f"{split} rows": run.scores[split].rows,
            "config.data.validation": run.config.data.validation * (split == "validation"),
            "config.data.vocabulary": _vocabulary(run.config, name),
        }

    reference, *candidates = (group.runs[0] for group in groups)
    for candidate in candidates:
        a, b = evaluation(reference), evaluation(candidate)
        if differences := [f"{key}: {a[key]}, {b[key]}" for key in a if a[key] != b[key]]:
            raise InputError(
                f"{reference.source} and {candidate.source} cannot be compared: their {metric} is "
                f"not of the same rows and tokens ({'; '.join(differences)}). Train both on the "
                "same data"
            )


def config_differences(reference: RunGroup, candidate: RunGroup) -> list[str]:
    """Returns a line `key: reference, candidate` for each differing config key."""
    return _config_differences(reference.runs[0].config, candidate.runs[0].config)


def environment_differences(reference: RunGroup, candidate: RunGroup) -> list[str]:
    """Returns a line `key: reference | candidate` for each difference between environments.

    Differences within a group count as well. Keys of one group alone share a line.
    """
    return compare_environments(
        *(
            [run.environment.model_dump(exclude_unset=True) for run in group.runs]
            for group in (reference, candidate)
        )
    )


def compare_environments(
    reference: Iterable[Mapping[str, Any]], candidate: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Returns the same lines for two groups of environments, as environment.json has them."""
    a, b = _distinct_values(reference), _distinct_values(candidate)
    lines = [
        _difference(key, a[key], b[key])
        for key in a
        if key in b and (a[key] != b[key] or len(a[key]) > 1)
    ]
    unmatched = dict.fromkeys(key.split(".")[0] for key in [*a, *b] if (key in a) != (key in b))
    if unmatched:
        lines.append(f"recorded of one group alone: {', '.join(unmatched)}")
    return lines


def _difference(key: str, a: list[Any], b: list[Any]) -> str:
    """Returns the line of a difference; of two lists, only the items that one of them lacks."""
    if len(a) == len(b) == 1 and isinstance(a[0], tuple) and isinstance(b[0], tuple):
        x, y = a[0], b[0]
        a = [tuple(item for item in x if item not in y)]
        b = [tuple(item for item in y if item not in x)]
    return f"{key}: {_join(a)} | {_join(b)}"


def _join(values: list[Any]) -> str:
    texts = (", ".join(value) if isinstance(value, tuple) else value for value in values)
    return " and ".join(sorted(text or "none" for text in texts))


def _vocabulary(config: Config, score: str) -> str:
    """Describes the tokens that a score is a mean over; '' for a score of another kind."""
    independent = config.task_schema.vocabulary_free
    if independent is None or score in independent:
        return ""
    vocabulary = config.data.vocabulary
    unit = "white-space word" if vocabulary.unit == "whitespace" else vocabulary.unit
    return f"{unit}s of {vocabulary.rows or 'all'} rows, at most {vocabulary.size}"


def _score(run: RecordedRun, metric: str) -> float:
    metrics = {
        f"{split}.{name}": value
        for split, scores in run.scores.items()
        for name, value in scores.model_dump(exclude_unset=True).items()
        if name != "rows"
    }
    if metric not in metrics:
        raise InputError(f"{run.source}: has no {metric}; --metric may be {', '.join(metrics)}")
    try:
        value = math.nan if metrics[metric] is None else float(metrics[metric])
    except (TypeError, ValueError):
        raise InputError(f"{run.source}: {metric} is no number: {metrics[metric]!r}") from None
    if not math.isfinite(value):
        raise InputError(
            f"{run.source}: {metric} is not finite, and no mean can be taken of it; leave the run "
            "out and report that, or compare another --metric"
        )
    return value


def _read(argument: str) -> dict[str, list[RecordedRun]]:
    """Reads the runs of each group that an argument names."""
    path = Path(argument)
    experiment, colon, name = argument.partition(":")
    if record := _record_path(path):
        return _read_record(record)
    if path.is_dir():
        return {str(path): _read_folder(path)}
    if colon and (record := _record_path(Path(experiment))):
        groups = _read_record(record)
        for group, runs in groups.items():
            if group.partition(":")[2] == name:
                return {group: runs}
        names = ", ".join(group.partition(":")[2] for group in groups)
        raise InputError(f"{argument}: no run is recorded as {name!r}; there are {names}")
    start = Path(path.anchor)
    if folders := sorted(start.glob(str(path.relative_to(start)))):
        return {argument: [run for folder in folders for run in _read_folder(folder)]}
    raise InputError(f"{argument}: there are no such runs; {RUNS}")


def _record_path(path: Path) -> Path | None:
    """Returns the runs.jsonl that a path names, if it does."""
    path = path / "runs.jsonl" if path.is_dir() else path
    return path if path.suffix == ".jsonl" and path.exists() else None


def _read_record(path: Path) -> dict[str, list[RecordedRun]]:
    """Reads the runs of each entry in a file, by the shortest argument that names them."""
    experiment = path.parent if path.name == "runs.jsonl" else path
    groups: dict[str, list[RecordedRun]] = {}
    for number, values in enumerate(metrics_log.read(path), start=1):
        source = f"{path}, line {number}"
        if not record_digest.has_valid_digest(values):
            raise InputError(f"{source}: {record_digest.BROKEN}")
        try:
            line = _RecordLine.model_validate(values)
        except pydantic.ValidationError as error:
            detail = error.errors()[0]
            key = ".".join(map(str, detail["loc"]))
            raise InputError(
                f"{source}: {key}: {detail['msg']}; expected a run as rnnjax.experiment records it"
            ) from None
        scores = {"test": line.test, "validation": line.validation}
        run = RecordedRun(
            source,
            line.seed,
            config_lib.parse_recorded(line.config, f"{source}: config", trust=False),
            {split: values for split, values in scores.items() if values},
            line.environment,
            line.data,
        )
        groups.setdefault(f"{experiment}:{line.name}", []).append(run)
    if not groups:
        raise InputError(f"{path}: no run is recorded yet; run the experiment")
    return groups


def _read_folder(folder: Path) -> list[RecordedRun]:
    """Reads the run in a folder, or its replicates."""
    if replicates := sorted(folder.glob("seed-*/config.json")):
        return [run for path in replicates for run in _read_folder(path.parent)]
    run = run_files.read(folder)
    config = config_lib.parse(
        run.config.config, f"{folder / run_files.CONFIG}: config", trust=False
    )
    scores = {"test": run.result.test, "validation": run.result.validation}
    return [
        RecordedRun(
            str(folder),
            config.seed,
            config,
            {split: values for split, values in scores.items() if values},
            run.environment.environment,
            run.data,
        )
    ]


def _group(name: str, runs: Iterable[RecordedRun]) -> RunGroup:
    runs = sorted(runs, key=lambda run: run.seed)
    for a, b in itertools.pairwise(runs):
        if a.seed == b.seed:
            raise InputError(
                f"{name}: {a.source} and {b.source} both have seed {a.seed}; a seed counts once, "
                "so leave one of them out"
            )
        if differences := _config_differences(a.config, b.config):
            raise InputError(
                f"{name}: {a.source} and {b.source} are of different configs "
                f"({'; '.join(differences[:3])}); runs of one group differ in their seeds alone"
            )
    check_comparable([RunGroup(name, (run,)) for run in runs], "test.loss")
    return RunGroup(name, tuple(runs))


def _config_differences(a: Config, b: Config) -> list[str]:
    return [line for line in config_lib.differences(a, b) if line.split(":")[0] not in _RUN_KEYS]


def _distinct_values(environments: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Returns the distinct values of each key as texts, a list as a tuple of texts."""
    values: dict[str, list[Any]] = {}
    for environment in environments:
        relevant = {
            key: value for key, value in environment.items() if key not in _IGNORED_ENVIRONMENT
        }
        for key, value in config_lib.flat(relevant):
            text = tuple(map(str, value)) if isinstance(value, list) else str(value)
            if text not in values.setdefault(key, []):
                values[key].append(text)
    return {key: sorted(texts, key=str) for key, texts in values.items()}
