"""Renders the tables of README.md from runs.jsonl."""

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnjax.experiment.records import read_verified
from rnnjax.reporting import markdown


def render(folder: Path) -> dict[str, str]:
    """Returns the rendered parts of README.md by the names of their marks."""
    lines = read_verified(folder / "runs.jsonl")
    return {"runs": summary(lines), "mistakes": mistakes(lines), "cells": cells(lines)}


def summary(lines: Sequence[dict[str, Any]]) -> str:
    """Returns the counts of each kind, and when they were recorded."""
    rows = []
    for kind in ("mistake", "correct", "package"):
        records = [line for line in lines if line.get("kind") == kind]
        if records:
            seconds = [record["cpu_seconds"] for record in records]
            as_expected = sum(record["failed"] == record["expected"] for record in records)
            rows.append(
                [
                    kind,
                    str(len(records)),
                    str(sum(bool(record["failed"]) for record in records)),
                    str(as_expected),
                    f"{statistics.median(seconds):.1f}",
                    f"{max(seconds):.1f}",
                ]
            )
    heads = ["kind", "cells", "refused", "as expected", "median CPU seconds", "largest"]
    parts = [markdown.table(heads, rows)]
    for line in lines:
        if "manifest" in line:
            manifest = line["manifest"]
            cores = f"{manifest['cpus']} CPU core{'s' * (manifest['cpus'] > 1)}"
            parts.append(
                f"Recorded by `{manifest['command']}` on {manifest['started'][:10]}, commit "
                f"`{manifest['commit'][:12]}`{' with changes' * manifest['dirty']}, {cores}."
            )
    return "\n\n".join(dict.fromkeys(parts))


def mistakes(lines: Sequence[dict[str, Any]]) -> str:
    """Returns for each check the mistakes that it is to find, and those that it refused first."""
    records = [line for line in lines if line.get("kind") == "mistake"]
    expected = Counter(record["expected"] for record in records)
    refused = Counter(record["expected"] for record in records if record["failed"])
    first = Counter(
        record["expected"] for record in records if record["failed"] == record["expected"]
    )
    rows = [
        [check, str(count), str(refused[check]), str(first[check])]
        for check, count in sorted(expected.items())
    ]
    return markdown.table(["check", "mistakes", "refused", "by this check first"], rows)


def cells(lines: Sequence[dict[str, Any]]) -> str:
    """Returns the correct cells and those of the package, and what failed."""
    rows = [
        [line["name"], line["kind"], line["failed"] or "accepted", f"{line['cpu_seconds']:.1f}"]
        for line in lines
        if line.get("kind") in ("correct", "package")
    ]
    return markdown.table(["cell", "kind", "result", "CPU seconds"], rows)
