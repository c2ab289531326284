"""Renders runs.jsonl for README.md."""

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnjax.experiment.records import read_verified
from rnnjax.reporting import markdown


def render(folder: Path) -> dict[str, str]:
    """Returns the parts by the names of their marks."""
    return {"runs": table(read_verified(folder / "runs.jsonl"))}


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Renders the records as Markdown."""
    parts = []
    for kind, key in (("kill", "killed_in"), ("damage", "outcome")):
        records = [line for line in lines if kind in line]
        identical = sum(line["identical"] for line in records)
        parts.append(f"{len(records)} {kind}s, {identical} identical endings")
        groups = collections.Counter(line[key] for line in records)
        heads = ["killed in", "times"] if kind == "kill" else ["a damaged checkpoint was", "times"]
        rows = []
        for name in sorted(groups):
            ends = sum(line["identical"] for line in records if line[key] == name)
            rows.append([name, str(groups[name]), str(ends)])
        parts.append(markdown.table([*heads, "identical endings"], rows))
    for manifest in [line["manifest"] for line in lines if "manifest" in line]:
        versions = ", ".join(f"{name} {version}" for name, version in manifest["packages"].items())
        parts.append(
            f"Recorded by `{manifest['command']}` on {manifest['started'][:10]}, commit "
            f"`{manifest['commit'][:12]}`{' with changes' if manifest['dirty'] else ''}, "
            f"{manifest['cpus']} CPU core{'s' * (manifest['cpus'] > 1)}, {versions}."
        )
    return "\n\n".join(parts)
