"""Measures rnnjax beside the peers that are installed, and renders README.md.

    python experiments/speed/measure.py [--only layers,steps] [--rounds 5] [--data FOLDER] [--again]

Every contender runs in a separate process. A round times all processes in turn, so that changes of
the machine's load affect all of them. Results in runs.jsonl of the same commit, packages and
machine are not measured again.
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
from cases import CONTENDERS, RNNJAX, Case, Contender, cases
from digests import disagreement
from lesson import LessonBenchmark
from rnnjax.errors import InputError
from rnnjax.experiment.page_rendering import render_by_script, write_pages
from rnnjax.reporting.progress import write_message
from runs import Result, Runs, ratio
from workers import FOLDER, Worker, Workers

ROUND_SECONDS = 0.1
"""Of each operation; a single run may take longer."""
CASE_SECONDS = 15.0
"""Of all rounds of a case, of which there are two at least."""
PAUSE = 0.02
"""Before each timing: threads that spin while they wait for work soon sleep."""
_TOLERANCES = {"cpu": 1e-3, "gpu": 3e-2}  # a GPU multiplies in TF32
_PEERS = ("keras", "tensorflow", "tensorflow-cpu", "torch")


class WorkerTimer:
    """Times one contender in a case: prepared once, timed in every round."""

    def __init__(self, workers: Workers, case: Case, contender: Contender):
        """Prepares nothing."""
        self.contender = contender
        self.result = Result()
        self._case = case
        self._workers = workers
        self._operations: list[str] = []
        self._idle_seconds = self._wall_seconds = 0.0

    @property
    def worker(self) -> Worker:
        """The process of the contender."""
        return self._workers.for_contender(self.contender)

    def prepare(self) -> None:
        """Compiles and runs all operations once."""
        if self.contender.missing:
            self.result.failure, self.result.message = "missing", self.contender.missing
            return
        reply = self.worker.request(
            do="prepare",
            key=self.contender.name,
            group=self._case.group,
            spec=self._case.spec,
            variant=self.contender.variant,
        )
        if not self._record_failure(reply):
            self._operations, self.result.facts = reply["operations"], reply["facts"]

    def time(self) -> None:
        """Times all operations, unless the contender has failed."""
        timed = {}
        for operation in self._operations if not self.result.failure else ():
            time.sleep(PAUSE)
            idle, start = self._workers.idle_cpu_seconds(self.worker), time.monotonic()
            reply = self.worker.request(
                do="time", key=self.contender.name, operation=operation, seconds=ROUND_SECONDS
            )
            if self._record_failure(reply):
                return
            timed[operation] = reply["seconds"]
            self._wall_seconds += time.monotonic() - start
            self._idle_seconds += self._workers.idle_cpu_seconds(self.worker) - idle
            self.result.facts["idle_cpu"] = round(self._idle_seconds / self._wall_seconds, 3)
        for operation, seconds in timed.items():
            self.result.seconds.setdefault(operation, []).append(seconds)

    def _record_failure(self, reply: dict[str, Any]) -> bool:
        for failure in ("not_offered", "error"):
            if failure in reply:
                self.result.failure, self.result.message = failure, reply[failure]
        return bool(self.result.failure)


class WorkerBenchmark:
    """The cases that are measured in workers."""

    min_rounds = 2
    """Rounds of a case, however long they take."""

    def __init__(self, workers: Workers, tolerance: float):
        """Sets the processes, and the largest relative difference of equal computations."""
        self._workers = workers
        self._tolerance = tolerance

    def prepare(self, case: Case) -> list[WorkerTimer]:
        """Returns prepared timers; a contender whose results differ from rnnjax's has failed."""
        self._workers.drop_jobs()
        timers = [
            WorkerTimer(self._workers, case, contender) for contender in CONTENDERS[case.group]
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            try:
                list(pool.map(WorkerTimer.prepare, timers))
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                self._workers.close()
                raise
        expected = timers[0].result.facts.get("digest")
        for timer in timers[1:]:
            actual = timer.result.facts.get("digest")
            ragged = case.spec.get("bidirectional") and not case.spec.get("full")
            if not (expected and actual) or (timer.contender.reads_padding and ragged):
                continue
            difference = disagreement(expected, actual, self._tolerance)
            if difference:
                timer.result.failure = "error"
                timer.result.message = f"computes something else: {difference}"
        return timers


def time_rounds(
    timers: Sequence[Any], max_rounds: int, min_rounds: int, done: int, planned: int
) -> None:
    """Times all contenders in rounds until there are enough.

    Args:
      timers: of a case; each has `time()` and a `result`.
      max_rounds: most rounds.
      min_rounds: rounds at least, however long they take.
      done: number of recorded rounds.
      planned: number of planned rounds, 0 if none are planned.
    """
    start = time.monotonic()
    try:
        while not planned or done < planned:
            first = done % len(timers)
            for timer in (*timers[first:], *timers[:first]):
                timer.time()
            done += 1
            if not planned:
                seconds = max(time.monotonic() - start, 1e-9)
                planned = min(max_rounds, max(min_rounds, int(CASE_SECONDS / seconds)))
    finally:
        # An interrupted round is dropped.
        results = [timer.result for timer in timers if not timer.result.failure]
        complete = min((result.rounds for result in results), default=0)
        for result in results:
            result.planned = planned or done + 1
            result.seconds = {name: values[:complete] for name, values in result.seconds.items()}


def measure_group(
    runs: Runs,
    manifest: str,
    group: list[Case],
    benchmark: Any,
    max_rounds: int,
    render: Callable[[], None],
) -> None:
    """Measures the missing rounds of a group, and records each case when it ends."""
    for number, case in enumerate(group, start=1):
        names = [contender.name for contender in CONTENDERS[case.group]]
        recorded = [runs.results[manifest].get((case.group, case.name, name)) for name in names]
        timed = [result for result in recorded if result and not result.failure]
        planned = max((result.planned for result in timed), default=0)
        done = min((result.rounds for result in timed), default=0)
        if all(recorded) and done >= planned:
            continue
        start = time.monotonic()
        write_message(f"{case.group} {number} of {len(group)}: {case.name}")
        timers = benchmark.prepare(case)
        try:
            time_rounds(timers, max_rounds, benchmark.min_rounds, done, planned)
        finally:
            for timer in timers:
                if timer.result.failure or timer.result.rounds:
                    name = timer.contender.name
                    runs.append(timer.result.to_record(manifest, case.group, case.name, name))
            write_message(f"  {_summarize(timers)}; {time.monotonic() - start:.0f} s")
            render()


def _summarize(timers: Sequence[Any]) -> str:
    """Returns the times of the last operation of a case as text."""
    reference, parts = timers[0].result, []
    operation = list(reference.seconds)[-1] if reference.rounds else ""
    for timer in timers:
        name, result = timer.contender.name, timer.result
        if result.failure in ("missing", "error"):
            parts.append(f"{name}: {result.failure}, {result.message[-200:]}")
        elif operation and result.rounds and result is reference:
            parts.append(
                f"{operation}: {name} {statistics.median(result.seconds[operation]):.3g} s"
            )
        elif operation and result.rounds:
            times = ratio(result.seconds[operation], reference.seconds[operation])
            parts.append(f"{name} x{times.median:.2f}")
    return ", ".join(parts)


def describe_run(workers: Workers) -> dict[str, Any]:
    """Returns the manifest: the environment of a run, versions of the peers, processor and load."""
    environment = workers.for_contender(RNNJAX).request(
        do="environment",
        command=shlex.join(["python", "experiments/speed/measure.py", *sys.argv[1:]]),
    )
    if "error" in environment:
        raise InputError(f"rnnjax cannot be run: {environment['error']}")
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return environment | {
        "peers": {name: version for name in _PEERS if (version := _version(name))},
        "processor": next(names, "unknown"),
        "load": round(_busy_processors(), 2),
    }


def _busy_processors() -> float:
    """Returns the mean number of busy processors over a second; except on Linux over a minute."""

    def ticks() -> tuple[int, int]:
        user, nice, system, idle, waiting, *_ = map(int, path.read_text().split()[1:8])
        return user + nice + system, idle + waiting

    path = Path("/proc/stat")
    if not path.exists():
        return os.getloadavg()[0]
    start_busy, start_idle = ticks()
    time.sleep(1.0)
    end_busy, end_idle = ticks()
    busy = end_busy - start_busy
    total = max(busy + end_idle - start_idle, 1)
    return busy / total * (os.cpu_count() or 1)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and renders."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(CONTENDERS), help="groups, separated by commas")
    parser.add_argument("--rounds", type=int, default=5, help="most rounds of a case")
    parser.add_argument("--data", default="../shared/data/ag_news_csv", help="folder of AG News")
    parser.add_argument("--again", action="store_true", help="measure recorded results again")
    args = parser.parse_args(arguments)
    groups = args.only.split(",")
    unknown = [name for name in groups if name not in CONTENDERS]
    if unknown:
        raise InputError(f"--only: given {unknown[0]!r}, expected some of {', '.join(CONTENDERS)}")
    if args.rounds < 1:
        raise InputError(f"--rounds: given {args.rounds}, expected 1 or more")
    data = str(Path(args.data).resolve())
    if {"text", "lesson"} & {*groups} and not Path(data, "train.csv").exists():
        others = [name for name in groups if name not in ("text", "lesson")] or ["layers"]
        raise InputError(
            f"--data: {args.data} has no train.csv; pass a folder with train.csv and test.csv of "
            f"AG News, or leave out text and lesson: --only {','.join(others)}"
        )
    runs = Runs(FOLDER / "runs.jsonl")

    def render() -> None:
        tables.draw(runs, FOLDER)
        write_pages(FOLDER, render_by_script(FOLDER))

    render()  # a page that cannot be rendered fails before the work
    with Workers() as workers:
        manifest = describe_run(workers)
        identifier = runs.add_manifest(manifest)
        if args.again:
            runs.drop(identifier, groups)
        if manifest["load"] > 0.5:
            write_message(
                f"this machine has other load ({manifest['load']}): times will be unreliable"
            )
        gpu = any(not device.startswith("cpu") for device in manifest["devices"])
        for name in groups:
            benchmark: Any = WorkerBenchmark(workers, _TOLERANCES["gpu" if gpu else "cpu"])
            if name == "lesson":
                workers.close()
                benchmark = LessonBenchmark()
            group = cases(name, data)
            measure_group(runs, identifier, group, benchmark, args.rounds, render)
    write_message(f"{runs.path}, rendered in {FOLDER / 'README.md'}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; repeat the command to resume", file=sys.stderr)
        sys.exit(130)
