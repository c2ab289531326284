"""Benchmark of the lesson end to end: complete commands of rnnjax and of Keras."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cases import CONTENDERS, Case, Contender
from runs import Result
from workers import FOLDER, ROOT

_FACTS = ("test_accuracy", "parameters", "compilations", "buckets")


class LessonBenchmark:
    """The commands of the lesson, the cold one with an empty cache."""

    min_rounds = 1

    def __init__(self) -> None:
        """Creates an empty cache."""
        self._cache = tempfile.TemporaryDirectory()

    def prepare(self, case: Case) -> list["CommandTimer"]:
        """Returns the commands of a network, with nothing prepared or compiled."""
        cache = Path(self._cache.name, case.name)
        return [CommandTimer(case, contender, cache) for contender in CONTENDERS["lesson"]]


class CommandTimer:
    """Times a complete command that trains a network of the lesson.

    The cold command starts with an empty cache, so that it prepares the corpus and compiles, the
    warm one with a full one.
    """

    def __init__(self, case: Case, contender: Contender, cache: Path):
        """Runs nothing."""
        self.contender = contender
        self.result = Result()
        if contender.missing:
            self.result.failure, self.result.message = "missing", contender.missing
        self._case = case
        self._cache = cache

    def time(self) -> None:
        """Runs the command, unless it has failed."""
        if self.result.failure:
            return
        try:
            command, training = self._keras() if self.contender.requires else self._rnnjax()
        except (subprocess.CalledProcessError, OSError, ValueError) as error:
            stderr = getattr(error, "stderr", "") or ""
            self.result.failure = "error"
            self.result.message = f"{error} {stderr[-300:]}".strip()
            return
        for operation, seconds in (("training", training), ("command", command)):
            self.result.seconds.setdefault(operation, []).append(seconds)

    def _keras(self) -> tuple[float, float]:
        script = str(FOLDER / "lesson_in_keras.py")
        seconds, output = self._run(script, self._case.spec["data"], self._case.name)
        figures = json.loads(output.splitlines()[-1])
        self._record(figures)
        return seconds, figures["train_seconds"]

    def _rnnjax(self) -> tuple[float, float]:
        if self.contender.name.endswith("cold"):
            shutil.rmtree(self._cache, ignore_errors=True)
        elif not self._cache.exists():
            self._train()
        return self._train()

    def _train(self) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            workdir = Path(folder, "run")
            seconds, _ = self._run(
                *("-m", "rnnjax.main", f"--config=configs/{self._case.name}.py"),
                *(f"--config.data.dir={self._case.spec['data']}", "--config.data.fallback="),
                f"--workdir={workdir}",
            )
            figures = json.loads((workdir / "result.json").read_text(encoding="utf-8"))
        self._record({**figures, "test_accuracy": round(figures["test"]["accuracy"], 4)})
        return seconds, figures["train_seconds"]

    def _record(self, figures: dict) -> None:
        self.result.facts = {name: figures[name] for name in _FACTS if name in figures}

    def _run(self, *arguments: str) -> tuple[float, str]:
        env = {
            **os.environ,
            "KERAS_BACKEND": "tensorflow",
            "RNNJAX_CACHE": str(self._cache),
            "JAX_COMPILATION_CACHE_DIR": str(self._cache / "xla"),
        }
        start = time.monotonic()
        process = subprocess.run(
            [sys.executable, *arguments],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=env,
        )
        return time.monotonic() - start, process.stdout
