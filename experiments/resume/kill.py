"""Kills runs at random moments, damages their checkpoints, and compares the final states.

    python experiments/resume/kill.py [--kills 50] [--damages 20]

A run is trained undisturbed. Then it is repeatedly killed with SIGKILL at a random moment of a
random phase, new or half way, and resumed by the same command; or the newest checkpoint of a run
that was killed half way is damaged first. `runs.jsonl` has a line for each trial after a line with
the environment, and is rendered in `README.md`. The same command continues an incomplete record.
"""

import argparse
import random
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from endings import DAMAGES, Ending, compare_endings, damage, read_ending, snapshot
from processes import HERE, Moment, ProcessResult, draw_moment, run
from rnnjax.cli.launcher import FAILED
from rnnjax.errors import InputError
from rnnjax.experiment.page_rendering import render_by_script, write_pages
from rnnjax.experiment.records import read_verified, write_records
from rnnjax.reporting.progress import Progress, write_message
from rnnjax.training.manifest import describe_environment

NEW, HALF_WAY, BARE = "new", "half way", "new, with nothing prepared and compiled"
REFUSED = "refused with all others damaged too, and nothing was touched"


class Trials:
    """Disturbs runs, and compares their final states with that of an undisturbed one.

    Attributes:
      trial: folder of the current run.
    """

    def __init__(self, folder: Path):
        """Trains undisturbed runs from each origin.

        Args:
          folder: for runs and caches.

        Raises:
          InputError: a run fails, or undisturbed runs differ.
        """
        self.trial = folder / "trial"
        self._half_way = folder / "half"
        self._warm, self._bare = folder / "cache", folder / "bare"
        self._undisturbed: dict[str, ProcessResult] = {}
        self._prepare(BARE)
        self._expected = self._to_end(BARE)
        shutil.copytree(self._bare, self._warm)
        self._prepare(NEW)
        repeated = self._to_end(NEW)
        saves = sum(mark.phase == "saving" for mark in self._undisturbed[NEW].marks)
        run(self._half_way, self._warm, Moment("saving", saves // 2, 0.0))
        self._prepare(HALF_WAY)
        for actual in (repeated, self._to_end(HALF_WAY)):
            parts = compare_endings(actual, self._expected)
            if not all(parts.values()):
                raise InputError(f"two undisturbed runs ended differently: {parts}")

    def kill(self, draw: random.Random) -> dict[str, Any]:
        """Kills a run, resumes it, and returns the record."""
        while True:
            origin = draw.choices([NEW, HALF_WAY, BARE], [12, 12, 1])[0]
            moment = draw_moment(draw, self._undisturbed[origin])
            self._prepare(origin)
            killed = self._run(moment)
            if killed.killed:
                break  # otherwise it finished before the moment
        return {
            "origin": origin,
            "aimed": {"phase": moment.phase, "number": moment.number, "after": moment.delay},
            "killed_in": killed.marks[-1].phase,
            "seconds": round(killed.seconds, 3),
            "checkpoints": checkpoints(self.trial),
            **self._compare(self._run()),
        }

    def damage(self, draw: random.Random) -> dict[str, Any]:
        """Damages a file of the newest checkpoint, or of all, and resumes the run."""
        self._prepare(HALF_WAY)
        folder, steps = self.trial / "checkpoints", checkpoints(self.trial)
        newest = folder / str(steps[-1])
        files = [path for path in sorted(newest.rglob("*")) if path.is_file()]
        file = draw.choices(files, [path.stat().st_size for path in files])[0]
        name = file.relative_to(newest)
        kind, all_steps = draw.choice(DAMAGES), draw.random() < 0.2
        for step in steps if all_steps else steps[-1:]:
            # Files of arrays have other names in another checkpoint.
            path = folder / str(step)
            damage(draw, path / name if (path / name).exists() else _largest(path), kind)
        line = {"file": str(name), "how": kind, "all": all_steps, "checkpoints": steps}
        files = snapshot(self.trial)
        result = self._run()
        if result.status == FAILED and "every checkpoint is damaged" in result.output:
            untouched = snapshot(self.trial) == files
            line["outcome"] = REFUSED if untouched else "refused, and something was touched"
            shutil.rmtree(newest)
            shutil.copytree(self._half_way / "checkpoints" / newest.name, newest)
            result = self._run()
        elif f"the checkpoint of step {steps[-1]} is damaged" in result.output:
            line["outcome"] = "named, and the one before it was used"
        else:
            line["outcome"] = "used, as every array in it was read and found to be what was saved"
        return {**line, **self._compare(result)}

    def _prepare(self, origin: str) -> None:
        """Prepares the folder of a new run or of one that is half way."""
        shutil.rmtree(self.trial, ignore_errors=True)
        if origin == HALF_WAY:
            shutil.copytree(self._half_way, self.trial)
        self._cache = self._bare if origin == BARE else self._warm
        if origin == BARE:
            shutil.rmtree(self._bare, ignore_errors=True)

    def _run(self, kill: Moment | None = None) -> ProcessResult:
        return run(self.trial, self._cache, kill)

    def _to_end(self, origin: str) -> Ending:
        result = self._undisturbed[origin] = self._run()
        if result.status:
            raise InputError(f"an undisturbed run failed:\n{result.output}")
        return read_ending(self.trial)

    def _compare(self, result: ProcessResult) -> dict[str, Any]:
        match = re.search(r"going on from step (\d+)", result.output)
        line = {"went_on_from": int(match[1]) if match else 0, "status": result.status}
        if result.status:
            return {**line, "identical": False, "said": result.output[-2000:]}
        parts = compare_endings(read_ending(self.trial), self._expected)
        return {**line, "identical": all(parts.values()), "parts": parts}


def checkpoints(workdir: Path) -> list[int]:
    """Returns the steps of a run's checkpoints, rising."""
    names = [path.name for path in (workdir / "checkpoints").glob("*")]
    return sorted(int(name) for name in names if name.isdecimal())


def _largest(folder: Path) -> Path:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def record(folder: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Writes runs.jsonl, and renders it into README.md."""
    write_records(folder / "runs.jsonl", lines)
    write_pages(folder, render_by_script(folder))


def main(arguments: Sequence[str]) -> int:
    """Runs and records the trials; returns 1 if a final state differed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--damages", type=int, default=20)
    options = parser.parse_args(arguments)
    command = shlex.join(["python", "experiments/resume/kill.py", *arguments])
    path = HERE / "runs.jsonl"
    lines = read_verified(path)
    todo = [
        (kind, number)
        for kind, count in (("kill", options.kills), ("damage", options.damages))
        for number in range(1, count + 1)
        if not any(line.get(kind) == number for line in lines)
    ]
    if todo:
        lines.append({"manifest": describe_environment(command)})
        with tempfile.TemporaryDirectory(prefix="rnnjax-resume-") as folder:
            write_message("training undisturbed, three times")
            trials = Trials(Path(folder))
            with Progress("kill and damage", len(todo)) as progress:
                for done, (kind, number) in enumerate(todo, start=1):
                    disturb = {"kill": trials.kill, "damage": trials.damage}[kind]
                    lines.append({kind: number, **disturb(random.Random(f"{kind} {number}"))})
                    record(HERE, lines)
                    progress.update(done)
    record(HERE, lines)
    identical = [line["identical"] for line in lines if "manifest" not in line]
    print(f"{len(identical)} runs disturbed, {identical.count(False)} of them ended differently")
    return int(not all(identical))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
