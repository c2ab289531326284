"""Renders the tables of the campaign from its records."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from records import KINDS, read
from rnnjax.reporting import markdown
from verdicts import FAILED, PASSED


def render(folder: Path) -> dict[str, str]:
    """Returns the rendered parts of README.md by the names of their marks."""
    return tables(read(folder))


def tables(lines: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Returns the parts of the page that are rendered from records, by the name of their marks."""
    chunks = [line for line in lines if "first" in line]
    by_kind = {kind: [line for line in chunks if line["kind"] == kind] for kind in KINDS}
    verdicts = [name for name in PASSED if any(name in line["verdicts"] for line in chunks)]
    rows, total = [], Counter()
    for kind, records in by_kind.items():
        if not records:
            continue
        counts = sum((Counter(line["verdicts"]) for line in records), Counter())
        total += counts
        minutes = f"{sum(line['seconds'] for line in records) / 60:.1f}"
        rows.append([kind, *_cells(counts, verdicts), minutes])
    rows.append(["**all**", *_cells(total, verdicts), ""])
    headings = ["kind", "inputs", *verdicts, "failures", "minutes"]
    parts = [markdown.table(headings, rows)]
    failed = [(line["kind"], failure) for line in chunks for failure in line["failed"]]
    if failed:
        cells = [
            [
                f"{kind} {failure['number']}",
                failure["fault"],
                failure["verdict"],
                _short(failure["message"]),
            ]
            for kind, failure in failed
        ]
        parts.append(markdown.table(["input", "fault", "failure", "message"], cells))
    for manifest in {
        line["manifest"]["command"]: line["manifest"] for line in lines if "manifest" in line
    }.values():
        versions = ", ".join(f"{name} {version}" for name, version in manifest["packages"].items())
        parts.append(
            f"Recorded by `{manifest['command']}` on {manifest['started'][:10]}, commit "
            f"`{manifest['commit'][:12]}`{' with changes' if manifest['dirty'] else ''}, "
            f"{manifest['cpus']} CPU core{'s' * (manifest['cpus'] > 1)}, {versions}."
        )
    places: Counter[str] = Counter()
    for line in by_kind["kills"]:
        for fault, count in line["faults"].items():
            place = fault.removeprefix("killed at: ")
            places["draft of a file" if "rnnjax-draft" in place else place] += count
    killed = [[place, str(places[place])] for place in sorted(places)]
    control_rows = [
        [
            line["control"],
            line["kind"],
            line["verdict"] or "**not found**",
            line["fault"],
            str(line["inputs"]),
        ]
        for line in lines
        if "control" in line
    ]
    return {
        "runs": "\n\n".join(parts),
        "kills": markdown.table(["killed when last writing", "times"], killed),
        "controls": markdown.table(
            [
                "fault that was put back",
                "kind",
                "verdict",
                "damage that shows it",
                "inputs until found",
            ],
            control_rows,
        ),
    }


def _cells(counts: Counter[str], verdicts: Sequence[str]) -> list[str]:
    failures = sum(counts[name] for name in FAILED)
    return [f"{counts.total():,}", *(f"{counts[name]:,}" for name in verdicts), f"{failures:,}"]


def _short(message: str) -> str:
    plain = ascii(" ".join(message.split()))[1:-1].replace("|", "\\|").replace("`", "'")
    return plain if len(plain) <= 160 else plain[:159] + "…"
