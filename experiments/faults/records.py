"""The records of the campaign: sealed lines of runs.jsonl, and the tables made of them."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnnjax.errors import InputError
from rnnjax.reporting import markdown
from rnnjax.reporting.files import encode, write_text
from rnnjax.reporting.seal import BROKEN, is_whole, sealed
from verdicts import FAILED, PASSED, Outcome

HERE = Path(__file__).resolve().parent


class Kind(NamedTuple):
    """A kind of inputs.

    Attributes:
      trial: module and name of the function that tries one.
      count: inputs of the campaign.
      chunk: inputs of one record.
      forks: whether each has processes of its own.
    """

    trial: str
    count: int
    chunk: int = 100
    forks: bool = False


KINDS = {
    "configs": Kind("damaged_configs:trial", 3_000),
    "files": Kind("damaged_files:trial", 3_500),
    "runs": Kind("damaged_runs:trial", 2_000),
    "caches": Kind("damaged_caches:trial", 500),
    "kills": Kind("disturbed_processes:kill", 300, 10, forks=True),
    "signals": Kind("disturbed_processes:signalled", 250, 10, forks=True),
    "pipes": Kind("disturbed_processes:cut_off", 150, 10, forks=True),
    "disks": Kind("disturbed_processes:unwritable", 300, 10, forks=True),
}


def read(folder: Path) -> list[dict[str, Any]]:
    """Returns the records of a folder.

    Raises:
      InputError: a line is damaged.
    """
    path = folder / "runs.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    for number, line in enumerate(found, start=1):
        if not is_whole(line):
            raise InputError(f"{path}, line {number}: {BROKEN}")
    return found


def append(folder: Path, record: dict[str, Any]) -> None:
    """Seals a record, and adds it to those of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [*read(folder), sealed(record)]
    write_text(folder / "runs.jsonl", "".join(encode(line) + "\n" for line in lines))


def of_chunk(
    kind: str, numbers: range, outcomes: Sequence[Outcome], seconds: float
) -> dict[str, Any]:
    """Returns the record of a chunk."""
    failed = [
        {"number": number, **outcome._asdict()}
        for number, outcome in zip(numbers, outcomes, strict=True)
        if outcome.failed
    ]
    return {
        "kind": kind,
        "first": numbers.start,
        "count": len(numbers),
        "verdicts": dict(Counter(outcome.verdict for outcome in outcomes)),
        "faults": dict(Counter(outcome.fault for outcome in outcomes)),
        "failed": [{**each, "message": each["message"][:1_000]} for each in failed],
        "seconds": round(seconds, 1),
    }


def has(lines: Sequence[dict[str, Any]], kind: str, first: int, last: int) -> bool:
    """Returns whether some inputs of a kind are recorded."""
    return any(
        line["first"] <= first and last <= line["first"] + line["count"]
        for line in lines
        if line.get("kind") == kind and "first" in line
    )


def tables(lines: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Returns the parts of the page that are rendered from records, by the name of their marks."""
    chunks = [line for line in lines if "first" in line]
    by_kind = {kind: [line for line in chunks if line["kind"] == kind] for kind in KINDS}
    verdicts = [name for name in PASSED if any(name in line["verdicts"] for line in chunks)]
    rows, total = [], Counter()
    for kind, own in by_kind.items():
        if not own:
            continue
        counts = sum((Counter(line["verdicts"]) for line in own), Counter())
        total += counts
        minutes = f"{sum(line['seconds'] for line in own) / 60:.1f}"
        rows.append([kind, *_cells(counts, verdicts), minutes])
    rows.append(["**all**", *_cells(total, verdicts), ""])
    heads = ["kind", "inputs", *verdicts, "failures", "minutes"]
    parts = [markdown.table(heads, rows)]
    failed = [(line["kind"], each) for line in chunks for each in line["failed"]]
    if failed:
        cells = [
            [f"{kind} {each['number']}", each["fault"], each["verdict"], _short(each["message"])]
            for kind, each in failed
        ]
        parts.append(markdown.table(["input", "fault", "failure", "message"], cells))
    for made in {
        line["manifest"]["command"]: line["manifest"] for line in lines if "manifest" in line
    }.values():
        versions = ", ".join(f"{name} {version}" for name, version in made["packages"].items())
        parts.append(
            f"Recorded by `{made['command']}` on {made['started'][:10]}, commit "
            f"`{made['commit'][:12]}`{' with changes' if made['dirty'] else ''}, "
            f"{made['cpus']} CPU core{'s' * (made['cpus'] > 1)}, {versions}."
        )
    places = sum((Counter(line["faults"]) for line in by_kind["kills"]), Counter())
    killed = [[place.removeprefix("killed at: "), str(places[place])] for place in sorted(places)]
    found = [
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
            found,
        ),
    }


def render(folder: Path) -> None:
    """Writes the rendered parts of the page, where a folder has one."""
    readme = folder / "README.md"
    if readme.exists():
        write_text(readme, markdown.filled(readme, tables(read(folder))))


def _cells(counts: Counter[str], verdicts: Sequence[str]) -> list[str]:
    failures = sum(counts[name] for name in FAILED)
    return [f"{counts.total():,}", *(f"{counts[name]:,}" for name in verdicts), f"{failures:,}"]


def _short(message: str) -> str:
    plain = ascii(" ".join(message.split()))[1:-1].replace("|", "\\|").replace("`", "'")
    return plain if len(plain) <= 160 else plain[:159] + "…"
