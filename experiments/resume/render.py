"""The part of README.md that is rendered from runs.jsonl."""

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnjax.experiment.records import read_verified
from rnnjax.reporting import markdown


def render(folder: Path) -> dict[str, str]:
    """Returns the part by the name of its marks."""
    return {"runs": table(read_verified(folder / "runs.jsonl"))}


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Returns what was found as Markdown."""
    parts = []
    for kind, key in (("kill", "killed_in"), ("damage", "outcome")):
        own = [line for line in lines if kind in line]
        identical = sum(line["identical"] for line in own)
        parts.append(f"{len(own)} {kind}s, {identical} identical endings")
        groups = collections.Counter(line[key] for line in own)
        heads = ["killed in", "times"] if kind == "kill" else ["a damaged checkpoint was", "times"]
        rows = []
        for name in sorted(groups):
            ends = sum(line["identical"] for line in own if line[key] == name)
            rows.append([name, str(groups[name]), str(ends)])
        parts.append(markdown.table([*heads, "identical endings"], rows))
    for made in [line["manifest"] for line in lines if "manifest" in line]:
        versions = ", ".join(f"{name} {version}" for name, version in made["packages"].items())
        parts.append(
            f"Recorded by `{made['command']}` on {made['started'][:10]}, commit "
            f"`{made['commit'][:12]}`{' with changes' if made['dirty'] else ''}, "
            f"{made['cpus']} CPU core{'s' * (made['cpus'] > 1)}, {versions}."
        )
    return "\n\n".join(parts)
