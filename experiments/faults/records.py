"""Kinds of inputs, and the records of the campaign in runs.jsonl."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnnjax.experiment.page_rendering import write_pages
from rnnjax.experiment.records import read_verified, write_records
from verdicts import Outcome

HERE, RECORDS = Path(__file__).resolve().parent, "runs.jsonl"


class Kind(NamedTuple):
    """A kind of inputs.

    Attributes:
      trial: module and name of the function that runs one.
      count: inputs of the campaign.
      chunk: inputs of one record.
      forks: whether a trial forks processes.
    """

    trial: str
    count: int
    chunk: int = 100
    forks: bool = False


KINDS = {
    "configs": Kind("damaged_configs:run_trial", 3_000),
    "files": Kind("damaged_files:run_trial", 3_500),
    "runs": Kind("damaged_runs:run_trial", 2_000),
    "caches": Kind("damaged_caches:run_trial", 500),
    "tables": Kind("damaged_tables:run_trial", 500),
    "kills": Kind("disturbed_processes:kill", 300, 10, forks=True),
    "pairs": Kind("killed_pairs:kill_one_of_two", 20, 10, forks=True),
    "signals": Kind("disturbed_processes:send_signal", 250, 10, forks=True),
    "pipes": Kind("disturbed_processes:break_streams", 150, 10, forks=True),
    "disks": Kind("disturbed_processes:fail_writes", 300, 10, forks=True),
}


def read(folder: Path) -> list[dict[str, Any]]:
    """Returns the records of a folder.

    Raises:
      InputError: a line is damaged.
    """
    return read_verified(folder / RECORDS)


def add(folder: Path, record: dict[str, Any]) -> None:
    """Adds a record to those of a folder, and renders its page if it has one."""
    import render  # imports this module

    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / RECORDS, [*read(folder), record])
    if (folder / "README.md").exists():
        write_pages(folder, render.render(folder))


def make_chunk_record(
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
        "failed": [{**failure, "message": failure["message"][:1_000]} for failure in failed],
        "seconds": round(seconds, 1),
    }


def is_recorded(lines: Sequence[dict[str, Any]], kind: str, first: int, last: int) -> bool:
    """Returns whether the inputs of a kind from `first` to `last` are recorded."""
    return any(
        line["first"] <= first and last <= line["first"] + line["count"]
        for line in lines
        if line.get("kind") == kind and "first" in line
    )
