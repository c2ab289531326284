"""Records of an experiment: files with one JSON object a line, each with its digest."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rnnjax.errors import InputError
from rnnjax.reporting import metrics_log, record_digest, run_files
from rnnjax.reporting.atomic_files import encode_json, write_text
from rnnjax.reporting.record_digest import with_digest

Run = dict[str, Any]
"""A recorded run: name, seed, command, config, claims, scores, data, environment, digest."""
_RESULT_KEYS = ("test", "validation", "steps", "parameters", "resumed_from", "train_seconds")
_RESULT_KEYS += ("cpu_seconds", "compilations", "buckets")


def read_runs(path: Path, *keys: str) -> list[Run]:
    """Reads recorded runs without verifying their digests; none if there is no file.

    Args:
      path: the file, whose last line may be unfinished.
      *keys: required beside name, seed and test scores.

    Raises:
      InputError: a line is not a JSON object, or lacks a key.
    """
    return read_complete(path, "run", ("name", "seed", "test", *keys))


def read_complete(path: Path, kind: str, keys: Iterable[str]) -> list[dict[str, Any]]:
    """Reads records that have all keys, without verifying their digests; none without a file.

    Args:
      path: the file, whose last line may be unfinished.
      kind: of the records, for the message: 'run' or 'trial'.
      keys: required.

    Raises:
      InputError: a line is not a JSON object, or lacks a key.
    """
    records = metrics_log.read(path) if path.exists() else []
    for line_number, record in enumerate(records, start=1):
        missing = [key for key in keys if key not in record]
        if missing:
            raise InputError(
                f"{path}, line {line_number}: is no record of a {kind}, it has no {missing[0]!r}; "
                f"bring the line back, or delete it to repeat the {kind}"
            )
    return records


def append(path: Path, run: Run) -> None:
    """Appends a run with its digest to a file."""
    metrics_log.MetricsLog(path).write(with_digest(run))


def read_verified(path: Path) -> list[dict[str, Any]]:
    """Reads records of any kind, and removes their verified digests; none if there is no file.

    Raises:
      InputError: a line is not a JSON object, or does not match its digest.
    """
    records = metrics_log.read(path) if path.exists() else []
    for line_number, record in enumerate(records, start=1):
        if not record_digest.has_valid_digest(record):
            raise InputError(f"{path}, line {line_number}: {record_digest.BROKEN}")
        del record["digest"]
    return records


def write_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes records with their digests."""
    write_text(path, "".join(f"{encode_json(with_digest(record))}\n" for record in records))


def number(run: Run, path: str) -> float | None:
    """Returns a number of a run by its path, 'test.accuracy' say; None if there is none."""
    value: Any = run
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def summarize_run(workdir: Path) -> Run:
    """Reads config, results, data and environment of a finished run.

    Raises:
      InputError: a file of the run is missing or damaged.
    """
    run = run_files.read(workdir)
    result, data = run.result.values(), run.result.data.values()
    return {
        "config": {key: value for key, value in run.config.config.items() if key != "seed"},
        **{key: result[key] for key in _RESULT_KEYS if key in result},
        "data": {key: data[key] for key in ("name", "fallback", "fingerprint", "rows")},
        "environment": run.environment.environment.values(),
    }
