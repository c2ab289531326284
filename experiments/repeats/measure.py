"""Trains one network in several ways that should come to the same, and says which do, bit for bit.

    python experiments/repeats/measure.py
    python experiments/repeats/measure.py --python ../other/bin/python

records what was found in `runs.jsonl` and renders `README.md`. The second adds a Python that has
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
"""Several steps a call take batches of one padded length together, which changes another order."""


class Way(NamedTuple):
    """How a network is trained.

    Attributes:
      name: of the row in the table.
      against: name of the way that it should come to the same as; '' for none.
      flags: beside `FLAGS`.
      member: folder of the network in that of the run.
      threads: of XLA.
      compiled: may use what runs before it have compiled.
      stopped: is interrupted at a checkpoint, and goes on.
      variables: of the environment.
      python: that runs it; '' for this one.
    """

    name: str
    against: str
    flags: tuple[str, ...] = ()
    member: str = ""
    threads: int = 1
    compiled: bool = True
    stopped: bool = False
    variables: tuple[tuple[str, str], ...] = ()
    python: str = ""


FIRST = "the first run, on one thread"
ORDERED = "in the order of the file"
FAST = (("XLA_FLAGS", "--xla_backend_optimization_level=0"),)
WAYS = (
    Way(FIRST, ""),
    Way("the same command again", FIRST),
    Way("the same, nothing compiled before", FIRST, compiled=False),
    Way("interrupted and resumed", FIRST, stopped=True),
    Way("on two threads", FIRST, threads=2),
    Way("beside another seed (`replicates=2`)", FIRST, ("--config.replicates=2",), "seed-0"),
    Way("another flag of XLA (`xla_backend_optimization_level=0`)", FIRST, variables=FAST),
    Way(ORDERED, "", IN_ORDER),
    Way("the same, `steps_per_call=8`", ORDERED, (*IN_ORDER, "--config.steps_per_call=8")),
)


def train(way: Way, data: str, folder: Path) -> str:
    """Trains in a folder, and returns what was typed."""
    typed = ["-m", "rnnjax.main", *FLAGS, f"--config.data.dir={data}", *way.flags]
    xla = folder.parent / "xla" if way.compiled else folder.with_suffix(".xla")
    variables = {"JAX_COMPILATION_CACHE_DIR": str(xla), "PYTHONPATH": str(Path.cwd())}
    variables["NPROC"] = str(way.threads)  # XLA takes it for the number of cores

    def start() -> subprocess.Popen:
        return subprocess.Popen(
            [way.python or sys.executable, *typed, f"--workdir={folder}"],
            env={**os.environ, **variables, **dict(way.variables)},
            stderr=subprocess.PIPE,
            text=True,
        )

    if way.stopped:
        process = start()
        while not (folder / "checkpoints" / "20").exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate()
        if process.returncode != 128 + signal.SIGINT:
            raise RuntimeError(f"it ended with {process.returncode} before it could be interrupted")
    process = start()
    _, said = process.communicate()
    if process.returncode:
        raise RuntimeError(said)
    before = [f"NPROC={way.threads}", *(f"{name}={value}" for name, value in way.variables)]
    return shlex.join([*before, "python", *typed])


def found(way: Way, command: str, folders: dict[str, Path]) -> dict[str, Any]:
    """Returns how far a network is from the one that it should be the same as."""
    ours = folders[way.name]
    record: dict[str, Any] = {"way": way.name, "against": way.against, "command": command}
    recorded = run_files.read(ours)
    record["test"] = recorded.result.test.values()
    record["resumed_from"] = recorded.result.resumed_from
    environment = recorded.environment.values()
    told = ("commit", "dirty", "nproc", "packages", "devices", "xla_flags")
    told += ("processor", "processor_identity", "instruction_sets", "caches", "threads")
    record["environment"] = {name: environment[name] for name in told}
    if way.against:
        theirs = folders[way.against]
        one, two = (
            jax.tree.leaves(training.TrainedClassifier.load(each).params) for each in (ours, theirs)
        )
        pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(one, two, strict=True)]
        record["same_bits"] = all(a.tobytes() == b.tobytes() for a, b in pairs)
        record["largest_difference"] = float(max(np.abs(a - b).max() for a, b in pairs))
        record["test_of_other"] = run_files.read(theirs).result.test.values()
    return record


def main() -> None:
    """Measures, records and renders."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--data", default="../shared/data/ag_news_csv")
    flags.add_argument("--python", default="", help="one that has another JAX")
    given = flags.parse_args()
    ways = list(WAYS)
    if given.python:
        code = "import jax; print(jax.__version__)"
        version = subprocess.check_output([given.python, "-c", code], text=True).strip()
        ways.insert(len(WAYS) - 2, Way(f"JAX {version}", FIRST, python=given.python))
    records, folders = [], {}
    with tempfile.TemporaryDirectory() as base:
        for number, way in enumerate(ways, start=1):
            write_message(f"{number} of {len(ways)}: {way.name}")
            folder = Path(base, f"run{number}")
            command = train(way, given.data, folder)
            folders[way.name] = folder / way.member
            records.append(found(way, command, folders))
    write_records(FOLDER / "runs.jsonl", records)
    write_pages(FOLDER, render_by_script(FOLDER))


if __name__ == "__main__":
    main()
