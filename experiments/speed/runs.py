"""Measured results: the records of runs.jsonl, and statistics of them.

A record is a manifest, {"manifest": id, ...}, or the result of a contender in a case, {"of": id,
"group", "case", "contender", "planned", "seconds": {operation: [of each round]}, "facts"}; instead
of seconds it may have "missing", "not_offered" or "error", with the reason. Records of the same
case and contender continue one another.
"""

import dataclasses
import hashlib
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnjax.errors import InputError
from rnnjax.experiment.records import append, read_verified, write_records

FAILURES = ("missing", "not_offered", "error")


@dataclasses.dataclass
class Result:
    """The result of a contender in a case.

    Attributes:
      planned: number of rounds of the complete result.
      seconds: of each round, by operation.
      facts: further values.
      failure: one of `FAILURES` instead of seconds, '' for none.
      message: reason of the failure.
    """

    planned: int = 0
    seconds: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    failure: str = ""
    message: str = ""

    @property
    def rounds(self) -> int:
        """Number of measured rounds."""
        return min(map(len, self.seconds.values()), default=0)

    def to_record(self, manifest: str, group: str, case: str, contender: str) -> dict[str, Any]:
        """Returns the record of the result under a manifest's identifier."""
        record = {"of": manifest, "group": group, "case": case, "contender": contender}
        if self.failure:
            return record | {self.failure: self.message}
        rounded = {
            operation: [float(f"{value:.5g}") for value in values]
            for operation, values in self.seconds.items()
        }
        return record | {"planned": self.planned, "seconds": rounded, "facts": self.facts}


Results = dict[tuple[str, str, str], Result]
"""The results under one manifest, by group, case and contender."""


class Runs:
    """The file runs.jsonl."""

    def __init__(self, path: Path):
        """Reads the file if it exists.

        Raises:
          InputError: a line is damaged, or was edited.
        """
        self.path = path
        self.manifests: dict[str, dict[str, Any]] = {}
        self.results: dict[str, Results] = {}
        for number, record in enumerate(read_verified(path), start=1):
            try:
                self._add(record)
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{path}, line {number}: is damaged ({error}); delete it to measure it again"
                ) from error

    def append(self, record: dict[str, Any]) -> None:
        """Adds a record to the file."""
        self._add(record)
        append(self.path, record)

    def add_manifest(self, manifest: dict[str, Any]) -> str:
        """Adds a manifest unless the file has an equal one, and returns its identifier."""
        identifier = manifest_identifier(manifest)
        if identifier not in self.manifests:
            self.append({"manifest": identifier, **manifest})
        return identifier

    def drop(self, manifest: str, groups: Sequence[str]) -> None:
        """Removes the results of some groups, in the file as well."""
        remaining = [
            record
            for record in read_verified(self.path)
            if not (record.get("of") == manifest and record["group"] in groups)
        ]
        write_records(self.path, remaining)
        self.__init__(self.path)

    def newest(self, machine: str, group: str) -> str:
        """Returns the newest manifest of a machine with results of a group, or ''."""
        candidates = [
            (manifest["started"], identifier)
            for identifier, manifest in self.manifests.items()
            if machine_name(manifest) == machine
            and any(key[0] == group for key in self.results[identifier])
        ]
        return max(candidates, default=("", ""))[1]

    def _add(self, record: dict[str, Any]) -> None:
        if "manifest" in record:
            self.manifests[record["manifest"]] = record
            self.results.setdefault(record["manifest"], {})
            return
        key = record["group"], record["case"], record["contender"]
        result = self.results[record["of"]].setdefault(key, Result())
        failure = next((name for name in FAILURES if name in record), "")
        if failure:
            result.failure, result.message = failure, record[failure]
            return
        result.planned = max(result.planned, record["planned"])
        result.facts = record["facts"]
        for operation, seconds in record["seconds"].items():
            result.seconds.setdefault(operation, []).extend(seconds)


def manifest_identifier(manifest: dict[str, Any]) -> str:
    """Returns a hash of a manifest without start time, command and load."""
    volatile = ("started", "command", "load")
    stable = {name: value for name, value in manifest.items() if name not in volatile}
    return hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()[:12]


def machine_name(manifest: dict[str, Any]) -> str:
    """Returns the accelerators of a machine, or its processor, as text."""
    kinds = sorted({device.partition(" ")[2] for device in manifest["devices"]})
    accelerators = [kind for kind in kinds if kind != "cpu"]
    return ", ".join(accelerators) or f"{manifest['cpus']} CPU cores, {manifest['processor']}"


class Ratio(NamedTuple):
    """Median and range of the ratios of rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """Returns it as displayed in a table."""
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratio(seconds: Sequence[float], reference: Sequence[float]) -> Ratio:
    """Returns median and range of the ratios to a reference in the common rounds."""
    ratios = [value / base for value, base in zip(seconds, reference, strict=False)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Returns p of the power law `value ~ size ** p` that fits best in logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
