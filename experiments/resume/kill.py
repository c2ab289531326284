"""Kills runs at random moments and damages their checkpoints, and compares how they end.

    python experiments/resume/kill.py [--kills 50] [--damages 20] [--seed 0]

A run is trained to its end undisturbed. Then, again and again, it is killed with SIGKILL at a
random moment of a random phase, new or half way, and the same command is given once more; or the
newest checkpoint of a run that was killed half way is damaged first. What was found is in
`runs.jsonl`, a line each behind one that says what it was done with, and rendered in `README.md`.
The same command goes on with what is there; delete the file to begin anew.
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

from endings import HOW, Ending, damage, ending, same, snapshot
from processes import HERE, Ended, Moment, moment_of, run
from rnnjax.cli.launcher import FAILED
from rnnjax.errors import InputError
from rnnjax.experiment.page_rendering import render_by_script, write_pages
from rnnjax.experiment.records import read_verified, write_records
from rnnjax.reporting.progress import Progress, write_message
from rnnjax.training.manifest import describe_environment

NEW, HALF_WAY, BARE = "new", "half way", "new, with nothing prepared and compiled"
REFUSED = "refused with all others damaged too, and nothing was touched"


class Bench:
    """Runs to disturb, and the ending that all of them must come to.

    Attributes:
      trial: the folder of the run at hand.
    """

    def __init__(self, folder: Path):
        """Trains to the end from each origin.

        Args:
          folder: for the runs, and for what they prepare and compile.

        Raises:
          InputError: a run fails, or they end differently although nothing disturbed them.
        """
        self.trial = folder / "trial"
        self._half_way = folder / "half"
        self._warm, self._bare = folder / "cache", folder / "bare"
        self._undisturbed: dict[str, Ended] = {}
        self._begin(BARE)
        self._expected = self._to_end(BARE)
        shutil.copytree(self._bare, self._warm)
        self._begin(NEW)
        again = self._to_end(NEW)
        saves = sum(mark.phase == "saving" for mark in self._undisturbed[NEW].marks)
        run(self._half_way, self._warm, Moment("saving", saves // 2, 0.0))
        self._begin(HALF_WAY)
        for other in (again, self._to_end(HALF_WAY)):
            parts = same(other, self._expected)
            if not all(parts.values()):
                raise InputError(f"two runs that nobody disturbed ended differently: {parts}")

    def kill(self, draw: random.Random) -> dict[str, Any]:
        """Kills a run and repeats the command; returns what came of it."""
        while True:
            origin = draw.choices([NEW, HALF_WAY, BARE], [12, 12, 1])[0]
            moment = moment_of(draw, self._undisturbed[origin])
            self._begin(origin)
            killed = self._run(moment)
            if killed.killed:
                break  # else it was faster than the one that the moment was drawn from
        return {
            "origin": origin,
            "aimed": moment._asdict(),
            "killed_in": killed.marks[-1].phase,
            "seconds": round(killed.seconds, 3),
            "checkpoints": checkpoints(self.trial),
            **self._ended(self._run()),
        }

    def damage(self, draw: random.Random) -> dict[str, Any]:
        """Damages a file of the newest checkpoint, or of all, and goes on with the run."""
        self._begin(HALF_WAY)
        folder, steps = self.trial / "checkpoints", checkpoints(self.trial)
        newest = folder / str(steps[-1])
        files = [path for path in sorted(newest.rglob("*")) if path.is_file()]
        file = draw.choices(files, [path.stat().st_size for path in files])[0]
        name = file.relative_to(newest)
        how, everywhere = draw.choice(HOW), draw.random() < 0.2
        for step in steps if everywhere else steps[-1:]:
            # Files of arrays have other names in another checkpoint.
            place = folder / str(step)
            damage(draw, place / name if (place / name).exists() else _largest(place), how)
        found = {"file": str(name), "how": how, "all": everywhere, "checkpoints": steps}
        before = snapshot(self.trial)
        ended = self._run()
        if ended.status == FAILED and "every checkpoint is damaged" in ended.said:
            untouched = snapshot(self.trial) == before
            found["outcome"] = REFUSED if untouched else "refused, and something was touched"
            shutil.rmtree(newest)
            shutil.copytree(self._half_way / "checkpoints" / newest.name, newest)
            ended = self._run()
        elif f"the checkpoint of step {steps[-1]} is damaged" in ended.said:
            found["outcome"] = "named, and the one before it was used"
        else:
            found["outcome"] = "used, as every array in it was read and found to be what was saved"
        return {**found, **self._ended(ended)}

    def _begin(self, origin: str) -> None:
        """Makes ready the folder of a run that begins anew or goes on from half way."""
        shutil.rmtree(self.trial, ignore_errors=True)
        if origin == HALF_WAY:
            shutil.copytree(self._half_way, self.trial)
        self._cache = self._bare if origin == BARE else self._warm
        if origin == BARE:
            shutil.rmtree(self._bare, ignore_errors=True)

    def _run(self, kill: Moment | None = None) -> Ended:
        return run(self.trial, self._cache, kill)

    def _to_end(self, origin: str) -> Ending:
        ended = self._undisturbed[origin] = self._run()
        if ended.status:
            raise InputError(f"a run that nobody disturbed failed:\n{ended.said}")
        return ending(self.trial)

    def _ended(self, ended: Ended) -> dict[str, Any]:
        found = re.search(r"going on from step (\d+)", ended.said)
        told = {"went_on_from": int(found[1]) if found else 0, "status": ended.status}
        if ended.status:
            return {**told, "identical": False, "said": ended.said[-2000:]}
        parts = same(ending(self.trial), self._expected)
        return {**told, "identical": all(parts.values()), "parts": parts}


def checkpoints(workdir: Path) -> list[int]:
    """Returns the steps of which a run has a checkpoint, rising."""
    names = [path.name for path in (workdir / "checkpoints").glob("*")]
    return sorted(int(name) for name in names if name.isdecimal())


def _largest(folder: Path) -> Path:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def record(folder: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Writes runs.jsonl, and the part of README.md between its two marks."""
    write_records(folder / "runs.jsonl", lines)
    write_pages(folder, render_by_script(folder))


def main(arguments: Sequence[str]) -> int:
    """Kills, damages, records; returns 1 if an ending differed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--damages", type=int, default=20)
    given = parser.parse_args(arguments)
    command = shlex.join(["python", "experiments/resume/kill.py", *arguments])
    path = HERE / "runs.jsonl"
    lines = read_verified(path)
    todo = [
        (kind, number)
        for kind, count in (("kill", given.kills), ("damage", given.damages))
        for number in range(1, count + 1)
        if not any(line.get(kind) == number for line in lines)
    ]
    if todo:
        lines.append({"manifest": describe_environment(command)})
        with tempfile.TemporaryDirectory(prefix="rnnjax-resume-") as folder:
            write_message("training undisturbed, three times")
            bench = Bench(Path(folder))
            with Progress("kill and damage", len(todo)) as progress:
                for done, (kind, number) in enumerate(todo, start=1):
                    disturb = {"kill": bench.kill, "damage": bench.damage}[kind]
                    lines.append({kind: number, **disturb(random.Random(f"{kind} {number}"))})
                    record(HERE, lines)
                    progress.update(done)
    record(HERE, lines)
    found = [line["identical"] for line in lines if "manifest" not in line]
    print(f"{len(found)} runs disturbed, {found.count(False)} of them ended differently")
    return int(not all(found))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
