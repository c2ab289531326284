"""The lesson, end to end: whole commands, ours and one in Keras that does the same."""

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
from workers import HERE, ROOT

_KEPT = ("test_accuracy", "parameters", "compilations", "buckets")


class Lesson:
    """What the lesson's commands share: the folder in which ours keep what they prepare."""

    least = 1

    def __init__(self) -> None:
        """Makes an empty one."""
        self._cache = tempfile.TemporaryDirectory()

    def prepare(self, case: Case) -> list["Command"]:
        """Returns the commands of a network; the corpus is prepared, the programs are not."""
        code = (
            "import sys; from rnnjax.data import corpora; "
            "corpora.load('ag_news_subset', sys.argv[1], '')"
        )
        command = [sys.executable, "-c", code, case.spec["data"]]
        env = {**os.environ, "RNNJAX_CACHE": self._cache.name, "KERAS_BACKEND": "tensorflow"}
        subprocess.run(command, check=True, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
        compiled = Path(self._cache.name, case.name)
        return [Command(case, each, compiled, env) for each in CONTENDERS["lesson"]]


class Command:
    """A command that trains a network of the lesson, and is timed as a whole.

    The cold command empties the cache of compiled programs first; the warm one finds it full.
    """

    def __init__(self, case: Case, contender: Contender, compiled: Path, env: dict[str, str]):
        """Runs nothing yet."""
        self.contender = contender
        self.result = Result()
        if contender.missing:
            self.result.reason, self.result.why = "missing", contender.missing
        self._case = case
        self._compiled = compiled
        self._env = env

    def time(self) -> None:
        """Runs the command, unless it has failed before."""
        if self.result.reason:
            return
        try:
            command, training = self._keras() if self.contender.needs else self._ours()
        except (subprocess.CalledProcessError, OSError, ValueError) as error:
            said = getattr(error, "stderr", "") or ""
            self.result.reason, self.result.why = "error", f"{error} {said[-300:]}".strip()
            return
        for what, seconds in (("training", training), ("command", command)):
            self.result.seconds.setdefault(what, []).append(seconds)

    def _keras(self) -> tuple[float, float]:
        script = str(HERE / "lesson_in_keras.py")
        seconds, printed = self._run(script, self._case.spec["data"], self._case.name)
        figures = json.loads(printed.splitlines()[-1])
        self._keep(figures)
        return seconds, figures["train_seconds"]

    def _ours(self) -> tuple[float, float]:
        if self.contender.name.endswith("cold"):
            shutil.rmtree(self._compiled, ignore_errors=True)
        elif not self._compiled.exists():
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
        self._keep({**figures, "test_accuracy": round(figures["test"]["accuracy"], 4)})
        return seconds, figures["train_seconds"]

    def _keep(self, figures: dict) -> None:
        self.result.facts = {name: figures[name] for name in _KEPT if name in figures}

    def _run(self, *arguments: str) -> tuple[float, str]:
        env = {**self._env, "JAX_COMPILATION_CACHE_DIR": str(self._compiled)}
        start = time.monotonic()
        ended = subprocess.run(
            [sys.executable, *arguments],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=env,
        )
        return time.monotonic() - start, ended.stdout
