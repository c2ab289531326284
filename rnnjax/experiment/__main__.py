"""Runs the missing runs of an experiment, renders its pages, and checks its claims.

    python -m rnnjax.experiment experiments/lesson
    python -m rnnjax.experiment experiments/lesson --cluster
    python -m rnnjax.experiment --check
    python -m rnnjax.experiment experiments/lesson --repeat=0 --entry=lstm
    python -m rnnjax.experiment experiments/lesson --seal='from the runs of seeds 0 to 4'

The first command runs the trials of the sweep, if `experiment.toml` has one, then trains its
configs with all seeds that `runs.jsonl` lacks, appends a line with the claims for each finished
run, and renders the tables. Ctrl-C saves the current runs, and the same command resumes them. The
second does the same on a Ray cluster. The third trains and writes nothing: it checks the named
experiments, or all of `experiments/` with README.md and the configs. The fourth trains a recorded
seed again, in a new folder, and compares it with its record. The fifth records changes of claims
after the runs, with the reason.

They end with the verdicts, and with status 0 if none is FAIL or INCOMPARABLE, 1 if one is, and 2 if
a file cannot be read or a training fails. UNCHECKED pages are named.
"""

import argparse
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rnnjax import paths
from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, at_least
from rnnjax.config import Config
from rnnjax.console import write_output
from rnnjax.errors import InputError
from rnnjax.experiment import pages, prose_numbers
from rnnjax.experiment.claims import (
    FAIL,
    INCOMPARABLE,
    VERDICTS,
    ClaimResult,
    seal_claims,
)
from rnnjax.experiment.page_rendering import README, experiment_name
from rnnjax.experiment.plan import PLAN, Experiment
from rnnjax.experiment.ray_workers import connect
from rnnjax.experiment.repetition import choose_entries, repeat
from rnnjax.experiment.runner import lock_experiment, run_missing
from rnnjax.experiment.sweep import run_search
from rnnjax.experiment.verification import (
    check_folder,
    check_records,
    check_repository,
    find_stale_trial,
)
from rnnjax.experiment.workers import LocalWorkers, Workers
from rnnjax.reporting.progress import write_message

POSITIONAL = "[FOLDER ...]"
_CLUSTER_FLAGS = ("cpus", "gpus", "retries")


def add_flags(parser: Parser) -> None:
    """Adds the flags that choose between running, checking, repeating and sealing."""
    parser.add_argument(
        "--check", action="store_true", help="Train and write nothing; print the verdicts."
    )
    parser.add_argument(
        "--seeds",
        type=at_least(1),
        help="Run the seeds from 0 to one less than this; without it those of the toml.",
    )
    parser.add_argument(
        "--jobs",
        type=at_least(1),
        help="Parallel runs; the table has the seconds of runs alone only. Default: 1.",
    )
    parser.add_argument(
        "--cluster",
        nargs="?",
        const="",
        metavar="HOST:PORT",
        help="Train on a Ray cluster; without an address on one of this machine's cores.",
    )
    parser.add_argument("--cpus", type=at_least(1), help="CPUs of a run on a cluster. Default: 1.")
    parser.add_argument("--gpus", type=at_least(0), help="GPUs of a run on a cluster. Default: 0.")
    parser.add_argument(
        "--retries",
        type=at_least(0),
        help="Restarts of a run on a cluster whose worker is lost. Default: 3.",
    )
    parser.add_argument(
        "--repeat",
        type=at_least(0),
        metavar="SEED",
        help="Train this recorded seed again; change no record.",
    )
    parser.add_argument(
        "--entry", action="append", default=[], help="With --repeat: of this entry alone."
    )
    parser.add_argument(
        "--seal", metavar="REASON", help="Seal claims that were changed, with the reason."
    )


def main(args: argparse.Namespace) -> int:
    """Runs one experiment, repeats a seed of it, seals its claims, or checks some."""
    _check_flags(args)
    folders = [Path(paths.expand(folder)) for folder in args.positional]
    if args.check:
        return _report(_check(folders or _all_folders(), complete=not folders))
    (folder,) = folders
    experiment = Experiment.read(folder)  # another folder is refused before anything is written
    if args.repeat is not None:
        entries = choose_entries(experiment, args.entry, args.repeat)
        configs = experiment.configs()
        _refuse_stale(experiment, configs)
        with lock_experiment(folder):
            results = repeat(experiment, configs, entries, args.repeat)
        write_output("\n".join(map(str, results)))
        return _report(results)
    with lock_experiment(folder):
        if args.seal is not None:
            names = seal_claims(experiment, args.seal)
            pages.write(experiment)  # the plot shows the claims
            write_message(f"sealed: {', '.join(names) or 'nothing, all claims are as recorded'}")
        else:
            with _open_workers(args) as workers:
                _run(folder, args.seeds, workers)
    return _report(_check([folder], complete=False))


@contextlib.contextmanager
def _open_workers(args: argparse.Namespace) -> Iterator[Workers]:
    """Yields the workers that the flags ask for."""
    if args.cluster is None:
        yield LocalWorkers(args.jobs or 1)
        return
    retries = 3 if args.retries is None else args.retries
    with connect(args.cluster, args.jobs, args.cpus or 1, args.gpus or 0, retries) as workers:
        yield workers


def _check_flags(args: argparse.Namespace) -> None:
    """Raises InputError if flags do not go together."""
    modes = {"check": args.check, "repeat": args.repeat is not None, "seal": args.seal is not None}
    chosen = [f"--{name}" for name, is_set in modes.items() if is_set]
    if len(chosen) > 1:
        raise InputError(f"given {' and '.join(chosen)}, expected one of them")
    of_runs = ("seeds", "jobs", "cluster", *_CLUSTER_FLAGS)
    runs = [f"--{name}" for name in of_runs if getattr(args, name) is not None]
    if chosen and runs:
        raise InputError(f"{chosen[0]} runs no missing runs; leave {runs[0]} out")
    of_cluster = [f"--{name}" for name in _CLUSTER_FLAGS if getattr(args, name) is not None]
    if of_cluster and args.cluster is None:
        raise InputError(f"{of_cluster[0]} is of --cluster; add it, or leave {of_cluster[0]} out")
    if args.cluster and Path(args.cluster).is_dir():
        raise InputError(
            f"--cluster is followed by the folder {args.cluster}; name the folder before it, or "
            "give an address: --cluster=HOST:PORT"
        )
    if args.entry and args.repeat is None:
        raise InputError("--entry is of --repeat: --repeat=0 --entry=lstm")
    if args.seal is not None and not args.seal.strip():
        raise InputError("--seal is empty; say why the claims were changed: --seal='...'")
    if not args.check and len(args.positional) != 1:
        raise InputError(f"given {args.positional}, expected one folder, experiments/lesson say")


def _all_folders() -> list[Path]:
    """Returns the folders of all experiments: those with a plan, or with a page."""
    files = (path for name in (PLAN, README) for path in Path("experiments").glob(f"*/{name}"))
    if not (folders := sorted({path.parent for path in files})):
        raise InputError(f"there is no experiments/*/{PLAN} here; name the folders to check")
    return folders


def _check(folders: Iterable[Path], complete: bool) -> list[ClaimResult]:
    """Prints the verdicts on folders, and on README.md and configs if the folders are complete."""
    phrases, checked, results = prose_numbers.read_phrases(), [], []
    for folder in folders:
        checked.append(check_folder(folder, phrases))
        write_output("\n".join([experiment_name(folder), *map(str, checked[-1].results)]))
        results += checked[-1].results
    if complete:
        shared = check_repository(checked, phrases)
        write_output("\n".join(["pages and configs", *map(str, shared)]))
        results += shared
    return results


def _report(results: list[ClaimResult]) -> int:
    """Prints the number of verdicts of each kind, and returns the exit status."""
    verdicts = [result.verdict for result in results]
    write_output(", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS))
    return int(bool({FAIL, INCOMPARABLE} & {*verdicts}))


def _refuse_stale(experiment: Experiment, configs: Mapping[str, Config]) -> None:
    """Raises InputError if records were edited, or are of another config than the present one."""
    if experiment.plan.sweep and (reason := find_stale_trial(experiment)):
        raise InputError(
            f"{experiment.search_records}: {reason}. Delete the lines of these trials, and their "
            "folders, to run them again, or bring back the sweep they were recorded with"
        )
    if failures := check_records(experiment, configs):
        lines = "\n".join(f"  {failure.subject}: {failure.message}" for failure in failures)
        raise InputError(
            f"{experiment.records} does not fit the experiment:\n{lines}\n"
            "Delete these lines to run them again, or bring back the config they were recorded with"
        )


def _run(folder: Path, num_seeds: int | None, workers: Workers) -> None:
    """Runs the missing runs of an experiment, and renders it."""
    experiment = Experiment.read(folder)
    configs = experiment.configs()
    _refuse_stale(experiment, configs)
    pages.fill(experiment)  # a page that cannot be rendered is found before the runs
    seeds = list(range(num_seeds)) if num_seeds else experiment.plan.seeds
    try:
        if experiment.plan.sweep:
            run_search(experiment, workers)
            experiment = Experiment.read(folder)
            configs = experiment.configs()
        run_missing(experiment, configs, seeds, workers)
    finally:
        experiment = Experiment.read(folder)
        pages.write(experiment)
    write_message(
        f"{len(experiment.runs)} runs in {experiment.records}, rendered in {folder / README}"
    )


if __name__ == "__main__":
    launch("experiment")
