"""What was measured, as runs.jsonl keeps it, and what it amounts to.

A line is a manifest, {"manifest": id, ...}, or what a contender did in a case, {"of": id, "group",
"case", "contender", "planned", "seconds": {what: [of each round]}, "facts"}; in place of seconds it
may have "missing", "not_offered" or "error", which say why there are none. Lines of the same case
and contender continue one another.
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

REASONS = ("missing", "not_offered", "error")


@dataclasses.dataclass
class Result:
    """What a contender did in a case.

    Attributes:
      planned: rounds that make it complete.
      seconds: by what was done, of each round.
      facts: what else is known.
      reason: which of `REASONS` it has instead of seconds, '' for none.
      why: in words.
    """

    planned: int = 0
    seconds: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    reason: str = ""
    why: str = ""

    @property
    def rounds(self) -> int:
        """Rounds so far."""
        return min(map(len, self.seconds.values()), default=0)

    def as_line(self, of: str, group: str, case: str, contender: str) -> dict[str, Any]:
        """Returns the line that says it."""
        line = {"of": of, "group": group, "case": case, "contender": contender}
        if self.reason:
            return line | {self.reason: self.why}
        rounded = {
            what: [float(f"{each:.5g}") for each in own] for what, own in self.seconds.items()
        }
        return line | {"planned": self.planned, "seconds": rounded, "facts": self.facts}


Results = dict[tuple[str, str, str], Result]
"""Of one manifest, by group, case and contender."""


class Runs:
    """The file runs.jsonl."""

    def __init__(self, path: Path):
        """Reads the file if there is one.

        Raises:
          InputError: a line is damaged, or not as it was recorded.
        """
        self.path = path
        self.manifests: dict[str, dict[str, Any]] = {}
        self.results: dict[str, Results] = {}
        for number, line in enumerate(read_verified(path), start=1):
            try:
                self._take(line)
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{path}, line {number}: is damaged ({error}); delete it to measure it again"
                ) from error

    def append(self, line: dict[str, Any]) -> None:
        """Adds a line to what is known and to the file, sealed."""
        self._take(line)
        append(self.path, line)

    def begin(self, manifest: dict[str, Any]) -> str:
        """Returns the id of a manifest, and keeps it if it is new."""
        identity = identity_of(manifest)
        if identity not in self.manifests:
            self.append({"manifest": identity, **manifest})
        return identity

    def drop(self, of: str, groups: Sequence[str]) -> None:
        """Forgets what was measured in some groups, in the file as well."""
        kept = [
            line
            for line in read_verified(self.path)
            if not (line.get("of") == of and line["group"] in groups)
        ]
        write_records(self.path, kept)
        self.__init__(self.path)

    def newest(self, machine: str, group: str) -> str:
        """Returns the newest manifest of a machine under which a group was measured, or ''."""
        found = [
            (manifest["started"], identity)
            for identity, manifest in self.manifests.items()
            if machine_of(manifest) == machine
            and any(key[0] == group for key in self.results[identity])
        ]
        return max(found, default=("", ""))[1]

    def _take(self, line: dict[str, Any]) -> None:
        if "manifest" in line:
            self.manifests[line["manifest"]] = line
            self.results.setdefault(line["manifest"], {})
            return
        key = line["group"], line["case"], line["contender"]
        result = self.results[line["of"]].setdefault(key, Result())
        reason = next((each for each in REASONS if each in line), "")
        if reason:
            result.reason, result.why = reason, line[reason]
            return
        result.planned = max(result.planned, line["planned"])
        result.facts = line["facts"]
        for what, seconds in line["seconds"].items():
            result.seconds.setdefault(what, []).extend(seconds)


def identity_of(manifest: dict[str, Any]) -> str:
    """Returns a name for all that a manifest says but the moment and the words of the command."""
    passing = ("started", "command", "load")
    lasting = {name: value for name, value in manifest.items() if name not in passing}
    return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()[:12]


def machine_of(manifest: dict[str, Any]) -> str:
    """Returns a name of the machine for people."""
    kinds = sorted({each.partition(" ")[2] for each in manifest["devices"]})
    accelerated = [kind for kind in kinds if kind != "cpu"]
    return ", ".join(accelerated) or f"{manifest['cpus']} CPU cores, {manifest['processor']}"


class Ratio(NamedTuple):
    """How many times as long another takes, round by round."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """Returns it as a table has it."""
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Returns the median of the ratios of the rounds that both have, and the outermost two."""
    ratios = [their / our for their, our in zip(theirs, ours, strict=False)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Returns p of the power law `value ~ size ** p` that fits best in logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
