"""Checks cells with a planted mistake, correct cells, and the cells of the package.

    python experiments/kit/run.py
    python experiments/kit/run.py --kind mistake --only BatchStatistics

Every check of the conformance kit is run at all sizes, in the order of the kit, up to the first
that fails. Records go to `runs.jsonl`, a line for each cell, and are rendered in `README.md`; the
same command continues the records that are there. With `--only` nothing is recorded.
"""

import argparse
import importlib
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # for the mutants among the tests

import flax.linen as nn  # noqa: E402
import jax  # noqa: E402

from rnnjax.cells import CELLS, make_cell  # noqa: E402
from rnnjax.experiment.page_rendering import render_by_script, write_pages  # noqa: E402
from rnnjax.experiment.records import read_verified, write_records  # noqa: E402
from rnnjax.reporting.progress import Progress, write_message  # noqa: E402
from rnnjax.testing import cell_checks, violation_search  # noqa: E402
from rnnjax.training.manifest import describe_environment  # noqa: E402

RECORDS = "runs.jsonl"
IMAGE = (5, 2)
"""Sizes of the inputs of a cell that reads images."""


class Subject(NamedTuple):
    """A cell to check.

    Attributes:
      kind: 'mistake', 'correct' or 'package'.
      name: of its class.
      cell: an instance.
      expected: the check that is to fail first; '' if none is.
      inputs: of the cell.
    """

    kind: str
    name: str
    cell: nn.Module
    expected: str = ""
    inputs: int | tuple[int, ...] = 3


def subjects() -> Iterator[Subject]:
    """Yields the mistakes, the correct cells beside them, and the cells of the package."""
    modules = (
        "size",
        "draw",
        "zoneout",
        "number",
        "cell",
        "engine",
        "training",
        "dropout",
        "matrix",
    )
    for name in modules:
        importlib.import_module(f"tests.testing.{name}_mutants")
    mutants = importlib.import_module("tests.testing.mutants")
    correct = importlib.import_module("tests.testing.honest_cells").correct_cells()
    for name, mutant in {**mutants.PLANTED, **mutants.MUTANTS}.items():
        yield Subject("mistake", name, mutant.cell, mutant.check)
    for cell_class in correct:
        yield Subject("correct", cell_class.__name__, cell_class(features=4))
    for name in CELLS:
        if name == "ConvLSTMCell":
            yield Subject("package", name, make_cell(f"{name}(kernel_size=(2,))", 3), "", IMAGE)
        else:
            yield Subject("package", name, make_cell(name, 4))


def check(subject: Subject) -> dict[str, Any]:
    """Returns the record of a cell: the first check that fails, and its message."""
    start, failed, message = time.process_time(), "", ""
    # Cells and norms of flax promote dtypes, as most cells of a user do.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for kit_check in cell_checks(subject.cell, subject.inputs):
            result = kit_check.result()
            if result.error is not None:
                failed, message = result.check, result.message
                break
    jax.clear_caches()
    return {
        "kind": subject.kind,
        "name": subject.name,
        "expected": subject.expected,
        "failed": failed,
        "message": message[:300],
        "cpu_seconds": round(time.process_time() - start, 1),
    }


def run(chosen: Sequence[Subject], folder: Path, command: str) -> int:
    """Checks the cells that are not recorded; returns how many had another result than expected."""
    path = folder / RECORDS
    lines = read_verified(path)
    done = {(line["kind"], line["name"]) for line in lines if "name" in line}
    missing = [subject for subject in chosen if (subject.kind, subject.name) not in done]
    if missing:
        lines.append({"manifest": describe_environment(command)})
    with Progress("cells", len(missing)) as progress:
        for count, subject in enumerate(missing, start=1):
            record = check(subject)
            if record["failed"] != record["expected"]:
                write_message(f"{subject.name}: {record['failed']}: {record['message']}")
            lines.append(record)
            write_records(path, lines)
            write_pages(folder, render_by_script(folder))
            progress.update(count)
    return sum(line["failed"] != line["expected"] for line in lines if "name" in line)


def main(arguments: Sequence[str]) -> int:
    """Runs the cells that are missing; returns 1 if one had another result than expected."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kind", choices=["mistake", "correct", "package"], help="of the cells")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="cells to check, not recorded")
    flags = parser.parse_args(arguments)
    chosen = [
        subject
        for subject in subjects()
        if flags.kind in (None, subject.kind) and (not flags.only or subject.name in flags.only)
    ]
    # The name of the check is recorded, and not the smallest case.
    violation_search.MAX_REDUCTIONS, violation_search.SMALL_FEATURES = 0, ()
    if flags.only:
        records = [check(subject) for subject in chosen]
        for record in records:
            print(record)
        return int(any(record["failed"] != record["expected"] for record in records))
    wrong = run(chosen, HERE, shlex.join(["python", "experiments/kit/run.py", *arguments]))
    print(f"{wrong} cells with another result than expected")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
