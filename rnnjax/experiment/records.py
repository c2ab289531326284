"""The lines of a file of runs, each sealed by a digest of what it says."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rnnjax.errors import InputError
from rnnjax.reporting import metrics_log as lines
from rnnjax.reporting import record_digest, run_files
from rnnjax.reporting.atomic_files import encode_json, write_text
from rnnjax.reporting.record_digest import with_digest

Run = dict[str, Any]
"""A run: name, seed, command, config, scores, data, environment, digest."""


def read_runs(path: Path, *keys: str) -> list[Run]:
    """Returns the recorded runs, none if there is no file; a line not finished is none.

    Args:
      path: the file.
      *keys: what each has to say, besides name, seed and test scores.

    Raises:
      InputError: a line is not a JSON object, or does not say it.
    """
    runs = lines.read(path) if path.exists() else []
    for number, run in enumerate(runs, start=1):
        missing = [key for key in ("name", "seed", "test", *keys) if key not in run]
        if missing:
            raise InputError(
                f"{path}, line {number}: is no record of a run, it has no {missing[0]!r}; bring "
                "the line back, or delete it to run it again"
            )
    return runs


def append(path: Path, run: Run) -> None:
    """Seals a run, and writes it at the end of a file."""
    lines.MetricsLog(path).write(with_digest(run))


def read_verified(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a record of any kind, none if there is no file, without their digests.

    Raises:
      InputError: a line is not a JSON object, or not as it was recorded.
    """
    found = lines.read(path) if path.exists() else []
    for number, line in enumerate(found, start=1):
        if not record_digest.has_valid_digest(line):
            raise InputError(f"{path}, line {number}: {record_digest.BROKEN}")
    return [{key: value for key, value in line.items() if key != "digest"} for line in found]


def write_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes a record, each line with its digest."""
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


def of_folder(workdir: Path) -> Run:
    """Returns what is recorded of a run that has ended: what was asked, found, and used.

    Raises:
      InputError: a file of the run is missing or damaged.
    """
    told = run_files.read(workdir)
    result, data = told.result.values(), told.result.data.values()
    kept = ("test", "validation", "steps", "parameters", "resumed_from", "train_seconds")
    kept += ("cpu_seconds", "compilations", "buckets")
    return {
        "config": {key: value for key, value in told.config.config.items() if key != "seed"},
        **{key: result[key] for key in kept if key in result},
        "data": {key: data[key] for key in ("name", "fallback", "fingerprint", "rows")},
        "environment": told.environment.environment.values(),
    }
