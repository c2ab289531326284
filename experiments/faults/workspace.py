"""Undamaged inputs: small data sets of every format, and trained runs with their answers."""

import contextlib
import copy
import csv
import functools
import gzip
import hashlib
import html
import io
import json
import os
import re
import shutil
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import jax
import numpy as np

from rnnjax import config as config_lib
from rnnjax import training
from rnnjax.reporting import run_files
from rnnjax.tasks.registry import find_task
from rnnjax.tasks.report_page import write_report
from rnnjax.training.checkpoint import Checkpoints

WORDS = ["minister", "election", "border", "goal", "striker", "season"]
WORDS += ["profit", "shares", "merger", "chip", "rocket", "browser"]
SMALL_CONFIG: dict[str, Any] = {
    "seed": 3,
    "epochs": 2,
    "batch_size": 16,
    "learning_rate": 0.01,
    "log_every": 3,
    "data": {"buckets": 2, "validation": 0.2, "max_tokens": 40, "vocabulary": {"size": 40}},
    "model": {"cell": "GRUCell", "features": 8, "dropout": 0.2, "embedding": {"features": 6}},
    "averaging": {"decay": 0.9},
    "optimizer": {"clip_norm": 1.0},
    "checkpoint": {"every": 4},
}
"""Config of runs with most of the state that a resumed run must restore."""
PROCESS_KEYS = {
    *("train_seconds", "cpu_seconds", "resumed_from", "compilations", "run", "files", "digest"),
}
"""Keys of result.json that depend on the process, beside speeds."""
QUERY_TEXTS = ["the minister of the border", "goal goal striker", "chip", "", "no such words"]


class Interruption(Exception):  # noqa: N818
    """Ends a run after its early checks."""


class Workspace:
    """A folder of undamaged inputs, each created at its first use and then only read.

    Attributes:
      folder: of all of it.
      news: a folder of train.csv, test.csv and classes.txt.
      pairs: a folder of pairs of texts.
    """

    def __init__(self, folder: Path):
        """Opens a folder, and writes the data sets if it is new."""
        self.folder, self.news, self.pairs = folder, folder / "news", folder / "pairs"
        if not folder.exists():
            self._write_data()

    @property
    def finished(self) -> Path:
        """The folder of a finished run."""
        return self._trained("finished")

    @property
    def other_seed(self) -> Path:
        """The folder of a finished run with another seed."""
        return self._trained("other_seed", seed=4)

    @property
    def interrupted(self) -> Path:
        """The folder of an interrupted run."""
        return self._trained("interrupted", saves=2)

    def _trained(self, name: str, seed: int = 3, saves: int = 0) -> Path:
        path = self.folder / name
        if not path.exists():
            draft = self.folder / "trained"
            shutil.rmtree(draft, ignore_errors=True)
            with (
                contextlib.redirect_stderr(io.StringIO()),
                interrupted_after(saves),
                contextlib.suppress(training.InterruptedRunError),
            ):
                self.train(draft, {**self.config(), "seed": seed})
            draft.rename(path)
        return path

    def config(self, task: str = "classification") -> dict[str, Any]:
        """Returns the values of a small valid config of a task."""
        values = copy.deepcopy(SMALL_CONFIG)
        if task == "classification":
            values["data"]["dir"] = str(self.news)
            return values
        values |= {"task": task, "averaging": {}}
        data: dict[str, Any] = {"vocabulary": {"size": 40}}
        if task == "language_modeling":
            data |= {"file": str(self.folder / "play.txt"), "sequence_length": 8}
        elif task == "memory":
            data = {}
            values["memory"] = {"length": 8, "examples": 48, "test_examples": 16}
            values["model"]["embedding"] = {}
        elif task == "tagging":
            path = self.folder / "labelled.txt"
            path.write_text("a O\nb X\n\nb X\n\na O\na O\n" * 8, encoding="utf-8")
            data |= {"file": str(path), "test_file": str(path)}
        elif task == "time_series":
            data = {"take": 32}
            values["model"]["embedding"] = {}
        else:
            data["dir"] = str(self.pairs)
            values["translation"] = {"source": "de", "target": "en", "beam_size": 2}
        values["data"] = data
        return values

    def files(self) -> dict[str, tuple[Path, bytes]]:
        """Returns path and content of the file of each format."""
        names = {
            "rows": "news/train.csv",
            "classes": "news/classes.txt",
            "text": "play.txt",
            "subwords": "play.txt",
            "pairs": "pairs/train.de",
            "packed pairs": "packed/train.de.gz",
            "vectors": "vectors.txt",
            "counted vectors": "counted.txt",
            "binary vectors": "vectors.bin",
            "packed vectors": "vectors.gz",
        }
        paths = {kind: self.folder / name for kind, name in names.items()}
        return {kind: (path, path.read_bytes()) for kind, path in paths.items()}

    @functools.cached_property
    def answers(self) -> dict[str, Any]:
        """The answers of the undamaged runs."""
        with contextlib.redirect_stderr(io.StringIO()):
            return {name: query(self.copy_run(name), self) for name, query in QUERIES.items()}

    def copy_run(self, query: str) -> Path:
        """Returns a fresh copy of the run for a query."""
        shutil.rmtree(self.folder / "trials", ignore_errors=True)
        path = self.folder / "trials" / "run"
        shutil.copytree(self.interrupted if query == "resume" else self.finished, path)
        return path

    def train(self, workdir: Path, values: dict[str, Any] | None = None) -> dict[str, Any]:
        """Trains or resumes a run of the small config."""
        config = config_lib.parse(self.config() if values is None else values)
        return training.train(config, "small", workdir, "python -m rnnjax.main --config=small.py")

    def _write_data(self) -> None:
        rng = Random(0)
        for folder in (self.news, self.pairs, self.folder / "packed"):
            folder.mkdir(parents=True)

        def text(minimum: int = 2) -> str:
            return " ".join(
                rng.choice([*WORDS, "the", "of"]) for _ in range(rng.randint(minimum, 9))
            )

        for name, rows in (("train", 96), ("test", 32)):
            with (self.news / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, quoting=csv.QUOTE_ALL)
                for row in range(rows):
                    label = row % 4
                    keywords = " ".join(rng.choices(WORDS[3 * label : 3 * label + 3], k=2))
                    writer.writerow(
                        [label + 1, f"{keywords}, {text()}", text() + rng.choice(["", '"', "é"])]
                    )
        (self.news / "classes.txt").write_text("World\nSports\nBusiness\nSci/Tech\n")
        play = "".join(f"ANN:\n{text(3)}\n" for _ in range(40))
        (self.folder / "play.txt").write_text(play, encoding="utf-8")
        for part in ("train", "val", "test_2016_flickr"):
            for language in ("de", "en"):
                lines = "".join(text() + "\n" for _ in range(24)).encode()
                (self.pairs / f"{part}.{language}").write_bytes(lines)
                (self.folder / "packed" / f"{part}.{language}.gz").write_bytes(
                    gzip.compress(lines, mtime=0)
                )
        rows = [
            (word, [round(rng.uniform(-1, 1), 4) for _ in range(6)]) for word in [*WORDS, "The"]
        ]
        plain = "".join(f"{word} {' '.join(map(str, row))}\n" for word, row in rows).encode()
        head = f"{len(rows)} 6\n".encode()
        packed = (word.encode() + b" " + struct.pack("<6f", *row) + b"\n" for word, row in rows)
        (self.folder / "vectors.txt").write_bytes(plain)
        (self.folder / "counted.txt").write_bytes(head + plain)
        (self.folder / "vectors.bin").write_bytes(head + b"".join(packed))
        (self.folder / "vectors.gz").write_bytes(gzip.compress(head + plain, mtime=0))


@contextmanager
def interrupted_after(saves: int) -> Iterator[None]:
    """Sends SIGINT to this process after some checkpoints of a run."""
    left = [saves]
    save = Checkpoints.save

    def interrupting(self: Checkpoints, *saved: Any) -> None:
        save(self, *saved)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)

    with mock.patch.object(Checkpoints, "save", interrupting):
        yield


@contextmanager
def early_checks() -> Iterator[None]:
    """Ends runs, with Interruption, where their training would begin."""

    def stop(*arguments: Any) -> None:
        raise Interruption

    with mock.patch.object(sys.modules["rnnjax.training.launch"], "_train_and_evaluate", stop):
        yield


def training_values(result: dict[str, Any]) -> dict[str, Any]:
    """Returns a result without the values that depend on the process."""
    return {
        key: value
        for key, value in result.items()
        if key not in PROCESS_KEYS and not key.endswith("_per_second")
    }


def summarize_run(workdir: Path) -> dict[str, Any]:
    """Returns digests of the parts of a finished run that must not depend on interruptions."""
    result = json.loads((workdir / "result.json").read_text(encoding="utf-8"))
    run = training.load_run(workdir)
    leaves = jax.tree_util.tree_leaves_with_path(run.params)
    content = b"".join(str(path).encode() + np.asarray(leaf).tobytes() for path, leaf in leaves)
    steps = [path for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal()]
    steps.sort(key=lambda path: int(path.name))
    sums = json.loads((steps[-1] / "checksums" / "metadata").read_text(encoding="utf-8"))
    names = {path.name for path in (*workdir.iterdir(), *steps)}
    return {
        "parameters": hashlib.sha256(content).hexdigest(),
        "arrays of the state": sums.get("arrays", sums),
        "metrics": hashlib.sha256((workdir / "metrics.jsonl").read_bytes()).hexdigest(),
        "result": training_values(result),
        "files": sorted(names),
    }


def _predict(workdir: Path, workspace: Workspace) -> dict[str, Any]:
    run = training.load_run(workdir)
    shares = run.vocabulary.unknown_shares(QUERY_TEXTS, run.config.data.max_tokens)
    answers = run.predict(QUERY_TEXTS).tobytes()
    return {"classes": run.classes, "answers": answers, "shares": shares, "step": run.step}


def _evaluate(workdir: Path, workspace: Workspace) -> dict[str, Any]:
    run = training.load_run(workdir)
    return dict(run.evaluate(workspace.news / "test.csv"))


def _resume(workdir: Path, workspace: Workspace) -> dict[str, Any]:
    workspace.train(workdir)
    return summarize_run(workdir)


def _result(workdir: Path, workspace: Workspace) -> dict[str, Any]:
    return training_values(workspace.train(workdir))


def _report(workdir: Path, workspace: Workspace) -> str:
    task = find_task(run_files.read_config(workdir).config["task"])
    page = write_report(task, workdir).read_text(encoding="utf-8")
    page = page.replace(html.escape(str(workdir)), "")
    # The page lists the files that are there.
    return re.sub(r"\s*<div><dt>checkpoints</dt>.*</div>", "", page)


QUERIES = {
    "predict": _predict,
    "evaluate": _evaluate,
    "resume": _resume,
    "result": _result,
    "report": _report,
}
"""Queries of a run folder."""
