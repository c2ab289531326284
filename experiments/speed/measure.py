"""Measures rnnjax beside the peers that are installed, and renders README.md.

    python experiments/speed/measure.py [--only layers,steps] [--rounds 5] [--data FOLDER] [--again]

Every contender works in a process of its own; the rounds go round the processes, so that all of
them meet the same weather. What runs.jsonl has of the same commit, packages and machine is not
measured again.
"""

import argparse
import importlib.metadata
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tables
from cases import CONTENDERS, OURS, Case, Contender, cases, disagreement
from lesson import Lesson
from rnnjax.errors import InputError
from rnnjax.experiment.page_rendering import render_by_script, write_pages
from rnnjax.reporting.progress import write_message
from runs import Result, Runs, ratio
from workers import HERE, Worker, Workers

ROUND_SECONDS = 0.1
"""For each thing that is timed; a single run may take longer."""
CASE_SECONDS = 15.0
"""For all rounds of a case, of which there are two at least."""
PAUSE = 0.02
"""Before each timing: threads that wait for work by turning round soon give up and sleep."""
_TOLERANCES = {"cpu": 1e-3, "gpu": 3e-2}  # a GPU multiplies in TF32
_PEERS = ("keras", "tensorflow", "tensorflow-cpu", "torch")


class Share:
    """One contender's share of a case: prepared once, timed in every round."""

    def __init__(self, workers: Workers, case: Case, contender: Contender):
        """Prepares nothing yet."""
        self.contender = contender
        self.result = Result()
        self._case = case
        self._workers = workers
        self._runs: list[str] = []
        self._idle = self._took = 0.0

    @property
    def worker(self) -> Worker:
        """The process that does the work."""
        return self._workers.of(self.contender)

    def prepare(self) -> None:
        """Compiles and runs everything once."""
        if self.contender.missing:
            self.result.reason, self.result.why = "missing", self.contender.missing
            return
        reply = self.worker.ask(
            do="prepare",
            key=self.contender.name,
            group=self._case.group,
            spec=self._case.spec,
            variant=self.contender.variant,
        )
        if not self._failed(reply):
            self._runs, self.result.facts = reply["runs"], reply["facts"]

    def time(self) -> None:
        """Times everything, unless the contender has failed."""
        timed = {}
        for what in self._runs if not self.result.reason else ():
            time.sleep(PAUSE)
            idle, start = self._workers.idle_cpu(self.worker), time.monotonic()
            reply = self.worker.ask(
                do="time", key=self.contender.name, what=what, seconds=ROUND_SECONDS
            )
            if self._failed(reply):
                return
            timed[what] = reply["seconds"]
            took = time.monotonic() - start
            self._idle += self._workers.idle_cpu(self.worker) - idle
            self._took += took
            self.result.facts["idle_cpu"] = round(self._idle / self._took, 3)
        for what, seconds in timed.items():
            self.result.seconds.setdefault(what, []).append(seconds)

    def _failed(self, reply: dict[str, Any]) -> bool:
        for reason in ("not_offered", "error"):
            if reason in reply:
                self.result.reason, self.result.why = reason, reply[reason]
        return bool(self.result.reason)


class Peers:
    """The cases whose work is done by workers."""

    least = 2
    """Rounds of a case, however long they take."""

    def __init__(self, workers: Workers, tolerance: float):
        """Takes the processes, and the largest relative difference of the same work."""
        self._workers = workers
        self._tolerance = tolerance

    def prepare(self, case: Case) -> list[Share]:
        """Returns the contenders, ready; those that do other work than ours have failed."""
        self._workers.forget()
        shares = [Share(self._workers, case, each) for each in CONTENDERS[case.group]]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            try:
                list(pool.map(Share.prepare, shares))
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                self._workers.close()
                raise
        ours = shares[0].result.facts.get("digest")
        for share in shares[1:]:
            theirs = share.result.facts.get("digest")
            ragged = case.spec.get("bidirectional") and not case.spec.get("full")
            if not (ours and theirs) or (share.contender.reads_padding and ragged):
                continue
            different = disagreement(ours, theirs, self._tolerance)
            if different:
                share.result.reason, share.result.why = "error", f"does other work: {different}"
        return shares


def measure(shares: Sequence[Any], rounds: int, least: int, have: int, planned: int) -> None:
    """Goes round the contenders until there are enough rounds.

    Args:
      shares: of a case; each has `time()` and a `result`.
      rounds: most rounds.
      least: rounds at least, however long they take.
      have: rounds recorded before.
      planned: rounds planned before, 0 if none were.
    """
    start = time.monotonic()
    try:
        while not planned or have < planned:
            turn = have % len(shares)
            for share in (*shares[turn:], *shares[:turn]):
                share.time()
            have += 1
            if not planned:
                seconds = max(time.monotonic() - start, 1e-9)
                planned = min(rounds, max(least, int(CASE_SECONDS / seconds)))
    finally:
        # An interrupted round is no round.
        timed = [share.result for share in shares if not share.result.reason]
        whole = min((result.rounds for result in timed), default=0)
        for result in timed:
            result.planned = planned or have + 1
            result.seconds = {what: own[:whole] for what, own in result.seconds.items()}


def measure_group(
    runs: Runs, of: str, group: list[Case], peers: Any, rounds: int, show: Callable[[], None]
) -> None:
    """Measures what a group lacks, and writes each case when it has ended."""
    for number, case in enumerate(group, start=1):
        names = [each.name for each in CONTENDERS[case.group]]
        before = [runs.results[of].get((case.group, case.name, name)) for name in names]
        timed = [each for each in before if each and not each.reason]
        planned = max((each.planned for each in timed), default=0)
        have = min((each.rounds for each in timed), default=0)
        if all(before) and have >= planned:
            continue
        start = time.monotonic()
        write_message(f"{case.group} {number} of {len(group)}: {case.name}")
        shares = peers.prepare(case)
        try:
            measure(shares, rounds, peers.least, have, planned)
        finally:
            for share in shares:
                if share.result.reason or share.result.rounds:
                    line = share.result.as_line(of, case.group, case.name, share.contender.name)
                    runs.append(line)
            write_message(f"  {_summary(shares)}; {time.monotonic() - start:.0f} s")
            show()


def _summary(shares: Sequence[Any]) -> str:
    """Returns what a case comes to, of the last of the things that were timed."""
    ours, said = shares[0].result, []
    what = list(ours.seconds)[-1] if ours.rounds else ""
    for share in shares:
        name, result = share.contender.name, share.result
        if result.reason in ("missing", "error"):
            said.append(f"{name}: {result.reason}, {result.why[-200:]}")
        elif what and result.rounds and result is ours:
            said.append(f"{what}: {name} {statistics.median(ours.seconds[what]):.3g} s")
        elif what and result.rounds:
            times = ratio(result.seconds[what], ours.seconds[what])
            said.append(f"{name} x{times.median:.2f}")
    return ", ".join(said)


def manifest(workers: Workers) -> dict[str, Any]:
    """Returns what is measured with: what a run of ours records, the peers and the processor."""
    found = workers.of(OURS).ask(
        do="environment",
        command=shlex.join(["python", "experiments/speed/measure.py", *sys.argv[1:]]),
    )
    if "error" in found:
        raise InputError(f"rnnjax cannot be run here: {found['error']}")
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return found | {
        "peers": {name: version for name in _PEERS if (version := _version(name))},
        "processor": next(names, "unknown"),
        "load": round(_at_work(), 2),
    }


def _at_work() -> float:
    """Returns how many processors are at work now, over a second; elsewhere than on Linux what the
    system says of the last minute.
    """

    def ticks() -> tuple[int, int]:
        user, nice, system, idle, waiting, *_ = map(int, path.read_text().split()[1:8])
        return user + nice + system, idle + waiting

    path = Path("/proc/stat")
    if not path.exists():
        return os.getloadavg()[0]
    before, idle_before = ticks()
    time.sleep(1.0)
    after, idle_after = ticks()
    total = max(after - before + idle_after - idle_before, 1)
    return (after - before) / total * (os.cpu_count() or 1)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and renders."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(CONTENDERS), help="groups, by commas")
    parser.add_argument("--rounds", type=int, default=5, help="most rounds of a case")
    parser.add_argument("--data", default="../shared/data/ag_news_csv", help="folder of AG News")
    parser.add_argument("--again", action="store_true", help="measure what was measured before")
    given = parser.parse_args(arguments)
    groups = given.only.split(",")
    unknown = [each for each in groups if each not in CONTENDERS]
    if unknown:
        raise InputError(f"--only: given {unknown[0]!r}, expected some of {', '.join(CONTENDERS)}")
    if given.rounds < 1:
        raise InputError(f"--rounds: given {given.rounds}, expected 1 or more")
    data = str(Path(given.data).resolve())
    if {"text", "lesson"} & {*groups} and not Path(data, "train.csv").exists():
        raise InputError(
            f"--data: {given.data} has no train.csv; give a folder with train.csv and test.csv of "
            "AG News, or leave out text and lesson: --only layers,steps,replicates,growth"
        )
    runs = Runs(HERE / "runs.jsonl")

    def show() -> None:
        tables.draw(runs, HERE)
        write_pages(HERE, render_by_script(HERE))

    show()  # a page that cannot be rendered is found before the work
    with Workers() as workers:
        found = manifest(workers)
        of = runs.begin(found)
        if given.again:
            runs.drop(of, groups)
        if found["load"] > 0.5:
            write_message(
                f"this machine is at work on something else (load {found['load']}): times will lie"
            )
        gpu = any(not each.startswith("cpu") for each in found["devices"])
        for name in groups:
            peers = Peers(workers, _TOLERANCES["gpu" if gpu else "cpu"])
            if name == "lesson":
                workers.close()
                peers = Lesson()
            group = cases(name, data)
            measure_group(runs, of, group, peers, given.rounds, show)
    write_message(f"{runs.path}, rendered in {HERE / 'README.md'}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)
