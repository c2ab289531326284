"""Trains one network under several conditions, and compares the parameters bit for bit.

    python experiments/repeats/measure.py
    python experiments/repeats/measure.py --python ../other/bin/python

records the comparisons in `runs.jsonl` and renders `README.md`. The second adds a Python with
another JAX. It takes some minutes.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax import training
from rnnjax.experiment.page_rendering import render_by_script, write_pages
from rnnjax.experiment.records import write_records
from rnnjax.reporting import run_files
from rnnjax.reporting.progress import write_message

FOLDER = Path(__file__).parent
FLAGS = (
    "--config=configs/bilstm.py",
    "--config.data.fallback=",
    "--config.data.take=960",
    "--config.data.buckets=2",
    "--config.model.dropout=0.2",
    "--config.checkpoint.every=20",
)
IN_ORDER = ("--config.data.shuffle=False", "--config.data.buckets=1")
"""Several steps a call group batches of one padded length, which changes a shuffled order."""


class Condition(NamedTuple):
    """A condition under which the network is trained.

    Attributes:
      name: of the row in the table.
      reference: name of the condition to compare with; '' for none.
      flags: in addition to `FLAGS`.
      replicate: subfolder of the network in the folder of the run.
      threads: number of threads of XLA.
      compiled: use the programs that earlier runs have compiled.
      interrupted: interrupt the run at a checkpoint, and resume it.
      variables: environment variables.
      python: path of the interpreter; '' for the current one.
    """

    name: str
    reference: str
    flags: tuple[str, ...] = ()
    replicate: str = ""
    threads: int = 1
    compiled: bool = True
    interrupted: bool = False
    variables: tuple[tuple[str, str], ...] = ()
    python: str = ""


FIRST = "the first run, on one thread"
ORDERED = "in the order of the file"
FAST = (("XLA_FLAGS", "--xla_backend_optimization_level=0"),)
CONDITIONS = (
    Condition(FIRST, ""),
    Condition("the same command again", FIRST),
    Condition("the same, nothing compiled before", FIRST, compiled=False),
    Condition("interrupted and resumed", FIRST, interrupted=True),
    Condition("on two threads", FIRST, threads=2),
    Condition("beside another seed (`replicates=2`)", FIRST, ("--config.replicates=2",), "seed-0"),
    Condition("another flag of XLA (`xla_backend_optimization_level=0`)", FIRST, variables=FAST),
    Condition(ORDERED, "", IN_ORDER),
    Condition("the same, `steps_per_call=8`", ORDERED, (*IN_ORDER, "--config.steps_per_call=8")),
)


def train(condition: Condition, data: str, folder: Path) -> str:
    """Trains in a folder, and returns the command line."""
    arguments = ["-m", "rnnjax.main", *FLAGS, f"--config.data.dir={data}", *condition.flags]
    xla = folder.parent / "xla" if condition.compiled else folder.with_suffix(".xla")
    variables = {"JAX_COMPILATION_CACHE_DIR": str(xla), "PYTHONPATH": str(Path.cwd())}
    variables["NPROC"] = str(condition.threads)  # XLA reads it as the number of cores

    def start() -> subprocess.Popen:
        return subprocess.Popen(
            [condition.python or sys.executable, *arguments, f"--workdir={folder}"],
            env={**os.environ, **variables, **dict(condition.variables)},
            stderr=subprocess.PIPE,
            text=True,
        )

    if condition.interrupted:
        process = start()
        while not (folder / "checkpoints" / "20").exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate()
        if process.returncode != 128 + signal.SIGINT:
            raise RuntimeError(f"exited with {process.returncode} before the interrupt")
    process = start()
    _, stderr = process.communicate()
    if process.returncode:
        raise RuntimeError(stderr)
    settings = [
        f"NPROC={condition.threads}",
        *(f"{name}={value}" for name, value in condition.variables),
    ]
    return shlex.join([*settings, "python", *arguments])


def compare(condition: Condition, command: str, folders: dict[str, Path]) -> dict[str, Any]:
    """Returns the record of a run, with its difference to the reference."""
    folder = folders[condition.name]
    record: dict[str, Any] = {
        "way": condition.name,
        "against": condition.reference,
        "command": command,
    }
    files = run_files.read(folder)
    record["test"] = files.result.test.values()
    record["resumed_from"] = files.result.resumed_from
    environment = files.environment.values()
    names = ("commit", "dirty", "nproc", "packages", "devices", "xla_flags")
    names += ("processor", "processor_identity", "instruction_sets", "caches", "threads")
    record["environment"] = {name: environment[name] for name in names}
    if condition.reference:
        reference = folders[condition.reference]
        actual, expected = (
            jax.tree.leaves(training.load_run(path).params) for path in (folder, reference)
        )
        pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(actual, expected, strict=True)]
        record["same_bits"] = all(a.tobytes() == b.tobytes() for a, b in pairs)
        record["largest_difference"] = float(max(np.abs(a - b).max() for a, b in pairs))
        record["test_of_other"] = run_files.read(reference).result.test.values()
    return record


def main() -> None:
    """Trains, records the comparisons and renders the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="../shared/data/ag_news_csv")
    parser.add_argument("--python", default="", help="path of a Python with another JAX")
    args = parser.parse_args()
    conditions = list(CONDITIONS)
    if args.python:
        code = "import jax; print(jax.__version__)"
        version = subprocess.check_output([args.python, "-c", code], text=True).strip()
        conditions.insert(
            len(CONDITIONS) - 2, Condition(f"JAX {version}", FIRST, python=args.python)
        )
    records, folders = [], {}
    with tempfile.TemporaryDirectory() as base:
        for number, condition in enumerate(conditions, start=1):
            write_message(f"{number} of {len(conditions)}: {condition.name}")
            folder = Path(base, f"run{number}")
            command = train(condition, args.data, folder)
            folders[condition.name] = folder / condition.replicate
            records.append(compare(condition, command, folders))
    write_records(FOLDER / "runs.jsonl", records)
    write_pages(FOLDER, render_by_script(FOLDER))


if __name__ == "__main__":
    main()
